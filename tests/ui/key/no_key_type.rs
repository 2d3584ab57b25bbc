use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    latitude: f64,
}

fn main() {}

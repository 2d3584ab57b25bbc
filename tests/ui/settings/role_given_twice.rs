use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id]
    #[id]
    #[shard_key(hash)]
    id: i64,
}

fn main() {}

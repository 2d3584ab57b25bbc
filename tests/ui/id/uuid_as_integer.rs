use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id(uuid)]
    id: i64,
    #[shard_key(hash)]
    name: String,
}

fn main() {}

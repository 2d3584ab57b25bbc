use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id]
    id: i64,
    #[id]
    code: i64,
    #[shard_key(hash)]
    name: String,
}

fn main() {}

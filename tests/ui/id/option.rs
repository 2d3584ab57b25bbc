use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id]
    id: Option<i64>,
    #[shard_key(hash)]
    name: String,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[sharded(unique)]
    name: String,
}

fn main() {}

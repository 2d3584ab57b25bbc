use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id(auto)]
    #[shard_key(hash)]
    id: i64,
    name: String,
}

fn main() {}

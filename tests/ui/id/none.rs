use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[shard_key(hash)]
    name: String,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: String,
    #[shard_key(hash)]
    name: String,
}

fn main() {}

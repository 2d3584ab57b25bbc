use shard_runtime::{Sharded, Shards};

fn by_length(name: &str, shards: &Shards) -> usize {
    name.len() % shards.len()
}

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(with = by_length)]
    name: String,
}

fn main() {}

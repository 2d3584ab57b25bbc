use shard_runtime::{Shard, Sharded, Shards};

fn by_length<'s>(name: &str, shards: &'s Shards) -> Option<&'s Shard> {
    shards.by_index(name.len() % shards.len())
}

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(with = by_length)]
    population: i64,
}

fn main() {}

use shard_runtime::{Shard, Sharded, Shards};

fn by_length<'s>(name: &str, shards: &'s Shards) -> Option<&'s Shard> {
    shards.by_index(name.len() % shards.len())
}

#[derive(Sharded)]
#[sharded(shard_key(with = by_length))]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key]
    country: String,
    #[shard_key]
    postcode: i32,
}

fn main() {}

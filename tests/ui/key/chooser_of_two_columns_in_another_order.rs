use shard_runtime::{Shard, Sharded, Shards};

fn by_postcode<'s>(postcode: &i32, _country: &str, shards: &'s Shards) -> Option<&'s Shard> {
    shards.by_index(usize::try_from(*postcode).ok()?)
}

#[derive(Sharded)]
#[sharded(shard_key(with = by_postcode))]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key]
    country: String,
    #[shard_key]
    postcode: i32,
}

fn main() {}

use shard_runtime::{Shard, ShardKey, Sharded, Shards};

#[derive(ShardKey)]
enum Region {
    #[shard("eu")]
    Eu,
    #[shard("us")]
    Us,
}

#[derive(Sharded)]
struct ByHash {
    #[id]
    id: i64,
    #[shard_key(hash)]
    region: Region,
}

#[derive(Sharded)]
struct ByList {
    #[id]
    id: i64,
    #[shard_key(list("Eu" => "us", _ => "eu"))]
    region: Region,
}

#[derive(Sharded)]
struct ByRange {
    #[id]
    id: i64,
    #[shard_key(range("eu" => .."F", "us" => "F"..))]
    region: Region,
}

fn first<'s>(_: &Region, shards: &'s Shards) -> Option<&'s Shard> {
    shards.by_index(0)
}

#[derive(Sharded)]
struct ByFunction {
    #[id]
    id: i64,
    #[shard_key(with = first)]
    region: Region,
}

#[derive(Sharded)]
#[sharded(shard_key(hash))]
struct ByBoth {
    #[id]
    id: i64,
    #[shard_key]
    region: Region,
    #[shard_key]
    tenant: i64,
}

fn main() {}

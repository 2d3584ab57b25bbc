use shard_runtime::{ShardKey, Sharded};

#[derive(ShardKey)]
enum Region {
    Eu,
    Us,
}

#[derive(Sharded)]
struct Order {
    #[id]
    id: i64,
    #[shard_key]
    region: Region,
}

fn main() {}

use shard_runtime::ShardKey;

#[derive(ShardKey)]
struct Position(i64, i64);

fn main() {}

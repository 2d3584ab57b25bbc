use shard_runtime::ShardKey;

#[derive(ShardKey)]
enum Continent {}

fn main() {}

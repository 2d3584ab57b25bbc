use shard_runtime::ShardKey;

#[derive(ShardKey)]
struct Latitude(f64);

fn main() {}

use shard_runtime::ShardKey;

#[derive(ShardKey)]
struct Id<T>(T);

fn main() {}

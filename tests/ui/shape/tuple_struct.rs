use shard_runtime::Sharded;

#[derive(Sharded)]
struct City(i64, String);

fn main() {}

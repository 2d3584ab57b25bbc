use shard_runtime::Sharded;

#[derive(Sharded)]
struct City;

fn main() {}

use shard_runtime::ShardKey;

#[derive(ShardKey)]
enum Continent {
    #[shard("asia", text = "Europe")]
    Asia,
    #[shard("europe")]
    Europe,
}

fn main() {}

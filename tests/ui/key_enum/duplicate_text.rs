use shard_runtime::ShardKey;

#[derive(ShardKey)]
enum Continent {
    #[shard("asia", text = "EU")]
    Asia,
    #[shard("europe", text = "EU")]
    Europe,
}

fn main() {}

use shard_runtime::ShardKey;

#[derive(ShardKey)]
enum Continent {
    #[shard("asia")]
    #[shard("europe")]
    Asia,
}

fn main() {}

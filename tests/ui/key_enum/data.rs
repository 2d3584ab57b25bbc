use shard_runtime::ShardKey;

#[derive(ShardKey)]
enum Continent {
    #[shard("asia")]
    Asia,
    #[shard("other")]
    Other(String),
}

fn main() {}

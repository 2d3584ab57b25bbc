use shard_runtime::ShardKey;

#[derive(ShardKey)]
enum Continent {
    #[shard("asia")]
    Asia,
    Europe,
}

fn main() {}

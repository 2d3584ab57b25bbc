use shard_runtime::ShardKey;

#[derive(ShardKey)]
enum Continent {
    #[shard(asia)]
    Asia,
    #[shard]
    Europe,
    #[shard("")]
    Africa,
}

fn main() {}

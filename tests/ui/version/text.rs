use shard_runtime::Sharded;

#[derive(Sharded, Clone, Debug)]
struct Draft {
    #[id]
    id: i64,
    #[shard_key(hash)]
    place: i64,
    #[version]
    version: String,
}

fn main() {}

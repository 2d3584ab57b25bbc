use shard_runtime::Sharded;

#[derive(Sharded, Clone, Debug)]
struct Draft {
    #[id]
    id: i64,
    #[shard_key(hash)]
    place: i64,
    #[version(first = 0)]
    version: i64,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded, Clone, Debug)]
struct Draft {
    #[id]
    #[version]
    id: i64,
    #[shard_key(hash)]
    place: i64,
}

fn main() {}

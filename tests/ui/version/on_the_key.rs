use shard_runtime::Sharded;

#[derive(Sharded, Clone, Debug)]
struct Draft {
    #[id]
    id: i64,
    #[shard_key(hash)]
    #[version]
    place: i64,
}

fn main() {}

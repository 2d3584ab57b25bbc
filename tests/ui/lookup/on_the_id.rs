use shard_runtime::Sharded;

#[derive(Sharded, Clone, Debug)]
struct User {
    #[id]
    #[lookup]
    id: i64,
    #[shard_key(hash)]
    tenant: i64,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded, Clone, Debug)]
struct User {
    #[id]
    id: i64,
    #[shard_key(hash)]
    #[lookup]
    tenant: i64,
}

fn main() {}

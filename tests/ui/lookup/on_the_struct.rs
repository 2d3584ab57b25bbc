use shard_runtime::Sharded;

#[derive(Sharded, Clone, Debug)]
#[lookup]
struct User {
    #[id]
    id: i64,
    #[shard_key(hash)]
    tenant: i64,
}

fn main() {}

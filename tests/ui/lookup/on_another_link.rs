use shard_runtime::{Parent, Sharded};

#[derive(Sharded, Clone, Debug)]
struct User {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

#[derive(Sharded, Clone, Debug)]
struct Device {
    #[id]
    id: i64,
    #[shard_key(hash)]
    tenant: i64,
    #[lookup]
    user: Parent<User>,
}

fn main() {}

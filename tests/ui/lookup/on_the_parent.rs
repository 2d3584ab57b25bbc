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
    #[shard_parent]
    #[lookup]
    user: Parent<User>,
}

fn main() {}

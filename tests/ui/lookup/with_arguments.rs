use shard_runtime::Sharded;

#[derive(Sharded, Clone, Debug)]
struct User {
    #[id]
    id: i64,
    #[shard_key(hash)]
    tenant: i64,
    #[lookup(unique)]
    email: String,
}

fn main() {}

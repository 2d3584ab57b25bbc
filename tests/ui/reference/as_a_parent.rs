use shard_runtime::{Parent, Sharded};

#[derive(Sharded)]
#[sharded(reference)]
struct Currency {
    #[id]
    code: String,
}

#[derive(Sharded)]
struct Price {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    currency: Parent<Currency>,
}

fn main() {}

use shard_runtime::{Parent, Sharded};

#[derive(Sharded)]
#[sharded(reference)]
struct Currency {
    #[id]
    code: String,
}

#[derive(Sharded)]
struct Shop {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    name: String,
}

#[derive(Sharded)]
struct Order {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    #[references(Currency)]
    shop: Parent<Shop>,
    #[version]
    #[references(Currency)]
    version: i64,
}

fn main() {}

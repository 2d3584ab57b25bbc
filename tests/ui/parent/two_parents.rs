use shard_runtime::{Parent, Sharded};

#[derive(Sharded)]
struct Country {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    country: Parent<Country>,
    #[shard_parent]
    twin: Parent<Country>,
}

fn main() {}

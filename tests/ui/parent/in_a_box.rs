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
    country: Box<Parent<Country>>,
}

fn main() {}

use shard_runtime::{Parent, Sharded};

#[derive(Sharded)]
struct Country {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

#[derive(Sharded)]
struct Flag {
    #[id]
    #[shard_parent]
    country: Parent<Country>,
}

fn main() {}

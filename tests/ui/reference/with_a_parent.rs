use shard_runtime::{Parent, Sharded};

#[derive(Sharded)]
struct Country {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    name: String,
}

#[derive(Sharded)]
#[sharded(reference)]
struct Currency {
    #[id]
    code: String,
    #[shard_parent]
    country: Parent<Country>,
}

fn main() {}

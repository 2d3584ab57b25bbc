use shard_runtime::{Parent, Sharded};

struct Country {
    id: i64,
}

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    country: Parent<Country>,
}

fn main() {}

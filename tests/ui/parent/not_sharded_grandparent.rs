//! A grandchild of a struct that is no model: its parent's error is the only one.

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

#[derive(Sharded)]
struct Report {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    city: Parent<City>,
}

fn main() {}

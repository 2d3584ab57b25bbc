use shard_runtime::{Projection, Sharded};

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    country: String,
    capital: String,
    population: Option<i64>,
}

struct Country {
    capital: String,
}

#[derive(Projection)]
#[sharded(model = Country)]
struct Place {
    capital: String,
}

fn main() {}

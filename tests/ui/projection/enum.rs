use shard_runtime::{Projection, Sharded};

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    country: String,
    name: String,
    population: Option<i64>,
}

#[derive(Projection)]
#[sharded(model = City)]
enum Place {
    Name(String),
}

fn main() {}

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

#[derive(Sharded)]
struct River {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
}

#[derive(Projection)]
#[sharded(model = River)]
struct Water {
    name: String,
}

fn main() {
    let _ = City::select().all_shards().columns(Water::COLUMNS);
}

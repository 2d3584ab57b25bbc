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

struct Place {
    name: String,
}

fn main() {
    let _ = City::select().all_shards().columns(<Place as Projection>::COLUMNS);
}

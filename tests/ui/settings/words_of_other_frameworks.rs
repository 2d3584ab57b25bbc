//! Each of them is one error that names the setting of this framework.

use shard_runtime::{Projection, Sharded};

#[derive(Sharded)]
#[sharded(rename = "cities", schema = "geo", primary_key(id))]
struct City {
    #[sharded(primary_key)]
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[sharded(name = "city_name", nullable)]
    name: String,
    #[sharded(skip, lookup)]
    area: f64,
}

#[derive(Projection)]
#[sharded(model = City)]
struct Place {
    #[sharded(rename = "name")]
    title: String,
}

fn main() {}

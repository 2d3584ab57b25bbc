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

mod towns {
    #[derive(shard_runtime::Sharded)]
    pub struct Town {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        mayor: String,
    }
}

#[derive(Projection)]
#[sharded(model = towns::Town)]
struct Place {
    id: i64,
    mayor: String,
}

fn main() {}

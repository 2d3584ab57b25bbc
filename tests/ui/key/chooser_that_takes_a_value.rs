use shard_runtime::{Shard, Sharded, Shards};

fn by_population(population: i64, shards: &Shards) -> Option<&Shard> {
    shards.by_index(usize::from(population > 1_000))
}

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(with = by_population)]
    population: i64,
}

fn main() {}

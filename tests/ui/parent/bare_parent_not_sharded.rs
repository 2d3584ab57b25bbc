use shard_runtime::Sharded;

struct Country {
    id: i64,
}

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_parent(Country)]
    country: i64,
}

fn main() {}

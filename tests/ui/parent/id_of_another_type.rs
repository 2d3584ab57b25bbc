use shard_runtime::Sharded;

#[derive(Sharded)]
struct Country {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_parent(Country)]
    country: i32,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
struct Country {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

#[derive(Sharded)]
struct Flag {
    #[id(sequence)]
    #[shard_parent(Country)]
    country: i64,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_parent("Country")]
    country: i64,
}

fn main() {}

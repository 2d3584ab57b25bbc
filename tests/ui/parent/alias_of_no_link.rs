use shard_runtime::Sharded;

type CountryId = i64;

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    country: CountryId,
}

fn main() {}

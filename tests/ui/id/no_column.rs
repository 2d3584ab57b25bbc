use shard_runtime::Sharded;

#[derive(Clone, Debug, PartialEq)]
struct CityId(i64);

#[derive(Sharded)]
struct City {
    #[id]
    id: CityId,
    #[shard_key(hash)]
    country: String,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(reference)]
struct Country {
    #[id(sequence)]
    id: i64,
    #[references(Currency)]
    currency: Option<i64>,
}

#[derive(Sharded)]
#[sharded(reference)]
struct Currency {
    #[id(sequence)]
    id: i64,
    #[references(Country)]
    country: Option<i64>,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(reference)]
struct Currency {
    #[id]
    code: String,
}

#[derive(Sharded)]
struct Order {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    customer: String,
    #[references(Currency)]
    currency: i64,
}

fn main() {}

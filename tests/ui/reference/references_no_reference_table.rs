use shard_runtime::Sharded;

#[derive(Sharded)]
struct Currency {
    #[id]
    #[shard_key(hash)]
    code: String,
}

#[derive(Sharded)]
struct Order {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    customer: String,
    #[references(Currency)]
    currency: String,
}

fn main() {}

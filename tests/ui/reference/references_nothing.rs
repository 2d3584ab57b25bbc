use shard_runtime::Sharded;

#[derive(Sharded)]
struct Order {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    customer: String,
    #[references]
    currency: String,
    #[references("Currency")]
    paid_in: String,
}

fn main() {}

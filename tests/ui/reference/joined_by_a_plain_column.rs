use shard_runtime::Sharded;

#[derive(Sharded)]
struct Order {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    customer: String,
    currency: String,
}

fn main() {
    let _ = Order::select().all_shards().with_reference(Order::CURRENCY);
}

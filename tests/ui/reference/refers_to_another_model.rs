use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(reference)]
struct Currency {
    #[id]
    code: String,
}

#[derive(Sharded)]
#[sharded(reference)]
struct Country {
    #[id]
    name: String,
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

fn main() {
    let _ = Order::CURRENCY.refers_to(Country::NAME.eq("Japan"));
}

use shard_runtime::{Session, Sharded};

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
    currency: String,
}

fn orders(session: &mut Session) -> shard_runtime::Result<()> {
    let in_euro = Order::CURRENCY.refers_to(Currency::CODE.eq("EUR"));
    session.all(Order::select().filter(in_euro).with_reference(Order::CURRENCY))?;
    Ok(())
}

fn main() {}

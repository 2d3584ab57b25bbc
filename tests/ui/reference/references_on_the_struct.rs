use shard_runtime::Sharded;

#[derive(Sharded)]
#[references(Currency)]
struct Order {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

fn main() {}

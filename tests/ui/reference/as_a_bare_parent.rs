use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(reference)]
struct Currency {
    #[id]
    code: String,
}

#[derive(Sharded)]
struct Price {
    #[id(auto)]
    id: i64,
    #[shard_parent(Currency)]
    currency: String,
}

fn main() {}

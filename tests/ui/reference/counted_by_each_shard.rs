use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(reference)]
struct Currency {
    #[id(auto)]
    id: i64,
    name: String,
}

fn main() {}

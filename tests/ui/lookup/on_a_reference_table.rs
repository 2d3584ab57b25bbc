use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(reference)]
struct Currency {
    #[id]
    code: String,
    #[lookup]
    name: String,
}

fn main() {}

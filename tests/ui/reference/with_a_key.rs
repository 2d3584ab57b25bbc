use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(reference)]
struct Currency {
    #[id]
    #[shard_key(hash)]
    code: String,
}

fn main() {}

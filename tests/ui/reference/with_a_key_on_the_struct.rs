use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(reference, shard_key(hash))]
struct Currency {
    #[id]
    code: String,
}

fn main() {}

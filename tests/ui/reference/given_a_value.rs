use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(reference = true)]
struct Currency {
    #[id]
    code: String,
}

fn main() {}

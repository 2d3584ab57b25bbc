use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(shard_key(hash))]
struct Device {
    #[id(sequence)]
    id: i64,
    tenant: i64,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(shard_key(hash))]
struct Device {
    #[id(sequence)]
    id: i64,
    #[shard_key]
    tenant: i64,
    #[shard_key]
    serial: i64,
    shard_key: i64,
}

fn main() {}

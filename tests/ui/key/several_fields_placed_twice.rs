use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(shard_key(hash))]
struct Device {
    #[id(sequence)]
    id: i64,
    #[shard_key]
    tenant: i64,
    #[shard_key(hash)]
    serial: String,
}

fn main() {}

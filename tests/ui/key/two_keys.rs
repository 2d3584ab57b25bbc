use shard_runtime::Sharded;

#[derive(Sharded)]
struct Device {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    tenant: i64,
    #[shard_key(hash)]
    serial: String,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(shard_key(range("a" => ..10, "b" => 10..)))]
struct Device {
    #[id(sequence)]
    id: i64,
    #[shard_key]
    tenant: i64,
    #[shard_key]
    serial: i64,
}

fn main() {}

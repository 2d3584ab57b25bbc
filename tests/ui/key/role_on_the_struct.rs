use shard_runtime::Sharded;

#[derive(Sharded)]
#[shard_key(hash)]
struct Device {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

fn main() {}

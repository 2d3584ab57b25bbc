use shard_runtime::{Field, Sharded};

#[derive(Sharded)]
struct City {
    #[id]
    #[shard_key(hash)]
    #[sharded(default = 7)]
    id: i64,
    #[sharded(default = unknown)]
    name: String,
    #[sharded(default = 1, default = 2)]
    level: i64,
}

#[derive(Field)]
enum Sky {
    Clear,
}

#[derive(Sharded)]
struct Report {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[sharded(default = 0)]
    name: String,
    #[sharded(default = "0")]
    count: Option<i64>,
    #[sharded(default = 1)]
    sky: Sky,
    #[sharded(default = true)]
    bytes: Vec<u8>,
}

fn main() {}

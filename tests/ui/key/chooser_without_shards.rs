use shard_runtime::{Shard, Sharded};

fn by_length(name: &str) -> Option<&Shard> {
    let _ = name;
    None
}

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(with = by_length)]
    name: String,
}

fn main() {}

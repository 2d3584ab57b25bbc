use shard_runtime::Sharded;

#[derive(Sharded)]

struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[sharded(column = "ID")]
    number: i64,
}

fn main() {}

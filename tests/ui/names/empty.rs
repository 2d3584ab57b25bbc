use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(table = "")]
struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[sharded(column = "")]
    name: String,
    #[sharded(column = "a\0b")]
    code: String,
}

fn main() {}

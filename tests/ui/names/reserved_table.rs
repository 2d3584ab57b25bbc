use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(table = "sqlite_cities")]
struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
}

fn main() {}

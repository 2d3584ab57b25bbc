use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id]
    id: i64,
    name: String,
}

fn main() {}

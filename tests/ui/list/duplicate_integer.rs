use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(list(1_000 => "a", 1000 => "b"))]
    code: i64,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(rnage("a" => ..10, "b" => 10..))]
    country: i64,
}

fn main() {}

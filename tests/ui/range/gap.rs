use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(range("small" => ..1_000, "large" => 2_000..))]
    population: i64,
}

fn main() {}

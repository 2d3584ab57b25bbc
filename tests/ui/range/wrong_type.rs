use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(range("small" => .."m", "large" => "m"..))]
    population: i64,
}

fn main() {}

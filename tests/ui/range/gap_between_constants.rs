use shard_runtime::Sharded;

const SMALL: i64 = 1_000;
mod limits {
    pub const LARGE: i64 = 1_000_000;
}

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(range("small" => ..SMALL, "large" => limits::LARGE..))]
    population: i64,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash, list("Japan" => "asia"))]
    country: String,
}

fn main() {}

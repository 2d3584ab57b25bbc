use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(list("Japan" => "asia", _ => "europe", _ => "africa"))]
    country: String,
}

fn main() {}

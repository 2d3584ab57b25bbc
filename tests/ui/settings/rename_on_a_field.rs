use shard_runtime::Sharded;

#[derive(Sharded)]
struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[sharded(rename = "city_name")]
    name: String,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(table = "cities" index(name))]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    country: String,
    name: String,
}

fn main() {}

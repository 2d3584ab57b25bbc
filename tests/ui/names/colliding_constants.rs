use shard_runtime::Sharded;

#[derive(Sharded)]

struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
    #[allow(non_snake_case)]
    #[sharded(column = "other_name")]
    Name: String,
}

fn main() {}

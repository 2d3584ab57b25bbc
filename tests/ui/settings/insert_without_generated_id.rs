use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(insert(name = AddCity))]
struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

fn main() {}

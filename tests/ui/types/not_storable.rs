use shard_runtime::Sharded;

struct Position {
    latitude: f64,
    longitude: f64,
}

#[derive(Sharded)]
struct City {
    #[id]
    #[shard_key(hash)]
    id: i64,
    position: Position,
}

fn main() {}

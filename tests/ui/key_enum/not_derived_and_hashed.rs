use shard_runtime::Sharded;

enum Region {
    Eu,
    Us,
}

#[derive(Sharded)]
struct Order {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    region: Region,
}

fn main() {}

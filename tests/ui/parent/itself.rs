use shard_runtime::{Parent, Sharded};

#[derive(Sharded)]
struct Category {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    above: Parent<Category>,
}

fn main() {}

use shard_runtime::{Parent, Sharded};

#[derive(Sharded)]
struct Hen {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    from: Parent<Egg>,
}

#[derive(Sharded)]
struct Egg {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    of: Parent<Hen>,
}

fn main() {}

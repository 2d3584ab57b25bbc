use shard_runtime::Sharded;

#[derive(Sharded)]
struct Category {
    #[id(sequence)]
    id: i64,
    #[shard_parent(Category)]
    above: i64,
}

fn main() {}

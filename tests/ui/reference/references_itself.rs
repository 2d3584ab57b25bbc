use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(reference)]
struct Category {
    #[id(sequence)]
    id: i64,
    #[references(Category)]
    above: Option<i64>,
}

fn main() {}

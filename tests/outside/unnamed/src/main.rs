//! One error for each derive.

use sharding::{Field, Parent, Projection, ShardKey, Sharded};

#[derive(ShardKey, Clone, Copy)]
enum Grain {
    #[shard("a")]
    Rice,
}

#[derive(Field)]
struct Tons(f64);

#[derive(Sharded)]
struct Acre {
    #[id(sequence)]
    id: i64,
    #[shard_key]
    grain: Grain,
}

#[derive(Sharded)]
struct Harvest {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    acre: Parent<Acre>,
    weight: Tons,
}

#[derive(Projection)]
#[sharded(model = Harvest)]
struct Weight {
    weight: Tons,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
union City {
    id: i64,
    code: u64,
}

fn main() {}

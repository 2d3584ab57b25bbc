use shard_runtime::Sharded;

#[derive(Sharded)]
struct City<N> {
    #[id]
    id: i64,
    #[shard_key(hash)]
    name: N,
}

fn main() {}

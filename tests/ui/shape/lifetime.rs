use shard_runtime::Sharded;

#[derive(Sharded)]
struct City<'a> {
    #[id]
    id: i64,
    #[shard_key(hash)]
    name: &'a str,
}

fn main() {}

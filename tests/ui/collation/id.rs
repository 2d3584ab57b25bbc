use shard_runtime::Sharded;

#[derive(Sharded)]
struct Account {
    #[id]
    #[sharded(collate = nocase)]
    name: String,
    #[shard_key(hash)]
    tenant: i64,
}

fn main() {}

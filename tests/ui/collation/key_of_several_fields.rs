use shard_runtime::Sharded;

#[derive(Sharded)]
#[sharded(shard_key(hash))]
struct Account {
    #[id]
    id: i64,
    #[shard_key]
    tenant: i64,
    #[shard_key]
    #[sharded(collate = nocase)]
    owner: String,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
struct Account {
    #[id]
    id: i64,
    #[shard_key(hash)]
    #[sharded(collate = nocase)]
    owner: String,
}

fn main() {}

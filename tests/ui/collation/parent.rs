use shard_runtime::Sharded;

#[derive(Sharded)]
struct Company {
    #[id]
    #[shard_key(hash)]
    name: String,
}

#[derive(Sharded)]
struct Campaign {
    #[id]
    id: i64,
    #[shard_parent(Company)]
    #[sharded(collate = nocase)]
    company: String,
}

fn main() {}

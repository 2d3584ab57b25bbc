use shard_runtime::{Field, Sharded};

#[derive(Field)]
struct String(i64);

#[derive(Sharded)]
struct Account {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[sharded(collate = nocase)]
    owner: Option<String>,
    #[sharded(collate = nocase)]
    picture: Vec<u8>,
}

fn main() {}

use shard_runtime::Sharded;

#[derive(Sharded)]
struct Account {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[sharded(collate = no_case)]
    owner: String,
    #[sharded(collate = "nocase")]
    city: String,
    #[sharded(collate)]
    street: String,
}

fn main() {}

//! Fields of types that are columns by a feature of the runtime each.

use shard_runtime::Sharded;

#[derive(Sharded)]
struct Order {
    #[id(uuid)]
    id: uuid::Uuid,
    #[shard_key(hash)]
    tenant: uuid::Uuid,
    placed: jiff::Timestamp,
    notes: Option<serde_json::Value>,
}

fn main() {}

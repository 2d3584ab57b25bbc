use shard_runtime::ShardKey;

#[derive(ShardKey)]
struct TenantId {
    id: i64,
}

fn main() {}

use shard_runtime::{Cluster, Sharded};

#[derive(Sharded)]
struct Account {
    #[id]
    #[shard_key(hash)]
    id: i64,
    cents: i64,
}

async fn richest(cluster: &Cluster) -> shard_runtime::Result<()> {
    let mut session = cluster.async_session();
    let mut accounts = session.stream(Account::select().all_shards().order_by(Account::CENTS.desc()));
    let richest = accounts.next().await;
    session.commit().await?;
    richest.transpose().map(drop)
}

fn main() {}

//! The quick start of the README.

use shard_runtime::prelude::*;

#[derive(Sharded, Clone, Debug)]
struct Order {
    #[id(sequence)] // unique over the cluster
    id: i64,
    #[shard_key(hash)] // decides the shard of a row
    tenant: i64,
    cents: i64,
}

fn main() -> shard_runtime::Result<()> {
    let cluster = Cluster::builder()
        .shard("a", "sqlite:a.db") // or "postgres://user@host/database"
        .shard("b", "sqlite:b.db")
        .create::<Order>()?;
    let mut session = cluster.session();
    session.add_all([1, 2, 3].map(|tenant| NewOrder { tenant, cents: 100 * tenant }))?;
    session.commit()?; // all or nothing, over both shards

    let orders = session.all(Order::select().filter(Order::TENANT.eq(2)))?; // reads one shard
    println!("{orders:?}");
    let total = session.one(Order::select().all_shards().aggregate(Order::CENTS.sum()))?; // reads both, adds up
    println!("{total:?}");
    Ok(())
}

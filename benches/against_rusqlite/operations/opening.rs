//! Opening a cluster of four shards. The framework also opens its control database, and compares every shard's
//! identity, layout and tables; by hand nothing is compared.

use shard_runtime::Cluster;
use shard_runtime::sqlite::rusqlite::Connection;

use crate::by_hand::{self, GET_ACCOUNT, shard_of};
use crate::data::{Data, SHARDS, Set, builder};
use crate::measure::{Failure, Pair};
use crate::models::Account;

fn cluster(set: &Set) -> Result<Cluster, Failure> {
    Ok(builder(&set.folder).open::<Account>()?)
}

fn connections(set: &Set) -> Result<Vec<Connection>, Failure> {
    let open = |name: &&str| by_hand::open(&set.copies.join(format!("{name}.db")));
    Ok(SHARDS.iter().map(open).collect::<Result<_, _>>()?)
}

pub fn open(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    let framework = move || Ok(cluster(set)?.shards().len() as u64);
    let by_hand = move || Ok(connections(set)?.len() as u64);
    Ok(Pair { per_block: 1, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

/// A process that starts, answers one request, and ends.
pub fn open_and_read(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    let of_each_shard: Vec<i64> = (0..SHARDS.len())
        .filter_map(|shard| set.ids.iter().copied().find(|&id| shard_of(id) == shard))
        .collect();
    let ids = of_each_shard.clone();
    let framework = move || {
        let cluster = cluster(set)?;
        let mut session = cluster.session();
        let mut sum = 0;
        for &id in &ids {
            sum += session.get::<Account>(id)?.map_or(0, |account| account.id);
        }
        session.commit()?;
        Ok(sum as u64)
    };
    let by_hand = move || {
        let connections = connections(set)?;
        let mut sum = 0;
        for &id in &of_each_shard {
            let account = by_hand::get(&connections[shard_of(id)], GET_ACCOUNT, id, by_hand::account)?;
            sum += account.map_or(0, |account| account.id);
        }
        Ok(sum as u64)
    };
    Ok(Pair { per_block: 1, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

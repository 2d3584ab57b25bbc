//! Small transactions: one row is changed on each of some shards, and committed. On one shard that is the database's own
//! commit; over several the framework's is all or nothing, and the hand-written ones are not.

use std::path::PathBuf;

use shard_runtime::sqlite::rusqlite::Connection;
use shard_runtime::{Cluster, Durability, Stored};

use crate::by_hand::{self, shard_of};
use crate::data::{Data, SHARDS, builder};
use crate::measure::{Failure, Pair, Side};
use crate::models::Account;

/// The number of transactions in a block.
const UNITS: u32 = 10;

/// Each commit waits for the disk.
pub fn durable<const N: usize>(data: &Data) -> Result<Pair<'_>, Failure> {
    pair::<N>(data, Durability::Full)
}

/// No commit waits for the disk.
pub fn not_waiting<const N: usize>(data: &Data) -> Result<Pair<'_>, Failure> {
    pair::<N>(data, Durability::Normal)
}

struct ByFramework {
    cluster: Cluster,
    /// One row on each of the shards.
    rows: Vec<Stored<Account>>,
    folder: PathBuf,
}

impl Side for ByFramework {
    fn block(&mut self) -> Result<u64, Failure> {
        for _ in 0..UNITS {
            let mut session = self.cluster.session();
            for row in &mut self.rows {
                row.cents += 1;
                session.update(row)?;
            }
            session.commit()?;
        }
        Ok(self.rows.iter().map(|row| row.cents as u64).sum())
    }
}

impl Drop for ByFramework {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

struct ByHand {
    connections: Vec<Connection>,
    accounts: Vec<Account>,
    folder: PathBuf,
}

impl Side for ByHand {
    fn block(&mut self) -> Result<u64, Failure> {
        for _ in 0..UNITS {
            for (connection, account) in self.connections.iter().zip(&mut self.accounts) {
                account.cents += 1;
                connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
                let mut update = connection.prepare_cached("UPDATE accounts SET cents = ?1 WHERE id = ?2")?;
                update.execute([account.cents, account.id])?;
            }
            for connection in &self.connections {
                connection.prepare_cached("COMMIT")?.execute([])?;
            }
        }
        Ok(self.accounts.iter().map(|account| account.cents as u64).sum())
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn pair<const N: usize>(data: &Data, synchronous: Durability) -> Result<Pair<'_>, Failure> {
    let made = |side: &str| -> Result<PathBuf, Failure> {
        let folder = data.folder().join(format!("commits_{N}_{synchronous:?}_{side}"));
        std::fs::create_dir(&folder)?;
        let cluster = builder(&folder).create::<Account>()?;
        let mut session = cluster.session();
        session.add_all((1..=1_000).map(Account::numbered))?;
        session.commit()?;
        Ok(folder)
    };
    let accounts: Vec<Account> = (0..N)
        .filter_map(|shard| (1..=1_000).find(|&id| shard_of(id) == shard).map(Account::numbered))
        .collect();

    let folder = made("framework")?;
    let cluster = builder(&folder).durability(synchronous).open::<Account>()?;
    let mut session = cluster.session();
    let mut rows = Vec::new();
    for account in &accounts {
        rows.extend(session.get::<Account>(account.id)?);
    }
    let framework = ByFramework { cluster, rows, folder };

    let folder = made("by_hand")?;
    let mut connections = Vec::new();
    for name in SHARDS.iter().take(N) {
        let connection = by_hand::open(&folder.join(format!("{name}.db")))?;
        if synchronous == Durability::Full {
            connection.pragma_update(None, "synchronous", "FULL")?;
        }
        connections.push(connection);
    }
    let by_hand = ByHand { connections, accounts, folder };
    Ok(Pair { per_block: UNITS, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

//! The counters of a cluster handle as a value.

use std::time::Duration;

use super::serialized::serialized;
use crate::error::ErrorKind;
use crate::transaction::Cluster;

/// The counters of a cluster handle since it was opened; returned by [`Cluster::stats`]. Except the
/// [`connections`](Stats::connections) in use and open, all numbers only rise, so that a rate is a difference of two values.
///
/// With the feature `serde` it can be serialised. Durations are numbers of seconds, under names that end in `_seconds`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The shards, in their declared order.
    pub shards: Vec<ShardStats>,
    /// The errors that name no shard.
    pub other_errors: Vec<ErrorCount>,
    /// The transactions that were committed.
    pub transactions: TransactionStats,
    /// The connections of the pool.
    pub connections: ConnectionStats,
    /// The write locks of SQLite databases, and the locks of servers.
    pub locks: LockStats,
}

/// The statements and errors of one shard.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ShardStats {
    /// The name of the shard.
    pub shard: String,
    /// The number of statements, as [`Shard::statements`](crate::Shard::statements) counts them.
    pub statements: u64,
    /// The number of rows that they have read, inserted, changed or removed.
    pub rows: u64,
    /// The errors that name this shard.
    pub errors: Vec<ErrorCount>,
}

/// The number of errors of one kind that verbs of sessions have returned. Every try of [`Cluster::transaction`] counts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ErrorCount {
    /// The kind.
    pub kind: ErrorKind,
    /// The number of errors, which is at least 1.
    pub count: u64,
}

/// The number of transactions that sessions have committed and that had written something.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TransactionStats {
    /// The number of transactions that had written one shard.
    pub one_shard: u64,
    /// The number of transactions that had written several shards.
    pub several_shards: u64,
    /// The number of times that [`Cluster::transaction`] has run a closure again.
    pub retries: u64,
}

/// The connections of the pool.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// The connections that sessions use at this moment.
    pub in_use: u64,
    /// The connections that are open at this moment, in use or idle.
    pub open: u64,
    /// The limit: [`Builder::connections`](crate::Builder::connections), or fewer if descriptors ran out.
    pub limit: u64,
    /// The number of times that a session has waited for a connection.
    pub waits: u64,
    /// The total time of these waits.
    pub waited: Duration,
}

/// The waits of sessions that write for locks of databases. For the write locks of SQLite databases these are the waits for
/// other sessions of this handle; waits for other processes are not counted, but those that end in [`ErrorKind::Busy`] are
/// among the errors. On servers a wait for any transaction counts once it has lasted 100 ms, and so does its time from then on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LockStats {
    /// The number of waits.
    pub waits: u64,
    /// Their total time.
    pub waited: Duration,
}

serialized! { Stats { shards, other_errors, transactions, connections, locks } }
serialized! { ShardStats { shard, statements, rows, errors } }
serialized! { ErrorCount { kind, count } }
serialized! { TransactionStats { one_shard, several_shards, retries } }
serialized! { ConnectionStats { in_use, open, limit, waits } and { waited_seconds: waited } }
serialized! { LockStats { waits } and { waited_seconds: waited } }

impl Cluster {
    /// Returns the counters of this cluster handle and its clones since it was opened. No database is read. Counting is a relaxed
    /// atomic addition.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// let mut session = cluster.session();
    /// session.add_all([Account { id: 2 }, Account { id: 7 }])?;
    /// session.commit()?;
    /// let stats = cluster.stats();
    /// assert_eq!(stats.shards.iter().map(|shard| shard.rows).sum::<u64>(), 2);
    /// assert_eq!(stats.connections.in_use, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Stats {
        let cluster = self.latest();
        let counters = cluster.counters();
        let errors = |shard: Option<usize>| {
            counters.errors(shard).into_iter().map(|(kind, count)| ErrorCount { kind, count }).collect()
        };
        let shards = cluster.shards().iter().map(|shard| ShardStats {
            shard: shard.name().to_owned(),
            statements: shard.statements(),
            rows: shard.rows(),
            errors: errors(Some(shard.index())),
        });
        let (one_shard, several_shards) = counters.commits();
        let usage = cluster.0.pool.usage();
        let [connections, files, servers] =
            [&cluster.0.pool.waits, &cluster.0.write_locks.waits, &cluster.0.server_waits.counted]
                .map(|counter| counter.total());
        Stats {
            shards: shards.collect(),
            other_errors: errors(None),
            transactions: TransactionStats { one_shard, several_shards, retries: counters.retries() },
            connections: ConnectionStats {
                in_use: usage.in_use as u64,
                open: usage.open as u64,
                limit: usage.limit as u64,
                waits: connections.0,
                waited: connections.1,
            },
            locks: LockStats { waits: files.0 + servers.0, waited: files.1 + servers.1 },
        }
    }
}

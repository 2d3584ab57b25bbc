//! Helpers for the tests of applications: an in-memory cluster in one line, and an assertion on the shards that were used.

use crate::cluster::Cluster;
use crate::error::Result;
use crate::query::Models;

impl Cluster {
    /// Creates an in-memory cluster with these shards, in this order, for tests. Its rows are lost when its last handle
    /// is dropped.
    ///
    /// ```
    /// use shard_runtime::{Cluster, Sharded};
    ///
    /// #[derive(Sharded, Clone, Debug)]
    /// struct Account {
    ///     #[id]
    ///     #[shard_key(hash)]
    ///     id: i64,
    /// }
    ///
    /// let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// assert_eq!(cluster.shards().len(), 2);
    /// # Ok::<(), shard_runtime::Error>(())
    /// ```
    ///
    /// In memory, readers and writers exclude each other. A session that has read a shard keeps other sessions from
    /// writing it until it commits, rolls back or is dropped. For tests with several sessions use files in a temporary
    /// folder.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the models do not fit the shards' names.
    pub fn in_memory<M: Models>(shards: impl IntoIterator<Item = impl Into<String>>) -> Result<Cluster> {
        let named = |builder: crate::Builder, shard| builder.shard(shard, "sqlite::memory:");
        shards.into_iter().fold(Cluster::builder(), named).create::<M>()
    }
}

/// Evaluates an expression, asserts which shards of a cluster it used, and returns its value. An example is
/// `assert_shards_asked!(cluster, ["asia"], session.all(query)?)`.
///
/// The shards are named in any order. A shard was used if its count of [`statements`](crate::Shard::statements) grew.
/// The count includes the statements of all sessions, so no other thread should use the cluster at the same time. Added
/// rows are pending, and are sent by a read of their table, `flush` or `commit`.
///
/// ```
/// use shard_runtime::{Cluster, Sharded, assert_shards_asked};
///
/// #[derive(Sharded, Clone, Debug)]
/// struct Shop {
///     #[id]
///     id: i64,
///     #[shard_key(list("North" => "a", "South" => "b"))]
///     region: String,
/// }
///
/// # fn main() -> shard_runtime::Result<()> {
/// let cluster = Cluster::in_memory::<Shop>(["a", "b"])?;
/// let mut session = cluster.session();
///
/// let south = Shop::select().filter(Shop::REGION.eq("South"));
/// let shops = assert_shards_asked!(cluster, ["b"], session.all(south)?);
/// assert!(shops.is_empty());
///
/// let nowhere = Shop::select().filter(Shop::REGION.eq("South") & Shop::REGION.eq("North"));
/// assert_shards_asked!(cluster, [], session.all(nowhere)?);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// If other shards were used; the message has both lists:
///
/// ```should_panic
/// # use shard_runtime::{Cluster, Sharded, assert_shards_asked};
/// # #[derive(Sharded, Clone, Debug)]
/// # struct Shop {
/// #     #[id]
/// #     id: i64,
/// #     #[shard_key(list("North" => "a", "South" => "b"))]
/// #     region: String,
/// # }
/// # let cluster = Cluster::in_memory::<Shop>(["a", "b"]).unwrap();
/// # let mut session = cluster.session();
/// assert_shards_asked!(cluster, ["b"], session.all(Shop::select().all_shards()).unwrap());
/// ```
#[macro_export]
macro_rules! assert_shards_asked {
    ($cluster:expr, $shards:expr, $expression:expr $(,)?) => {{
        let before = $crate::__private::StatementCounts::since(&$cluster);
        let value = $expression;
        before.assert(&$shards);
        value
    }};
}

/// The number of statements of each shard of a cluster, at some moment.
#[derive(Debug)]
pub struct StatementCounts {
    cluster: Cluster,
    before: Vec<u64>,
}

impl StatementCounts {
    /// Records the numbers of statements of the cluster's shards.
    pub fn since(cluster: &Cluster) -> Self {
        let before = cluster.layout().shards().iter().map(|shard| shard.statements()).collect();
        StatementCounts { cluster: cluster.clone(), before }
    }

    /// Asserts that these shards have been used since then, and no others.
    ///
    /// # Panics
    /// If other shards were used.
    #[track_caller]
    pub fn assert(self, expected: &[&str]) {
        let shards = self.cluster.layout().shards().iter().zip(&self.before);
        let used: Vec<&str> = shards
            .filter(|(shard, before)| shard.statements() > **before)
            .map(|(shard, _)| shard.name())
            .collect();
        let same = expected.iter().all(|shard| used.contains(shard))
            && used.iter().all(|shard| expected.contains(shard));
        assert!(same, "other shards were used than expected\n expected: {expected:?}\n     used: {used:?}");
    }
}

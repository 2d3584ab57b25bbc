//! Helpers for the tests of applications: an in-memory cluster in one line, and an assertion on the shards that were used.

use crate::cluster::Cluster;
use crate::error::Result;
use crate::query::Models;

impl Cluster {
    /// Creates an in-memory cluster with these shards, in this order, for tests. Its rows are lost with its last handle.
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
    /// In memory, readers and writers exclude each other: a session that has read keeps other sessions from writing the same
    /// shard until it commits, rolls back or is dropped. Tests with several sessions use files in a temporary folder.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the models do not fit the shards' names.
    pub fn in_memory<M: Models>(shards: impl IntoIterator<Item = impl Into<String>>) -> Result<Cluster> {
        let named = |builder: crate::Builder, shard| builder.shard(shard, "sqlite::memory:");
        shards.into_iter().fold(Cluster::builder(), named).create::<M>()
    }
}

/// Evaluates an expression, asserts which shards of a cluster it used, and returns its value:
/// `assert_shards_asked!(cluster, ["asia"], session.all(query)?)`.
///
/// The shards are named in any order. A shard was used if its count of [`statements`](crate::Shard::statements) grew.
/// The count includes the statements of all sessions, so no other thread should use the cluster at the time. Added rows
/// are sent later, by a read of their table, `flush` or `commit`.
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
    ($cluster:expr, $shards:expr, $asking:expr $(,)?) => {{
        let asked = $crate::__private::Asked::since(&$cluster);
        let value = $asking;
        asked.assert(&$shards);
        value
    }};
}

/// The statement counts of the shards of a cluster at some moment.
#[derive(Debug)]
pub struct Asked {
    cluster: Cluster,
    before: Vec<u64>,
}

impl Asked {
    /// Records the counts of the cluster's shards.
    pub fn since(cluster: &Cluster) -> Self {
        let before = cluster.layout().shards().iter().map(|shard| shard.statements()).collect();
        Asked { cluster: cluster.clone(), before }
    }

    /// Asserts that these shards have been used since, and no others.
    ///
    /// # Panics
    /// If other shards were used.
    #[track_caller]
    pub fn assert(self, expected: &[&str]) {
        let shards = self.cluster.layout().shards().iter().zip(&self.before);
        let asked: Vec<&str> = shards
            .filter(|(shard, before)| shard.statements() > **before)
            .map(|(shard, _)| shard.name())
            .collect();
        let same = expected.iter().all(|shard| asked.contains(shard))
            && asked.iter().all(|shard| expected.contains(shard));
        assert!(same, "other shards were asked than expected\n expected: {expected:?}\n    asked: {asked:?}");
    }
}

//! For the tests of those who use this crate: a cluster in one line, and which shards something asked.

use crate::cluster::Cluster;
use crate::error::Result;
use crate::query::Models;

impl Cluster {
    /// A new cluster in memory, with these shards in this order: for tests. It is gone with its last handle.
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
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) where the shards' names and the models do not
    /// fit together.
    pub fn in_memory<M: Models>(shards: impl IntoIterator<Item = impl Into<String>>) -> Result<Cluster> {
        let named = |builder: crate::Builder, shard| builder.shard(shard, "sqlite::memory:");
        shards.into_iter().fold(Cluster::builder(), named).create::<M>()
    }
}

/// Asserts which shards of a cluster something asks, and has its value: `assert_shards_asked!(cluster, ["asia"],
/// session.all(query)?)`.
///
/// The shards are named in any order; a shard is asked where its [`statements`](crate::Shard::statements) grow
/// meanwhile. They count what all sessions ask: no other thread should use the cluster at the time. Rows that are added
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
/// If other shards were asked, with both lists:
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
    /// From now on.
    pub fn since(cluster: &Cluster) -> Self {
        let before = cluster.shards().iter().map(|shard| shard.statements()).collect();
        Asked { cluster: cluster.clone(), before }
    }

    /// Looks whether these shards were asked since, and no others.
    ///
    /// # Panics
    /// If that is not so.
    #[track_caller]
    pub fn assert(self, expected: &[&str]) {
        let shards = self.cluster.shards().iter().zip(&self.before);
        let asked: Vec<&str> = shards
            .filter(|(shard, before)| shard.statements() > **before)
            .map(|(shard, _)| shard.name())
            .collect();
        let same = expected.iter().all(|shard| asked.contains(shard))
            && asked.iter().all(|shard| expected.contains(shard));
        assert!(same, "other shards were asked than expected\n expected: {expected:?}\n    asked: {asked:?}");
    }
}

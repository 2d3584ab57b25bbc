//! The query whether a select finds any row.

use super::request::{Read, Request};
use super::select::{Query, Select};
use crate::error::Result;
use crate::query::Sharded;
use crate::row::Row;
use crate::row::Storable;
use crate::schema::{IsRouted, Routing};
use crate::sealed::Sealed;

/// The query whether a select finds a row; made by [`Select::exists`].
#[must_use = "a query does nothing until a session runs it"]
pub struct Exists<T, R> {
    pub(crate) select: Select<T, R>,
}

untyped!(Exists < T, R > { select });

impl<T: Sharded, R: Routing> Select<T, R> {
    /// Returns whether a row exists, after `limit` and `offset`. Each shard stops at its first row. The shards are queried
    /// one after the other until one has a row; large shards, which take long, are queried in parallel.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// # session.add(Account { id: 1, cents: -5 })?;
    /// let overdrawn = Account::select().filter(Account::CENTS.lt(0)).all_shards();
    /// assert!(session.one(overdrawn.exists())?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn exists(mut self) -> Exists<T, R> {
        self.core.at_most(1);
        Exists { select: self }
    }
}

impl<T, R> Sealed for Exists<T, R> {}

impl<T: Sharded, R: IsRouted> Query for Exists<T, R> {
    type Output = bool;

    fn request(&self) -> Result<Request<'_>> {
        Ok(Request(Read::Exists(&self.select.core)))
    }

    fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<bool> {
        |row| bool::load(row, 0)
    }
}

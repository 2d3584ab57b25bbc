//! The named shards as one: opening, identity, layout.

mod attached;
mod backup;
mod builder;
mod compare;
#[cfg(feature = "config")]
mod config;
#[cfg(feature = "postgres")]
mod foreign_tables;
mod opening;
mod schema;
mod url;
mod verify;
mod verify_rows;

use crate::planner::Explainable;
pub use builder::Builder;
pub use compare::ReferenceDifference;
#[cfg(feature = "postgres")]
pub use foreign_tables::ForeignTablesSql;

use crate::error::Result;
use crate::planner::Explain;
use crate::query::{SequenceId, Sharded};
use crate::schema::{Shard, Shards};
pub use crate::transaction::Cluster;

impl Cluster {
    /// Begins to say what the cluster consists of.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The shards, in their declared order.
    pub fn shards(&self) -> &Shards {
        self.0.layout.shards()
    }

    /// The shard with this name.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownShard`](crate::ErrorKind::UnknownShard)
    pub fn shard(&self, name: &str) -> Result<&Shard> {
        self.shards().require(name)
    }

    /// Which shards a query would ask, why, and what, without asking anybody: of selects and what is made of them,
    /// of bulk updates and deletes, of [`Sql`](crate::Sql), and of what `get` looks up, as `City::by_id(5)`. Queries
    /// that are not narrowed can be explained too.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded, Sql};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # #[sharded(table = "accounts")]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// let by_id = cluster.explain(&Account::by_id(7))?;
    /// assert_eq!((by_id.shards(), by_id.reason()), (vec!["b"], "id = 7"));
    /// let sql = Sql::new("SELECT max(cents) AS most FROM {accounts}").all_shards();
    /// println!("{}", cluster.explain(&sql)?);
    /// // a, b: SQL for all shards
    /// // ├─ a  SELECT max(cents) AS most FROM "accounts"
    /// // └─ b  SELECT max(cents) AS most FROM "accounts"
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those that running it would have before its first statement: a key that is placed nowhere, a pin to no
    /// shard, contradicting pins, a value that cannot be stored.
    pub fn explain(&self, query: &impl Explainable) -> Result<Explain> {
        query.explain(&self.0.layout)
    }

    /// Has the generated ids of a model continue above this one, for rows that are not added through a session: inserted
    /// by SQL, or copied from elsewhere. Ids that are generated already are not changed. If they are above it already,
    /// nothing happens.
    ///
    /// Every process reserves ids in blocks of 1,000. This process leaves the rest of its block; another one may still
    /// hand out lower ids that it has reserved before. When a cluster is created or opened, ids continue above all that
    /// the tables hold, so that this is needed only for rows that come later.
    ///
    /// It blocks the thread, as opening a cluster does, and is not undone by a rollback.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded, Sql};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct City {
    /// #     #[id(sequence)]
    /// #     id: i64,
    /// #     #[shard_key(hash)]
    /// #     country: String,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<City>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// session.execute(Sql::new("INSERT INTO {city} VALUES (500, 'Peru')").on_shard("a"))?;
    /// cluster.advance_ids::<City>(500)?;
    /// assert_eq!(session.add(NewCity { country: "Chile".into() })?.id, 501);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::UnknownModel`](crate::ErrorKind::UnknownModel) if the cluster does not hold the model; those of the
    /// control database.
    pub fn advance_ids<T: Sharded + SequenceId>(&self, above: i64) -> Result<()> {
        self.0.layout.model(T::TABLE)?;
        self.0.control.advance_ids(T::TABLE, above)
    }
}

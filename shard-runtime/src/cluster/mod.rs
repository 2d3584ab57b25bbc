//! Opens a cluster, and has the operations on all of its shards: schema check, verification, backup.

mod administration;
mod adopt;
mod arrange;
mod attached;
mod backup;
mod build;
mod builder;
mod change;
mod compare;
#[cfg(feature = "config")]
mod config;
mod copying;
mod databases;
mod elsewhere;
#[cfg(feature = "postgres")]
mod foreign_tables;
mod layout;
mod lookups;
mod lost;
mod migrate;
mod opening;
mod reached;
mod schema;
mod schema_sql;
mod sources;
mod url;
mod verify;
mod verify_rows;

use crate::planner::Explainable;
#[cfg(feature = "admin")]
pub(crate) use administration::{CheckState, Finding, ShardLocation, check_copies, table, with_causes};
pub use administration::{
    ConnectionStats, ErrorCount, Health, KeyLine, LockStats, PendingTransaction, Probe, ShardStats,
    ShardStatus, Stats, Status, TableRows, TransactionState, TransactionStats,
};
pub use adopt::{Adoption, AdoptionFinding, AdoptionReport};
pub use builder::Builder;
pub use change::{
    Change, ChangePhase, ChangePlan, ChangePlanner, ChangeProgress, ChangeReport, ChangeStatus, KeyMove,
    MovedKey, Pace, Switch,
};
pub use compare::ReferenceDifference;
pub use copying::{ClusterCopy, CopiedTable, CopyReport};
#[cfg(feature = "postgres")]
pub use foreign_tables::ForeignTablesSql;
pub use layout::ShardRecord;
pub use migrate::{
    Migration, MigrationPlan, MigrationProgress, MigrationStatus, Migrations, ShardMigrations, Step,
    StepPhase, StepStatus,
};
pub use schema_sql::ShardSql;

use crate::error::Result;
use crate::planner::Explain;
use crate::query::{SequenceId, Sharded};
use crate::schema::Shards;
pub use crate::transaction::Cluster;

impl Cluster {
    /// Returns a builder without shards, to configure and open a cluster.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the shards, in their declared order; `cluster.shards().require("a")` is one of them.
    pub fn shards(&self) -> &Shards {
        let cluster = self.latest();
        cluster.0.layout.shards()
    }

    /// Returns the shards that a query would read or write, the reason, and the SQL. Nothing is run.
    ///
    /// It explains selects and the queries made of them, bulk updates and deletes, [`Sql`](crate::Sql), and the argument of
    /// `get`, as `City::by_id(5)`. A query that does not name its shards can also be explained.
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
    /// Those that running it returns before its first statement: no shard for a key, an unknown shard, contradicting pins, a
    /// value that cannot be stored.
    pub fn explain(&self, query: &impl Explainable) -> Result<Explain> {
        let cluster = self.latest();
        query.explain(&cluster.0.layout)
    }

    /// Makes the generated ids of a model continue above this one. Call it for rows that were not added through a session:
    /// inserted by SQL, or copied from elsewhere. If the ids are above it already, nothing happens.
    ///
    /// Every process reserves ids in blocks of 1,000. This process drops the rest of its block; another one may still generate
    /// lower ids from a block that it reserved before. Creating or opening a cluster makes ids continue above all ids in the
    /// tables, so that only rows that are inserted later need this call.
    ///
    /// It blocks the thread, like opening a cluster, and a rollback does not undo it.
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
        let cluster = self.latest();
        cluster.0.layout.model(T::TABLE)?;
        cluster.0.control.advance_ids(T::TABLE, above)
    }
}

//! Schema migrations: adds tables and columns that a release's models have and the shards lack, and runs numbered steps, on one
//! shard after the other. Uses `transaction`, `driver`, `planner` and the layers below.
//!
//! The state is recorded in each shard ([`state`]), in the transaction of the step that it describes. Additions of columns,
//! tables and indexes depend only on the tables of each shard ([`expand`]), so that this part needs no history.

mod arrivals;
pub(super) mod backfill;
mod closing;
mod create_table;
mod expand;
mod index;
mod lock;
mod on_shard;
mod plan;
mod rebuild;
mod recorded;
mod remedy;
mod rename;
mod require;
mod rights;
mod run;
mod state;
mod status;
mod step;

pub use plan::MigrationPlan;
pub use run::{Migration, MigrationProgress};
pub use status::{MigrationStatus, ShardMigrations, StepPhase, StepStatus};
pub use step::{Migrations, Step};

pub(super) use create_table::{Edit, after_table, checks, has_word};
pub(super) use lock::MigrationLock;
pub(super) use recorded::RecordedSteps;
pub(super) use state::Tolerated;

use super::builder::Builder;
use crate::driver::Connection;
use crate::error::Result;
use crate::planner::Location;
use crate::query::Models;
use crate::schema::Table;

impl Builder {
    /// Compares a cluster that exists with these models and the numbered steps, and returns the migration that makes the
    /// shards fit. Nothing is changed before [`Migration::run`].
    ///
    /// Additions need no step: a new model's table, a field that is an `Option` or has a `#[sharded(default = ..)]`, a new index.
    /// Every other change is a step of [`Migrations`]. [`Migration::contract`] runs the changes with which programs of the
    /// earlier release cannot run.
    ///
    /// Until then these programs can run and be restarted, also while the migration runs and after it was interrupted. They add
    /// rows without the new columns. A backfill also reaches rows that they add while [`Migration::run`] works, or move to
    /// another shard with [`Session::relocate`](crate::Session::relocate). Each shard records the rows that arrive, and they are
    /// changed once all shards have run the steps. There are four limits:
    ///
    /// - A row that they add after [`Migration::run`] has succeeded gets the values of a backfill only with the contract. The
    ///   column must have a [`Step::require`] for this.
    /// - A row that moves while steps run may miss SQL of the application ([`Step::sqlite`], [`Step::postgres`]).
    /// - A new unique index also holds for their rows.
    /// - SQL of the application must keep the tables as their models need them.
    ///
    /// ```
    /// use shard_runtime::{Cluster, Sharded, migrate::Migrations};
    /// # mod earlier {
    /// #     #[derive(shard_runtime::Sharded, Clone, Debug)]
    /// #     #[sharded(table = "users")]
    /// #     pub struct User {
    /// #         #[id]
    /// #         #[shard_key(hash)]
    /// #         pub id: i64,
    /// #         pub name: String,
    /// #     }
    /// # }
    ///
    /// #[derive(Sharded, Clone, Debug)]
    /// #[sharded(table = "users", index(plan))]
    /// struct User {
    ///     #[id]
    ///     #[shard_key(hash)]
    ///     id: i64,
    ///     name: String,
    ///     nickname: Option<String>, // new
    ///     #[sharded(default = "free")]
    ///     plan: String, // new
    /// }
    ///
    /// fn migrations() -> Migrations {
    ///     // Version 1 is what `create` made.
    ///     Migrations::new()
    ///         .step(2, "nickname", |m| {
    ///             m.backfill::<User>(|user| user.nickname = user.nickname.take().or(Some(user.name.clone())))
    ///         })
    ///         .step(3, "nickname is required", |m| m.require(User::NICKNAME))
    /// }
    ///
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("sharded-migrate-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let url = |shard: &str| format!("sqlite:{}", folder.join(shard).display());
    /// let builder = Cluster::builder().shard("a", url("a.db")).shard("b", url("b.db"));
    /// # let cluster = builder.clone().create::<earlier::User>()?;
    /// # let mut session = cluster.session();
    /// # session.add_all((0..9).map(|id| earlier::User { id, name: format!("user {id}") }))?;
    /// # session.commit()?;
    /// # drop((session, cluster));
    /// let migration = builder.clone().migrate::<User>(&migrations())?;
    /// println!("{}", migration.plan()); // the SQL for each shard
    /// let report = migration.run(|progress| println!("{progress}"))?;
    /// println!("{report}");
    ///
    /// let cluster = builder.clone().open::<User>()?;
    /// let user = cluster.session().get::<User>(7)?.unwrap();
    /// assert_eq!((user.nickname.as_deref(), user.plan.as_str()), (Some("user 7"), "free"));
    /// # drop(cluster);
    ///
    /// // Later, when the earlier release does not run any more:
    /// builder.clone().migrate::<User>(&migrations())?.contract().run(|_| {})?;
    /// # builder.open::<User>()?;
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A `#[lookup]` on a column with rows gets its entries from [`Migration::run`], or from [`Builder::create`]. Both fail with
    /// [`ErrorKind::Unique`](crate::ErrorKind::Unique) if rows share a value. Programs of the earlier release make no entries:
    /// once they have ended, call [`Cluster::repair`](crate::Cluster::repair). To set the values of a new column with a lookup,
    /// use SQL in a step: a backfill cannot write it.
    ///
    /// A `#[version]` on a table with rows does not count updates by programs of the earlier release: they do not increment it.
    /// While they run, an update of this release can overwrite one of theirs without
    /// [`ErrorKind::Stale`](crate::ErrorKind::Stale).
    ///
    /// # Errors
    /// [`ErrorKind::Schema`](crate::ErrorKind::Schema), with all differences, if no migration can remove a difference: a new
    /// field that is neither an `Option` nor has a default, another type. Those of [`Builder::open`] about the databases and the
    /// layout.
    pub fn migrate<M: Models>(self, migrations: &Migrations) -> Result<Migration<M>> {
        migrations.check()?;
        self.known_version.note(migrations.version());
        let cluster = self.clone().open_to_migrate::<M>()?;
        Migration::new(self, cluster, migrations.clone())
    }
}

/// Returns the script that changes columns of a SQLite table. Everything else of the table is kept.
///
/// # Errors
/// [`ErrorKind::Schema`](crate::ErrorKind::Schema) if its CREATE TABLE cannot be read.
pub(super) fn rebuild_sql(
    connection: &dyn Connection,
    location: &Location,
    table: &Table,
    edits: &[Edit],
) -> Result<Vec<String>> {
    let work = rebuild::work(connection, location, table, edits, Vec::new())?;
    // A view that names the table would refuse the renaming otherwise.
    let begin = ["PRAGMA foreign_keys = OFF", "PRAGMA legacy_alter_table = ON", "BEGIN IMMEDIATE"];
    // A table that a failed script has left may hold the only copy of the rows.
    let sql = work.sql.into_iter().filter(|sql| !sql.starts_with("DROP TABLE IF EXISTS"));
    let end = ["COMMIT", "PRAGMA legacy_alter_table = OFF", "PRAGMA foreign_keys = ON"];
    Ok(begin.into_iter().map(str::to_owned).chain(sql).chain(end.map(str::to_owned)).collect())
}

//! Horizontal sharding for Rust structs: annotate a struct, and each operation runs only on the shards that can hold
//! matching rows.
//!
//! ```
//! use shard_runtime::prelude::*;
//!
//! #[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
//! enum Continent {
//!     #[shard("west", text = "North America")]
//!     NorthAmerica,
//!     #[shard("east")]
//!     Asia,
//!     #[shard("east")]
//!     Europe,
//! }
//!
//! #[derive(Sharded, Clone, Debug, PartialEq)]
//! struct City {
//!     #[id(sequence)]
//!     id: i64,
//!     #[shard_key]
//!     continent: Continent,
//!     name: String,
//! }
//!
//! #[derive(Sharded, Clone, Debug, PartialEq)]
//! struct Report {
//!     #[id(auto)]
//!     id: i64,
//!     #[shard_parent]
//!     city: Parent<City>,
//!     temperature: f64,
//! }
//!
//! # fn main() -> shard_runtime::Result<()> {
//! // Shards are files (`sqlite:east.db`), tables in one file (`sqlite:all.db?prefix=east_`), or memory.
//! let cluster = Cluster::builder()
//!     .shard("west", "sqlite::memory:")
//!     .shard("east", "sqlite::memory:")
//!     .create::<(City, Report)>()?;
//!
//! let mut session = cluster.session();
//! let tokyo = session.add(NewCity { continent: Continent::Asia, name: "Tokyo".into() })?;
//! session.add_all([21.5, 24.0].map(|temperature| NewReport { city: tokyo.link(), temperature }))?;
//! session.commit()?;
//! assert_eq!(tokyo.shard().name(), "east");
//!
//! let warm = tokyo.children::<Report>().filter(Report::TEMPERATURE.gt(22.0));
//! assert_eq!(session.one(warm)?.temperature, 24.0);
//! # Ok(())
//! # }
//! ```
//!
//! # Models
//!
//! [`#[derive(Sharded)]`](derive@Sharded) makes a struct a model. A model has one `#[id]`. A `#[shard_key]` decides the
//! shard of each row by its value; a `#[shard_parent]` stores each row on the shard of its parent. The page of the
//! derive lists the kinds of keys, ids and parents, and the settings. [`Field`] lists the types of fields.
//!
//! A [`Reference`] table, `#[sharded(reference)]`, has all its rows on every shard. It suits small tables that are read
//! often and rarely changed. A read uses a shard that the session already uses; a write changes all shards in one
//! transaction. Rows of any model refer to it by `#[references(Model)]`. Filters on the referred row, and joins with
//! it ([`Select::with_reference`]), run on the shard of the referring row.
//!
//! # Clusters
//!
//! [`Cluster::builder`] names the shards. [`Builder::create`] creates missing databases and tables; [`Builder::open`]
//! creates nothing. Both compare every shard with the configuration, and refuse
//!
//! - a database that belongs to another shard or cluster,
//! - a layout that would place existing rows on other shards,
//! - tables that differ from the models.
//!
//! With the feature `config`, `Builder::config_file` reads the configuration from a TOML file. Threads can share a
//! [`Cluster`].
//!
//! A small control database holds the cluster's id, its layout and the blocks of generated ids. By default it is the
//! file `control.db` beside the first shard's file. If no shard is a file, it is part of the first server's shard.
//!
//! With the feature `postgres` a shard is a PostgreSQL server (`postgres://user@host/database`), or a schema of one
//! (`?schema=asia`). One cluster can have files and servers. With the feature `tls`, connections are encrypted and
//! certificates verified as the URL requires ([`Builder::shard`]).
//!
//! A transaction over several servers is prepared on all of them but one; the commit of that one decides. This needs
//! `max_prepared_transactions` above 0 on the servers. `Cluster::foreign_tables_sql` returns SQL with which any other
//! server reads all shards as one database.
//!
//! # Operating a cluster
//!
//! | to | call | described in |
//! |---|---|---|
//! | change the schema from release to release, while the earlier one runs | [`Builder::migrate`] | [`migrate`] |
//! | split, merge, replace or redistribute shards while the application writes | [`Cluster::plan_change`] | [`change`] |
//! | move one key | [`Cluster::move_key`] | [`change`] |
//! | make a cluster of tables of another program | [`Builder::adopt`] | [`adopt`] |
//! | copy all rows to another cluster | [`Cluster::copy_to`] | [`copy`] |
//! | see its state | [`Cluster::health`], [`Cluster::status`], [`Cluster::stats`] | [`status`] |
//! | find misplaced rows | [`Cluster::verify`] | [`verify`] |
//!
//! With the feature `admin` a program of three lines has all of it as commands.
//!
//! # Sessions
//!
//! A [`Session`] is a unit of work. Added, changed and deleted rows are its pending changes. It sends them in batches:
//! before it reads their table, at `flush`, and at `commit`. It returns rows as [`Stored`], which dereferences to the
//! struct and has the row's shard. To change a row, assign to its fields and call [`Session::update`], which enqueues
//! the columns that differ. Changes without `update`, and changes in a session that is dropped without `commit`, are
//! lost without an error.
//!
//! ```
//! # use shard_runtime::{Cluster, Sharded};
//! #[derive(Sharded, Clone, Debug)]
//! struct Account {
//!     #[id]
//!     #[shard_key(hash)]
//!     id: i64,
//!     owner: String,
//!     cents: i64,
//! }
//! # fn main() -> shard_runtime::Result<()> {
//! # let cluster = Cluster::builder()
//! #     .shard("a", "sqlite::memory:")
//! #     .shard("b", "sqlite::memory:")
//! #     .create::<Account>()?;
//! let mut session = cluster.session();
//! session.add(Account { id: 7, owner: "Ada".into(), cents: 100 })?;
//! session.commit()?;
//!
//! if let Some(mut account) = session.get::<Account>(7)? {
//!     account.cents += 50;
//!     session.update(&mut account)?; // enqueues: UPDATE … SET "cents" = ? WHERE "id" = ?
//! }
//! session.commit()?;
//!
//! let paid = Account::update().set(Account::CENTS, 0).filter(Account::CENTS.ge(100)).all_shards();
//! assert_eq!(session.execute(paid)?, 1);
//! session.rollback(); // as dropping the session would
//! assert_eq!(session.get::<Account>(7)?.map(|account| account.cents), Some(150));
//! # Ok(())
//! # }
//! ```
//!
//! [`Session::save`] inserts a row or, if its id exists, changes it. A bulk update sets values, or computes them from
//! the row: `Account::update().set(Account::CENTS, Account::CENTS + 10)`. With [`returning`](Update::returning), bulk
//! updates and deletes return the affected rows.
//!
//! Two sessions that read, change and write the same row can overwrite each other's changes. There are two remedies.
//! [`Select::for_update`] locks the rows that it reads. A `#[version]` in the model makes the second write fail with
//! [`ErrorKind::Stale`], which [`Cluster::transaction`] retries.
//!
//! On each shard that it reads a session has one snapshot, from its first statement there until it writes there,
//! commits or rolls back. There is no common snapshot of several shards. A transaction that wrote one shard is
//! committed by that database alone. One that wrote several is committed on all or on none, even if the process is
//! killed at any point: see [`Session::commit`].
//!
//! - [`Session::relocate`] moves a row whose key changes, with all its descendants.
//! - [`Session::savepoint`] runs a closure, and rolls back the closure's changes alone if it fails.
//! - [`Cluster::transaction`] commits a closure's changes, and runs it again after a conflict; see [`RetryPolicy`].
//! - [`Cluster::recover`] finishes the transactions of killed processes, as opening the cluster does.
//! - [`Cluster::backup`] copies all databases as of one moment.
//!
//! A writer waits for other writers of the same database up to the [`Builder::busy_timeout`], then fails with
//! [`ErrorKind::Busy`]. Readers of a file do not wait for its writer. In a database in memory, readers and writers wait
//! for each other: use it for tests, not for many threads.
//!
//! # From async code
//!
//! [`Cluster::async_session`] returns a session whose verbs are awaited, on any runtime: Tokio, smol, or your own. A
//! thread of the cluster runs the verbs, so that a task never blocks while it waits for a database. Any future can be
//! dropped at any time, also that of a commit; see [`AsyncSession`].
//!
//! ```
//! # use shard_runtime::{Cluster, Sharded};
//! # #[derive(Sharded, Clone, Debug)]
//! # struct Account {
//! #     #[id]
//! #     #[shard_key(hash)]
//! #     id: i64,
//! #     cents: i64,
//! # }
//! # smol::block_on(async {
//! let shards = Cluster::builder().shard("a", "sqlite::memory:").shard("b", "sqlite::memory:");
//! let cluster = shards.async_create::<Account>().await?;
//! let mut session = cluster.async_session();
//! session.add_all((1..9).map(|id| Account { id, cents: 100 * id })).await?;
//! session.commit().await?;
//!
//! // The thread reads no faster than the task takes the rows.
//! let mut accounts = session.stream(Account::select().all_shards().order_by(Account::CENTS.desc()));
//! while let Some(account) = accounts.next().await {
//!     println!("{}", account?.cents);
//! }
//! drop(accounts);
//! session.commit().await?; // ends the snapshots of both shards
//!
//! // All steps run on one thread, which commits them, and runs them again after a conflict.
//! let rest = cluster.async_transaction(|session| {
//!     session.execute(Account::update().set(Account::CENTS, Account::CENTS - 100).all_shards())?;
//!     session.one(Account::select().all_shards().aggregate(Account::CENTS.sum()))
//! });
//! assert_eq!(rest.await?, Some(2_800));
//! # Ok::<(), shard_runtime::Error>(())
//! # }).unwrap();
//! ```
//!
//! Other methods of a cluster block the calling thread: call [`Cluster::backup`], [`Cluster::recover`] and
//! [`sqlite::attached`] on a thread that may block.
//!
//! # Queries
//!
//! Queries are values. A model's columns are constants, from which filters are made. Filters are joined with `&`, `|`
//! and `!`, or as lists with [`Filter::all`] and [`Filter::any`].
//!
//! The planner computes the shards of a query from its values, and leaves out no shard that can hold matching rows. A
//! query that no key, parent or pin narrows does not compile without `all_shards()`. A query whose filter is built at
//! run time therefore has `all_shards()`, and a key in the filter still narrows it:
//!
//! ```
//! # use shard_runtime::{Cluster, Filter, Sharded};
//! # #[derive(Sharded, Clone, Debug)]
//! # #[sharded(table = "accounts")]
//! # struct Account {
//! #     #[id]
//! #     #[shard_key(hash)]
//! #     id: i64,
//! #     owner: String,
//! #     cents: i64,
//! # }
//! # fn main() -> shard_runtime::Result<()> {
//! # let cluster = Cluster::builder()
//! #     .shard("a", "sqlite::memory:")
//! #     .shard("b", "sqlite::memory:")
//! #     .create::<Account>()?;
//! let mut wanted: Vec<Filter<Account, _>> = vec![Account::CENTS.gt(0)];
//! wanted.push(Account::ID.eq(7).into());
//! let query = Account::select().filter(Filter::all(wanted)).all_shards().order_by(Account::OWNER.asc());
//!
//! let explain = cluster.explain(&query)?; // reads no shard
//! assert_eq!((explain.shards(), explain.reason()), (vec!["b"], "id = 7"));
//! println!("{explain}");
//! # Ok(())
//! # }
//! ```
//!
//! A unique column that is not the key, such as an e-mail address, can have a `#[lookup]`. A small table, which is
//! spread over all shards, maps each value of the column to the shard of its row. A filter on the column then narrows
//! the shards as one on the key does, for one more statement on the shards of the entries. The value is unique over the
//! cluster: a second row with it fails with [`ErrorKind::Unique`] on any shard.
//!
//! ```
//! # use shard_runtime::{Cluster, ErrorKind, Sharded};
//! #[derive(Sharded, Clone, Debug)]
//! struct User {
//!     #[id(sequence)]
//!     id: i64,
//!     #[shard_key(hash)]
//!     tenant: i64,
//!     #[lookup]
//!     email: String,
//! }
//! # fn main() -> shard_runtime::Result<()> {
//! # let cluster = Cluster::in_memory::<User>(["a", "b", "c"])?;
//! let mut session = cluster.session();
//! session.add(NewUser { tenant: 7, email: "ada@example.com".into() })?;
//! session.commit()?;
//!
//! let query = User::select().filter(User::EMAIL.eq("ada@example.com")); // no `all_shards()`
//! println!("{}", cluster.explain(&query)?); // names the lookup that is read, and its shards
//! assert_eq!(session.one(query)?.tenant, 7);
//!
//! session.add(NewUser { tenant: 8, email: "ada@example.com".into() })?;
//! assert_eq!(session.commit().unwrap_err().kind(), ErrorKind::Unique);
//! # Ok(())
//! # }
//! ```
//!
//! `explain` lists every shard that the entry may name. The query reads the entry first, and then one shard.
//!
//! A session writes an entry in the same transaction as its row. If they are on different shards, the commit is over
//! both. Entries are read before the rows, without a common snapshot. A query may therefore miss a row that another session
//! adds, changes or moves at the same time. Each row that it returns has the value of the filter.
//!
//! Entries and rows can differ after another program has written the table: the query then misses rows, and returns no
//! wrong ones. [`Cluster::verify`] finds such differences, and [`Cluster::repair`] corrects them. For a lookup that is
//! new on a table with rows, [`Builder::create`] and [`Builder::migrate`] make the entries.
//!
//! Entries are placed by hash over the shards with which the lookup was created. A shard that is added later holds no
//! entries until a [`Change`] moves some there.
//!
//! A pin, `.on(key)` or `.on_shard(name)`, chooses a shard and no rows: `.on(Continent::Asia)` finds every row of the
//! shard that holds Asia, also those of other continents. A filter on the key chooses both.
//!
//! Order, limit and offset apply to the merged rows of all shards. Rows that are equal in this order are returned shard
//! by shard, and within a shard by id.
//!
//! - [`Select::columns`] reads some columns only, as tuples or as a struct with
//!   [`#[derive(Projection)]`](derive@Projection), and with `distinct` each combination of values once.
//! - [`Select::cursor`] and [`Select::after`] read pages without counting from the start.
//! - [`Session::for_each`] visits rows one by one, so that an answer may be larger than memory. `cargo bench --
//!   --memory` measures this; docs/PERFORMANCE.md has the figures.
//! - [`Select::exists`], [`Select::count`] and [`Select::aggregate`] return one value for all rows;
//!   [`Select::group_by`] returns one for each group. There are counts, sums, means, minima, maxima, distinct counts
//!   and variances.
//!
//! Shards return partial values, which are merged: a mean is the mean of all rows, and not of the shards' means.
//!
//! # Reading many shards
//!
//! A query over several shards runs on all of them at once if that is expected to be faster, on worker threads of the
//! cluster. Short queries run on the calling thread, shard by shard, and read rows only as they are needed.
//! [`Parallelism`] selects between them. Rows and errors are the same in both cases. This also holds for [`Sql`] and
//! for the children of many parents.
//!
//! If a shard fails, the query fails with that shard's name, and its other statements are stopped.
//! [`Session::set_timeout`] bounds the time of a read. [`Session::all_available`] returns the rows of the shards that
//! answer, and an error for each other shard.
//!
//! # SQL
//!
//! SQL that the queries cannot express runs through the same sessions, with bound values. [`Sql`] names the models'
//! tables in braces, and its shards as queries do. Its rows are read by name.
//!
//! ```
//! # use shard_runtime::{Cluster, Sharded, Sql};
//! # #[derive(Sharded, Clone, Debug)]
//! # #[sharded(table = "accounts")]
//! # struct Account {
//! #     #[id]
//! #     #[shard_key(hash)]
//! #     id: i64,
//! #     owner: String,
//! #     cents: i64,
//! # }
//! # fn main() -> shard_runtime::Result<()> {
//! # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
//! # let mut session = cluster.session();
//! # session.add_all((1..9).map(|id| Account { id, owner: format!("owner {id}"), cents: 100 * id }))?;
//! let longest = Sql::new("SELECT owner, length(owner) AS letters FROM {accounts} WHERE cents > ?1");
//! for row in session.all(longest.bind(500).all_shards())? {
//!     println!("{}: {} ({})", row.get::<String>("owner")?, row.get::<i64>("letters")?, row.shard());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`sqlite::with_connection`] passes a closure the driver's own connection to one shard. [`sqlite::attached`] returns
//! one read-only connection to all shards, with a view for each model over all of them. Joins, windows and common table
//! expressions run there over all rows. [`Cluster::session_on_shard`] returns a session that uses one shard only.
//!
//! # Parents and children
//!
//! A child is on its parent's shard, so that each shard joins them without reading another one. A filter on the parent
//! is a filter on the child, `Child::has_parent(..)`. A filter on children is a filter on their parent,
//! `Parent::has_child(..)`. A condition that narrows the shards of one narrows those of the other. `with_parent` reads
//! rows joined with their parents. [`Session::all_with`] reads parents with their children and, by [`With`], with the
//! children of those.
//!
//! ```
//! # use shard_runtime::{Cluster, Filter, Parent, ShardKey, Sharded, With};
//! # #[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
//! # enum Continent {
//! #     #[shard("east")]
//! #     Asia,
//! #     #[shard("west")]
//! #     Europe,
//! # }
//! # #[derive(Sharded, Clone, Debug, PartialEq)]
//! # struct City {
//! #     #[id(sequence)]
//! #     id: i64,
//! #     #[shard_key]
//! #     continent: Continent,
//! #     name: String,
//! # }
//! # #[derive(Sharded, Clone, Debug, PartialEq)]
//! # struct Report {
//! #     #[id(auto)]
//! #     id: i64,
//! #     #[shard_parent]
//! #     city: Parent<City>,
//! #     temperature: f64,
//! # }
//! # #[derive(Sharded, Clone, Debug, PartialEq)]
//! # struct Remark {
//! #     #[id(auto)]
//! #     id: i64,
//! #     #[shard_parent]
//! #     report: Parent<Report>,
//! #     text: String,
//! # }
//! # fn main() -> shard_runtime::Result<()> {
//! # let cluster = Cluster::builder()
//! #     .shard("west", "sqlite::memory:")
//! #     .shard("east", "sqlite::memory:")
//! #     .create::<(City, Report, Remark)>()?;
//! # let mut session = cluster.session();
//! # let tokyo = session.add(NewCity { continent: Continent::Asia, name: "Tokyo".into() })?;
//! # session.add(NewCity { continent: Continent::Europe, name: "London".into() })?;
//! # let report = session.add(NewReport { city: tokyo.link(), temperature: 31.0 })?;
//! # session.add(NewRemark { report: report.link(), text: "humid".into() })?;
//! // Narrowed by the parent's key: only the shard of Asia is read.
//! let asian = Report::select().filter(Report::has_parent(City::CONTINENT.eq(Continent::Asia)));
//! let hottest = asian.order_by(Report::TEMPERATURE.desc()).limit(10);
//! for (report, city) in session.all(hottest.with_parent())? {
//!     println!("{} in {}", report.temperature, city.name);
//! }
//!
//! // Cities with a hot report that has a remark, and cities without any report.
//! let remarked = Report::has_child(Remark::TEXT.like("%humid%"));
//! let hot = City::has_child(Report::TEMPERATURE.gt(30.0) & remarked);
//! assert_eq!(session.one(City::select().filter(hot).all_shards())?.name, "Tokyo");
//! let without = !City::has_child(Filter::<Report, _>::everything());
//! assert_eq!(session.one(City::select().filter(without).all_shards())?.name, "London");
//!
//! // One statement per shard for the cities, one for their reports, one for the reports' remarks.
//! for (city, reports) in session.all_with::<With<Report, Remark>>(City::select().all_shards())? {
//!     let remarks: usize = reports.iter().map(|(_, remarks)| remarks.len()).sum();
//!     println!("{}: {} reports, {remarks} remarks", city.name, reports.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Under `!`, a condition on the parent narrows to the other shards, since each child has exactly one parent. A negated
//! condition on children narrows nothing: a parent without a matching child can be on any shard.
//!
//! # Errors
//!
//! Every [`Error`] has a [`kind`](Error::kind) to match on, and names the shard, the table and the column that caused
//! it. No panic is reachable from data or configuration.
//!
//! # Observation
//!
//! [`Shard::statements`] counts the statements of each shard, and [`Builder::on_statement`] is called after every
//! statement.
//!
//! With the feature `tracing` each verb of a session that reads or writes a shard is a span named `query` (target
//! `shard_runtime::query`). Each statement on a shard is a span named `statement` (target `shard_runtime::statement`),
//! inside `query`, on the thread that runs it. Both have the level DEBUG. Their fields have the names of OpenTelemetry
//! if there is one, and never hold a value of a row or a parameter:
//!
//! | field | of | |
//! |---|---|---|
//! | `db.operation.name` | `query` | the verb: `all`, `get`, `commit` … |
//! | `shards` | `query` | the names of the shards that are read or written, with commas |
//! | `db.collection.name` | both | the table, as its model names it; none for SQL of the application |
//! | `db.system.name` | `statement` | `sqlite` or `postgresql` |
//! | `shard` | `statement` | the shard's name |
//! | `db.query.text` | `statement` | the SQL, with placeholders for values |
//! | `rows` | `statement` | as [`StatementEvent::rows`] |
//! | `duration_us` | `statement` | microseconds, as [`StatementEvent::duration`] |
//! | `error.type` | both | the [`ErrorKind`], if it failed |
//!
//! For tests, [`Cluster::in_memory`] creates a cluster in one line, and [`assert_shards_asked!`] asserts which shards
//! an expression uses.
//!
//! [`Change`]: change::Change
//! [`Reference`]: query::Reference

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations)]

/// Compiles and runs the programs of docs/OPERATIONS.md.
#[cfg(all(doctest, feature = "admin"))]
#[doc = include_str!("../../docs/OPERATIONS.md")]
struct Operations;

// Derived code names this crate, also in unit tests.
#[cfg(test)]
extern crate self as shard_runtime;

mod accumulator;
#[cfg(feature = "admin")]
pub mod admin;
mod asynchronous;
mod cluster;
mod collation;
mod driver;
mod error;
mod executor;
mod planner;
pub mod prelude;
pub mod query;
mod row;
mod schema;
mod sealed;
mod session;
mod sparse;
pub mod sqlite;
mod tasks;
#[cfg(feature = "testing")]
mod testing;
mod transaction;
mod unit_of_work;
mod value;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

pub use asynchronous::{AsyncSession, Rows};
pub use cluster::{Builder, Cluster, Pace};
pub use collation::Collation;
pub use driver::Durability;
pub use error::{Error, ErrorKind, Result, ValueError};
/// The crate of `jiff::Timestamp`, the type of timestamp columns.
#[cfg(feature = "jiff")]
pub use jiff;
pub use planner::{Explain, Explainable};
#[doc(inline)]
pub use query::{
    Column, Cursor, Delete, Filter, Insert, Models, Order, Parent, Projection, Query, Select, Sharded, Sql,
    SqlRow, Stored, Update, Write, count,
};
pub use schema::{Routed, Shard, ShardKey, ShardRole, Shards, Unrouted, hash};
/// The crate of `serde_json::Value`, the type of JSON columns.
#[cfg(feature = "json")]
pub use serde_json;
pub use session::{Descendants, Iter, PartialResult, Session, With, WithChildren};
pub use shard_derive::{Field, Projection, ShardKey, Sharded};
pub use tasks::{Parallelism, StatementEvent};
pub use transaction::RetryPolicy;
pub use transaction::commit::{Commit, Committed, Recovered};
pub use unit_of_work::{ChangedId, Relocated};
/// The crate of `uuid::Uuid`, the type of UUID columns.
#[cfg(feature = "uuid")]
pub use uuid;
pub use value::{ColumnType, Field, Value};

pub mod adopt {
    //! Tables that exist already.
    //!
    //! [`Builder::adopt`] makes one database with tables of another program a cluster of one shard. It compares tables and
    //! rows with the models, and reports all differences, each with the SQL that corrects it. It does not change the tables,
    //! and other programs can continue to write to them.
    //!
    //! [`Builder::adopt`]: crate::Builder::adopt

    pub use crate::cluster::{Adoption, AdoptionFinding, AdoptionReport};
}

pub mod change {
    //! Shards that change, while the application runs.
    //!
    //! [`Cluster::plan_change`] plans to split, merge, replace or redistribute shards while the application reads and writes.
    //! [`Cluster::begin_change`] begins the change. A [`Change`] copies the rows of its sources to spare shards, compares
    //! them, and switches. During the switch writers of the sources wait, up to the budget of a [`Switch`]. Then the recorded
    //! layout maps the keys to the targets. After an interruption any process continues or cancels the change, from
    //! [`Cluster::changes`].
    //!
    //! A transaction that still uses a source after the switch fails with [`ErrorKind::Moved`], and [`Cluster::transaction`]
    //! runs it again under the new layout. Sessions of other processes follow in the same way, if the targets are in their
    //! configuration.
    //!
    //! [`Cluster::move_key`] moves all rows of one key in one transaction, without a change.
    //!
    //! [`Cluster::begin_change`]: crate::Cluster::begin_change
    //! [`Cluster::changes`]: crate::Cluster::changes
    //! [`Cluster::move_key`]: crate::Cluster::move_key
    //! [`Cluster::plan_change`]: crate::Cluster::plan_change
    //! [`Cluster::transaction`]: crate::Cluster::transaction
    //! [`ErrorKind::Moved`]: crate::ErrorKind::Moved

    pub use crate::cluster::{
        Change, ChangePhase, ChangePlan, ChangePlanner, ChangeProgress, ChangeReport, ChangeStatus, KeyMove,
        MovedKey, Switch,
    };
}

/// Copying all rows to another cluster: see [`Cluster::copy_to`].
pub mod copy {
    pub use crate::cluster::{ClusterCopy, CopiedTable, CopyReport};
}

/// SQL that makes tables: see [`Cluster::schema_sql`], and with the feature `postgres` `Cluster::foreign_tables_sql`.
pub mod ddl {
    #[cfg(feature = "postgres")]
    pub use crate::cluster::ForeignTablesSql;
    pub use crate::cluster::ShardSql;
}

pub mod migrate {
    //! Releases that change the schema.
    //!
    //! [`Builder::migrate`] makes the shards of a cluster fit the models of a new release, while the earlier release runs. It
    //! adds new models and indexes without a step, and fields that are an `Option` or have a `#[sharded(default = ..)]`.
    //! Other changes are numbered steps of [`Migrations`]: backfills of rows, renamed columns, columns that become required
    //! or are dropped, and SQL.
    //!
    //! | phase | does | earlier release | new release |
    //! |---|---|---|---|
    //! | expand | adds tables, columns and indexes (`CONCURRENTLY` on PostgreSQL); adds a renamed column beside the old one, with triggers that keep both equal | runs | refuses to open, and the error names what each shard lacks |
    //! | backfill | changes rows in batches by id, at a pace | runs | runs |
    //! | contract, with [`Migration::contract`] | fills and checks required columns, makes them NOT NULL, drops columns | its statements fail, and the error names the version of the schema | runs |
    //!
    //! A deployment has these steps:
    //!
    //! 1. Migrate, and start the new release. The earlier release can still replace it.
    //! 2. When no process of the earlier release runs any more, migrate with `contract`.
    //!
    //! Each shard records its steps in the table `sharded_migration`, in the transaction of the step. An error of a migration
    //! names shard, step and SQL; the next run continues there. Two migrators wait for each other.
    //! [`Cluster::migration_status`] returns the steps that each shard has completed.
    //!
    //! SQLite cannot change a column. The migration copies the table in one transaction, with its rows, indexes and triggers,
    //! and checks foreign keys before the commit. Other writers of the shard wait for it, up to their [`busy_timeout`].
    //!
    //! [`Builder::migrate`]: crate::Builder::migrate
    //! [`Cluster::migration_status`]: crate::Cluster::migration_status
    //! [`busy_timeout`]: crate::Builder::busy_timeout

    pub use crate::cluster::{
        Migration, MigrationPlan, MigrationProgress, MigrationStatus, Migrations, ShardMigrations, Step,
        StepPhase, StepStatus,
    };
}

/// How the shards of a query or of a row are found at compile time.
pub mod routing {
    pub use crate::schema::{DecidesShard, Everywhere, IsRouted, Key, Routing, ShardSet};
}

/// The state of a cluster as values: see [`Cluster::status`], [`Cluster::health`] and [`Cluster::stats`].
pub mod status {
    pub use crate::cluster::{
        ConnectionStats, ErrorCount, Health, KeyLine, LockStats, PendingTransaction, Probe, ShardRecord,
        ShardStats, ShardStatus, Stats, Status, TableRows, TransactionState, TransactionStats,
    };
}

/// Problems of rows and lookup entries: see [`Cluster::verify`]. Differences of reference tables: see
/// [`Cluster::compare_references`].
pub mod verify {
    pub use crate::cluster::ReferenceDifference;
    pub use crate::unit_of_work::{
        LookupProblem, LookupProblemKind, RowProblem, RowProblemKind, VerifyReport,
    };
}

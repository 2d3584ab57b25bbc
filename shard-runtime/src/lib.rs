//! Horizontal sharding for Rust structs: annotate them, and every operation goes to the databases that it
//! concerns, and to no other.
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
//! [`#[derive(Sharded)]`](derive@Sharded) makes a struct a model. It has one `#[id]`, and either a `#[shard_key]`,
//! whose value decides the shard of a row, or a `#[shard_parent]`, on whose shard the row is. The derive's page lists
//! the kinds of key, of id and of parent, and the settings. What fields may be is [`Field`]'s.
//!
//! A small table that is read everywhere and rarely changed is a [`Reference`] table, `#[sharded(reference)]`: all its rows are
//! on every shard, are read on one that the session uses already, and are written on all in one unit of work. Rows of any
//! model refer to them by `#[references(Model)]`, are filtered by what they refer to and joined with it
//! ([`Select::with_reference`]) on the same shard.
//!
//! # Clusters
//!
//! [`Cluster::builder`] names the shards. [`Builder::create`] makes what is missing, [`Builder::open`] makes nothing;
//! both compare every shard with what is declared, and refuse a database that is another shard's, a layout under
//! which rows would be looked for in the wrong place, and tables that are not the models'. With the feature
//! `config`, `Builder::config_file` reads the same from a TOML file. A cluster is shared between threads as it is.
//!
//! Beside the shards stands a small control database, which knows the cluster and hands out ids; where all shards are on
//! servers, it is on the first of them.
//!
//! With the feature `postgres` a shard is a PostgreSQL server (`postgres://user@host/database`), or a schema of one
//! (`?schema=asia`); shards of both kinds mix. With the feature `tls` the connections to it are encrypted, and its
//! certificate verified, if the URL requires it ([`Builder::shard`]). A transaction over several servers is prepared on all but one of them,
//! whose commit decides, which takes `max_prepared_transactions`; `Cluster::foreign_tables_sql` makes any other server read
//! all of them as one.
//!
//! # Releases that change the schema
//!
//! [`Builder::migrate`] makes the shards of a cluster fit the models of a new release, while the earlier release runs. New
//! models, fields that are an `Option` or have a `#[sharded(default = ..)]`, and indexes are added without a step. Other
//! changes are numbered steps of [`Migrations`]: a backfill of rows, a column under a new name, a column that becomes
//! required or is dropped, and SQL.
//!
//! | phase | does | earlier release | new release |
//! |---|---|---|---|
//! | expand | adds tables, columns and indexes (`CONCURRENTLY` on PostgreSQL); a column under a new name is added beside the old one, with triggers that keep both equal | runs | refuses to open, and names what each shard lacks |
//! | backfill | changes rows in portions by id, at a pace | runs | runs |
//! | contract, with [`Migration::contract`] | fills and checks required columns, makes them NOT NULL, drops columns | its statements fail, and the error names the version of the schema | runs |
//!
//! So a deployment is: migrate, start the new release, and take it back if needed; later, when the earlier release has ended,
//! migrate with `contract`. Each shard records its steps in the table `sharded_migration`, in the transaction of the step.
//! A migration that stops names shard, step and SQL, and continues there when it is run again. Two migrators wait for each
//! other. [`Cluster::migration_status`] shows how far each shard is.
//!
//! SQLite cannot change a column: the table is built anew in one transaction, with its rows, indexes and triggers, and
//! foreign keys are checked before the commit. Other writers of the shard wait meanwhile, up to their
//! [`busy_timeout`](Builder::busy_timeout).
//!
//! # Shards that change
//!
//! [`Cluster::plan_change`] plans to split, merge, replace or redistribute shards while the application reads and writes, and
//! [`Cluster::begin_change`] begins it. A [`Change`] copies the rows of its sources to spare shards, compares them, and switches:
//! writers of the sources wait for this, up to the budget of a [`Switch`]. Then the recorded layout maps the keys to the targets.
//! A change that was stopped is continued or cancelled by any process, from [`Cluster::changes`].
//!
//! A transaction that meets the switch fails with [`ErrorKind::Moved`], and [`Cluster::transaction`] runs it again under the new
//! layout. Sessions of other processes follow in the same way, if the targets are in their configuration.
//!
//! # Tables that exist already
//!
//! [`Builder::adopt`] makes one database with tables of another program a cluster of one shard. It compares tables and rows
//! with the models, and reports all differences with the SQL that heals them. The tables are not changed, and other programs
//! can go on writing to them.
//!
//! # Sessions
//!
//! A [`Session`] is a unit of work. Rows that are added, changed and removed wait, and are sent in batches before their
//! table is read, at `flush` and at `commit`. Rows come back as [`Stored`]: they deref to the struct, know their shard, and
//! can be changed in place, after which [`Session::update`] takes up the columns that differ. A change without `update`, and
//! a session that is dropped without `commit`, are lost without an error.
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
//!     session.update(&mut account)?; // when it is sent: UPDATE … SET "cents" = ? WHERE "id" = ?
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
//! [`Session::save`] inserts a row or, where its id is there, changes it. A bulk update sets values, or computes them from
//! the row: `Account::update().set(Account::CENTS, Account::CENTS + 10)`. With [`returning`](Update::returning), bulk updates
//! and deletes give back the rows that they have affected.
//!
//! A row that is read, changed and written back may overwrite the change of another session, unless it is read
//! with [`Select::for_update`], which keeps others from writing there, or the model has a `#[version]`: then the second to
//! write is told [`ErrorKind::Stale`], and [`Cluster::transaction`] lets them try again.
//!
//! A session has one snapshot on each shard that it reads, from its first statement there until it writes there,
//! commits or rolls back; between shards there is no common one. A commit that wrote one shard is that database's own.
//! One that wrote several is all or nothing, through a kill of the process at any point: see [`Session::commit`].
//! [`Session::relocate`] moves a row whose key changes, with all its descendants. [`Session::savepoint`] makes a part of a unit of work one that is undone by itself, [`Cluster::transaction`] runs a
//! unit again after a conflict, [`Cluster::recover`] finishes what a killed process has left (as opening
//! the cluster does), and [`Cluster::backup`] copies all databases as they are at one moment.
//!
//! A writer waits for other writers of the same database up to the [`Builder::busy_timeout`], and is
//! then told [`ErrorKind::Busy`]. Files are read while they are written. Databases in memory are not: there a reader
//! and a writer wait for each other, which makes them good for tests and less good for many threads.
//!
//! # From async code
//!
//! [`Cluster::async_session`] makes a session whose verbs are awaited, on any runtime: Tokio, smol, or one of yours. It is
//! the same session, on a thread of the cluster: a task that waits for a database blocks no other task, and a future may be
//! dropped at any time, a commit's too; see [`AsyncSession`].
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
//! // Row by row, and no faster than they are taken.
//! let mut accounts = session.stream(Account::select().all_shards().order_by(Account::CENTS.desc()));
//! while let Some(account) = accounts.next().await {
//!     println!("{}", account?.cents);
//! }
//! drop(accounts);
//! session.commit().await?; // until here it has a snapshot of both shards
//!
//! // Many steps with one way to the thread, committed, and tried again after a conflict.
//! let rest = cluster.async_transaction(|session| {
//!     session.execute(Account::update().set(Account::CENTS, Account::CENTS - 100).all_shards())?;
//!     session.one(Account::select().all_shards().aggregate(Account::CENTS.sum()))
//! });
//! assert_eq!(rest.await?, Some(2_800));
//! # Ok::<(), shard_runtime::Error>(())
//! # }).unwrap();
//! ```
//!
//! Other methods of a cluster run on the calling thread: [`Cluster::backup`], [`Cluster::recover`] and
//! [`sqlite::attached`] belong on one that may block.
//!
//! # Queries
//!
//! Queries are values. A model's columns are constants, from which filters are made; filters are joined with `&`, `|`
//! and `!`, or as lists with [`Filter::all`] and [`Filter::any`].
//!
//! Which shards a query asks is computed from its values, and is never too few. Whether it may run is a matter of its
//! type: a query that no key, parent or pin narrows does not compile without `all_shards()`. So a filter that is put
//! together at run time starts from there, and is still narrowed where a key turns up in it:
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
//! let explain = cluster.explain(&query)?; // no shard is asked for it
//! assert_eq!((explain.shards(), explain.reason()), (vec!["b"], "id = 7"));
//! println!("{explain}");
//! # Ok(())
//! # }
//! ```
//!
//! A column that is not the key, but unique, can have a `#[lookup]`: an e-mail address, say. A small table of the
//! runtime's own, spread over all shards, maps each of its values to the shard of the row that has it. A filter on the
//! column is then narrowed as one on the key is, at the cost of one more statement on the shards that hold the entries;
//! and the value is unique over the cluster: a second row with it is [`ErrorKind::Unique`], on any shard.
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
//! `explain` lists every shard that the entry may name; the query itself reads the entry first, and then one shard.
//!
//! Sessions write an entry in the same unit of work as its row: where the two are on different shards, that is a commit
//! over both. The entries are read before the rows, and there is no common snapshot over shards: a row that is being
//! added, changed or moved meanwhile may not be found, but what is found has the value that was asked for. The same holds
//! where entries and rows have drifted apart, through SQL or a program without the lookup: the answer is empty, never
//! wrong. [`Cluster::verify`] finds drift, and [`Cluster::repair`] repairs it; that is also how a lookup is filled which a
//! model with rows is given. Entries are placed by hash over all shards, so that a cluster with a lookup keeps its number
//! of shards.
//!
//! A pin, `.on(key)` or `.on_shard(name)`, chooses a shard and no rows: `.on(Continent::Asia)` finds every row of the shard
//! that holds Asia, those of other continents, too. A filter on the key chooses both.
//!
//! Order, limit and offset are of the whole answer, wherever its parts are. Rows that are equal by the order asked for
//! come shard by shard, and within a shard by id. [`Select::columns`] reads some columns only, as tuples or as a struct
//! with [`#[derive(Projection)]`](derive@Projection), and each combination of their values once where that is wanted;
//! [`Select::cursor`] and [`Select::after`] page without counting from the start; [`Session::for_each`] visits rows one
//! by one, so that an answer may be longer than memory (`cargo bench -- --memory` shows it; docs/PERFORMANCE.md has the
//! figures).
//!
//! [`Select::exists`], [`Select::count`] and [`Select::aggregate`] make one answer of all rows, [`Select::group_by`] one
//! of each group: counts, sums, means, least and greatest values, distinct values, variances. Shards answer with parts
//! that are merged, never concatenated: a mean is of all rows, and not of the shards' means.
//!
//! # Reading many shards
//!
//! A query that asks several shards runs on all of them at once where that is worth it: each part on one of the
//! cluster's workers, of which there are two for each processor, its rows coming back in chunks. What takes less time
//! than waking a thread runs on the caller's, shard by shard, and reads lazily: the first hundred rows by an index pull a
//! hundred rows. Which is which is seen from how long a statement took before, and guessed from the databases' size the
//! first time. The answer is the same.
//!
//! The same holds for [`Sql`] and for the children of many parents. Rows that are looked up by an id which does not say
//! its shard are asked for in turn, on the caller's thread: each takes an embedded database a few microseconds. Only
//! where that was slow again and again are their shards asked at once. And a read that needs no order and runs on the
//! caller's thread asks a shard only when the one before has no more rows: the first row at all may be one statement.
//!
//! A shard that fails fails the query, with its name, and the others are stopped. [`Session::set_timeout`] bounds how
//! long a read may take; [`Session::all_available`] returns the rows of the shards that answer, and an error for each other shard.
//!
//! # SQL
//!
//! SQL that the queries cannot express runs through the same sessions, with bound values: [`Sql`] names the
//! models' tables in braces, and where it runs; its rows are read by name.
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
//! [`sqlite::with_connection`] lends the driver's own connection to one shard. [`sqlite::attached`] opens every shard
//! behind one connection, for reading, with a view for each model over all shards: there joins, windows and common
//! table expressions run over the whole data. [`Cluster::session_on_shard`] keeps a whole session to one shard.
//!
//! # Parents and children
//!
//! A child is on its parent's shard, so each shard answers for both, and nothing is fetched from one to ask
//! another. A filter on the parent is one on the child, `Child::has_parent(..)`, and a filter on children is one on
//! their parent, `Parent::has_child(..)`; what narrows the one narrows the other. `with_parent` reads rows joined
//! with their parents, [`Session::all_with`] reads parents with their children and, by [`With`], with the children
//! of those.
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
//! // Narrowed by the parent's key: only the shard of Asia is asked.
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
//! Under `!`, a condition on the parent narrows to everything else, since there is exactly one parent; a condition on
//! children narrows nothing, since a parent without children is one without such a child on any shard.
//!
//! # Errors
//!
//! Every [`Error`] has a [`kind`](Error::kind) to match on and names the shard, the table and the column that it is about. Data and
//! configuration reach no panic.
//!
//! # Looking on
//!
//! [`Shard::statements`] counts what each shard was asked, and [`Builder::on_statement`] is called for every statement.
//!
//! With the feature `tracing` each verb of a session that reads or writes a shard is a span, named `query` (target
//! `shard_runtime::query`), and inside it is one for each shard's statement, named `statement` (target
//! `shard_runtime::statement`), on the thread that runs it; both are of the level DEBUG. Their fields are named as
//! OpenTelemetry names them where it has a name, and never hold a value of a row or a parameter:
//!
//! | field | of | |
//! |---|---|---|
//! | `db.operation.name` | `query` | the verb: `all`, `get`, `commit` … |
//! | `shards` | `query` | the names of the shards that are asked, with commas |
//! | `db.collection.name` | both | the table, as its model names it; of SQL as it is written, none |
//! | `db.system.name` | `statement` | `sqlite` |
//! | `shard` | `statement` | the shard's name |
//! | `db.query.text` | `statement` | the SQL, with parameters in the place of values |
//! | `rows` | `statement` | as [`StatementEvent::rows`] |
//! | `duration_us` | `statement` | microseconds, as [`StatementEvent::duration`] |
//! | `error.type` | both | the [`ErrorKind`], where it failed |
//!
//! For tests, [`Cluster::in_memory`] makes a cluster in one line, and [`assert_shards_asked!`] asserts which shards
//! something asks.

#![warn(missing_debug_implementations)]

/// Compiles and runs the programs of the page.
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
mod query;
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
#[doc(hidden)]
pub use __private::{IdColumn, InvalidColumn, KeyColumn, ParentLink};

pub use asynchronous::{AsyncSession, Rows};
#[cfg(feature = "postgres")]
pub use cluster::ForeignTablesSql;
pub use cluster::{Adoption, AdoptionFinding, AdoptionReport};
pub use cluster::{
    Builder, Change, ChangePhase, ChangePlan, ChangePlanner, ChangeProgress, ChangeReport, ChangeStatus,
    Cluster, ClusterCopy, ConnectionStats, CopiedTable, CopyReport, ErrorCount, Health, KeyLine, KeyMove,
    LockStats, MovedKey, Pace, PendingTransaction, Probe, ReferenceDifference, ShardRecord, ShardSql,
    ShardStats, ShardStatus, Stats, Status, Switch, TableRows, TransactionState, TransactionStats,
};
pub use cluster::{
    Migration, MigrationPlan, MigrationProgress, MigrationStatus, Migrations, ShardMigrations, Step,
    StepPhase, StepStatus,
};
pub use collation::Collation;
pub use driver::Durability;
pub use error::{Error, ErrorKind, Result, ValueError};
/// The crate that timestamps are values of.
#[cfg(feature = "jiff")]
pub use jiff;
pub use planner::{Explain, Explainable};
pub use query::{
    Aggregate, ById, Child, ChildOf, Column, ColumnKind, ColumnList, Columns, Combine, CompositeKey,
    Condition, Count, Cursor, Delete, Exists, Expression, Filter, GroupBy, GroupOrder, Groups, Having,
    IdIsKey, Identified, Insert, IntoAssign, IntoOperand, IntoParameter, IntoTerm, KnownId, Locate, Located,
    Measure, MeasureList, Measured, Models, Number, Order, Ordered, Parent, ParentOf, Predicate,
    ProjectedColumns, Projection, Query, Reference, ReferredRow, RefersTo, Returning, Select, SequenceId,
    Settable, Sharded, Sql, SqlRow, Stored, SumOf, UniqueId, Update, Version, WithCursor, WithParent,
    WithReferences, Write, count, kind,
};
#[doc(hidden)]
pub use query::{Holds, Lineage};
pub use row::{Row, Storable};
// How generated code describes a model.
#[doc(hidden)]
pub use schema::{
    ColumnDef, ColumnDefault, Constant, IdKind, Index, KeyColumns, Lookup, NoLiteral, ParentDef, Placement,
    Range, ReferenceDef, Table,
};
pub use schema::{
    DecidesShard, Everywhere, IsRouted, Key, Routed, Routing, Shard, ShardKey, ShardRole, ShardSet, Shards,
    Unrouted, hash,
};
/// The crate that JSON columns are values of.
#[cfg(feature = "json")]
pub use serde_json;
pub use session::{Descendants, Iter, PartialResult, Session, With, WithChildren};
pub use shard_derive::{Field, Projection, ShardKey, Sharded};
pub use tasks::{Parallelism, StatementEvent};
pub use transaction::RetryPolicy;
pub use transaction::commit::{Commit, Committed, Recovered};
pub use unit_of_work::{
    ChangedId, LookupProblem, LookupProblemKind, Relocated, RowProblem, RowProblemKind, VerifyReport,
};
/// The crate that UUID columns are values of.
#[cfg(feature = "uuid")]
pub use uuid;
pub use value::{ColumnType, Field, Value};

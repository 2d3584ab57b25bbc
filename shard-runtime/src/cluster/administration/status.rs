//! The rows and bytes of each shard, and the transactions that are not finished.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use super::serialized::serialized;
use super::text::{number as shown, table, with_causes};
use crate::cluster::change::{Change, ChangeStatus};
use crate::cluster::migrate::{MigrationStatus, ShardMigrations};
use crate::driver::{Connection, LeaseOwner, TransactionMode};
use crate::error::{Error, Result};
use crate::planner::sql::{Namespace, Param};
use crate::schema::{Shard, ShardRole, Table};
use crate::transaction::Cluster;
use crate::transaction::commit::PendingPart;
use crate::value::Value;

/// A transaction that is unfinished for this time is listed. A commit takes less.
const BEING_COMMITTED: Duration = Duration::from_secs(1);

/// The pause before the unfinished transactions are read again.
const READ_AGAIN: Duration = Duration::from_millis(50);

/// The contents of a cluster at one moment; returned by [`Cluster::status`]. Prints tables.
///
/// With the feature `serde` it can be serialised.
#[derive(Debug)]
#[non_exhaustive]
pub struct Status {
    /// The id of the cluster.
    pub cluster: String,
    /// The epoch of the recorded layout: see [`Cluster::epoch`].
    pub epoch: u64,
    /// The shards, in their declared order.
    pub shards: Vec<ShardStatus>,
    /// The migrations of every shard that could be read: see [`Cluster::migration_status`].
    pub migrations: MigrationStatus,
    /// The global transactions that are not finished on every shard.
    pub transactions: Vec<PendingTransaction>,
    /// The keys with their own lines in the recorded layout: those that [`Cluster::move_key`] has moved.
    pub keys: Vec<KeyLine>,
    /// The changes of the layout that run, and those whose sources still hold their rows under other names.
    pub changes: Vec<ChangeStatus>,
    /// The error of reading the changes from the control database.
    pub changes_error: Option<Error>,
    /// The rows of the fullest serving shard, divided by the mean of all serving shards: 1 if all hold equally many. `None` if
    /// there are no rows, or if a shard could not be read.
    pub imbalance: Option<f64>,
}

/// The contents of one shard.
#[derive(Debug)]
#[non_exhaustive]
pub struct ShardStatus {
    /// The name.
    pub shard: String,
    /// Whether it holds keys, or is spare.
    pub role: ShardRole,
    /// The path, or the host and the database; never a password.
    pub location: String,
    /// The rows of the models whose rows are spread over the shards.
    pub rows: Option<u64>,
    /// The size of its tables and indexes on disk; on a SQLite file of its own the size of the file.
    pub bytes: Option<u64>,
    /// The rows of each table, also of reference tables and of lookups.
    pub tables: Vec<TableRows>,
    /// The error of reading the shard.
    pub error: Option<Error>,
}

/// The number of rows of a table on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableRows {
    /// The table, without the shard's prefix.
    pub table: &'static str,
    /// The number of rows.
    pub rows: u64,
}

/// The line of a key in the recorded layout.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyLine {
    /// The first table of the placement group.
    pub table: String,
    /// The line, as in `key 42 => c`.
    pub line: String,
}

/// A global transaction that is not finished on some shards.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingTransaction {
    /// The id, as [`Error::transaction_id`] and [`Recovered::transactions`](crate::Recovered::transactions) have it.
    pub id: String,
    /// Whether it is decided.
    pub state: TransactionState,
    /// The first shard of each database on which it is not finished.
    pub shards: Vec<String>,
}

/// The state of a global transaction that is not finished. [`Cluster::recover`] finishes both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransactionState {
    /// It is committed, and some shards have not applied it yet.
    Pending,
    /// It is prepared, and no decision was found: its session is about to decide, or has ended.
    InDoubt,
}

impl fmt::Display for TransactionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TransactionState::Pending => "pending",
            TransactionState::InDoubt => "in doubt",
        })
    }
}

serialized! { Status { cluster, epoch, shards, migrations, transactions, keys, changes, changes_error, imbalance } }
serialized! { KeyLine { table, line } }
serialized! { ShardStatus { shard, role, location, rows, bytes, tables, error } }
serialized! { TableRows { table, rows } }
serialized! { PendingTransaction { id, state, shards } }

/// Serialises its name: `"in doubt"`.
#[cfg(feature = "serde")]
impl serde::Serialize for TransactionState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cluster {}, epoch {}", self.cluster, self.epoch)?;
        let row = |shard: &ShardStatus| {
            let (rows, bytes) = (shown(shard.rows), shown(shard.bytes));
            vec![shard.shard.clone(), rows, bytes, shard.role.name().to_owned(), shard.location.clone()]
        };
        let rows: Vec<Vec<String>> = self.shards.iter().map(row).collect();
        f.write_str(&table(&["shard", "rows", "bytes", "role", "location"], &rows))?;
        if let Some(imbalance) = self.imbalance {
            writeln!(f, "imbalance: {imbalance:.2} (rows of the fullest shard by the mean)")?;
        }
        let is_new = |shard: &ShardMigrations| shard.steps.is_empty() && shard.left_out.is_none();
        match self.migrations.shards.iter().all(is_new) {
            true => writeln!(f, "migrations: none")?,
            false => write!(f, "{}", self.migrations)?,
        }
        if self.transactions.is_empty() {
            writeln!(f, "transactions: all are finished")?;
        }
        for PendingTransaction { id, state, shards } in &self.transactions {
            writeln!(f, "transaction {id}: {state} on {}; run `recover`", shards.join(", "))?;
        }
        self.keys.iter().try_for_each(|KeyLine { table, line }| writeln!(f, "{table}: {line}"))?;
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))?;
        self.errors().try_for_each(|error| writeln!(f, "{}", with_causes(error)))
    }
}

impl Status {
    /// Returns the errors of the shards that could not be read, and then that of the control database.
    pub fn errors(&self) -> impl Iterator<Item = &Error> {
        self.shards.iter().filter_map(|shard| shard.error.as_ref()).chain(&self.changes_error)
    }
}

impl Cluster {
    /// Counts the rows of every table on every shard, on all databases at the same time. It also lists the steps of migrations,
    /// the global transactions that are not finished, and the changes of the layout. A shard that cannot be read has its error in
    /// the result.
    ///
    /// Counting reads a whole index of each table, which takes seconds on large tables. A transaction is listed if it is still not
    /// finished one second after it was found.
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
    /// # let mut session = cluster.session();
    /// # session.add_all((1..=10).map(|id| Account { id }))?;
    /// # session.commit()?;
    /// let status = cluster.status();
    /// assert_eq!(status.shards.iter().filter_map(|shard| shard.rows).sum::<u64>(), 10);
    /// assert!(status.transactions.is_empty() && !status.migrations.waits_for_contract());
    /// println!("{status}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn status(&self) -> Status {
        let cluster = self.latest();
        let (mut shards, mut migrated, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        thread::scope(|scope| {
            let read = |database| scope.spawn(move || cluster.status_of(database));
            let threads: Vec<_> = (0..cluster.databases()).map(read).collect();
            for (database, thread) in threads.into_iter().enumerate() {
                let Ok((mut read, mut steps, pending)) = thread.join() else { continue };
                shards.append(&mut read);
                migrated.append(&mut steps);
                parts.extend(pending.into_iter().map(|part| (database, part)));
            }
        });
        shards.sort_by_key(|(index, _)| *index);
        migrated.sort_by_key(|(index, _)| *index);
        let migrations = MigrationStatus { shards: migrated.into_iter().map(|(_, steps)| steps).collect() };
        let shards: Vec<ShardStatus> = shards.into_iter().map(|(_, status)| status).collect();
        let imbalance = imbalance(&shards);
        cluster.keep_unfinished(&mut parts);
        let mut transactions = cluster.transactions_of(parts);
        if let Some(id) = cluster.in_doubt() {
            let state = TransactionState::InDoubt;
            transactions.push(PendingTransaction { id, state, shards: Vec::new() });
        }
        let changes = cluster
            .changes()
            .and_then(|changes| changes.iter().map(Change::status).collect::<Result<Vec<ChangeStatus>>>());
        let (changes, changes_error) = match changes {
            Ok(changes) => (changes, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let keys = cluster.0.recorded.key_lines();
        let keys =
            keys.map(|(table, line)| KeyLine { table: table.to_owned(), line: line.to_owned() }).collect();
        let (cluster, epoch) = (cluster.id().to_owned(), cluster.epoch());
        Status { cluster, epoch, shards, migrations, transactions, keys, changes, changes_error, imbalance }
    }

    /// Returns the status and the migrations of the shards of one database, by their indexes, and its unfinished transactions.
    fn status_of(&self, database: usize) -> (Vec<(usize, ShardStatus)>, Vec<Migrated>, Vec<PendingPart>) {
        let shards: Vec<&Shard> = self.layout().shards_in(database).collect();
        let read = self.on_connection(&LeaseOwner::default(), database, |connection| {
            connection.begin(TransactionMode::Read)?;
            let read = |shard: &&Shard| {
                let read = self.read_shard(shard, connection, shards.len() == 1);
                read.map_err(|error| error.on_shard(shard.name()))
            };
            let read: Result<Vec<ShardContents>> = shards.iter().map(read).collect();
            connection.rollback()?;
            let read = read?;
            // Outside of a transaction: on a server a missing table would abort it.
            let migrated = shards.iter().map(|shard| {
                let steps = self.migrations_of(shard, connection);
                steps.map(|steps| (shard.index(), steps)).map_err(|error| error.on_shard(shard.name()))
            });
            let migrated: Vec<Migrated> = migrated.collect::<Result<_>>()?;
            Ok((read, migrated, self.pending_on(database, connection)?))
        });
        let status = |shard: &Shard, (tables, bytes): ShardContents, error: Option<Error>| {
            let spread = tables.iter().filter(|(is_spread, _)| *is_spread).map(|(_, table)| table.rows);
            let status = ShardStatus {
                shard: shard.name().to_owned(),
                role: shard.role(),
                location: self.location_of(shard, database),
                rows: error.is_none().then(|| spread.sum()),
                bytes,
                tables: tables.into_iter().map(|(_, table)| table).collect(),
                error,
            };
            (shard.index(), status)
        };
        match read {
            Ok((read, migrated, pending)) => {
                let read = shards.into_iter().zip(read);
                (read.map(|(shard, read)| status(shard, read, None)).collect(), migrated, pending)
            }
            Err(error) => {
                let each = |shard: &&Shard| {
                    let error = error.copied().on_shard(shard.name());
                    status(shard, ShardContents::default(), Some(error))
                };
                let left_out = shards.iter().filter_map(|shard| {
                    let why = self.left_out(shard)?;
                    Some((shard.index(), ShardMigrations::of_left_out(shard.name(), why)))
                });
                (shards.iter().map(each).collect(), left_out.collect(), Vec::new())
            }
        }
    }

    /// Returns the number of rows and of bytes of a shard, as far as they can be read.
    pub(crate) fn size_of_shard(&self, shard: &Shard) -> (Option<u64>, Option<u64>) {
        let read = || {
            let database = self.layout().location(shard.index())?.database;
            let is_alone = self.layout().shards_in(database).count() == 1;
            self.on_connection(&LeaseOwner::default(), database, |connection| {
                self.read_shard(shard, connection, is_alone)
            })
        };
        match read() {
            Ok((tables, bytes)) => (Some(tables.iter().map(|(_, table)| table.rows).sum()), bytes),
            Err(_) => (None, None),
        }
    }

    fn migrations_of(&self, shard: &Shard, connection: &dyn Connection) -> Result<ShardMigrations> {
        if let Some(why) = self.left_out(shard) {
            return Ok(ShardMigrations::of_left_out(shard.name(), why));
        }
        let location = self.layout().location(shard.index())?;
        ShardMigrations::read(connection, location, shard.name())
    }

    /// Returns the rows of each table, whether they are spread over the shards, and the bytes on disk.
    fn read_shard(
        &self,
        shard: &Shard,
        connection: &dyn Connection,
        is_alone: bool,
    ) -> Result<ShardContents> {
        let layout = self.layout();
        let location = layout.location(shard.index())?;
        let is_entries = |table: &Table| layout.lookups().iter().any(|lookup| lookup.entries.is(table));
        let mut tables = Vec::new();
        for table in layout.tables() {
            let sql = format!("SELECT count(*) FROM {}", location.names.table(table.name));
            let rows = number(connection, &sql, &[]).map_err(|error| error.in_table(table.name))?;
            let is_spread = !table.is_reference() && !is_entries(table);
            tables.push((is_spread, TableRows { table: table.name, rows: rows.unwrap_or_default() }));
        }
        let names: Vec<String> = layout.tables().map(|table| location.names.plain(table.name)).collect();
        let (sql, names) = location.dialect.size_sql(&location.names, &names, is_alone);
        let names: Vec<Param<'_>> = names.iter().map(|name| Param::Value(Value::Text(name.into()))).collect();
        // A SQLite library without `dbstat` does not have the size of a part of a file.
        let bytes = number(connection, &sql, &names).unwrap_or_default();
        Ok((tables, bytes))
    }

    /// Returns the location of a shard: a path or a server, with the schema.
    pub(crate) fn location_of(&self, shard: &Shard, database: usize) -> String {
        let at =
            self.0.databases.get(database).map_or_else(String::new, |database| database.driver.describe());
        self.layout().location(shard.index()).map_or(at.clone(), |location| described(&at, &location.names))
    }

    /// Removes the parts that are finished within [`BEING_COMMITTED`].
    fn keep_unfinished(&self, parts: &mut Vec<(usize, PendingPart)>) {
        let until = Instant::now() + BEING_COMMITTED;
        while !parts.is_empty() && Instant::now() < until {
            thread::sleep(READ_AGAIN);
            let mut databases: Vec<usize> = parts.iter().map(|(database, _)| *database).collect();
            databases.dedup();
            for database in databases {
                let pending = self.on_connection(&LeaseOwner::default(), database, |connection| {
                    self.pending_on(database, connection)
                });
                let Ok(mut pending) = pending else { continue };
                parts.retain_mut(|(of, part)| {
                    if *of != database {
                        return true;
                    }
                    let found = pending.iter().position(|found| found.transaction == part.transaction);
                    found.map(|found| *part = pending.swap_remove(found)).is_some()
                });
            }
        }
    }

    fn transactions_of(&self, parts: Vec<(usize, PendingPart)>) -> Vec<PendingTransaction> {
        let mut transactions: Vec<PendingTransaction> = Vec::new();
        for (database, PendingPart { transaction: id, is_decided }) in parts {
            let state = if is_decided { TransactionState::Pending } else { TransactionState::InDoubt };
            let shard = self.database_name(database).to_owned();
            match transactions.iter_mut().find(|transaction| transaction.id == id) {
                Some(known) => {
                    known.shards.push(shard);
                    if is_decided {
                        known.state = state;
                    }
                }
                None => transactions.push(PendingTransaction { id, state, shards: vec![shard] }),
            }
        }
        transactions
    }
}

/// Returns the location of a shard in a database.
pub(super) fn described(at: &str, names: &Namespace) -> String {
    match (&names.schema, names.prefix.as_str()) {
        (Some(schema), _) => format!("{at}?schema={schema}"),
        (None, "") => at.to_owned(),
        (None, prefix) => format!("{at}?prefix={prefix}"),
    }
}

/// The rows of each table, whether they are spread over the shards, and the bytes on disk.
type ShardContents = (Vec<(bool, TableRows)>, Option<u64>);

/// The migrations of a shard, with its index.
type Migrated = (usize, ShardMigrations);

fn imbalance(shards: &[ShardStatus]) -> Option<f64> {
    let serving = shards.iter().filter(|shard| shard.role == ShardRole::Serving);
    let rows: Vec<u64> = serving.map(|shard| shard.rows).collect::<Option<_>>()?;
    let (most, sum) = (rows.iter().copied().max()?, rows.iter().sum::<u64>());
    (sum > 0).then(|| most as f64 * rows.len() as f64 / sum as f64)
}

/// Returns the one number of a statement's result; `None` for NULL.
fn number(connection: &dyn Connection, sql: &str, params: &[Param<'_>]) -> Result<Option<u64>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params)?;
    let mut number = None;
    while rows.advance()? {
        number = match rows.value(0)? {
            Value::Integer(found) => u64::try_from(found).ok(),
            _ => None,
        };
    }
    Ok(number)
}

//! The interface to databases: the traits [`Driver`], [`Connection`] and [`Prepared`], implemented for SQLite and
//! PostgreSQL, and the pool. Uses the layers from `value` to `planner::sql`; it has no shards, models or plans.

mod attached;
mod budget;
mod checkouts;
mod descriptors;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;
mod sqlite_arithmetic;
mod sqlite_connection;
mod sqlite_deadline;
mod sqlite_errors;
mod sqlite_file;
mod sqlite_functions;
mod sqlite_log;
mod sqlite_schema;
mod sqlite_snapshot;
mod sqlite_statement;
mod stored_rows;

pub(crate) use attached::{Attached, attach};
pub(crate) use checkouts::LeaseOwner;
pub(crate) use pool::{Check, Pool, PooledConnection, WaitCounter};
#[cfg(feature = "postgres")]
pub(crate) use postgres::{Pooler, PostgresDriver, PostgresSource, TlsParameters};
pub(crate) use sqlite::{SqliteDriver, SqliteSettings, SqliteSource};
#[cfg(feature = "postgres")]
pub(crate) use stored_rows::RouteRow;
pub(crate) use stored_rows::{StoredRows, StoredRowsWriter};

use std::any::Any;
use std::borrow::Cow;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};
use crate::planner::sql::{Dialect, Namespace, Param};
use crate::row::RowSource;
use crate::row::Stream;
use crate::value::Value;

/// The durability of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Every commit waits for the disk: committed data survives a power loss.
    #[default]
    Full,
    /// SQLite waits for the disk at checkpoints, PostgreSQL shortly after the commit (`synchronous_commit = off`). A
    /// killed process loses nothing, but a power loss may lose the last commits.
    Normal,
}

/// The beginning of the message of a write that a database refuses because the shard is being moved.
pub(crate) const FENCED: &str = "sharded: the shard is being moved";

/// The SQLSTATE of this refusal on a server.
pub(crate) const FENCED_STATE: &str = "SHM01";

/// The beginning of the message with which a shard refuses writes while another cluster is copied into its cluster.
pub(crate) const GUARDED: &str = "sharded: another cluster is being copied into this one";

/// The code of that error on a server.
pub(crate) const GUARDED_STATE: &str = "SHM02";

/// The beginning of the error of a transaction on a shard from which keys have moved since the session's layout was read.
pub(crate) const KEYS_LEFT: &str = "sharded: keys of the shard have moved since the layout was read";

/// The beginning of the message of a write that a database refuses because the row's key has moved to another shard.
pub(crate) const KEY_LEFT: &str = "sharded: the key has moved to another shard";

/// Whether a database that does not exist is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    Open,
    Create,
}

/// The connections to one database.
pub(crate) trait Driver: Send + Sync {
    /// Returns the dialect of the database.
    fn dialect(&self) -> Dialect;

    /// Returns a connection that does not wait for locks yet; see [`Connection::wait_for_locks`]. Connecting ends at
    /// the deadline, which also applies to the connection until another one is set.
    fn connect(&self, mode: Mode, deadline: Option<Instant>) -> Result<Box<dyn Connection>>;

    /// Returns a connection that waits for locks, as soon as no lock of another connection prevents it.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if a lock was held until the timeout.
    fn connect_waiting(&self, mode: Mode, timeout: Duration) -> Result<Box<dyn Connection>> {
        connect_in_time(timeout, || self.connect(mode, None))
    }

    /// Returns a connection to an existing database, as [`connect_waiting`](Driver::connect_waiting) does. Its commits
    /// wait for the disk whatever the settings, because another database will record their effects.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if a lock was held until the timeout.
    fn connect_durable(&self, timeout: Duration) -> Result<Box<dyn Connection>>;

    /// Returns a connection as [`connect_waiting`](Driver::connect_waiting) does, to which other databases can be
    /// [attached](Connection::attach). Commits on a SQLite file do not wait for the disk: copies that a power loss
    /// destroys are made again. A transaction that must survive begins with [`begin_durable`](Connection::begin_durable).
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if a lock was held until the timeout.
    fn connect_to_copy(&self, timeout: Duration) -> Result<Box<dyn Connection>> {
        self.connect_waiting(Mode::Open, timeout)
    }

    /// Returns a connection that reads a database without changing its settings: a SQLite file keeps its journal mode.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if a lock was held until the timeout.
    fn connect_to_read(&self, timeout: Duration) -> Result<Box<dyn Connection>> {
        self.connect_waiting(Mode::Open, timeout)
    }

    /// Returns whether only this driver can access the database, so that its identity needs no check.
    fn is_private(&self) -> bool;

    /// Returns the path of the file, if the database is one.
    fn path(&self) -> Option<&Path>;

    /// Returns the name of the file, if the database is one.
    fn file_name(&self) -> Option<OsString> {
        self.path()?.file_name().map(OsString::from)
    }

    /// Copies the committed data to a new file, and waits until it is on disk. The caller keeps writers away.
    fn copy_to(&self, file: &Path) -> Result<()>;

    /// Returns the database for messages: a path or a host, never a password.
    fn describe(&self) -> String;

    /// Returns the user of a database on a server; `None` for a SQLite database.
    fn user(&self) -> Option<String> {
        None
    }

    /// Returns the address for another server; `None` for a SQLite database.
    #[cfg(feature = "postgres")]
    fn address(&self) -> Option<Address>;

    /// Returns the URI with which another SQLite connection reads the database; `None` for a database on a server.
    fn sqlite_uri(&self) -> Option<String>;
}

/// Connects as soon as no lock of another connection prevents it, and makes the connection wait for locks.
fn connect_in_time(
    timeout: Duration,
    connect: impl Fn() -> Result<Box<dyn Connection>>,
) -> Result<Box<dyn Connection>> {
    let began = Instant::now();
    loop {
        match connect() {
            Err(error) if error.kind() == ErrorKind::Busy && began.elapsed() < timeout => {
                std::thread::sleep(Duration::from_millis(10));
            }
            connected => {
                let connection = connected?;
                connection.wait_for_locks()?;
                connection.set_deadline(None);
                return Ok(connection);
            }
        }
    }
}

/// The address of a database on a server, with its user.
#[cfg(feature = "postgres")]
pub(crate) struct Address {
    /// The hosts and their ports, one of which serves at a time.
    pub(crate) hosts: Vec<(String, u16)>,
    /// The `target_session_attrs` that the host must satisfy.
    pub(crate) attributes: Option<&'static str>,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    /// Whether connections must be encrypted.
    pub(crate) is_encrypted: bool,
}

/// A column of a table in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActualColumn {
    pub(crate) name: String,
    pub(crate) sql_type: String,
    pub(crate) nullable: bool,
    pub(crate) has_default: bool,
    pub(crate) is_primary_key: bool,
    /// The name of the collation in the database.
    pub(crate) collation: String,
    /// Whether two texts are equal only if their bytes are.
    pub(crate) compares_bytes: bool,
}

/// An index over columns that covers every row of its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActualIndex {
    pub(crate) name: String,
    /// The names of its columns, in order.
    pub(crate) columns: Vec<String>,
    pub(crate) is_unique: bool,
}

impl ActualIndex {
    /// Returns its columns, and whether it is unique.
    pub(crate) fn key(&self) -> (&[String], bool) {
        (&self.columns, self.is_unique)
    }
}

/// One connection, used by one session at a time. Methods take `&self` because statements of several shards in one
/// database run at the same time.
pub(crate) trait Connection: Send {
    /// Makes later statements wait for locks, up to the timeout of the settings.
    fn wait_for_locks(&self) -> Result<()>;

    /// Makes later statements fail with [`ErrorKind::Busy`] instead of waiting for a lock, until
    /// [`wait_for_locks`](Connection::wait_for_locks). No effect on a server.
    fn never_wait_for_locks(&self) -> Result<()> {
        Ok(())
    }

    /// Returns a statement that is prepared once per connection and kept.
    fn prepare<'c>(&'c self, sql: &str) -> Result<Box<dyn Prepared + 'c>>;

    /// Prepares a statement for a shard. On a database with schemas, names without a schema are resolved in the
    /// schema of the shard, also in functions and triggers.
    fn prepare_in<'c>(&'c self, _: &Namespace, sql: &str) -> Result<Box<dyn Prepared + 'c>> {
        self.prepare(sql)
    }

    /// Runs a statement that returns at most one row, and visits the row. Returns whether there is one. `_is_expected` is
    /// whether the caller expects one.
    fn look_up(
        &self,
        names: &Namespace,
        sql: &str,
        params: &[Param<'_>],
        _is_expected: bool,
        visit: &mut dyn FnMut(&dyn RowSource) -> Result<()>,
    ) -> Result<bool> {
        let mut statement = self.prepare_in(names, sql)?;
        let mut row = statement.query(params)?;
        if !row.advance()? {
            return Ok(false);
        }
        visit(&*row).map(|()| true)
    }

    /// Begins to prepare a statement without waiting for the database, so that other databases prepare theirs at the
    /// same time.
    fn begin_to_prepare<'c>(&'c self, names: &Namespace, sql: &str) -> Preparing<'c> {
        Preparing::Done(self.prepare_in(names, sql))
    }

    /// Makes the transaction fail unless the database holds this shard, and no key has left it since the layout was read.
    /// A server checks both along with the next statement, and before the end of a transaction that writes. A file checks
    /// only the keys, at once. A later epoch of a shard replaces an earlier one.
    ///
    /// # Errors
    /// [`ErrorKind::Moved`], with a message that begins with [`KEYS_LEFT`].
    fn expect(&self, _shard: &Arc<Expected>) -> Result<()> {
        Ok(())
    }

    /// Resets everything that a statement can set beyond the transaction, when the transaction ends: settings, the
    /// role, advisory locks. For statements of the application.
    fn restore_settings_at_end(&self) {}

    /// Begins statements that are sent one behind the other, without waiting for answers in between. They are atomic: if
    /// one fails, all of them are undone. At a lock that another transaction holds they fail with [`ErrorKind::Busy`]
    /// after a millisecond. Returns `None` if the connection cannot do that now.
    fn begin_pipeline<'c>(&'c self, _: &Namespace, _: Vec<Pipelined<'c>>) -> Option<Box<dyn Pipeline + 'c>> {
        None
    }

    /// Undoes the statements of the last pipeline, which has ended, and releases their locks. The connection has run no
    /// other statement since. If this fails, the connection has lost its transaction.
    fn undo_pipeline(&self) -> Result<()> {
        Ok(())
    }

    /// Runs statements without parameters and rows.
    fn run(&self, sql: &str) -> Result<()>;

    /// Runs a statement that takes locks. If it fails, the transaction continues as before the statement.
    fn lock(&self, sql: &str) -> Result<()> {
        self.run(sql)
    }

    /// Begins a statement that returns rows in their stored form. Returns `None` if the connection has no such statement.
    fn copy_out<'c>(&'c self, _sql: &str) -> Result<Option<Box<dyn StoredRows + 'c>>> {
        Ok(None)
    }

    /// Begins a statement that accepts rows in that form. The connection runs no other statement until it has ended.
    fn copy_in<'c>(&'c self, _sql: &str) -> Result<Option<Box<dyn StoredRowsWriter + 'c>>> {
        Ok(None)
    }

    /// Attaches another database as a schema of this name, to read it. Transactions that write take no lock there.
    /// Returns whether it was attached: this needs a connection of `connect_to_copy` without a transaction.
    fn attach(&self, _uri: &str, _schema: &str) -> bool {
        false
    }

    /// Detaches a database, after the transaction that has read it.
    fn detach(&self, _schema: &str) -> Result<()> {
        Ok(())
    }

    fn begin(&self, transaction: TransactionMode) -> Result<()>;

    /// Begins a transaction that writes, without waiting for locks.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if another connection holds the lock.
    fn begin_without_waiting(&self) -> Result<()> {
        self.begin(TransactionMode::Write)
    }

    /// Begins a transaction that writes and whose commit is on disk when it returns, under any settings. Waits for a lock
    /// only for a moment, if at all. [`restore_durability`](Connection::restore_durability) must follow its end, even
    /// after an error.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if another connection holds a lock that is needed.
    fn begin_durable(&self) -> Result<()> {
        self.begin_without_waiting()
    }

    /// Makes later commits as durable as the settings require.
    fn restore_durability(&self) -> Result<()> {
        Ok(())
    }

    /// Limits each later wait for a row or table lock, until the transaction ends. No effect on a database that is locked
    /// as a whole when a transaction begins.
    fn limit_lock_waits(&self, _limit: Duration) {}

    /// Excludes other retried transactions over several databases, until the transaction ends. No effect on a
    /// database that is locked as a whole when a transaction begins.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if such a transaction does not end in time.
    fn lock_for_retry(&self, _key: &str) -> Result<()> {
        Ok(())
    }

    fn commit(&self) -> Result<()>;

    /// Waits until all committed data is on disk, if commits do not wait for that themselves.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Searches the WAL for a transaction that no connection reads, but that would be committed if all processes ended
    /// before the next write. Its owner was killed, or the disk failed, at the end of the commit. It can also be a
    /// transaction that is being committed. Returns the position in the log, counted from 0, at which the next commit
    /// overwrites it.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if the log cannot be read at this moment.
    fn unread_transaction(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Prepares the transaction under this name (letters, digits and colons), so that any connection can commit it or
    /// roll it back later. If that fails, the transaction is rolled back.
    fn prepare_commit(&self, name: &str) -> Result<()>;

    /// Checks the constraints that are deferred to the commit.
    ///
    /// # Errors
    /// [`ErrorKind::ForeignKey`] if one is violated.
    fn check_constraints(&self) -> Result<()>;

    /// Rolls the transaction back; no effect if the database has ended it already.
    fn rollback(&self) -> Result<()>;

    /// Sets the time at which running statements are stopped; `None` removes the deadline.
    ///
    /// # Errors
    /// The statement fails with [`ErrorKind::TimedOut`].
    fn set_deadline(&self, deadline: Option<Instant>);

    /// Returns a function that stops the running or the next statement of this connection, until
    /// [`set_deadline`](Connection::set_deadline) is called.
    fn interrupter(&self) -> Interrupter;

    /// Sets the observer of statements that have waited for a while, perhaps for a lock, in a transaction that writes.
    /// SQLite ignores it: no prepared transaction can hold its only lock.
    fn when_blocked(&self, _: LongWaits) {}

    /// Returns the process of the server that serves the connection, if it is the same for every transaction.
    fn server_process(&self) -> Option<i32> {
        None
    }

    /// Returns whether reading the whole database takes longer than waking a thread.
    fn is_large(&self) -> bool;

    /// Returns whether a transaction is open.
    fn in_transaction(&self) -> bool;

    /// Returns whether another session can use the connection.
    fn is_usable(&self) -> bool;

    /// Returns whether its server is gone, does not answer, or has become read-only, so that other connections to it are
    /// unusable, too.
    fn has_lost_its_server(&self) -> bool {
        false
    }

    /// Returns the columns of each of these tables; empty if the table does not exist. One statement on a server.
    fn columns_of(&self, names: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualColumn>>>;

    /// Returns whether the columns of a table hold only values of their declared types. SQLite compares the name with
    /// those of all its tables, so call it only if the result matters.
    fn is_strict(&self, _: &Namespace, _table: &str) -> Result<bool> {
        Ok(true)
    }

    /// Returns the indexes of each of these tables: valid ones, without conditions and expressions. One statement on a server.
    fn indexes_of(&self, names: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualIndex>>>;

    /// Returns the columns of a table; empty if it does not exist.
    fn columns(&self, names: &Namespace, table: &str) -> Result<Vec<ActualColumn>> {
        Ok(self.columns_of(names, &[table])?.into_iter().flatten().collect())
    }

    /// Returns whether a table exists.
    fn exists(&self, names: &Namespace, table: &str) -> Result<bool> {
        self.columns(names, table).map(|columns| !columns.is_empty())
    }

    /// Returns the indexes of a table, as [`indexes_of`](Connection::indexes_of) does.
    fn indexes(&self, names: &Namespace, table: &str) -> Result<Vec<ActualIndex>> {
        Ok(self.indexes_of(names, &[table])?.into_iter().flatten().collect())
    }

    /// Returns the connection of the underlying crate.
    fn native(&self) -> &dyn Any;
}

/// The observer of long waits. While a statement waits, any thread calls it from time to time with a function that ends
/// the wait as a deadlock. Once a reported wait has ended, it is called with `None`, and the function must not be called
/// any more. It runs on the waiting thread, and must not block.
pub(crate) type LongWaits = Arc<dyn Fn(Option<Interrupter>) + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionMode {
    /// A snapshot, without locks.
    Read,
    /// The right to write; waits for the lock at the beginning.
    Write,
}

/// A shard that a database should contain, according to its identity row, in the epoch of a layout.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) shard: String,
    pub(crate) epoch: u64,
    /// On a server: the statement that fails with an invalid integer (22P02) if the shard is missing or keys have left it
    /// later. On a file: the query for the epoch in which the last key has left it.
    pub(crate) sql: String,
    /// The statement that excludes moves of keys until a transaction that writes ends. It runs before `sql`.
    pub(crate) lock: Option<String>,
}

/// The properties of a prepared statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatementProperties {
    /// The number of parameters.
    pub(crate) parameters: usize,
    pub(crate) returns_rows: bool,
    /// Whether it only reads.
    pub(crate) only_reads: bool,
}

/// A prepared statement.
pub(crate) trait Prepared {
    fn properties(&self) -> StatementProperties;

    /// Runs a statement without rows. Returns the number of changed rows.
    fn execute(&mut self, params: &[Param<'_>]) -> Result<u64>;

    /// Inserts one row. Returns the id that the database generated.
    fn insert(&mut self, values: &[Value<'_>]) -> Result<i64>;

    /// Begins a statement that returns rows.
    fn query<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn RowCursor + 's>>;

    /// Begins a SELECT whose rows are read while other statements of the same connection run.
    fn query_beside_others<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn RowCursor + 's>> {
        self.query(params)
    }
}

/// A statement of a pipeline, for one shard.
pub(crate) struct Pipelined<'p> {
    pub(crate) sql: Cow<'p, str>,
    #[cfg_attr(not(feature = "postgres"), expect(dead_code))]
    pub(crate) params: Vec<Param<'p>>,
}

/// The answer to a statement of a pipeline.
pub(crate) struct PipelineAnswer {
    /// The number of changed rows.
    pub(crate) rows: u64,
    /// The first value of its last row, if it returned rows.
    pub(crate) value: Option<Value<'static>>,
}

/// Statements that are sent together; see [`Connection::begin_pipeline`]. The first one may have to be prepared before.
pub(crate) trait Pipeline {
    /// Sends the statements, and does not wait for their answers.
    fn send(&mut self);

    /// Waits for the answers.
    fn finish(self: Box<Self>) -> Result<Vec<PipelineAnswer>>;
}

/// A statement that may not be prepared yet.
pub(crate) enum Preparing<'c> {
    Done(Result<Box<dyn Prepared + 'c>>),
    /// Waits for the database.
    #[cfg(feature = "postgres")]
    Begun(Box<dyn FnOnce() -> Result<Box<dyn Prepared + 'c>> + 'c>),
}

impl<'c> Preparing<'c> {
    /// Returns the statement, once it is prepared.
    pub(crate) fn finish(self) -> Result<Box<dyn Prepared + 'c>> {
        match self {
            Preparing::Done(prepared) => prepared,
            #[cfg(feature = "postgres")]
            Preparing::Begun(finish) => finish(),
        }
    }
}

/// Rows that are read in order.
pub(crate) trait Answer: Stream + RowSource {}

impl<S: Stream + RowSource> Answer for S {}

/// The rows of a running statement.
pub(crate) trait RowCursor: Answer {
    /// Returns the number of columns.
    fn width(&self) -> usize;

    /// Returns the names of the columns, after the first row was read.
    fn columns(&self) -> Vec<String>;
}

/// Stops the running or the next statement of a connection, from any thread.
pub(crate) type Interrupter = Box<dyn Fn() + Send + Sync>;

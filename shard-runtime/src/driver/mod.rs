//! What the session needs of a database. Nothing above this module knows which one it is, and nothing in it
//! knows of shards, models or plans.

mod attached;
mod budget;
mod checkouts;
mod descriptors;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;
mod sqlite_arithmetic;
mod sqlite_errors;
mod sqlite_file;
mod sqlite_functions;
mod sqlite_log;

pub(crate) use attached::{Attached, attach};
pub(crate) use checkouts::LeaseOwner;
pub(crate) use pool::{Check, Pool, PooledConnection};
#[cfg(feature = "postgres")]
pub(crate) use postgres::{Asked, Pooler, PostgresDriver, PostgresSource};
pub(crate) use sqlite::{SqliteDriver, SqliteSettings, SqliteSource};

use std::any::Any;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};
use crate::planner::sql::{Dialect, Namespace, Param};
use crate::row::RowSource;
use crate::row::Stream;
use crate::value::Value;

/// When a commit waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Always: what was committed survives a power loss.
    #[default]
    Full,
    /// SQLite waits at checkpoints, PostgreSQL waits a moment later (`synchronous_commit = off`): a process may be
    /// killed at any time, but a power loss may take the last commits away.
    Normal,
}

/// Whether a database that does not exist is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    Open,
    Create,
}

/// How connections to one database are made.
pub(crate) trait Driver: Send + Sync {
    /// The SQL that its databases speak.
    fn dialect(&self) -> Dialect;

    /// Returns a connection that does not wait for locks yet; see [`Connection::wait_for_locks`]. Connecting, and the
    /// connection until its deadline is set anew, has no more time than until this deadline.
    fn connect(&self, mode: Mode, deadline: Option<Instant>) -> Result<Box<dyn Connection>>;

    /// A connection, made as soon as nobody's lock is in the way; it waits for locks from then on.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] where a lock was in the way for so long.
    fn connect_waiting(&self, mode: Mode, timeout: Duration) -> Result<Box<dyn Connection>> {
        let began = Instant::now();
        loop {
            match self.connect(mode, None) {
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

    /// Whether nobody but this driver can have touched the database, so that it needs no second look.
    fn is_private(&self) -> bool;

    /// What the database's file is called, where it is a file.
    fn file_name(&self) -> Option<OsString>;

    /// Copies what is committed to a new file, and waits until that is on disk. Somebody keeps everybody from writing
    /// meanwhile.
    fn copy_to(&self, file: &Path) -> Result<()>;

    /// The database for a person: a path, never a password.
    fn describe(&self) -> String;

    /// How another server reaches the database; `None` where it is on no server.
    #[cfg(feature = "postgres")]
    fn address(&self) -> Option<Address>;

    /// How another SQLite connection names this database to read it; `None` where it is no SQLite database.
    fn sqlite_uri(&self) -> Option<String>;
}

/// Where a database is on a server, and who logs in.
#[cfg(feature = "postgres")]
pub(crate) struct Address {
    /// The hosts and their ports. One of them serves at a time.
    pub(crate) hosts: Vec<(String, u16)>,
    /// The `target_session_attrs` that a host has to serve.
    pub(crate) attributes: Option<&'static str>,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    /// Whether nobody may speak to it who does not encrypt.
    pub(crate) is_encrypted: bool,
}

/// A column as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActualColumn {
    pub(crate) name: String,
    pub(crate) sql_type: String,
    pub(crate) nullable: bool,
    pub(crate) has_default: bool,
    pub(crate) is_primary_key: bool,
    /// The collation as the database calls it.
    pub(crate) collation: String,
}

/// One connection, used by one session at a time. Methods take `&self` so that several statements can be read
/// at once where several shards share a database.
pub(crate) trait Connection: Send {
    /// From now on a lock that somebody else holds is waited for, as long as the settings say.
    fn wait_for_locks(&self) -> Result<()>;

    /// A statement, prepared once per connection and kept.
    fn prepare<'c>(&'c self, sql: &str) -> Result<Box<dyn Prepared + 'c>>;

    /// Prepares a statement for a shard. Names without a schema, in it and in functions and triggers that it runs, are looked
    /// up in the shard's, where the database has schemas.
    fn prepare_in<'c>(&'c self, _: &Namespace, sql: &str) -> Result<Box<dyn Prepared + 'c>> {
        self.prepare(sql)
    }

    /// Begins to prepare a statement and does not wait for the database, so that others do the same meanwhile.
    fn begin_to_prepare<'c>(&'c self, names: &Namespace, sql: &str) -> Preparing<'c> {
        Preparing::Done(self.prepare_in(names, sql))
    }

    /// From now on the statements of the transaction run only where the database holds this shard: it is looked at along
    /// with the next of them. Only for databases where the same connection can come to lead elsewhere.
    fn expect(&self, _: &Arc<Expected>) {}

    /// Has everything undone when the transaction ends that a statement can set for longer: settings, the role, advisory
    /// locks. For statements that the runtime does not know.
    fn restore_settings_at_end(&self) {}

    /// Runs statements that take no values and return no rows.
    fn run(&self, sql: &str) -> Result<()>;

    /// Runs a statement that takes locks. If it fails, the transaction goes on as it was before the statement.
    fn lock(&self, sql: &str) -> Result<()> {
        self.run(sql)
    }

    fn begin(&self, transaction: Transaction) -> Result<()>;

    /// Begins a transaction that writes, and does not wait for a lock that is held now.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]
    fn begin_without_waiting(&self) -> Result<()> {
        self.begin(Transaction::Write)
    }

    /// Begins a transaction that writes and whose commit is on disk when it returns, whatever the settings are. It waits for
    /// no lock, or only for a moment. [`restore_durability`](Connection::restore_durability) follows its end, also after an
    /// error.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if another connection holds a lock that is needed.
    fn begin_durable(&self) -> Result<()> {
        self.begin_without_waiting()
    }

    /// Lets later commits be as durable as the settings require.
    fn restore_durability(&self) -> Result<()> {
        Ok(())
    }

    /// Ends each later wait for a row's or a table's lock after this time, until the transaction ends. Nothing to do for a
    /// database that is locked as a whole when a transaction begins.
    fn limit_lock_waits(&self, _limit: Duration) {}

    /// Excludes other transactions over several databases that are tried again, until the transaction ends. Nothing to do
    /// for a database that is locked as a whole when a transaction begins.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]
    fn lock_for_retry(&self, _key: &str) -> Result<()> {
        Ok(())
    }

    fn commit(&self) -> Result<()>;

    /// Waits until everything that was committed is on disk, if commits do not wait for that themselves.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Looks for a transaction that no connection reads and that is committed if all processes end before the next one
    /// writes: its owner was killed, or the disk failed, at the end of the commit. Returns the place where the next commit
    /// overwrites it, counted from 0 in the log. It may also be a transaction that is being committed.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if it cannot be seen at this moment.
    fn unread_transaction(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Ends the transaction in a way that somebody can commit or roll back later, under this name: a short one, of
    /// letters, digits and colons. Where it fails, the transaction is rolled back.
    fn prepare_commit(&self, name: &str) -> Result<()>;

    /// Looks for what a commit would refuse: constraints that were deferred to it.
    ///
    /// # Errors
    /// [`ErrorKind::ForeignKey`]
    fn check_constraints(&self) -> Result<()>;

    /// Ends the transaction without its effects; nothing to do where the database has ended it already.
    fn rollback(&self) -> Result<()>;

    /// From now on a statement is stopped that runs at this time; none, where none is given.
    ///
    /// # Errors
    /// The statement's: [`ErrorKind::TimedOut`].
    fn set_deadline(&self, deadline: Option<Instant>);

    /// What stops a statement of this connection that runs for nobody, whether it runs already or begins later: until
    /// [`set_deadline`](Connection::set_deadline) says otherwise.
    fn interrupter(&self) -> Interrupter;

    /// Has this called while a statement of a transaction that writes has waited for a while, perhaps for a lock, and
    /// again from time to time. It is called on the thread that waits and must not block. A SQLite database has one lock,
    /// which nothing is left to hold.
    fn when_blocked(&self, _: Arc<dyn Fn() + Send + Sync>) {}

    /// Whether reading all of the database takes longer than waking a thread.
    fn is_large(&self) -> bool;

    /// Whether a transaction is under way.
    fn in_transaction(&self) -> bool;

    /// Whether somebody else can begin with it, or has to take another one.
    fn is_usable(&self) -> bool;

    /// Whether its server is gone, does not answer or is not writable any more, so that other connections to it are of
    /// no use either.
    fn has_lost_its_server(&self) -> bool {
        false
    }

    /// The columns of a table; empty where there is no such table.
    fn columns(&self, names: &Namespace, table: &str) -> Result<Vec<ActualColumn>>;

    /// The names of a table's indexes, and whether each is unique.
    fn indexes(&self, names: &Namespace, table: &str) -> Result<Vec<(String, bool)>>;

    /// The connection as the driver's own crate has it, for who knows which driver this is.
    fn native(&self) -> &dyn Any;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transaction {
    /// A snapshot; no lock that others wait for.
    Read,
    /// The right to write, waited for at the beginning.
    Write,
}

/// A shard that a database should hold, as its identity row says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) shard: String,
    /// The statement that fails with an invalid integer (22P02) if the database does not hold it.
    pub(crate) sql: String,
}

/// What is known of a statement before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How many parameters it takes.
    pub(crate) parameters: usize,
    pub(crate) returns_rows: bool,
    /// Whether it leaves the database as it is.
    pub(crate) only_reads: bool,
}

/// A statement that is ready to run.
pub(crate) trait Prepared {
    fn shape(&self) -> Shape;

    /// Runs a statement that returns no rows; the number of rows that it changed.
    fn execute(&mut self, params: &[Param<'_>]) -> Result<u64>;

    /// Inserts one row; the id that the database counted for it.
    fn insert(&mut self, values: &[Value<'_>]) -> Result<i64>;

    /// Begins a statement that returns rows.
    fn query<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn Cursor + 's>>;

    /// Begins a SELECT whose rows are read while other statements of the same connection run.
    fn query_beside_others<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn Cursor + 's>> {
        self.query(params)
    }
}

/// A statement that may still be on its way to be prepared.
pub(crate) enum Preparing<'c> {
    Done(Result<Box<dyn Prepared + 'c>>),
    /// What waits for it.
    #[cfg(feature = "postgres")]
    Begun(Box<dyn FnOnce() -> Result<Box<dyn Prepared + 'c>> + 'c>),
}

impl<'c> Preparing<'c> {
    /// The statement, once it is prepared.
    pub(crate) fn finish(self) -> Result<Box<dyn Prepared + 'c>> {
        match self {
            Preparing::Done(prepared) => prepared,
            #[cfg(feature = "postgres")]
            Preparing::Begun(finish) => finish(),
        }
    }
}

/// Rows that are read one after the other.
pub(crate) trait Answer: Stream + RowSource {}

impl<S: Stream + RowSource> Answer for S {}

/// The rows of a running statement.
pub(crate) trait Cursor: Answer {
    /// How many columns a row has.
    fn width(&self) -> usize;

    /// The names of the columns, once there is a row.
    fn columns(&self) -> Vec<String>;
}

/// Stops, from any thread, what a connection is running or about to run.
pub(crate) type Interrupter = Box<dyn Fn() + Send + Sync>;

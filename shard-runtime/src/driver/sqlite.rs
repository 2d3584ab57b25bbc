//! The SQLite driver, through `rusqlite`: files in WAL mode, and databases in memory. Uses `sqlite_file`,
//! `sqlite_log` and the functions beside it.

use std::any::Any;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{OpenFlags, OptionalExtension as _};

use super::sqlite_deadline::Deadline;
use super::sqlite_errors::from_sqlite;
use super::sqlite_file::OpenFile;
use super::sqlite_log::Log;
use super::sqlite_statement::SqliteStatement;
use super::{
    ActualColumn, ActualIndex, Connection, Driver, Durability, Expected, Interrupter, KEYS_LEFT, Mode,
    Prepared, Transaction,
};
use super::{attached, connect_in_time, sqlite_arithmetic, sqlite_file, sqlite_functions};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Dialect, Namespace, quoted};

/// The number of prepared statements that a connection keeps.
const STATEMENTS: usize = 256;

/// The number of pages from which a database counts as large: 2 MiB.
const LARGE: i64 = 512;

/// The settings of every connection, which are read back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SqliteSettings {
    pub(crate) busy_timeout: Duration,
    pub(crate) synchronous: Durability,
    /// The page cache of each connection, in KiB.
    pub(crate) cache_size: u32,
    /// The mapped part of the file, in bytes.
    pub(crate) mmap_size: u64,
    /// The size to which a WAL is truncated, in bytes.
    pub(crate) wal_size_limit: u64,
}

/// The location of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SqliteSource {
    File(PathBuf),
    /// A database that exists as long as its driver.
    Memory(String),
}

impl SqliteSource {
    pub(crate) const DIALECT: Dialect = Dialect::Sqlite;

    /// Returns the source of a new database in memory.
    pub(crate) fn memory() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        SqliteSource::Memory(format!("sharded-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }
}

pub(crate) struct SqliteDriver {
    source: SqliteSource,
    settings: SqliteSettings,
    /// The connection that keeps a database in memory.
    anchor: Mutex<Option<rusqlite::Connection>>,
}

impl SqliteDriver {
    pub(crate) fn new(source: SqliteSource, settings: SqliteSettings) -> Self {
        SqliteDriver { source, settings, anchor: Mutex::new(None) }
    }

    fn open_file(path: &Path, mode: Mode) -> Result<rusqlite::Connection> {
        Self::open_file_with(path, mode, OpenFlags::empty())
    }

    fn open_file_with(path: &Path, mode: Mode, more: OpenFlags) -> Result<rusqlite::Connection> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
        if mode == Mode::Create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        } else {
            // An unmounted disk or a truncated copy leaves an empty file, which SQLite would open as a new database.
            match path.metadata() {
                Ok(found) if found.len() > 0 => {}
                Ok(_) => {
                    let message = format!("the database at {} is empty", path.display());
                    return Err(Error::new(ErrorKind::Missing, message));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let message = format!("there is no database at {}", path.display());
                    return Err(Error::new(ErrorKind::Missing, message));
                }
                Err(error) => {
                    let message = format!("cannot read the metadata of {}", path.display());
                    return Err(Error::new(ErrorKind::Io, message).with_source(error));
                }
            }
        }
        rusqlite::Connection::open_with_flags(path, flags).map_err(|error| {
            let error = from_sqlite(error);
            Error::new(error.kind(), format!("{} cannot be opened: {error}", path.display()))
                .of_limit(error.exhausted())
                .with_source(error)
        })
    }

    fn open_memory(&self, name: &str, mode: Mode) -> Result<rusqlite::Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || rusqlite::Connection::open_with_flags(format!("file:/{name}?vfs=memdb"), flags);
        let mut anchor = self.anchor.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if anchor.is_none() {
            if mode == Mode::Open {
                return Err(Error::new(
                    ErrorKind::Missing,
                    "a database in memory ends with its process; use `create` instead of `open`",
                ));
            }
            *anchor = Some(open().map_err(from_sqlite)?);
        }
        open().map_err(from_sqlite)
    }

    /// Opens a file for reading if its WAL cannot be created beside it. Without the WAL SQLite takes no locks, so
    /// that this is correct only if no process can write the file.
    fn open_unwritable(&self, path: &Path, error: Error) -> Result<rusqlite::Connection> {
        if !matches!(error.kind(), ErrorKind::ReadOnly | ErrorKind::Io)
            || sqlite_file::is_writable_beside(path)
        {
            return Err(error);
        }
        let message = match sqlite_file::why_not_frozen(path) {
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
                    | OpenFlags::SQLITE_OPEN_URI
                    | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let uri = format!("{}&immutable=1", attached::uri(&self.source));
                let raw = rusqlite::Connection::open_with_flags(uri, flags).map_err(from_sqlite)?;
                return self.configure(&raw, false).map(|()| raw);
            }
            Some(why) => why,
        };
        let message = format!(
            "{} cannot be opened: reading it needs files with the endings `-wal` and `-shm` beside it, and its folder cannot \
             be written ({error}); {message}",
            path.display()
        );
        Err(Error::new(ErrorKind::ReadOnly, message).with_source(error))
    }

    fn connection(&self, mut raw: rusqlite::Connection) -> Result<Box<dyn Connection>> {
        let deadline = Deadline::watch(&mut raw)?;
        let (file, log) = match &self.source {
            SqliteSource::File(path) => (Some(OpenFile::at(path)?), Some(Log::of(path))),
            SqliteSource::Memory(_) => (None, None),
        };
        let SqliteSettings { busy_timeout, synchronous, .. } = self.settings;
        let expected = RefCell::default();
        Ok(Box::new(SqliteConnection { log, raw, busy_timeout, synchronous, deadline, file, expected }))
    }

    /// Applies the settings and reads them back: SQLite ignores settings that it does not support.
    fn configure(&self, raw: &rusqlite::Connection, logs_ahead: bool) -> Result<()> {
        let SqliteSettings { synchronous, cache_size, mmap_size, wal_size_limit, .. } = self.settings;
        raw.busy_timeout(Duration::ZERO).map_err(from_sqlite)?;
        // A quoted name that is not a column is an error, and not a text literal.
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false).map_err(from_sqlite)?;
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false).map_err(from_sqlite)?;
        raw.set_prepared_statement_cache_capacity(STATEMENTS);
        rusqlite::vtab::array::load_module(raw)
            .and_then(|()| sqlite_functions::define(raw))
            .and_then(|()| sqlite_arithmetic::define(raw))
            .map_err(from_sqlite)?;
        if logs_ahead {
            log_ahead(raw)?;
        }
        if matches!(self.source, SqliteSource::File(_)) {
            // Not read back: SQLite maps as much as it can, which may be nothing.
            raw.pragma_update(None, "mmap_size", i64::try_from(mmap_size).unwrap_or(i64::MAX))
                .map_err(from_sqlite)?;
        }
        let most = i64::try_from(wal_size_limit).unwrap_or(i64::MAX);
        let level = match synchronous {
            Durability::Full => 2,
            Durability::Normal => 1,
        };
        let cache = -i64::from(cache_size);
        let settings = [
            ("synchronous", level),
            ("foreign_keys", 1),
            ("cache_size", cache),
            ("journal_size_limit", most),
        ];
        for (name, wanted) in settings {
            raw.pragma_update(None, name, wanted).map_err(from_sqlite)?;
            let found: i64 = raw.pragma_query_value(None, name, |row| row.get(0)).map_err(from_sqlite)?;
            if found != wanted {
                return Err(setting(name, &wanted.to_string(), &found.to_string()));
            }
        }
        Ok(())
    }
}

/// Switches the file to the WAL mode, which it then keeps.
fn log_ahead(raw: &rusqlite::Connection) -> Result<()> {
    let journal = |sql: &str| raw.query_row(sql, [], |row| row.get::<_, String>(0)).map_err(from_sqlite);
    let mut mode = journal("PRAGMA journal_mode")?;
    if mode != "wal" {
        mode = journal("PRAGMA journal_mode = WAL")?;
    }
    match mode == "wal" {
        true => Ok(()),
        false => Err(setting("journal_mode", "wal", &mode)),
    }
}

fn setting(name: &str, wanted: &str, found: &str) -> Error {
    Error::new(
        ErrorKind::Database,
        format!("SQLite did not accept `{name} = {wanted}`; the value is `{found}`"),
    )
}

impl Driver for SqliteDriver {
    fn dialect(&self) -> Dialect {
        SqliteSource::DIALECT
    }

    fn connect(&self, mode: Mode, _: Option<Instant>) -> Result<Box<dyn Connection>> {
        match &self.source {
            SqliteSource::File(path) => {
                let raw = Self::open_file(path, mode)?;
                match self.configure(&raw, true) {
                    Ok(()) => self.connection(raw),
                    Err(error) => self.connection(self.open_unwritable(path, error)?),
                }
            }
            SqliteSource::Memory(name) => {
                let raw = self.open_memory(name, mode)?;
                self.configure(&raw, false)?;
                self.connection(raw)
            }
        }
    }

    fn connect_to_copy(&self, timeout: Duration) -> Result<Box<dyn Connection>> {
        let SqliteSource::File(path) = &self.source else { return self.connect_waiting(Mode::Open, timeout) };
        // A path that begins so would be a URI.
        let opened = match path.as_os_str().as_encoded_bytes().starts_with(b"file:") {
            true => Path::new(".").join(path),
            false => path.clone(),
        };
        connect_in_time(timeout, || {
            let raw = Self::open_file_with(&opened, Mode::Open, OpenFlags::SQLITE_OPEN_URI)?;
            match self.configure(&raw, true) {
                Ok(()) => self.connection(raw),
                Err(error) => self.connection(self.open_unwritable(path, error)?),
            }
        })
    }

    fn connect_to_read(&self, timeout: Duration) -> Result<Box<dyn Connection>> {
        let SqliteSource::File(path) = &self.source else { return self.connect_waiting(Mode::Open, timeout) };
        connect_in_time(timeout, || {
            let raw = Self::open_file(path, Mode::Open)?;
            self.configure(&raw, false)?;
            self.connection(raw)
        })
    }

    fn is_private(&self) -> bool {
        matches!(self.source, SqliteSource::Memory(_))
    }

    fn path(&self) -> Option<&Path> {
        match &self.source {
            SqliteSource::File(path) => Some(path),
            SqliteSource::Memory(_) => None,
        }
    }

    fn copy_to(&self, file: &Path) -> Result<()> {
        match &self.source {
            // A connection that holds the lock cannot be copied from.
            SqliteSource::File(path) => copy(&Self::open_file(path, Mode::Open)?, file),
            SqliteSource::Memory(_) => {
                Err(Error::new(ErrorKind::Configuration, "a database in memory cannot be copied"))
            }
        }
    }

    fn describe(&self) -> String {
        match &self.source {
            SqliteSource::File(path) => path.display().to_string(),
            SqliteSource::Memory(_) => "memory".to_owned(),
        }
    }

    #[cfg(feature = "postgres")]
    fn address(&self) -> Option<super::Address> {
        None
    }

    fn sqlite_uri(&self) -> Option<String> {
        Some(attached::uri(&self.source))
    }
}

/// Copies a database page by page.
fn copy(from: &rusqlite::Connection, to: &Path) -> Result<()> {
    let mut to = rusqlite::Connection::open(to).map_err(from_sqlite)?;
    match Backup::new(from, &mut to).and_then(|copying| copying.step(-1)).map_err(from_sqlite)? {
        StepResult::Done => Ok(()),
        _ => Err(Error::new(ErrorKind::Busy, "the database is locked, and cannot be copied")),
    }
}

/// The error of a transaction that waits for another one of a database in memory, which has one lock for readers and writers.
const IN_USE_IN_MEMORY: &str = "another session uses this database in memory, where readers and writers exclude each other: \
     commit, roll back or drop that session first, or use a file";

struct SqliteConnection {
    /// Closed before the connection, which may remove the file.
    log: Option<Log>,
    raw: rusqlite::Connection,
    busy_timeout: Duration,
    synchronous: Durability,
    deadline: Arc<Deadline>,
    file: Option<OpenFile>,
    /// The shards that were checked in this transaction.
    expected: RefCell<Vec<Arc<Expected>>>,
}

impl SqliteConnection {
    /// Names what a transaction of a database in memory waited for.
    fn explain_lock(&self, error: Error) -> Error {
        match (error.kind(), &self.file) {
            (ErrorKind::Busy, None) => error.reworded(IN_USE_IN_MEMORY.to_owned()),
            _ => error,
        }
    }

    fn begin_now(&self, transaction: Transaction) -> Result<()> {
        let sql = match transaction {
            Transaction::Read => "BEGIN DEFERRED",
            Transaction::Write => "BEGIN IMMEDIATE",
        };
        self.expected.borrow_mut().clear();
        let begun = self.raw.prepare_cached(sql).and_then(|mut begin| begin.raw_execute());
        begun.map_err(from_sqlite).map_err(|error| self.explain_lock(error))?;
        match (transaction, &self.file) {
            (Transaction::Write, Some(file)) => file.check().inspect_err(|_| drop(self.rollback())),
            _ => Ok(()),
        }
    }
}

/// A foreign key that a row violates.
struct Violation {
    table: String,
    column: String,
    parent: String,
}

impl Violation {
    fn explain(&self, error: Error) -> Error {
        let message =
            format!("refers to a row of `{}`, which is not on this shard; add it first", self.parent);
        error.reworded(message).in_table(&self.table).at_column(&self.column)
    }
}

impl SqliteConnection {
    /// Searches all tables for a foreign key that is violated.
    fn violation(&self) -> Result<Option<Violation>> {
        let sql = "SELECT broken.\"table\", link.\"from\", broken.parent FROM pragma_foreign_key_check AS broken \
                   JOIN pragma_foreign_key_list(broken.\"table\") AS link ON link.id = broken.fkid LIMIT 1";
        let mut search = self.raw.prepare(sql).map_err(from_sqlite)?;
        let mut rows = search.query([]).map_err(from_sqlite)?;
        let names = |row: &rusqlite::Row<'_>| {
            Ok(Violation { table: row.get(0)?, column: row.get(1)?, parent: row.get(2)? })
        };
        rows.next().and_then(|row| row.map(names).transpose()).map_err(from_sqlite)
    }
}

impl Connection for SqliteConnection {
    fn wait_for_locks(&self) -> Result<()> {
        self.raw.busy_timeout(self.busy_timeout).map_err(from_sqlite)
    }

    fn prepare<'c>(&'c self, sql: &str) -> Result<Box<dyn Prepared + 'c>> {
        let statement = self.raw.prepare_cached(sql).map_err(from_sqlite)?;
        Ok(Box::new(SqliteStatement::new(statement, &self.raw)))
    }

    fn expect(&self, shard: &Arc<Expected>) -> Result<()> {
        let mut expected = self.expected.borrow_mut();
        let is_known = |known: &Arc<Expected>| {
            Arc::ptr_eq(known, shard) || (known.shard == shard.shard && known.epoch >= shard.epoch)
        };
        if expected.iter().any(is_known) {
            return Ok(());
        }
        let epoch = self.raw.prepare_cached(&shard.sql).and_then(|mut read| {
            let epoch = read.query_row([], |row| Ok(row.get_ref(0)?.as_str()?.parse::<u64>().ok()));
            epoch.optional()
        });
        let epoch = match epoch.map_err(from_sqlite) {
            // A shard of a release that had no such table.
            Err(error) if error.lacks_a_table() => None,
            epoch => epoch?.flatten(),
        };
        if epoch.is_some_and(|epoch| epoch > shard.epoch) {
            return Err(Error::new(ErrorKind::Moved, KEYS_LEFT).on_shard(&shard.shard));
        }
        expected.push(Arc::clone(shard));
        Ok(())
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.raw.execute_batch(sql).map_err(from_sqlite)
    }

    fn attach(&self, uri: &str, schema: &str) -> bool {
        self.raw.execute("ATTACH DATABASE ?1 AS ?2", [uri, schema]).is_ok()
    }

    fn detach(&self, schema: &str) -> Result<()> {
        self.raw.execute("DETACH DATABASE ?1", [schema]).map(drop).map_err(from_sqlite)
    }

    fn begin(&self, transaction: Transaction) -> Result<()> {
        match self.deadline.rest().filter(|_| transaction == Transaction::Write) {
            None => self.begin_now(transaction),
            Some(rest) => {
                self.raw.busy_timeout(rest.min(self.busy_timeout)).map_err(from_sqlite)?;
                let begun = self.begin_now(transaction);
                self.wait_for_locks()?;
                begun.map_err(|error| match error.kind() {
                    ErrorKind::Busy if self.deadline.is_over() => {
                        let message =
                            "the session's timeout was over while another connection wrote the database";
                        Error::new(ErrorKind::TimedOut, message).with_source(error)
                    }
                    _ => error,
                })
            }
        }
    }

    fn begin_without_waiting(&self) -> Result<()> {
        self.raw.busy_timeout(Duration::ZERO).map_err(from_sqlite)?;
        let begun = self.begin_now(Transaction::Write);
        self.wait_for_locks()?;
        begun
    }

    fn begin_durable(&self) -> Result<()> {
        if self.synchronous == Durability::Normal {
            self.run("PRAGMA synchronous = FULL")?;
        }
        self.begin_without_waiting()
    }

    fn restore_durability(&self) -> Result<()> {
        match self.synchronous {
            Durability::Normal => self.run("PRAGMA synchronous = NORMAL"),
            Durability::Full => Ok(()),
        }
    }

    fn sync(&self) -> Result<()> {
        match (&self.file, self.synchronous) {
            (Some(file), Durability::Normal) => file.sync_log(),
            _ => Ok(()),
        }
    }

    fn unread_transaction(&self) -> Result<Option<u64>> {
        let Some(log) = &self.log else { return Ok(None) };
        // `busy`, and the number of published frames. Before version 3.51 SQLite reads `NOOP` as `PASSIVE`, which
        // returns the same after a checkpoint.
        let look = self.raw.prepare_cached("PRAGMA wal_checkpoint = NOOP");
        let looked = look.and_then(|mut look| look.query_row([], |row| Ok((row.get(0)?, row.get(1)?))));
        let (is_busy, published): (bool, i64) = match looked.map_err(from_sqlite) {
            // This process can neither read nor overwrite the log.
            Err(error) if error.kind() == ErrorKind::ReadOnly => return Ok(None),
            looked => looked?,
        };
        if is_busy {
            let message = "the end of the WAL is unknown while another connection recovers or checkpoints it";
            return Err(Error::new(ErrorKind::Busy, message));
        }
        // The number is negative if SQLite has no log open: it reads the file without one.
        let Ok(published) = u64::try_from(published) else { return Ok(None) };
        let goes_on = log.goes_on_after(published, self.synchronous == Durability::Full)?;
        Ok(goes_on.then_some(published))
    }

    fn commit(&self) -> Result<()> {
        let committed = self.raw.prepare_cached("COMMIT").and_then(|mut commit| commit.raw_execute());
        committed.map(drop).map_err(from_sqlite).map_err(|error| match error.kind() {
            // A deferred constraint; the transaction is still open.
            ErrorKind::ForeignKey => match self.violation() {
                Ok(Some(violation)) => violation.explain(error),
                _ => error,
            },
            _ => self.explain_lock(error),
        })
    }

    fn prepare_commit(&self, _: &str) -> Result<()> {
        self.rollback()?;
        Err(Error::new(ErrorKind::Configuration, "SQLite has no prepared transactions"))
    }

    fn check_constraints(&self) -> Result<()> {
        let has_deferred = "SELECT (SELECT defer_foreign_keys FROM pragma_defer_foreign_keys) \
                            OR EXISTS (SELECT * FROM sqlite_schema WHERE sql LIKE '%deferr%')";
        let one = |sql: &str| self.raw.prepare_cached(sql)?.query_row([], |row| row.get::<_, bool>(0));
        if !one(has_deferred).map_err(from_sqlite)? {
            return Ok(());
        }
        let error = || Error::new(ErrorKind::ForeignKey, "FOREIGN KEY constraint failed");
        self.violation()?.map_or(Ok(()), |violation| Err(violation.explain(error())))
    }

    fn rollback(&self) -> Result<()> {
        // A full disk or an I/O error ends the transaction by itself.
        if self.in_transaction() {
            self.run("ROLLBACK")?;
        }
        Ok(())
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
    }

    fn interrupter(&self) -> Interrupter {
        let (handle, deadline) = (self.raw.get_interrupt_handle(), Arc::clone(&self.deadline));
        Box::new(move || {
            // SQLite forgets an interrupt that comes before its statement.
            deadline.pass();
            handle.interrupt();
        })
    }

    fn is_large(&self) -> bool {
        let pages = self
            .raw
            .prepare_cached("PRAGMA page_count")
            .and_then(|mut pages| pages.query_row([], |row| row.get(0)));
        pages.is_ok_and(|pages: i64| pages >= LARGE)
    }

    fn in_transaction(&self) -> bool {
        !self.raw.is_autocommit()
    }

    fn is_usable(&self) -> bool {
        !self.in_transaction() && !self.file.as_ref().is_some_and(OpenFile::is_gone)
    }

    fn columns_of(&self, names: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualColumn>>> {
        tables.iter().map(|table| self.columns_of_table(names.plain(table))).collect()
    }

    fn indexes_of(&self, names: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualIndex>>> {
        tables.iter().map(|table| self.indexes_of_table(names.plain(table))).collect()
    }

    fn native(&self) -> &dyn Any {
        &self.raw
    }
}

impl SqliteConnection {
    fn columns_of_table(&self, table: String) -> Result<Vec<ActualColumn>> {
        let is_strict = self
            .raw
            .query_row("SELECT strict FROM pragma_table_list(?1) WHERE schema = 'main'", [&table], |row| {
                row.get(0)
            })
            .optional()
            .map_err(from_sqlite)?;
        let mut statement =
            self.raw.prepare(&format!("PRAGMA table_info({})", quoted(&table))).map_err(from_sqlite)?;
        let columns = statement
            .query_map([], |row| {
                let name: String = row.get("name")?;
                // No pragma returns the collation.
                let (_, collation, ..) = self.raw.column_metadata(None, table.as_str(), name.as_str())?;
                let collation =
                    collation.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                Ok(ActualColumn {
                    compares_bytes: collation.eq_ignore_ascii_case("BINARY"),
                    collation,
                    is_strict: is_strict.unwrap_or_default(),
                    name,
                    sql_type: row.get("type")?,
                    nullable: !row.get::<_, bool>("notnull")? && row.get::<_, i64>("pk")? == 0,
                    has_default: row.get::<_, Option<String>>("dflt_value")?.is_some(),
                    is_primary_key: row.get::<_, i64>("pk")? > 0,
                })
            })
            .map_err(from_sqlite)?;
        columns.collect::<rusqlite::Result<_>>().map_err(from_sqlite)
    }

    fn indexes_of_table(&self, table: String) -> Result<Vec<ActualIndex>> {
        // The name of an expression is NULL.
        let sql = "SELECT list.name, list.\"unique\", coalesce(key.name, '') \
                   FROM pragma_index_list(?1) AS list, pragma_index_info(list.name) AS key \
                   WHERE NOT list.partial ORDER BY list.seq, key.seqno";
        let mut statement = self.raw.prepare(sql).map_err(from_sqlite)?;
        let columns = statement
            .query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .map_err(from_sqlite)?;
        let mut indexes: Vec<ActualIndex> = Vec::new();
        for column in columns {
            let (name, is_unique, column): (String, bool, String) = column.map_err(from_sqlite)?;
            match indexes.last_mut().filter(|last| last.name == name) {
                Some(last) => last.columns.push(column),
                None => indexes.push(ActualIndex { name, columns: vec![column], is_unique }),
            }
        }
        indexes.retain(|index| !index.columns.iter().any(String::is_empty));
        Ok(indexes)
    }
}

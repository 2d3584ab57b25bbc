//! SQLite through `rusqlite`: files in WAL mode, and databases in memory.

use std::any::Any;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, OpenFlags, Rows};

use super::sqlite_errors::from_sqlite;
use super::sqlite_file::OpenFile;
use super::sqlite_log::Log;
use super::{
    ActualColumn, Connection, Cursor, Driver, Durability, Interrupter, Mode, Prepared, Shape, Transaction,
};
use super::{attached, sqlite_arithmetic, sqlite_file, sqlite_functions};
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::planner::sql::{Dialect, Namespace, Param, quoted};
use crate::row::RowSource;
use crate::row::Stream;
use crate::value::Value;

/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 256;

/// From so many pages on a database is large: 2 MiB.
const LARGE: i64 = 512;

/// What is set on every connection, and read back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SqliteSettings {
    pub(crate) busy_timeout: Duration,
    pub(crate) synchronous: Durability,
    /// The page cache of each connection, in KiB.
    pub(crate) cache_size: u32,
    /// How much of the file is mapped into memory, in bytes.
    pub(crate) mmap_size: u64,
}

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SqliteSource {
    File(PathBuf),
    /// A database that its driver keeps alive; gone with it.
    Memory(String),
}

impl SqliteSource {
    pub(crate) const DIALECT: Dialect = Dialect::Sqlite;

    /// A database in memory that nobody else has.
    pub(crate) fn memory() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        SqliteSource::Memory(format!("sharded-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }
}

pub(crate) struct SqliteDriver {
    source: SqliteSource,
    settings: SqliteSettings,
    /// Keeps a database in memory alive while nobody is connected.
    anchor: Mutex<Option<rusqlite::Connection>>,
}

impl SqliteDriver {
    pub(crate) fn new(source: SqliteSource, settings: SqliteSettings) -> Self {
        SqliteDriver { source, settings, anchor: Mutex::new(None) }
    }

    fn open_file(path: &Path, mode: Mode) -> Result<rusqlite::Connection> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if mode == Mode::Create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        } else {
            // An empty file is what an unmounted disk or a truncated copy leaves; SQLite would take it for a new database.
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

    /// Opens a file for reading where its write-ahead log cannot be created beside it. Without the log SQLite takes no locks,
    /// so that this is right only if no process can write the file.
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

    /// Sets what a connection needs, and reads it back: SQLite ignores what it does not know or cannot do.
    fn configure(&self, raw: &rusqlite::Connection, logs_ahead: bool) -> Result<()> {
        let SqliteSettings { synchronous, cache_size, mmap_size, .. } = self.settings;
        raw.busy_timeout(Duration::ZERO).map_err(from_sqlite)?;
        // A quoted name that is no column is an error, not a text.
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
        let level = match synchronous {
            Durability::Full => 2,
            Durability::Normal => 1,
        };
        let cache = -i64::from(cache_size);
        for (name, wanted) in [("synchronous", level), ("foreign_keys", 1), ("cache_size", cache)] {
            raw.pragma_update(None, name, wanted).map_err(from_sqlite)?;
            let found: i64 = raw.pragma_query_value(None, name, |row| row.get(0)).map_err(from_sqlite)?;
            if found != wanted {
                return Err(setting(name, &wanted.to_string(), &found.to_string()));
            }
        }
        Ok(())
    }
}

/// Switches the file to write-ahead logging, which it then keeps.
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
    Error::new(ErrorKind::Database, format!("SQLite was told `{name} = {wanted}` and says `{found}`"))
}

impl Driver for SqliteDriver {
    fn dialect(&self) -> Dialect {
        SqliteSource::DIALECT
    }

    fn connect(&self, mode: Mode, _: Option<Instant>) -> Result<Box<dyn Connection>> {
        let mut raw = match &self.source {
            SqliteSource::File(path) => {
                let raw = Self::open_file(path, mode)?;
                match self.configure(&raw, true) {
                    Ok(()) => raw,
                    Err(error) => self.open_unwritable(path, error)?,
                }
            }
            SqliteSource::Memory(name) => {
                let raw = self.open_memory(name, mode)?;
                self.configure(&raw, false)?;
                raw
            }
        };
        let deadline = Deadline::watch(&mut raw)?;
        let (file, log) = match &self.source {
            SqliteSource::File(path) => (Some(OpenFile::at(path)?), Some(Log::of(path))),
            SqliteSource::Memory(_) => (None, None),
        };
        let SqliteSettings { busy_timeout, synchronous, .. } = self.settings;
        Ok(Box::new(SqliteConnection { log, raw, busy_timeout, synchronous, deadline, file }))
    }

    fn is_private(&self) -> bool {
        matches!(self.source, SqliteSource::Memory(_))
    }

    fn file_name(&self) -> Option<OsString> {
        match &self.source {
            SqliteSource::File(path) => path.file_name().map(OsString::from),
            SqliteSource::Memory(_) => None,
        }
    }

    fn copy_to(&self, file: &Path) -> Result<()> {
        match &self.source {
            // Who has locked it cannot be copied from.
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

struct SqliteConnection {
    /// Closed before the connection, which may remove the file.
    log: Option<Log>,
    raw: rusqlite::Connection,
    busy_timeout: Duration,
    synchronous: Durability,
    deadline: Arc<Deadline>,
    file: Option<OpenFile>,
}

/// When a connection's statements are stopped, as SQLite's progress handler sees it.
struct Deadline {
    began: Instant,
    /// Nanoseconds after the beginning; the greatest number for never.
    at: AtomicU64,
}

impl Deadline {
    /// How many of SQLite's steps are run between two looks: some tens of microseconds.
    const STEPS: i32 = 5_000;

    fn watch(raw: &mut rusqlite::Connection) -> Result<Arc<Self>> {
        let deadline = Arc::new(Deadline { began: Instant::now(), at: AtomicU64::new(u64::MAX) });
        let watched = Arc::clone(&deadline);
        raw.progress_handler(Self::STEPS, Some(move || watched.is_over())).map_err(from_sqlite)?;
        Ok(deadline)
    }

    fn set(&self, deadline: Option<Instant>) {
        let nanoseconds = |at: Instant| at.saturating_duration_since(self.began).as_nanos();
        let at = deadline.map_or(u64::MAX, |at| u64::try_from(nanoseconds(at)).unwrap_or(u64::MAX));
        self.at.store(at, Ordering::Relaxed);
    }

    fn pass(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        match self.at.load(Ordering::Relaxed) {
            u64::MAX => false,
            at => self.began.elapsed().as_nanos() >= u128::from(at),
        }
    }
}

impl Connection for SqliteConnection {
    fn wait_for_locks(&self) -> Result<()> {
        self.raw.busy_timeout(self.busy_timeout).map_err(from_sqlite)
    }

    fn prepare<'c>(&'c self, sql: &str) -> Result<Box<dyn Prepared + 'c>> {
        let statement = self.raw.prepare_cached(sql).map_err(from_sqlite)?;
        Ok(Box::new(SqliteStatement { statement, connection: &self.raw }))
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.raw.execute_batch(sql).map_err(from_sqlite)
    }

    fn begin(&self, transaction: Transaction) -> Result<()> {
        let sql = match transaction {
            Transaction::Read => "BEGIN DEFERRED",
            Transaction::Write => "BEGIN IMMEDIATE",
        };
        self.raw.prepare_cached(sql).and_then(|mut begin| begin.raw_execute()).map_err(from_sqlite)?;
        match (transaction, &self.file) {
            (Transaction::Write, Some(file)) => file.check().inspect_err(|_| drop(self.rollback())),
            _ => Ok(()),
        }
    }

    fn begin_without_waiting(&self) -> Result<()> {
        self.raw.busy_timeout(Duration::ZERO).map_err(from_sqlite)?;
        let begun = self.begin(Transaction::Write);
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
        // Whether SQLite could not look, and how many frames are published. Before version 3.51 SQLite takes `NOOP` for
        // `PASSIVE`, which returns the same after a checkpoint.
        let look = self.raw.prepare_cached("PRAGMA wal_checkpoint = NOOP");
        let looked = look.and_then(|mut look| look.query_row([], |row| Ok((row.get(0)?, row.get(1)?))));
        let (is_busy, published): (bool, i64) = match looked.map_err(from_sqlite) {
            // This process can neither look nor overwrite what is there.
            Err(error) if error.kind() == ErrorKind::ReadOnly => return Ok(None),
            looked => looked?,
        };
        if is_busy {
            let message = "the end of the WAL is unknown while another connection recovers or checkpoints it";
            return Err(Error::new(ErrorKind::Busy, message));
        }
        // There are fewer frames than none if SQLite has no log open: it reads the file without one.
        let Ok(published) = u64::try_from(published) else { return Ok(None) };
        let goes_on = log.goes_on_after(published, self.synchronous == Durability::Full)?;
        Ok(goes_on.then_some(published))
    }

    fn commit(&self) -> Result<()> {
        self.raw.prepare_cached("COMMIT").and_then(|mut commit| commit.raw_execute()).map_err(from_sqlite)?;
        Ok(())
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
        let broken = "SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1";
        let table = self.raw.prepare_cached(broken).and_then(|mut check| {
            let mut rows = check.query([])?;
            rows.next()?.map(|row| row.get::<_, String>(0)).transpose()
        });
        match table.map_err(from_sqlite)? {
            None => Ok(()),
            Some(table) => {
                Err(Error::new(ErrorKind::ForeignKey, "FOREIGN KEY constraint failed").in_table(&table))
            }
        }
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

    fn columns(&self, names: &Namespace, table: &str) -> Result<Vec<ActualColumn>> {
        let table = names.plain(table);
        let mut statement =
            self.raw.prepare(&format!("PRAGMA table_info({})", quoted(&table))).map_err(from_sqlite)?;
        let columns = statement
            .query_map([], |row| {
                let name: String = row.get("name")?;
                // No pragma tells it.
                let (_, collation, ..) = self.raw.column_metadata(None, table.as_str(), name.as_str())?;
                Ok(ActualColumn {
                    collation: collation.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
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

    fn indexes(&self, names: &Namespace, table: &str) -> Result<Vec<(String, bool)>> {
        let table = quoted(&names.plain(table));
        let mut statement = self.raw.prepare(&format!("PRAGMA index_list({table})")).map_err(from_sqlite)?;
        let indexes =
            statement.query_map([], |row| Ok((row.get("name")?, row.get("unique")?))).map_err(from_sqlite)?;
        indexes.collect::<rusqlite::Result<_>>().map_err(from_sqlite)
    }

    fn native(&self) -> &dyn Any {
        &self.raw
    }
}

struct SqliteStatement<'c> {
    statement: CachedStatement<'c>,
    connection: &'c rusqlite::Connection,
}

impl SqliteStatement<'_> {
    fn bind(&mut self, params: &[Param<'_>]) -> Result<()> {
        for (place, param) in params.iter().enumerate() {
            match param {
                Param::Value(value) => self.statement.raw_bind_parameter(place + 1, Bound(value)),
                Param::List(values) => {
                    let list: Vec<rusqlite::types::Value> = values.iter().map(owned).collect();
                    self.statement.raw_bind_parameter(place + 1, Rc::new(list))
                }
            }
            .map_err(from_sqlite)?;
        }
        Ok(())
    }
}

impl Prepared for SqliteStatement<'_> {
    fn shape(&self) -> Shape {
        Shape {
            parameters: self.statement.parameter_count(),
            returns_rows: self.statement.column_count() > 0,
            only_reads: self.statement.readonly(),
        }
    }

    fn execute(&mut self, params: &[Param<'_>]) -> Result<u64> {
        self.bind(params)?;
        self.statement.raw_execute().map(|rows| rows as u64).map_err(from_sqlite)
    }

    fn insert(&mut self, values: &[Value<'_>]) -> Result<i64> {
        for (place, value) in values.iter().enumerate() {
            self.statement.raw_bind_parameter(place + 1, Bound(value)).map_err(from_sqlite)?;
        }
        self.statement.raw_execute().map_err(from_sqlite)?;
        Ok(self.connection.last_insert_rowid())
    }

    fn query<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn Cursor + 's>> {
        self.bind(params)?;
        Ok(Box::new(SqliteCursor { rows: self.statement.raw_query() }))
    }
}

struct SqliteCursor<'s> {
    rows: Rows<'s>,
}

impl Cursor for SqliteCursor<'_> {
    fn width(&self) -> usize {
        self.rows.as_ref().map_or(0, |statement| statement.column_count())
    }

    fn columns(&self) -> Vec<String> {
        let Some(row) = self.rows.get() else { return Vec::new() };
        let statement: &rusqlite::Statement<'_> = row.as_ref();
        statement.column_names().map(str::to_owned).collect()
    }
}

impl Stream for SqliteCursor<'_> {
    fn advance(&mut self) -> Result<bool> {
        self.rows.advance().map_err(from_sqlite)?;
        Ok(self.rows.get().is_some())
    }
}

impl RowSource for SqliteCursor<'_> {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        let row = self.rows.get().ok_or_else(|| ValueError::new("there is no row"))?;
        match row.get_ref(index).map_err(|error| ValueError::new(error.to_string()))? {
            ValueRef::Null => Ok(Value::Null),
            ValueRef::Integer(integer) => Ok(Value::Integer(integer)),
            ValueRef::Real(real) => Ok(Value::Real(real)),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Value::Text(text.into())),
                Err(error) => Err(ValueError::new(format!("the stored text is not UTF-8: {error}"))),
            },
            ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes.into())),
        }
    }
}

/// A value as SQLite takes it, without a copy.
struct Bound<'v>(&'v Value<'v>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Boolean(value) => ValueRef::Integer(i64::from(*value)),
            Value::Integer(integer) | Value::Timestamp(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(text) | Value::Json(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::Uuid(uuid) => ValueRef::Blob(uuid),
        }))
    }
}

fn owned(value: &Value<'_>) -> rusqlite::types::Value {
    match value {
        Value::Null => rusqlite::types::Value::Null,
        Value::Boolean(value) => i64::from(*value).into(),
        Value::Integer(integer) | Value::Timestamp(integer) => (*integer).into(),
        Value::Real(real) => (*real).into(),
        Value::Text(text) | Value::Json(text) => text.to_string().into(),
        Value::Bytes(bytes) => bytes.to_vec().into(),
        Value::Uuid(uuid) => uuid.to_vec().into(),
    }
}

//! The SQLite driver, through `rusqlite`: opens files in WAL mode, and databases in memory. Uses `sqlite_connection` and
//! the other `sqlite_…` files.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::OpenFlags;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;

use super::sqlite_connection::SqliteConnection;
use super::sqlite_deadline::Deadline;
use super::sqlite_errors::from_sqlite;
use super::sqlite_file::OpenFile;
use super::sqlite_log::Log;
use super::{Connection, Driver, Durability, Mode};
use super::{attached, connect_in_time, sqlite_arithmetic, sqlite_file, sqlite_functions};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Dialect;

/// The number of prepared statements that a connection keeps.
const STATEMENTS: usize = 256;

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

    /// Opens a file for reading if its WAL cannot be created. Without a WAL SQLite takes no locks, so that this is
    /// correct only if no process can write the file.
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
        let (due, beginning) = Default::default();
        Ok(Box::new(SqliteConnection {
            log,
            raw,
            busy_timeout,
            synchronous,
            deadline,
            file,
            expected,
            due,
            beginning,
        }))
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

    fn connect_durable(&self, timeout: Duration) -> Result<Box<dyn Connection>> {
        let connection = self.connect_waiting(Mode::Open, timeout)?;
        connection.run("PRAGMA synchronous = FULL")?;
        Ok(connection)
    }

    fn connect_to_copy(&self, timeout: Duration) -> Result<Box<dyn Connection>> {
        let SqliteSource::File(path) = &self.source else { return self.connect_waiting(Mode::Open, timeout) };
        // A path with this beginning would be a URI.
        let opened = match path.as_os_str().as_encoded_bytes().starts_with(b"file:") {
            true => Path::new(".").join(path),
            false => path.clone(),
        };
        let settings = SqliteSettings { synchronous: Durability::Normal, ..self.settings };
        let driver = SqliteDriver::new(self.source.clone(), settings);
        connect_in_time(timeout, || {
            let raw = Self::open_file_with(&opened, Mode::Open, OpenFlags::SQLITE_OPEN_URI)?;
            match driver.configure(&raw, true) {
                Ok(()) => driver.connection(raw),
                Err(error) => driver.connection(driver.open_unwritable(path, error)?),
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
            // A connection that holds the lock cannot be a source of the copy.
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

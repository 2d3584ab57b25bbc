//! One SQLite connection that reads several attached databases.

use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use super::SqliteSource;
use super::sqlite_errors::from_sqlite;
use crate::error::{Error, ErrorKind, Result};

/// A database to attach: its name and its source.
pub(crate) struct Attached<'a> {
    pub(crate) schema: &'a str,
    pub(crate) uri: String,
}

/// Returns a connection to all of them, and the largest number of parts of a view on it.
///
/// # Errors
/// - [`ErrorKind::TooManyDatabases`] if there are more than this SQLite attaches.
/// - Otherwise the error of SQLite, with the shard.
pub(crate) fn attach(databases: &[Attached<'_>], timeout: Duration) -> Result<(rusqlite::Connection, usize)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let raw = rusqlite::Connection::open_with_flags(":memory:", flags).map_err(from_sqlite)?;
    let limit = |limit| -> Result<usize> {
        Ok(usize::try_from(raw.limit(limit).map_err(from_sqlite)?).unwrap_or_default())
    };
    let most = limit(Limit::SQLITE_LIMIT_ATTACHED)?;
    if databases.len() > most {
        let message = format!(
            "the cluster has {} databases, and this SQLite attaches at most {most}: keep several shards in one \
             file (`?prefix=`), or build SQLite to take more (up to 125, with the environment variable \
             `LIBSQLITE3_FLAGS=-DSQLITE_MAX_ATTACHED=125`)",
            databases.len()
        );
        return Err(Error::new(ErrorKind::TooManyDatabases, message));
    }
    raw.busy_timeout(timeout).map_err(from_sqlite)?;
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false).map_err(from_sqlite)?;
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false).map_err(from_sqlite)?;
    rusqlite::vtab::array::load_module(&raw).map_err(from_sqlite)?;
    for Attached { schema, uri } in databases {
        raw.execute("ATTACH DATABASE ?1 AS ?2", [uri.as_str(), schema])
            .map_err(|error| from_sqlite(error).on_shard(schema))?;
    }
    let parts = limit(Limit::SQLITE_LIMIT_COMPOUND_SELECT)?;
    Ok((raw, parts))
}

/// Returns the URI that attaches a database read-only.
pub(super) fn uri(source: &SqliteSource) -> String {
    match source {
        SqliteSource::Memory(name) => format!("file:/{name}?vfs=memdb&mode=ro"),
        SqliteSource::File(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let mut uri = "file://".to_owned();
            let bytes = path.as_os_str().as_encoded_bytes();
            if bytes.first() != Some(&b'/') {
                uri.push('/'); // a drive's letter
            }
            for &byte in bytes {
                match byte {
                    b'\\' if cfg!(windows) => uri.push('/'),
                    b'/' | b':' | b'.' | b'_' | b'-' => uri.push(char::from(byte)),
                    byte if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
                    byte => uri.push_str(&format!("%{byte:02X}")),
                }
            }
            uri + "?mode=ro"
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn r42_a_path_is_a_path_whatever_it_contains() {
        let uri = |path: &str| uri(&SqliteSource::File(path.into()));
        assert_eq!(uri("/a b/c?mode=rw#d%20é.db"), "file:///a%20b/c%3Fmode%3Drw%23d%2520%C3%A9.db?mode=ro");
        let relative = uri("x.db");
        assert!(relative.starts_with("file:///") && relative.ends_with("/x.db?mode=ro"), "{relative}");
    }
}

//! Careful code with `rusqlite` alone: the settings of the connections, the choice of the shard,
//! and the rows. Statements are prepared once per connection and cached, as the framework's are.

use std::path::Path;
use std::time::Duration;

use shard_runtime::hash::{PARTITION_SEED, hash_integer, remainder, row_hash};
use shard_runtime::sqlite::rusqlite::{self, Connection, OpenFlags, OptionalExtension, Params, Row, vtab};

use crate::data::SHARDS;
use crate::models::{Account, Measurement};

pub const GET_ACCOUNT: &str = "SELECT id, owner, cents FROM accounts WHERE id = ?1";
pub const GET_STATION: &str = "SELECT id, region, name, height FROM stations WHERE id = ?1";
pub const READINGS: &str = "SELECT id, station_id, at, celsius, remark FROM readings WHERE station_id = ?1";

/// A connection with the framework's settings, to a file that is there.
pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    with_settings(path, OpenFlags::empty())
}

/// The same, to a file that is made.
pub fn create(path: &Path) -> rusqlite::Result<Connection> {
    with_settings(path, OpenFlags::SQLITE_OPEN_CREATE)
}

fn with_settings(path: &Path, more: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(256);
    vtab::array::load_module(&connection)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.pragma_update(None, "cache_size", -64 * 1024)?;
    connection.pragma_update(None, "mmap_size", 256 * 1024 * 1024)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Brings the write-ahead log into the file.
pub fn checkpoint(path: &Path) -> rusqlite::Result<()> {
    Connection::open(path)?.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// The statements that make a table and its indexes.
pub fn schema(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    all(connection, "SELECT sql FROM sqlite_master WHERE tbl_name = ?1 AND sql IS NOT NULL", [table], |row| {
        row.get(0)
    })
}

/// The shard of the row with this id: the framework's own hash, which is public.
pub fn shard_of(id: i64) -> usize {
    remainder(row_hash([hash_integer(id, PARTITION_SEED)]), SHARDS.len() as u64) as usize
}

/// One row, or `None`.
pub fn get<T>(
    connection: &Connection,
    sql: &str,
    id: i64,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    connection.prepare_cached(sql)?.query_row([id], read).optional()
}

/// All rows.
pub fn all<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(params, read)?.collect()
}

pub fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account { id: row.get(0)?, owner: row.get(1)?, cents: row.get(2)? })
}

pub fn measurement(row: &Row<'_>) -> rusqlite::Result<Measurement> {
    Ok(Measurement { id: row.get(0)?, at: row.get(1)?, celsius: row.get(2)?, place: row.get(3)? })
}

/// A station; its region as the text that is stored.
#[derive(Debug)]
#[expect(dead_code, reason = "read like every other column, as the framework does")]
pub struct Station {
    pub id: i64,
    pub region: String,
    pub name: String,
    pub height: i64,
}

pub fn station(row: &Row<'_>) -> rusqlite::Result<Station> {
    Ok(Station { id: row.get(0)?, region: row.get(1)?, name: row.get(2)?, height: row.get(3)? })
}

/// A reading; its parent as an id.
#[derive(Debug)]
#[expect(dead_code, reason = "read like every other column, as the framework does")]
pub struct Reading {
    pub id: i64,
    pub station_id: i64,
    pub at: i64,
    pub celsius: f64,
    pub remark: String,
}

pub fn reading(row: &Row<'_>) -> rusqlite::Result<Reading> {
    Ok(Reading {
        id: row.get(0)?,
        station_id: row.get(1)?,
        at: row.get(2)?,
        celsius: row.get(3)?,
        remark: row.get(4)?,
    })
}

//! Careful code with `rusqlite` alone. Statements are prepared once and cached; values are bound and read by their
//! position.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params, vtab};

use super::measure::Failure;
use super::{Library, numbers, sum_of_ids};

const GET: &str = "SELECT id, owner, cents FROM accounts WHERE id = ?1";
const READINGS: &str = "SELECT id, station_id, at, celsius, remark FROM readings WHERE station_id = ?1";
const TOP: &str = "SELECT id, at, celsius, place FROM measurements ORDER BY at LIMIT 100";
const STATIONS: &str = "SELECT id, region, name, height FROM stations WHERE height < ?1";
const READINGS_OF: &str =
    "SELECT id, station_id, at, celsius, remark FROM readings WHERE station_id IN rarray(?1)";
pub const INSERT_ACCOUNT: &str = "INSERT INTO accounts (id, owner, cents) VALUES (?1, ?2, ?3)";
pub const INSERT_MEASUREMENT: &str =
    "INSERT INTO measurements (id, at, celsius, place) VALUES (?1, ?2, ?3, ?4)";
const UPDATE: &str = "UPDATE accounts SET cents = ?1 WHERE id = ?2";

/// The settings of all connections, of the libraries' as well: those of the framework.
pub const SETTINGS: &[&str] = &[
    "PRAGMA busy_timeout = 5000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA cache_size = -65536",
    "PRAGMA mmap_size = 268435456",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
];

/// A connection with these settings, to a file that exists or is made.
pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(256);
    vtab::array::load_module(&connection)?;
    for setting in SETTINGS {
        connection.execute_batch(setting)?;
    }
    Ok(connection)
}

struct Account {
    id: i64,
    #[expect(dead_code, reason = "read like every other column, as the libraries do")]
    owner: String,
    cents: i64,
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account { id: row.get(0)?, owner: row.get(1)?, cents: row.get(2)? })
}

#[expect(dead_code, reason = "all columns are read, as the libraries do")]
struct Measurement {
    id: i64,
    at: i64,
    celsius: f64,
    place: String,
}

fn measurement(row: &Row<'_>) -> rusqlite::Result<Measurement> {
    Ok(Measurement { id: row.get(0)?, at: row.get(1)?, celsius: row.get(2)?, place: row.get(3)? })
}

#[expect(dead_code, reason = "all columns are read, as the libraries do")]
struct Station {
    id: i64,
    region: String,
    name: String,
    height: i64,
}

fn station(row: &Row<'_>) -> rusqlite::Result<Station> {
    Ok(Station { id: row.get(0)?, region: row.get(1)?, name: row.get(2)?, height: row.get(3)? })
}

#[expect(dead_code, reason = "all columns are read, as the libraries do")]
struct Reading {
    id: i64,
    station_id: i64,
    at: i64,
    celsius: f64,
    remark: String,
}

fn reading(row: &Row<'_>) -> rusqlite::Result<Reading> {
    Ok(Reading {
        id: row.get(0)?,
        station_id: row.get(1)?,
        at: row.get(2)?,
        celsius: row.get(3)?,
        remark: row.get(4)?,
    })
}

/// The hand-written side.
pub struct ByHand {
    connection: Connection,
    kept: Vec<Account>,
}

impl ByHand {
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        Ok(ByHand { connection: open(path)?, kept: Vec::new() })
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }
}

impl Library for ByHand {
    fn get(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        let mut sum = 0;
        for &id in ids {
            let found = self.connection.prepare_cached(GET)?.query_row([id], account).optional()?;
            sum += found.map_or(0, |account| account.cents);
        }
        Ok(sum as u64)
    }

    fn get_in_a_transaction(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        self.execute("BEGIN DEFERRED")?;
        let sum = self.get(ids)?;
        self.execute("COMMIT")?;
        Ok(sum)
    }

    fn readings(&mut self, stations: &[i64]) -> Result<u64, Failure> {
        let mut sum = 0;
        for station in stations {
            let mut statement = self.connection.prepare_cached(READINGS)?;
            let found: Vec<Reading> = statement.query_map([station], reading)?.collect::<Result<_, _>>()?;
            sum += sum_of_ids(found.iter().map(|reading| reading.id));
        }
        Ok(sum)
    }

    fn top(&mut self, times: usize) -> Result<u64, Failure> {
        let mut sum = 0;
        for _ in 0..times {
            let mut statement = self.connection.prepare_cached(TOP)?;
            let found: Vec<Measurement> = statement.query_map([], measurement)?.collect::<Result<_, _>>()?;
            sum += sum_of_ids(found.iter().map(|measurement| measurement.id));
        }
        Ok(sum)
    }

    fn stations_with_readings(&mut self, below: i64) -> Result<u64, Failure> {
        let mut statement = self.connection.prepare_cached(STATIONS)?;
        let stations: Vec<Station> = statement.query_map([below], station)?.collect::<Result<_, _>>()?;
        let ids: Vec<Value> = stations.iter().map(|station| station.id.into()).collect();
        let mut readings: HashMap<i64, Vec<Reading>> = HashMap::new();
        let mut statement = self.connection.prepare_cached(READINGS_OF)?;
        for found in statement.query_map([Rc::new(ids)], reading)? {
            let found = found?;
            readings.entry(found.station_id).or_default().push(found);
        }
        let found: Vec<(Station, Vec<Reading>)> = stations
            .into_iter()
            .map(|station| {
                let own = readings.remove(&station.id).unwrap_or_default();
                (station, own)
            })
            .collect();
        Ok(sum_of_ids(found.iter().flat_map(|(station, readings)| {
            std::iter::once(station.id).chain(readings.iter().map(|reading| reading.id))
        })))
    }

    fn insert_accounts(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        self.execute("BEGIN IMMEDIATE")?;
        let mut insert = self.connection.prepare_cached(INSERT_ACCOUNT)?;
        let mut inserted = 0;
        for id in ids {
            let (owner, cents) = numbers::account(id);
            inserted += insert.execute(params![id, owner, cents])?;
        }
        drop(insert);
        self.execute("COMMIT")?;
        Ok(inserted as u64)
    }

    fn insert_measurements(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        self.execute("BEGIN IMMEDIATE")?;
        let mut insert = self.connection.prepare_cached(INSERT_MEASUREMENT)?;
        let mut inserted = 0;
        for id in ids {
            let (at, celsius, place) = numbers::measurement(id);
            inserted += insert.execute(params![id, at, celsius, place])?;
        }
        drop(insert);
        self.execute("COMMIT")?;
        Ok(inserted as u64)
    }

    fn read_for_update(&mut self, ids: &[i64]) -> Result<(), Failure> {
        let mut statement = self.connection.prepare_cached(GET)?;
        self.kept = ids.iter().map(|id| statement.query_row([id], account)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn update(&mut self) -> Result<u64, Failure> {
        self.execute("BEGIN IMMEDIATE")?;
        let mut update = self.connection.prepare_cached(UPDATE)?;
        let mut sum = 0;
        for account in &mut self.kept {
            account.cents += 1;
            update.execute([account.cents, account.id])?;
            sum += account.cents;
        }
        drop(update);
        self.execute("COMMIT")?;
        Ok(sum as u64)
    }
}

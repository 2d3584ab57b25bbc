//! The rows, written by hand: the same ones in every program's file.

use std::path::Path;

use rusqlite::params;

use super::measure::{Effort, Failure};
use super::{by_hand, numbers};

/// How many rows there are. Ids count from 1.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub accounts: i64,
    pub stations: i64,
    pub measurements: i64,
}

/// Makes the tables that the framework makes.
pub fn create(path: &Path) -> Result<(), Failure> {
    Ok(by_hand::open(path)?.execute_batch(include_str!("schema.sql"))?)
}

/// The statements that made the tables and their indexes, as SQLite keeps them.
#[allow(dead_code, reason = "only the framework's program compares them")]
pub fn tables(path: &Path) -> Result<String, Failure> {
    let connection = by_hand::open(path)?;
    let mut statement = connection.prepare(
        "SELECT sql || ';' FROM sqlite_schema WHERE sql IS NOT NULL \
         AND tbl_name IN ('accounts', 'stations', 'readings', 'measurements') ORDER BY rowid",
    )?;
    let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(lines.join("\n"))
}

/// Writes all rows into the tables of a file, and brings the write-ahead log into it.
pub fn fill(path: &Path, effort: Effort) -> Result<Size, Failure> {
    let size = Size {
        accounts: effort.rows(100_000),
        stations: effort.rows(4_000),
        measurements: effort.rows(1_000_000),
    };
    let mut connection = by_hand::open(path)?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare(by_hand::INSERT_ACCOUNT)?;
        for id in 1..=size.accounts {
            let (owner, cents) = numbers::account(id);
            insert.execute(params![id, owner, cents])?;
        }
        let mut insert =
            transaction.prepare("INSERT INTO stations (id, region, name, height) VALUES (?1, ?2, ?3, ?4)")?;
        for id in 1..=size.stations {
            let (name, height) = numbers::station(id - 1);
            insert.execute(params![id, REGIONS[id as usize % REGIONS.len()], name, height])?;
        }
        let mut insert = transaction
            .prepare("INSERT INTO readings (station_id, at, celsius, remark) VALUES (?1, ?2, ?3, ?4)")?;
        for number in 0..numbers::READINGS_OF_A_STATION {
            for station in 1..=size.stations {
                let (at, celsius, remark) = numbers::reading(station, number);
                insert.execute(params![station, at, celsius, remark])?;
            }
        }
        let mut insert = transaction.prepare(by_hand::INSERT_MEASUREMENT)?;
        for id in 1..=size.measurements {
            let (at, celsius, place) = numbers::measurement(id);
            insert.execute(params![id, at, celsius, place])?;
        }
    }
    transaction.commit()?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(size)
}

const REGIONS: [&str; 4] = ["north", "east", "south", "west"];

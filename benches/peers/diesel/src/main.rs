//! diesel beside hand-written `rusqlite`.
//!
//! Queries are built by the query builder and cached by it under their types. Rows become structs by `Selectable` and
//! `Queryable`. The connection is used as `SqliteConnection::establish` makes it. `treat_none_as_default_value = false` lets
//! diesel insert a list of rows by one statement. Otherwise it runs a statement for each row on SQLite, which took up to 1.8
//! times as long.

#![forbid(unsafe_code)]

#[path = "../../shared/mod.rs"]
mod shared;

use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use shared::by_hand::SETTINGS;
use shared::measure::Failure;
use shared::{About, Library, numbers, sum_of_ids};

mod schema {
    diesel::table! {
        accounts (id) {
            id -> BigInt,
            owner -> Text,
            cents -> BigInt,
        }
    }
    diesel::table! {
        stations (id) {
            id -> BigInt,
            region -> Text,
            name -> Text,
            height -> BigInt,
        }
    }
    diesel::table! {
        readings (id) {
            id -> BigInt,
            station_id -> BigInt,
            at -> BigInt,
            celsius -> Double,
            remark -> Text,
        }
    }
    diesel::table! {
        measurements (id) {
            id -> BigInt,
            at -> BigInt,
            celsius -> Double,
            place -> Text,
        }
    }
    diesel::joinable!(readings -> stations (station_id));
    diesel::allow_tables_to_appear_in_same_query!(readings, stations);
}

use schema::{accounts, measurements, readings, stations};

#[derive(Queryable, Selectable, Identifiable, Insertable)]
#[diesel(table_name = accounts, treat_none_as_default_value = false, check_for_backend(diesel::sqlite::Sqlite))]
struct Account {
    id: i64,
    owner: String,
    cents: i64,
}

#[derive(Queryable, Selectable, Identifiable)]
#[diesel(table_name = stations, check_for_backend(diesel::sqlite::Sqlite))]
#[expect(dead_code, reason = "all columns are read")]
struct Station {
    id: i64,
    region: String,
    name: String,
    height: i64,
}

#[derive(Queryable, Selectable, Identifiable, Associations)]
#[diesel(table_name = readings, belongs_to(Station), check_for_backend(diesel::sqlite::Sqlite))]
#[expect(dead_code, reason = "all columns are read")]
struct Reading {
    id: i64,
    station_id: i64,
    at: i64,
    celsius: f64,
    remark: String,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = measurements, treat_none_as_default_value = false, check_for_backend(diesel::sqlite::Sqlite))]
struct Measurement {
    id: i64,
    at: i64,
    celsius: f64,
    place: String,
}

struct Diesel {
    connection: SqliteConnection,
    kept: Vec<Account>,
}

impl Diesel {
    fn open(path: &Path) -> Result<Self, Failure> {
        let mut connection = SqliteConnection::establish(&path.to_string_lossy())?;
        for setting in SETTINGS {
            connection.batch_execute(setting)?;
        }
        Ok(Diesel { connection, kept: Vec::new() })
    }
}

/// `find` without `first`: the `LIMIT` that `first` adds is a parameter, for which SQLite prepares the statement again.
fn get(connection: &mut SqliteConnection, ids: &[i64]) -> QueryResult<u64> {
    let mut sum = 0;
    for id in ids {
        let found =
            accounts::table.find(id).select(Account::as_select()).get_result(connection).optional()?;
        sum += found.map_or(0, |account| account.cents);
    }
    Ok(sum as u64)
}

impl Library for Diesel {
    fn get(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        Ok(get(&mut self.connection, ids)?)
    }

    fn get_in_a_transaction(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        Ok(self.connection.transaction(|connection| get(connection, ids))?)
    }

    fn readings(&mut self, stations: &[i64]) -> Result<u64, Failure> {
        let mut sum = 0;
        for station in stations {
            let found = readings::table
                .filter(readings::station_id.eq(station))
                .select(Reading::as_select())
                .load(&mut self.connection)?;
            sum += sum_of_ids(found.iter().map(|reading| reading.id));
        }
        Ok(sum)
    }

    fn top(&mut self, times: usize) -> Result<u64, Failure> {
        let mut sum = 0;
        for _ in 0..times {
            let found = measurements::table
                .order(measurements::at)
                .limit(100)
                .select(Measurement::as_select())
                .load(&mut self.connection)?;
            sum += sum_of_ids(found.iter().map(|measurement| measurement.id));
        }
        Ok(sum)
    }

    /// `belonging_to` and `grouped_by`, as the guide to relations recommends.
    fn stations_with_readings(&mut self, below: i64) -> Result<u64, Failure> {
        let stations = stations::table
            .filter(stations::height.lt(below))
            .select(Station::as_select())
            .load(&mut self.connection)?;
        let readings = Reading::belonging_to(&stations)
            .select(Reading::as_select())
            .load(&mut self.connection)?
            .grouped_by(&stations);
        let found: Vec<(Station, Vec<Reading>)> = stations.into_iter().zip(readings).collect();
        Ok(sum_of_ids(found.iter().flat_map(|(station, readings)| {
            std::iter::once(station.id).chain(readings.iter().map(|reading| reading.id))
        })))
    }

    fn insert_accounts(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        let rows: Vec<Account> = ids
            .map(|id| {
                let (owner, cents) = numbers::account(id);
                Account { id, owner, cents }
            })
            .collect();
        Ok(self.connection.immediate_transaction(|connection| {
            diesel::insert_into(accounts::table).values(&rows).execute(connection)
        })? as u64)
    }

    fn insert_measurements(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        let rows: Vec<Measurement> = ids
            .map(|id| {
                let (at, celsius, place) = numbers::measurement(id);
                Measurement { id, at, celsius, place }
            })
            .collect();
        Ok(self.connection.immediate_transaction(|connection| {
            diesel::insert_into(measurements::table).values(&rows).execute(connection)
        })? as u64)
    }

    fn read_for_update(&mut self, ids: &[i64]) -> Result<(), Failure> {
        self.kept = ids
            .iter()
            .map(|id| accounts::table.find(id).select(Account::as_select()).get_result(&mut self.connection))
            .collect::<QueryResult<_>>()?;
        Ok(())
    }

    /// An `update` of a record with `set`. `save_changes` would write all columns and read the row again.
    fn update(&mut self) -> Result<u64, Failure> {
        let kept = &mut self.kept;
        let sum = self.connection.immediate_transaction(|connection| {
            let mut sum = 0;
            for account in kept {
                account.cents += 1;
                diesel::update(&*account).set(accounts::cents.eq(account.cents)).execute(connection)?;
                sum += account.cents;
            }
            QueryResult::Ok(sum)
        })?;
        Ok(sum as u64)
    }
}

fn main() -> ExitCode {
    shared::main(&About { library: "diesel", by_hand: "rusqlite 0.40" }, shared::data::create, Diesel::open)
}

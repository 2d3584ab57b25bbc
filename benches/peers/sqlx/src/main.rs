//! sqlx beside hand-written `rusqlite`.
//!
//! One `SqliteConnection`, whose statements sqlx caches by their text, on a current-thread runtime that is entered once for
//! each block. Rows become structs by `query_as` and `FromRow`. Statements are not logged.

#![forbid(unsafe_code)]

#[path = "../../shared/mod.rs"]
mod shared;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use shared::by_hand::SETTINGS;
use shared::measure::Failure;
use shared::{About, Library, numbers, sum_of_ids};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, FromRow, QueryBuilder, Sqlite};
use tokio::runtime::Runtime;

#[derive(FromRow)]
struct Account {
    id: i64,
    #[expect(dead_code, reason = "all columns are read")]
    owner: String,
    cents: i64,
}

#[derive(FromRow)]
#[expect(dead_code, reason = "all columns are read")]
struct Station {
    id: i64,
    region: String,
    name: String,
    height: i64,
}

#[derive(FromRow)]
#[expect(dead_code, reason = "all columns are read")]
struct Reading {
    id: i64,
    station_id: i64,
    at: i64,
    celsius: f64,
    remark: String,
}

#[derive(FromRow)]
#[expect(dead_code, reason = "all columns are read")]
struct Measurement {
    id: i64,
    at: i64,
    celsius: f64,
    place: String,
}

struct Sqlx {
    runtime: Runtime,
    connection: SqliteConnection,
    kept: Vec<Account>,
}

impl Sqlx {
    fn open(path: &Path) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let connection = runtime.block_on(async {
            let options = SqliteConnectOptions::new().filename(path).disable_statement_logging();
            let mut connection = options.connect().await?;
            for setting in SETTINGS {
                sqlx::query(*setting).execute(&mut connection).await?;
            }
            Ok::<_, sqlx::Error>(connection)
        })?;
        Ok(Sqlx { runtime, connection, kept: Vec::new() })
    }
}

const GET: &str = "SELECT id, owner, cents FROM accounts WHERE id = ?";

async fn get(connection: &mut SqliteConnection, ids: &[i64]) -> sqlx::Result<u64> {
    let mut sum = 0;
    for id in ids {
        let found: Option<Account> = sqlx::query_as(GET).bind(id).fetch_optional(&mut *connection).await?;
        sum += found.map_or(0, |account| account.cents);
    }
    Ok(sum as u64)
}

impl Library for Sqlx {
    fn get(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        Ok(self.runtime.block_on(get(&mut self.connection, ids))?)
    }

    fn get_in_a_transaction(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut transaction = self.connection.begin().await?;
            let sum = get(&mut transaction, ids).await?;
            transaction.commit().await?;
            Ok(sum)
        })
    }

    fn readings(&mut self, stations: &[i64]) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut sum = 0;
            for station in stations {
                let sql = "SELECT id, station_id, at, celsius, remark FROM readings WHERE station_id = ?";
                let found: Vec<Reading> =
                    sqlx::query_as(sql).bind(station).fetch_all(&mut self.connection).await?;
                sum += sum_of_ids(found.iter().map(|reading| reading.id));
            }
            Ok(sum)
        })
    }

    fn top(&mut self, times: usize) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut sum = 0;
            for _ in 0..times {
                let sql = "SELECT id, at, celsius, place FROM measurements ORDER BY at LIMIT 100";
                let found: Vec<Measurement> = sqlx::query_as(sql).fetch_all(&mut self.connection).await?;
                sum += sum_of_ids(found.iter().map(|measurement| measurement.id));
            }
            Ok(sum)
        })
    }

    /// A list of parameters by `QueryBuilder`.
    fn stations_with_readings(&mut self, below: i64) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let sql = "SELECT id, region, name, height FROM stations WHERE height < ?";
            let stations: Vec<Station> =
                sqlx::query_as(sql).bind(below).fetch_all(&mut self.connection).await?;
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT id, station_id, at, celsius, remark FROM readings WHERE station_id IN (",
            );
            let mut ids = query.separated(", ");
            for station in &stations {
                ids.push_bind(station.id);
            }
            ids.push_unseparated(")");
            let mut readings: HashMap<i64, Vec<Reading>> = HashMap::new();
            for reading in query.build_query_as::<Reading>().fetch_all(&mut self.connection).await? {
                readings.entry(reading.station_id).or_default().push(reading);
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
        })
    }

    /// One statement for all rows by `push_values`, as its documentation recommends for many rows.
    fn insert_accounts(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO accounts (id, owner, cents) ");
            query.push_values(ids, |mut row, id| {
                let (owner, cents) = numbers::account(id);
                row.push_bind(id).push_bind(owner).push_bind(cents);
            });
            let done = query.build().execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(done.rows_affected())
        })
    }

    fn insert_measurements(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO measurements (id, at, celsius, place) ");
            query.push_values(ids, |mut row, id| {
                let (at, celsius, place) = numbers::measurement(id);
                row.push_bind(id).push_bind(at).push_bind(celsius).push_bind(place);
            });
            let done = query.build().execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(done.rows_affected())
        })
    }

    fn read_for_update(&mut self, ids: &[i64]) -> Result<(), Failure> {
        self.runtime.block_on(async {
            self.kept.clear();
            for id in ids {
                self.kept.push(sqlx::query_as(GET).bind(id).fetch_one(&mut self.connection).await?);
            }
            Ok(())
        })
    }

    fn update(&mut self) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            let mut sum = 0;
            for account in &mut self.kept {
                account.cents += 1;
                sqlx::query("UPDATE accounts SET cents = ? WHERE id = ?")
                    .bind(account.cents)
                    .bind(account.id)
                    .execute(&mut *transaction)
                    .await?;
                sum += account.cents;
            }
            transaction.commit().await?;
            Ok(sum as u64)
        })
    }
}

fn main() -> ExitCode {
    shared::main(&About { library: "sqlx", by_hand: "rusqlite 0.39" }, shared::data::create, Sqlx::open)
}

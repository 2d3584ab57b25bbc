//! toasty beside hand-written `rusqlite`.
//!
//! One connection of its pool, kept, on a current-thread runtime that is entered once for each block. For each call toasty
//! makes its SQL text, and caches the prepared statements by that text. No id is `#[auto]`, because `include` panics with one
//! in version 0.11.0 ("cast_expr: cannot cast").

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
use toasty::{Connection, Db, Deferred, Executor};
use tokio::runtime::Runtime;

#[derive(Debug, toasty::Model)]
#[table = "accounts"]
struct Account {
    #[key]
    id: i64,
    owner: String,
    cents: i64,
}

#[derive(Debug, toasty::Model)]
#[table = "stations"]
struct Station {
    #[key]
    id: i64,
    region: String,
    name: String,
    height: i64,
    #[has_many]
    readings: Deferred<Vec<Reading>>,
}

#[derive(Debug, toasty::Model)]
#[table = "readings"]
struct Reading {
    #[key]
    id: i64,
    #[index]
    station_id: i64,
    #[belongs_to]
    station: Deferred<Station>,
    at: i64,
    celsius: f64,
    remark: String,
}

#[derive(Debug, toasty::Model)]
#[table = "measurements"]
struct Measurement {
    #[key]
    id: i64,
    #[index]
    at: i64,
    celsius: f64,
    place: String,
}

struct Toasty {
    runtime: Runtime,
    connection: Connection,
    kept: Vec<Account>,
}

impl Toasty {
    fn open(path: &Path) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let connection = runtime.block_on(async {
            let db = Db::builder()
                .models(toasty::models!(Account, Station, Reading, Measurement))
                .max_pool_size(1)
                .connect(&format!("sqlite:{}", path.display()))
                .await?;
            let mut connection = db.connection().await?;
            for setting in SETTINGS {
                toasty::sql::query(*setting).exec(&mut connection).await?;
            }
            Ok::<_, toasty::Error>(connection)
        })?;
        Ok(Toasty { runtime, connection, kept: Vec::new() })
    }
}

async fn get(executor: &mut dyn Executor, ids: &[i64]) -> toasty::Result<u64> {
    let mut sum = 0;
    for id in ids {
        sum += Account::get_by_id(&mut *executor, id).await?.cents;
    }
    Ok(sum as u64)
}

impl Library for Toasty {
    fn get(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        Ok(self.runtime.block_on(get(&mut self.connection, ids))?)
    }

    fn get_in_a_transaction(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut transaction = self.connection.transaction().await?;
            let sum = get(&mut transaction, ids).await?;
            transaction.commit().await?;
            Ok(sum)
        })
    }

    fn readings(&mut self, stations: &[i64]) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut sum = 0;
            for &station in stations {
                let found = Reading::filter_by_station_id(station).exec(&mut self.connection).await?;
                sum += sum_of_ids(found.iter().map(|reading| reading.id));
            }
            Ok(sum)
        })
    }

    fn top(&mut self, times: usize) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut sum = 0;
            for _ in 0..times {
                let found = Measurement::all()
                    .order_by(Measurement::fields().at().asc())
                    .limit(100)
                    .exec(&mut self.connection)
                    .await?;
                sum += sum_of_ids(found.iter().map(|measurement| measurement.id));
            }
            Ok(sum)
        })
    }

    /// A list of ids by `in_list`. `include`, which would read the children with their parents, did not end within minutes.
    fn stations_with_readings(&mut self, below: i64) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let stations =
                Station::filter(Station::fields().height().lt(below)).exec(&mut self.connection).await?;
            let ids: Vec<i64> = stations.iter().map(|station| station.id).collect();
            let children = Reading::filter(Reading::fields().station_id().in_list(ids));
            let mut readings: HashMap<i64, Vec<Reading>> = HashMap::new();
            for reading in children.exec(&mut self.connection).await? {
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

    /// One statement for all rows by `create_many`, which returns the rows.
    fn insert_accounts(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut transaction = self.connection.transaction().await?;
            let mut rows = Account::create_many();
            for id in ids {
                let (owner, cents) = numbers::account(id);
                rows = rows.item(Account::create().id(id).owner(owner).cents(cents));
            }
            let inserted = rows.exec(&mut transaction).await?;
            transaction.commit().await?;
            Ok(inserted.len() as u64)
        })
    }

    fn insert_measurements(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut transaction = self.connection.transaction().await?;
            let mut rows = Measurement::create_many();
            for id in ids {
                let (at, celsius, place) = numbers::measurement(id);
                rows = rows.item(Measurement::create().id(id).at(at).celsius(celsius).place(place));
            }
            let inserted = rows.exec(&mut transaction).await?;
            transaction.commit().await?;
            Ok(inserted.len() as u64)
        })
    }

    fn read_for_update(&mut self, ids: &[i64]) -> Result<(), Failure> {
        self.runtime.block_on(async {
            self.kept.clear();
            for id in ids {
                self.kept.push(Account::get_by_id(&mut self.connection, id).await?);
            }
            Ok(())
        })
    }

    fn update(&mut self) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut transaction = self.connection.transaction().await?;
            let mut sum = 0;
            for account in &mut self.kept {
                let cents = account.cents + 1;
                account.update().cents(cents).exec(&mut transaction).await?;
                sum += account.cents;
            }
            transaction.commit().await?;
            Ok(sum as u64)
        })
    }
}

fn main() -> ExitCode {
    shared::main(&About { library: "toasty", by_hand: "rusqlite 0.40" }, shared::data::create, Toasty::open)
}

//! SeaORM beside hand-written `rusqlite`.
//!
//! Entities in the format of version 2.0. A pool of one connection, without logging and without a check before each use. It
//! runs on a current-thread runtime that is entered once for each block.

#![forbid(unsafe_code)]

#[path = "../../shared/mod.rs"]
mod shared;

use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use sea_orm::entity::prelude::*;
use sea_orm::{
    ActiveValue::{Set, Unchanged},
    ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, LoaderTrait, QueryOrder, QuerySelect,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use shared::by_hand::SETTINGS;
use shared::measure::Failure;
use shared::{About, Library, numbers, sum_of_ids};
use tokio::runtime::Runtime;

mod account {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "accounts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub owner: String,
        pub cents: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod station {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "stations")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub region: String,
        pub name: String,
        pub height: i64,
        #[sea_orm(has_many)]
        pub readings: HasMany<super::reading::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod reading {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "readings")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub station_id: i64,
        pub at: i64,
        pub celsius: f64,
        pub remark: String,
        #[sea_orm(belongs_to, from = "station_id", to = "id")]
        pub station: BelongsTo<super::station::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod measurement {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "measurements")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub at: i64,
        pub celsius: f64,
        pub place: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

struct SeaOrm {
    runtime: Runtime,
    connection: DatabaseConnection,
    kept: Vec<account::Model>,
}

impl SeaOrm {
    fn open(path: &Path) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let connection = runtime.block_on(async {
            let mut options = ConnectOptions::new(format!("sqlite:{}", path.display()));
            options.max_connections(1).sqlx_logging(false).test_before_acquire(false);
            let connection = Database::connect(options).await?;
            for setting in SETTINGS {
                connection.execute_unprepared(setting).await?;
            }
            Ok::<_, DbErr>(connection)
        })?;
        Ok(SeaOrm { runtime, connection, kept: Vec::new() })
    }
}

async fn get(connection: &impl ConnectionTrait, ids: &[i64]) -> Result<u64, DbErr> {
    let mut sum = 0;
    for &id in ids {
        let found = account::Entity::find_by_id(id).one(connection).await?;
        sum += found.map_or(0, |account| account.cents);
    }
    Ok(sum as u64)
}

async fn begin(connection: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    connection
        .begin_with_options(TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        })
        .await
}

impl Library for SeaOrm {
    fn get(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        Ok(self.runtime.block_on(get(&self.connection, ids))?)
    }

    fn get_in_a_transaction(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let transaction = self.connection.begin().await?;
            let sum = get(&transaction, ids).await?;
            transaction.commit().await?;
            Ok(sum)
        })
    }

    fn readings(&mut self, stations: &[i64]) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut sum = 0;
            for &station in stations {
                let found = reading::Entity::find()
                    .filter(reading::COLUMN.station_id.eq(station))
                    .all(&self.connection)
                    .await?;
                sum += sum_of_ids(found.iter().map(|reading| reading.id));
            }
            Ok(sum)
        })
    }

    fn top(&mut self, times: usize) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut sum = 0;
            for _ in 0..times {
                let found = measurement::Entity::find()
                    .order_by_asc(measurement::COLUMN.at)
                    .limit(100)
                    .all(&self.connection)
                    .await?;
                sum += sum_of_ids(found.iter().map(|measurement| measurement.id));
            }
            Ok(sum)
        })
    }

    /// The data loader, which reads the children of many parents by one statement.
    fn stations_with_readings(&mut self, below: i64) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let stations = station::Entity::find()
                .filter(station::COLUMN.height.lt(below))
                .all(&self.connection)
                .await?;
            let readings = stations.load_many(reading::Entity, &self.connection).await?;
            let found: Vec<(station::Model, Vec<reading::Model>)> =
                stations.into_iter().zip(readings).collect();
            Ok(sum_of_ids(found.iter().flat_map(|(station, readings)| {
                std::iter::once(station.id).chain(readings.iter().map(|reading| reading.id))
            })))
        })
    }

    /// One statement for all rows by `insert_many`.
    fn insert_accounts(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let transaction = begin(&self.connection).await?;
            let rows = ids.map(|id| {
                let (owner, cents) = numbers::account(id);
                account::ActiveModel { id: Set(id), owner: Set(owner), cents: Set(cents) }
            });
            let inserted = account::Entity::insert_many(rows).exec_without_returning(&transaction).await?;
            transaction.commit().await?;
            Ok(inserted)
        })
    }

    fn insert_measurements(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let transaction = begin(&self.connection).await?;
            let rows = ids.map(|id| {
                let (at, celsius, place) = numbers::measurement(id);
                measurement::ActiveModel {
                    id: Set(id),
                    at: Set(at),
                    celsius: Set(celsius),
                    place: Set(place),
                }
            });
            let inserted =
                measurement::Entity::insert_many(rows).exec_without_returning(&transaction).await?;
            transaction.commit().await?;
            Ok(inserted)
        })
    }

    fn read_for_update(&mut self, ids: &[i64]) -> Result<(), Failure> {
        self.runtime.block_on(async {
            self.kept.clear();
            for &id in ids {
                let found = account::Entity::find_by_id(id).one(&self.connection).await?;
                self.kept.push(found.ok_or("an account is missing")?);
            }
            Ok(())
        })
    }

    /// An active model with the changed column. `exec` would read the row again.
    fn update(&mut self) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let transaction = begin(&self.connection).await?;
            let mut sum = 0;
            for account in &mut self.kept {
                account.cents += 1;
                let changed = account::ActiveModel {
                    id: Unchanged(account.id),
                    cents: Set(account.cents),
                    ..Default::default()
                };
                account::Entity::update(changed).exec_without_returning(&transaction).await?;
                sum += account.cents;
            }
            transaction.commit().await?;
            Ok(sum as u64)
        })
    }
}

fn main() -> ExitCode {
    shared::main(&About { library: "sea-orm", by_hand: "rusqlite 0.39" }, shared::data::create, SeaOrm::open)
}

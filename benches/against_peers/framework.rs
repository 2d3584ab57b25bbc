//! The framework's side: a cluster of one shard, so that it has one file as the other libraries.

use std::ops::Range;
use std::path::Path;

use shard_runtime::{Builder, Cluster, Durability, Parent, Session, Sharded, Stored};

use crate::shared::measure::Failure;
use crate::shared::{Library, data, numbers, sum_of_ids};

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "accounts")]
struct Account {
    #[id]
    #[shard_key(hash)]
    id: i64,
    owner: String,
    cents: i64,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "stations")]
struct Station {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    region: String,
    name: String,
    height: i64,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "readings")]
struct Reading {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    station: Parent<Station>,
    at: i64,
    celsius: f64,
    remark: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "measurements", index(at))]
struct Measurement {
    #[id]
    #[shard_key(hash)]
    id: i64,
    at: i64,
    celsius: f64,
    place: String,
}

type Models = (Account, Station, Reading, Measurement);

fn builder(path: &Path) -> Builder {
    Cluster::builder().durability(Durability::Normal).shard("one", format!("sqlite:{}", path.display()))
}

/// Makes the tables, and checks that the other programs have the same.
pub fn create(path: &Path) -> Result<(), Failure> {
    builder(path).create::<Models>()?;
    let other = path.with_extension("schema");
    data::create(&other)?;
    let (own, others) = (data::tables(path)?, data::tables(&other)?);
    if own != others {
        return Err(format!("the framework's tables are:\n{own}\nthose of schema.sql are:\n{others}").into());
    }
    Ok(())
}

pub struct Framework {
    cluster: Cluster,
    /// By id, which counts from 1.
    stations: Vec<Parent<Station>>,
    kept: Vec<Stored<Account>>,
}

impl Framework {
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let cluster = builder(path).open::<Models>()?;
        let query = Station::select().all_shards().order_by(Station::ID.asc());
        let stations = cluster.session().all(query)?.iter().map(Stored::link).collect();
        Ok(Framework { cluster, stations, kept: Vec::new() })
    }
}

fn cents(session: &mut Session, id: i64) -> shard_runtime::Result<i64> {
    Ok(session.get::<Account>(id)?.map_or(0, |account| account.cents))
}

impl Library for Framework {
    /// A session for each.
    fn get(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        let mut sum = 0;
        for &id in ids {
            let mut session = self.cluster.session();
            sum += cents(&mut session, id)?;
            session.commit()?;
        }
        Ok(sum as u64)
    }

    fn get_in_a_transaction(&mut self, ids: &[i64]) -> Result<u64, Failure> {
        let mut sum = 0;
        let mut session = self.cluster.session();
        for &id in ids {
            sum += cents(&mut session, id)?;
        }
        session.commit()?;
        Ok(sum as u64)
    }

    fn readings(&mut self, stations: &[i64]) -> Result<u64, Failure> {
        let mut sum = 0;
        for &station in stations {
            let mut session = self.cluster.session();
            let station = &self.stations[station as usize - 1];
            let found = session.all(Reading::select().filter(Reading::STATION.eq(station)))?;
            session.commit()?;
            sum += sum_of_ids(found.iter().map(|reading| reading.id));
        }
        Ok(sum)
    }

    fn top(&mut self, times: usize) -> Result<u64, Failure> {
        let mut sum = 0;
        for _ in 0..times {
            let mut session = self.cluster.session();
            let query = Measurement::select().all_shards().order_by(Measurement::AT.asc()).limit(100);
            let found = session.all(query)?;
            session.commit()?;
            sum += sum_of_ids(found.iter().map(|measurement| measurement.id));
        }
        Ok(sum)
    }

    fn stations_with_readings(&mut self, below: i64) -> Result<u64, Failure> {
        let mut session = self.cluster.session();
        let lower = Station::select().filter(Station::HEIGHT.lt(below)).all_shards();
        let found = session.all_with::<Reading>(lower)?;
        session.commit()?;
        Ok(sum_of_ids(found.iter().flat_map(|(station, readings)| {
            std::iter::once(station.id).chain(readings.iter().map(|reading| reading.id))
        })))
    }

    fn insert_accounts(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        let mut session = self.cluster.session();
        let inserted = session.add_all(ids.map(|id| {
            let (owner, cents) = numbers::account(id);
            Account { id, owner, cents }
        }))?;
        session.commit()?;
        Ok(inserted.len() as u64)
    }

    fn insert_measurements(&mut self, ids: Range<i64>) -> Result<u64, Failure> {
        let mut session = self.cluster.session();
        let inserted = session.add_all(ids.map(|id| {
            let (at, celsius, place) = numbers::measurement(id);
            Measurement { id, at, celsius, place }
        }))?;
        session.commit()?;
        Ok(inserted.len() as u64)
    }

    fn read_for_update(&mut self, ids: &[i64]) -> Result<(), Failure> {
        let mut session = self.cluster.session();
        self.kept.clear();
        for &id in ids {
            self.kept.push(session.get::<Account>(id)?.ok_or("an account is missing")?);
        }
        session.commit()?;
        Ok(())
    }

    fn update(&mut self) -> Result<u64, Failure> {
        let mut session = self.cluster.session();
        let mut sum = 0;
        for account in &mut self.kept {
            account.cents += 1;
            session.update(account)?;
            sum += account.cents;
        }
        session.commit()?;
        Ok(sum as u64)
    }
}

//! Some rows by an index: a parent's children, and the children of many parents.

use std::collections::HashMap;
use std::rc::Rc;

use shard_runtime::sqlite::rusqlite::types::Value;
use shard_runtime::{Parent, Sharded, Stored};

use super::point::in_transactions;
use crate::by_hand::{self, READINGS};
use crate::data::{Data, Set};
use crate::measure::{Failure, Pair};
use crate::models::{Reading, Station, folded};

const PER_BLOCK: usize = 40;

/// Links to stations of all shards, and the same for the hand-written side: shard and id.
fn links(set: &Set) -> Result<Vec<Parent<Station>>, Failure> {
    let stations = set.cluster.session().all(Station::select().all_shards())?;
    let mut links: Vec<Parent<Station>> = stations.iter().map(Stored::link).collect();
    links.sort_by_key(|link| crate::models::scattered(*link.id()));
    Ok(links)
}

pub fn readings_in_autocommit(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.stations()?;
    let (mut parents, mut own) = (links(set)?.into_iter().cycle(), links(set)?.into_iter().cycle());
    let framework = move || {
        let mut sum = 0;
        for station in parents.by_ref().take(PER_BLOCK) {
            let mut session = set.cluster.session();
            let readings = session.all(Reading::select().filter(Reading::STATION.eq(&station)))?;
            sum += folded(readings.iter().map(|reading| reading.id)) % 1_000;
            session.commit()?;
        }
        Ok(sum)
    };
    let by_hand = move || readings(set, &mut own);
    Ok(Pair { per_block: PER_BLOCK as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

pub fn readings_in_transactions(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.stations()?;
    let (mut parents, mut own) = (links(set)?.into_iter().cycle(), links(set)?.into_iter().cycle());
    let framework = move || {
        let mut sum = 0;
        let mut session = set.cluster.session();
        for station in parents.by_ref().take(PER_BLOCK) {
            let readings = session.all(Reading::select().filter(Reading::STATION.eq(&station)))?;
            sum += folded(readings.iter().map(|reading| reading.id)) % 1_000;
        }
        session.commit()?;
        Ok(sum)
    };
    let by_hand = move || in_transactions(set, || readings(set, &mut own));
    Ok(Pair { per_block: PER_BLOCK as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

fn readings(set: &Set, parents: &mut impl Iterator<Item = Parent<Station>>) -> Result<u64, Failure> {
    let mut sum = 0;
    for station in parents.take(PER_BLOCK) {
        let connection = &set.by_hand[station.shard().index()];
        let readings = by_hand::all(connection, READINGS, [*station.id()], by_hand::reading)?;
        sum += folded(readings.iter().map(|reading| reading.id)) % 1_000;
    }
    Ok(sum)
}

/// A quarter of the stations, each with its readings.
pub fn children(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.stations()?;
    let below = data.effort.rows(1_000);
    let framework = move || {
        let mut session = set.cluster.session();
        let lower = Station::select().filter(Station::HEIGHT.lt(below)).all_shards();
        let found = session.all_with::<Reading>(lower)?;
        session.commit()?;
        Ok(folded(found.iter().flat_map(|(station, readings)| {
            std::iter::once(station.id).chain(readings.iter().map(|reading| reading.id))
        })))
    };
    let by_hand = move || {
        let mut found = Vec::new();
        for connection in &set.by_hand {
            let sql = "SELECT id, region, name, height FROM stations WHERE height < ?1";
            let stations = by_hand::all(connection, sql, [below], by_hand::station)?;
            let ids: Vec<Value> = stations.iter().map(|station| station.id.into()).collect();
            let sql =
                "SELECT id, station_id, at, celsius, remark FROM readings WHERE station_id IN rarray(?1)";
            let mut readings: HashMap<i64, Vec<by_hand::Reading>> = HashMap::new();
            let mut statement = connection.prepare_cached(sql)?;
            for reading in statement.query_map([Rc::new(ids)], by_hand::reading)? {
                let reading = reading?;
                readings.entry(reading.station_id).or_default().push(reading);
            }
            found.extend(stations.into_iter().map(|station| {
                let own = readings.remove(&station.id).unwrap_or_default();
                (station, own)
            }));
        }
        Ok(folded(found.iter().flat_map(|(station, readings)| {
            std::iter::once(station.id).chain(readings.iter().map(|reading| reading.id))
        })))
    };
    Ok(Pair { per_block: 1, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

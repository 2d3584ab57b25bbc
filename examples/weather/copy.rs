//! Copies one cluster to another, for example files to servers. Rows are read as a stream and added in batches, so that no
//! table has to fit into memory. The rows of a model on a shard are one commit: a copy that was stopped continues with the
//! missing commits.

use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;

use shard_runtime::{Cluster, Insert, Parent, Query, Session, Sharded, Stored};

use crate::failure::{Failure, Result};
use crate::location::Location;
use crate::model::{City, NewObservation, Observation};
use crate::text::thousands;

/// How many rows are read before they are sent.
const PORTION: usize = 1_000;

/// Copies the rows that the other location does not have.
pub fn run(from: &Location, to: &Location, out: &mut dyn Write) -> Result<()> {
    let (old, new) = (from.open_imported()?, to.create()?);
    let (mut reading, mut writing) = (old.session(), new.session());
    // Parents first: a child cannot be added without its parent.
    for shard in old.shards() {
        let cities = City::select().on_shard(shard.name());
        let count = [&mut reading, &mut writing].map(|session| session.one(cities.clone().count()));
        if is_missing(&format!("cities on {}", shard.name()), count, to, out)? {
            copy(&mut reading, cities, &mut writing, |_, city| Ok(City::clone(&city)))?;
        }
    }
    for shard in old.shards() {
        let observations = Observation::select().on_shard(shard.name());
        let count = [&mut reading, &mut writing].map(|session| session.one(observations.clone().count()));
        if is_missing(&format!("observations on {}", shard.name()), count, to, out)? {
            let mut links = HashMap::new();
            copy(&mut reading, observations.with_parent(), &mut writing, |writing, (observation, city)| {
                Ok(again(&observation, link(writing, &mut links, &city)?))
            })?;
        }
    }
    compare(&old, &new, out)
}

/// Returns true if rows have to be copied: the source has some, and the other location none.
fn is_missing(
    what: &str,
    [there, arrived]: [shard_runtime::Result<u64>; 2],
    to: &Location,
    out: &mut dyn Write,
) -> Result<bool> {
    let (there, arrived) = (there?, arrived?);
    if arrived == there {
        writeln!(out, "  {what:26} {:>6}  already there", thousands(there))?;
        return Ok(false);
    }
    if arrived == 0 {
        writeln!(out, "  {what:26} {:>6}  → {to}", thousands(there))?;
        return Ok(true);
    }
    Err(Failure::Refused(format!(
        "{what}: {} rows are in {to} already, {} are to be copied; copy to servers that have no rows yet",
        thousands(arrived),
        thousands(there)
    )))
}

/// Reads rows, converts each to its insert struct, and adds them in batches, in one commit.
fn copy<Q: Query, N: Insert>(
    reading: &mut Session,
    query: Q,
    writing: &mut Session,
    mut row: impl FnMut(&mut Session, Q::Output) -> shard_runtime::Result<N>,
) -> Result<()> {
    let mut portion = Vec::with_capacity(PORTION);
    reading.for_each(query, |read| {
        portion.push(row(writing, read)?);
        if portion.len() == PORTION {
            writing.add_all(portion.drain(..))?;
            writing.flush()?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    writing.add_all(portion)?;
    writing.commit()?;
    Ok(())
}

/// Returns a link to the same city in the other cluster: a link of the source is not valid there.
fn link(
    writing: &mut Session,
    links: &mut HashMap<i64, Parent<City>>,
    city: &Stored<City>,
) -> shard_runtime::Result<Parent<City>> {
    if let Some(link) = links.get(&city.geoname_id) {
        return Ok(link.clone());
    }
    let by_id = City::select().on(city.continent).filter(City::GEONAME_ID.eq(city.geoname_id));
    let link = writing.one(by_id)?.link();
    links.insert(city.geoname_id, link.clone());
    Ok(link)
}

/// Returns the observation as an insert struct: its id was counted by its shard, and will be counted again.
fn again(observation: &Observation, city: Parent<City>) -> NewObservation {
    let Observation { id: _, city: _, station, observed_at, celsius, humidity, wind_kmh, pressure_hpa } =
        observation.clone();
    NewObservation { city, station, observed_at, celsius, humidity, wind_kmh, pressure_hpa }
}

/// Compares the totals of both clusters at the end.
fn compare(old: &Cluster, new: &Cluster, out: &mut dyn Write) -> Result<()> {
    let sums = |cluster: &Cluster| -> Result<_> {
        let mut session = cluster.session();
        Ok((
            session.one(City::select().all_shards().count())?,
            session.one(City::select().all_shards().aggregate(City::POPULATION.sum()))?,
            session.one(Observation::select().all_shards().count())?,
        ))
    };
    let (there, arrived) = (sums(old)?, sums(new)?);
    if there != arrived {
        let message =
            format!("{there:?} cities, people and observations were copied, {arrived:?} have arrived");
        return Err(Failure::Refused(message));
    }
    writeln!(out, "All {} rows are in both.", thousands(there.0 + there.2))?;
    Ok(())
}

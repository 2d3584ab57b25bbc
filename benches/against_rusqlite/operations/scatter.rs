//! Every shard is read: the first rows of all, all rows of all, one value from all.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use shard_runtime::sqlite::rusqlite::Connection;
use shard_runtime::{Cluster, Order, Query, Select, Sharded, count as count_rows, routing::IsRouted};

use crate::by_hand;
use crate::data::{Data, Set};
use crate::measure::{Failure, Pair, Side};
use crate::models::{Measurement, Station, folded, next_folded};

const BY_INDEX: &str = "SELECT id, at, celsius, place FROM measurements ORDER BY at LIMIT 100";
const BY_ID: &str = "SELECT id, at, celsius, place FROM measurements ORDER BY id";
const BY_SCAN: &str = "SELECT id, at, celsius, place FROM measurements ORDER BY celsius LIMIT 100";

fn pair<'d>(per_block: u32, framework: impl Side + 'd, by_hand: impl Side + 'd) -> Result<Pair<'d>, Failure> {
    Ok(Pair { per_block, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

fn measurements(
    cluster: &Cluster,
    query: Select<Measurement, impl IsRouted>,
) -> Result<Vec<i64>, shard_runtime::Error> {
    let mut session = cluster.session();
    let found = session.all(query)?;
    session.commit()?;
    Ok(found.iter().map(|measurement| measurement.id).collect())
}

fn top_by_framework(set: &Set, times: u32, order: impl Fn() -> Order<Measurement>) -> impl Side {
    move || {
        let mut sum = 0_u64;
        for _ in 0..times {
            let query = Measurement::select().all_shards().order_by(order()).limit(100);
            sum = sum.wrapping_add(folded(measurements(&set.cluster, query)?));
        }
        Ok(sum)
    }
}

fn top_of_one_file(file: &Connection, times: u32, sql: &'static str) -> impl Side {
    move || {
        let mut sum = 0_u64;
        for _ in 0..times {
            let found = by_hand::all(file, sql, [], by_hand::measurement)?;
            sum = sum.wrapping_add(folded(found.iter().map(|measurement| measurement.id)));
        }
        Ok(sum)
    }
}

/// The first hundred of each, sorted, and the first hundred of these.
fn top_by_a_loop<'s, K: PartialOrd>(
    set: &'s Set,
    times: u32,
    sql: &'static str,
    key: impl Fn(&Measurement) -> K + 's,
) -> impl Side + 's {
    move || {
        let mut sum = 0_u64;
        for _ in 0..times {
            let mut found = Vec::new();
            for connection in &set.by_hand {
                found.extend(by_hand::all(connection, sql, [], by_hand::measurement)?);
            }
            found.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal));
            found.truncate(100);
            sum = sum.wrapping_add(folded(found.iter().map(|measurement| measurement.id)));
        }
        Ok(sum)
    }
}

pub fn top_by_index_against_one_file(data: &Data) -> Result<Pair<'_>, Failure> {
    let (set, file) = (data.measurements()?, data.one_file()?);
    pair(10, top_by_framework(set, 10, || Measurement::AT.asc()), top_of_one_file(file, 10, BY_INDEX))
}

pub fn top_by_index_against_a_loop(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.measurements()?;
    let by_hand = top_by_a_loop(set, 10, BY_INDEX, |measurement| measurement.at);
    pair(10, top_by_framework(set, 10, || Measurement::AT.asc()), by_hand)
}

/// Four statements; no more of their rows are read than the merge needs.
pub fn top_by_index_against_a_merge(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.measurements()?;
    let by_hand = move || {
        let mut sum = 0_u64;
        for _ in 0..10 {
            let mut found = Vec::with_capacity(100);
            merged_by_hand(
                set,
                BY_INDEX,
                |measurement| measurement.at,
                |measurement| {
                    found.push(measurement);
                    found.len() < 100
                },
            )?;
            sum = sum.wrapping_add(folded(found.iter().map(|measurement| measurement.id)));
        }
        Ok(sum)
    };
    pair(10, top_by_framework(set, 10, || Measurement::AT.asc()), by_hand)
}

pub fn top_by_scan_against_one_file(data: &Data) -> Result<Pair<'_>, Failure> {
    let (set, file) = (data.measurements()?, data.one_file()?);
    pair(1, top_by_framework(set, 1, || Measurement::CELSIUS.asc()), top_of_one_file(file, 1, BY_SCAN))
}

pub fn top_by_scan_against_a_loop(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.measurements()?;
    let by_hand = top_by_a_loop(set, 1, BY_SCAN, |measurement| measurement.celsius);
    pair(1, top_by_framework(set, 1, || Measurement::CELSIUS.asc()), by_hand)
}

/// A thousand rows in each shard: waking a thread would cost more than it saves.
pub fn top_of_tiny_shards(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.stations()?;
    let framework = move || {
        let mut session = set.cluster.session();
        let found =
            session.all(Station::select().all_shards().order_by(Station::HEIGHT.desc()).limit(100))?;
        session.commit()?;
        Ok(folded(found.iter().map(|station| station.id)))
    };
    let by_hand = move || {
        let sql = "SELECT id, region, name, height FROM stations ORDER BY height DESC LIMIT 100";
        let mut found = Vec::new();
        for connection in &set.by_hand {
            found.extend(by_hand::all(connection, sql, [], by_hand::station)?);
        }
        found.sort_by_key(|station| -station.height);
        found.truncate(100);
        Ok(folded(found.iter().map(|station| station.id)))
    };
    pair(1, framework, by_hand)
}

/// Every row, by id, in one list.
pub fn everything_collected(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.measurements()?;
    let framework = move || {
        let mut session = set.cluster.session();
        let found = session.all(Measurement::select().all_shards().order_by(Measurement::ID.asc()))?;
        session.commit()?;
        Ok(folded(found.iter().map(|measurement| measurement.id)))
    };
    let by_hand = move || {
        let mut found = Vec::new();
        merged_by_hand(
            set,
            BY_ID,
            |measurement| measurement.id,
            |measurement| {
                found.push(measurement);
                true
            },
        )?;
        Ok(folded(found.iter().map(|measurement| measurement.id)))
    };
    pair(1, framework, by_hand)
}

/// Every row, by id, none of them kept.
pub fn everything_visited(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.measurements()?;
    let framework = move || {
        let mut session = set.cluster.session();
        let mut ids = 0_u64;
        session.for_each(
            Measurement::select().all_shards().order_by(Measurement::ID.asc()),
            |measurement| {
                ids = next_folded(ids, measurement.id);
                Ok(ControlFlow::Continue(()))
            },
        )?;
        session.commit()?;
        Ok(ids)
    };
    let by_hand = move || {
        let mut ids = 0;
        merged_by_hand(
            set,
            BY_ID,
            |measurement| measurement.id,
            |measurement| {
                ids = next_folded(ids, measurement.id);
                true
            },
        )?;
        Ok(ids)
    };
    pair(1, framework, by_hand)
}

/// Visits the rows of all shards in order, as long as `visit` returns true: four statements, and the least of their heads.
fn merged_by_hand(
    set: &Set,
    sql: &str,
    key: impl Fn(&Measurement) -> i64,
    mut visit: impl FnMut(Measurement) -> bool,
) -> Result<(), Failure> {
    let mut statements = Vec::new();
    for connection in &set.by_hand {
        statements.push(connection.prepare_cached(sql)?);
    }
    let mut streams = Vec::new();
    for statement in &mut statements {
        let mut rows = statement.query_map([], by_hand::measurement)?;
        if let Some(head) = rows.next().transpose()? {
            streams.push((head, rows));
        }
    }
    while let Some(least) = (0..streams.len()).min_by_key(|&place| key(&streams[place].0)) {
        let (head, rows) = &mut streams[least];
        let goes_on = match rows.next().transpose()? {
            Some(next) => visit(std::mem::replace(head, next)),
            None => visit(streams.remove(least).0),
        };
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// One value from all shards.
fn value<Q: Query>(set: &Set, query: impl Fn() -> Q, number: impl Fn(Q::Output) -> u64) -> impl Side {
    move || {
        let mut session = set.cluster.session();
        let value = session.one(query())?;
        session.commit()?;
        Ok(number(value))
    }
}

/// The sums of two numbers that each shard returns.
fn sums(set: &Set, sql: &str) -> Result<(f64, f64), Failure> {
    let mut sums = (0.0, 0.0);
    for connection in &set.by_hand {
        let (a, b): (f64, f64) =
            connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        sums = (sums.0 + a, sums.1 + b);
    }
    Ok(sums)
}

pub fn count(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.measurements()?;
    let by_hand = move || {
        let mut rows: i64 = 0;
        for connection in &set.by_hand {
            let mut statement = connection.prepare_cached("SELECT count(*) FROM measurements")?;
            rows += statement.query_row([], |row| row.get::<_, i64>(0))?;
        }
        Ok(rows as u64)
    };
    pair(1, value(set, || Measurement::select().all_shards().count(), |count| count), by_hand)
}

pub fn sum(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.measurements()?;
    let framework = value(
        set,
        || Measurement::select().all_shards().aggregate(Measurement::CELSIUS.sum()),
        |sum| sum.unwrap_or_default() as u64,
    );
    let sql = "SELECT sum(celsius), count(celsius) FROM measurements";
    pair(1, framework, move || Ok(sums(set, sql)?.0 as u64))
}

pub fn mean(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.measurements()?;
    let framework = value(
        set,
        || Measurement::select().all_shards().aggregate(Measurement::CELSIUS.avg()),
        |mean| mean.unwrap_or_default() as u64,
    );
    let by_hand = move || {
        let (sum, rows) = sums(set, "SELECT total(celsius), count(celsius) FROM measurements")?;
        Ok((sum / rows) as u64)
    };
    pair(1, framework, by_hand)
}

/// A thousand groups, each on every shard: the number of rows, and their mean.
pub fn groups(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.measurements()?;
    let framework = move || {
        let mut session = set.cluster.session();
        let all = Measurement::select().all_shards();
        let groups = all.group_by(Measurement::PLACE).aggregate((count_rows(), Measurement::CELSIUS.avg()));
        let found = session.all(groups)?;
        session.commit()?;
        Ok(folded(found.iter().map(|(_, (rows, mean))| *rows as i64 + mean.unwrap_or_default() as i64)))
    };
    let by_hand = move || {
        let sql = "SELECT place, count(*), total(celsius), count(celsius) FROM measurements GROUP BY place";
        let mut groups: BTreeMap<String, (i64, f64, i64)> = BTreeMap::new();
        for connection in &set.by_hand {
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let group = groups.entry(row.get(0)?).or_default();
                let (rows, sum, values): (i64, f64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
                *group = (group.0 + rows, group.1 + sum, group.2 + values);
            }
        }
        Ok(folded(groups.values().map(|(rows, sum, values)| *rows + (sum / *values as f64) as i64)))
    };
    pair(1, framework, by_hand)
}

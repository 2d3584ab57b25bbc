//! One row by its id, and the first rows of all servers.

use std::time::Instant;

use futures_util::future::{try_join, try_join_all};
use shard_runtime::{Order, Sharded, Sql};
use tokio_postgres::Statement;

use super::pair;
use crate::by_hand::{self, GET_ACCOUNT, Hand, shard_of};
use crate::measure::{Failure, Pair, Side};
use crate::models::{Account, Measurement, Turns, folded};
use crate::servers::{Servers, Set};

const PER_BLOCK: usize = 50;

const BY_INDEX: &str = "SELECT id, at, celsius, place FROM measurements ORDER BY at LIMIT 100";
const BY_SCAN: &str = "SELECT id, at, celsius, place FROM measurements ORDER BY celsius LIMIT 100";

/// An operation that needs little processor time, because four servers share one machine.
const FIVE_MILLISECONDS: &str = "SELECT pg_sleep(0.005) IS NOT NULL AS slept";

/// A session for each row, committed.
fn in_sessions(set: &Set) -> impl Side {
    let mut ids = Turns::new(&set.ids);
    move || {
        let mut sum = 0;
        for &id in ids.take(PER_BLOCK) {
            let mut session = set.cluster.session();
            sum += session.get::<Account>(id)?.map_or(0, |account| account.cents);
            session.commit()?;
        }
        Ok(sum as u64)
    }
}

/// A statement for each row, prepared once.
fn one_by_one(set: &Set) -> Result<impl Side, Failure> {
    let (hand, statements) = (&set.by_hand, set.by_hand.prepare(GET_ACCOUNT)?);
    let mut ids = Turns::new(&set.ids);
    Ok(move || {
        let mut sum = 0;
        for id in ids.take(PER_BLOCK) {
            let shard = shard_of(*id);
            let found = hand.wait(hand.clients[shard].query_opt(&statements[shard], &[id]))?;
            sum += found.as_ref().map(by_hand::account).transpose()?.map_or(0, |account| account.cents);
        }
        Ok(sum as u64)
    })
}

pub fn get_in_autocommit(servers: &Servers) -> Result<Pair<'_>, Failure> {
    let set = servers.accounts()?;
    pair(PER_BLOCK, in_sessions(set), one_by_one(set)?)
}

/// The work of a session on its server, by hand: a read transaction around the statement, in the same round trip.
pub fn get_in_short_transactions(servers: &Servers) -> Result<Pair<'_>, Failure> {
    let set = servers.accounts()?;
    let (hand, statements) = (&set.by_hand, set.by_hand.prepare(GET_ACCOUNT)?);
    let mut ids = Turns::new(&set.ids);
    let by_hand = move || {
        let mut sum = 0;
        for id in ids.take(PER_BLOCK) {
            let shard = shard_of(*id);
            let (client, statement) = (&hand.clients[shard], &statements[shard]);
            let begin = client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
            let (found, ()) = hand.wait(async {
                let params: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [id];
                let get = client.query_opt(statement, &params);
                let ((), (found, ())) =
                    try_join(begin, try_join(get, client.batch_execute("COMMIT"))).await?;
                Ok::<_, tokio_postgres::Error>((found, ()))
            })?;
            sum += found.as_ref().map(by_hand::account).transpose()?.map_or(0, |account| account.cents);
        }
        Ok(sum as u64)
    };
    pair(PER_BLOCK, in_sessions(set), by_hand)
}

/// One session for all rows of a block.
pub fn get_in_session(servers: &Servers) -> Result<Pair<'_>, Failure> {
    let set = servers.accounts()?;
    let mut ids = Turns::new(&set.ids);
    let framework = move || {
        let mut sum = 0;
        let mut session = set.cluster.session();
        for &id in ids.take(PER_BLOCK) {
            sum += session.get::<Account>(id)?.map_or(0, |account| account.cents);
        }
        session.commit()?;
        Ok(sum as u64)
    };
    pair(PER_BLOCK, framework, one_by_one(set)?)
}

fn top_by_framework(set: &Set, order: impl Fn() -> Order<Measurement>) -> Result<Vec<i64>, Failure> {
    let mut session = set.cluster.session();
    let found = session.all(Measurement::select().all_shards().order_by(order()).limit(100))?;
    session.commit()?;
    Ok(found.iter().map(|measurement| measurement.id).collect())
}

/// The first hundred of one server.
async fn top_of_one(hand: &Hand, shard: usize, statement: &Statement) -> Result<Vec<Measurement>, Failure> {
    let found = hand.clients[shard].query(statement, &[]).await?;
    Ok(found.iter().map(by_hand::measurement).collect::<Result<_, _>>()?)
}

/// The server that takes longest for its hundred, in the median of some times.
fn slowest(hand: &Hand, statements: &[Statement]) -> Result<usize, Failure> {
    let mut medians = Vec::new();
    for (shard, statement) in statements.iter().enumerate() {
        let mut taken = Vec::new();
        for _ in 0..15 {
            let start = Instant::now();
            hand.wait(top_of_one(hand, shard, statement))?;
            taken.push(start.elapsed());
        }
        taken.sort();
        medians.push((taken[taken.len() / 2], shard));
    }
    Ok(medians.iter().max().map_or(0, |(_, shard)| *shard))
}

/// Only the number of rows is the same on both sides.
fn against_the_slowest<'s>(
    set: &'s Set,
    times: usize,
    sql: &str,
    order: impl Fn() -> Order<Measurement> + Copy + 's,
) -> Result<Pair<'s>, Failure> {
    let (hand, statements) = (&set.by_hand, set.by_hand.prepare(sql)?);
    let slowest = slowest(hand, &statements)?;
    let framework = move || {
        let mut rows = 0;
        for _ in 0..times {
            rows += top_by_framework(set, order)?.len() as u64;
        }
        Ok(rows)
    };
    let by_hand = move || {
        let mut rows = 0;
        for _ in 0..times {
            rows += hand.wait(top_of_one(hand, slowest, &statements[slowest]))?.len() as u64;
        }
        Ok(rows)
    };
    pair(times, framework, by_hand)
}

fn against_all_at_once<'s, K: PartialOrd>(
    set: &'s Set,
    times: usize,
    sql: &str,
    order: impl Fn() -> Order<Measurement> + Copy + 's,
    key: impl Fn(&Measurement) -> K + 's,
) -> Result<Pair<'s>, Failure> {
    let (hand, statements) = (&set.by_hand, set.by_hand.prepare(sql)?);
    let framework = move || {
        let mut sum = 0_u64;
        for _ in 0..times {
            sum = sum.wrapping_add(folded(top_by_framework(set, order)?));
        }
        Ok(sum)
    };
    let by_hand = move || {
        let mut sum = 0_u64;
        for _ in 0..times {
            let asked = statements.iter().enumerate().map(|(shard, it)| top_of_one(hand, shard, it));
            let mut found = hand.wait(try_join_all(asked))?.concat();
            found.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal));
            found.truncate(100);
            sum = sum.wrapping_add(folded(found.iter().map(|measurement| measurement.id)));
        }
        Ok(sum)
    };
    pair(times, framework, by_hand)
}

pub fn top_by_index_against_the_slowest(servers: &Servers) -> Result<Pair<'_>, Failure> {
    against_the_slowest(servers.measurements()?, 10, BY_INDEX, || Measurement::AT.asc())
}

pub fn top_by_index_against_all_at_once(servers: &Servers) -> Result<Pair<'_>, Failure> {
    let key = |measurement: &Measurement| measurement.at;
    against_all_at_once(servers.measurements()?, 10, BY_INDEX, || Measurement::AT.asc(), key)
}

pub fn top_by_scan_against_the_slowest(servers: &Servers) -> Result<Pair<'_>, Failure> {
    against_the_slowest(servers.measurements()?, 1, BY_SCAN, || Measurement::CELSIUS.asc())
}

pub fn top_by_scan_against_all_at_once(servers: &Servers) -> Result<Pair<'_>, Failure> {
    let key = |measurement: &Measurement| measurement.celsius;
    against_all_at_once(servers.measurements()?, 1, BY_SCAN, || Measurement::CELSIUS.asc(), key)
}

pub fn servers_that_take_long(servers: &Servers) -> Result<Pair<'_>, Failure> {
    let set = servers.accounts()?;
    let (hand, statements) = (&set.by_hand, set.by_hand.prepare(FIVE_MILLISECONDS)?);
    let framework = move || {
        let mut session = set.cluster.session();
        let answers = session.all(Sql::new(FIVE_MILLISECONDS).all_shards())?;
        session.commit()?;
        Ok(u64::from(!answers.is_empty()))
    };
    let by_hand = move || {
        let answers = hand.wait(hand.clients[0].query(&statements[0], &[]))?;
        Ok(u64::from(!answers.is_empty()))
    };
    pair(1, framework, by_hand)
}

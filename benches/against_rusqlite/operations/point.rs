//! One row by its id. The ids have an order without a pattern, and none occurs twice in a block: a session does not read again
//! a row of its identity map.

use crate::by_hand::{self, GET_ACCOUNT, GET_STATION};
use crate::data::{Data, Set};
use crate::measure::{Failure, Pair, Side};
use crate::models::{Account, Station, Turns};

const PER_BLOCK: usize = 200;

fn pair<'d>(
    per_block: usize,
    framework: impl Side + 'd,
    by_hand: impl Side + 'd,
) -> Result<Pair<'d>, Failure> {
    Ok(Pair { per_block: per_block as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

/// A session for each row, committed.
fn known_by_framework_in_autocommit(set: &Set) -> impl Side {
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

pub fn known_in_autocommit(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    pair(PER_BLOCK, known_by_framework_in_autocommit(set), known_by_hand(set))
}

/// The work of a session on its shard, by hand.
pub fn known_in_short_transactions(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    let mut ids = Turns::new(&set.ids);
    let by_hand = move || {
        let mut sum = 0;
        for id in ids.take(PER_BLOCK) {
            let connection = &set.by_hand[by_hand::shard_of(*id)];
            connection.prepare_cached("BEGIN DEFERRED")?.execute([])?;
            sum += accounts(set, std::slice::from_ref(id))?;
            connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(sum)
    };
    pair(PER_BLOCK, known_by_framework_in_autocommit(set), by_hand)
}

/// One session for all rows of a block.
fn known_by_framework(set: &Set) -> impl Side {
    let mut ids = Turns::new(&set.ids);
    move || {
        let mut sum = 0;
        let mut session = set.cluster.session();
        for &id in ids.take(PER_BLOCK) {
            sum += session.get::<Account>(id)?.map_or(0, |account| account.cents);
        }
        session.commit()?;
        Ok(sum as u64)
    }
}

fn known_by_hand(set: &Set) -> impl Side {
    let mut ids = Turns::new(&set.ids);
    move || Ok(accounts(set, ids.take(PER_BLOCK))?)
}

fn accounts(set: &Set, ids: &[i64]) -> shard_runtime::sqlite::rusqlite::Result<u64> {
    let mut sum = 0;
    for &id in ids {
        let connection = &set.by_hand[by_hand::shard_of(id)];
        let account = by_hand::get(connection, GET_ACCOUNT, id, by_hand::account)?;
        sum += account.map_or(0, |account| account.cents);
    }
    Ok(sum as u64)
}

pub fn known_in_session(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    pair(PER_BLOCK, known_by_framework(set), known_by_hand(set))
}

pub fn known_in_transactions(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    let mut ids = Turns::new(&set.ids);
    let by_hand = move || in_transactions(set, || Ok(accounts(set, ids.take(PER_BLOCK))?));
    pair(PER_BLOCK, known_by_framework(set), by_hand)
}

/// Runs a closure inside a read transaction on each shard.
pub fn in_transactions(set: &Set, run: impl FnOnce() -> Result<u64, Failure>) -> Result<u64, Failure> {
    for connection in &set.by_hand {
        connection.prepare_cached("BEGIN DEFERRED")?.execute([])?;
    }
    let done = run()?;
    for connection in &set.by_hand {
        connection.prepare_cached("COMMIT")?.execute([])?;
    }
    Ok(done)
}

/// The shard that has the row is the first, the second, the third or the last that is read.
pub fn unknown_in_autocommit(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.stations()?;
    let (mut ids, mut own_ids) = (Turns::new(&set.ids), Turns::new(&set.ids));
    let per_block = PER_BLOCK.min(set.ids.len());
    let framework = move || {
        let mut sum = 0;
        for &id in ids.take(per_block) {
            let mut session = set.cluster.session();
            sum += session.get::<Station>(id)?.map_or(0, |station| station.height);
            session.commit()?;
        }
        Ok(sum as u64)
    };
    pair(per_block, framework, move || Ok(stations(set, own_ids.take(per_block))?))
}

pub fn unknown_in_transactions(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.stations()?;
    let (mut ids, mut own_ids) = (Turns::new(&set.ids), Turns::new(&set.ids));
    let per_block = PER_BLOCK.min(set.ids.len());
    let framework = move || {
        let mut sum = 0;
        let mut session = set.cluster.session();
        for &id in ids.take(per_block) {
            sum += session.get::<Station>(id)?.map_or(0, |station| station.height);
        }
        session.commit()?;
        Ok(sum as u64)
    };
    pair(per_block, framework, move || in_transactions(set, || Ok(stations(set, own_ids.take(per_block))?)))
}

fn stations(set: &Set, ids: &[i64]) -> shard_runtime::sqlite::rusqlite::Result<u64> {
    let mut sum = 0;
    for &id in ids {
        for connection in &set.by_hand {
            if let Some(station) = by_hand::get(connection, GET_STATION, id, by_hand::station)? {
                sum += station.height;
                break;
            }
        }
    }
    Ok(sum as u64)
}

//! A transaction, and what its writer was told about it.

use shard_runtime::{ErrorKind, Result, Session, Sql};

use crate::{Account, Entry, Place};

/// The outcome that a writer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Committed,
    Aborted,
    Doubted,
}

/// Writes a unit on the shards that a bit each stands for, and commits it. The commit of one with an odd id sends its rows.
pub fn write(session: &mut Session, id: i64, shards: u64, cents: i64) -> (Told, Result<()>) {
    let written = try_to_write(session, id, shards, cents);
    let told = match &written {
        Ok(()) => Told::Committed,
        Err(error) if error.kind() == ErrorKind::InDoubt => Told::Doubted,
        Err(_) => Told::Aborted,
    };
    session.rollback();
    (told, written)
}

fn try_to_write(session: &mut Session, id: i64, shards: u64, cents: i64) -> Result<()> {
    let places: Vec<Place> =
        (0..4).filter(|bit| shards & (1 << bit) != 0).map(|bit| Place::ALL[bit]).collect();
    let add = |session: &mut Session| -> Result<()> {
        places.iter().try_for_each(|&place| session.add(Entry { id, place, shards: shards as i64 }).map(drop))
    };
    let is_sent_by_commit = id % 2 == 1;
    if !is_sent_by_commit {
        add(session)?;
        session.flush()?;
    }
    let moved = places.first().zip(places.last()).map(|(first, last)| [(first, cents), (last, -cents)]);
    for (place, cents) in moved.into_iter().flatten() {
        let more = Sql::new("UPDATE {accounts} SET cents = cents + ?1 WHERE id = 1").bind(cents);
        session.execute(more.on::<Account>(*place))?;
    }
    if is_sent_by_commit {
        add(session)?;
    }
    session.commit().map(drop)
}

//! The control database's record of an unfinished copy of another cluster into this one, and the triggers on the shards
//! that refuse other writes meanwhile. `cluster::copying` makes the copy itself. Uses `part` and `facts`.
//!
//! The record is written before the first row. While its state is "copying", `open` refuses the cluster. The copy ends
//! with the transaction that records all rows as copied. After that, any process that opens the cluster removes the
//! remains of the copy from the shards.
//! opens the cluster.

use super::{drop_triggers, lock_part};
use crate::driver::{Connection, GUARDED, GUARDED_STATE, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::sql::literal;
use crate::transaction::facts::{self, Facts, Kind};
use crate::transaction::{Cluster, Control};

/// The beginning of the names of the triggers and of their function.
const GUARD: &str = "sharded_copy_";

/// The name of the fact with the attempt that may write to a shard.
const ATTEMPT: &str = "attempt";

/// The name of the fact that a transaction of the copy writes, and deletes before its commit. No other transaction sees
/// it.
const WRITER: &str = "writer";

/// An unfinished copy into a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyRecord {
    /// The id of the cluster from which the rows are copied.
    pub(crate) source: String,
    /// The number of the first attempt.
    pub(crate) number: u64,
    pub(crate) attempt: u64,
    /// Whether all rows were copied and compared.
    pub(crate) is_complete: bool,
}

impl CopyRecord {
    pub(crate) fn of(facts: &Facts) -> Option<Self> {
        let mut parts = facts.get(Kind::Copy, "")?.splitn(4, ' ');
        let is_complete = parts.next()? == "complete";
        let (number, attempt) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(CopyRecord { source: parts.next()?.to_owned(), number, attempt, is_complete })
    }

    fn text(&self) -> String {
        let CopyRecord { source, number, attempt, is_complete } = self;
        let state = if *is_complete { "complete" } else { "copying" };
        format!("{state} {number} {attempt} {source}")
    }

    /// Returns whether rows remain to be copied.
    pub(crate) fn is_unfinished(facts: &Facts) -> bool {
        CopyRecord::of(facts).is_some_and(|copy| !copy.is_complete)
    }

    /// Refuses to use a cluster in which rows may be missing.
    ///
    /// # Errors
    /// [`ErrorKind::Layout`] if a copy is unfinished.
    pub(crate) fn refuse(facts: &Facts) -> Result<()> {
        match CopyRecord::of(facts).filter(|copy| !copy.is_complete) {
            None => Ok(()),
            Some(CopyRecord { source, .. }) => {
                let message = format!(
                    "the copy of the cluster {source} into this one has not ended, so that rows are missing: run the copy again, \
                     which continues it, or delete the databases of this cluster"
                );
                Err(Error::new(ErrorKind::Layout, message))
            }
        }
    }
}

impl Control {
    /// Records a copy into the cluster, with a new attempt, which ends the one before. Returns also whether an earlier
    /// attempt has begun the copy.
    ///
    /// # Errors
    /// [`ErrorKind::Layout`] if rows of a third cluster are being copied, or a change of the layout runs.
    pub(crate) fn begin_copy(&self, source: &str) -> Result<(CopyRecord, bool)> {
        self.change_facts(|work| {
            let changes = super::ChangeRecord::all(work.facts);
            if let Some(running) = changes.iter().find(|change| change.is_running()) {
                return Err(super::is_running(running));
            }
            let found = CopyRecord::of(work.facts).filter(|copy| !copy.is_complete);
            if found.as_ref().is_some_and(|copy| copy.source != source) {
                CopyRecord::refuse(work.facts)?;
            }
            let attempt = work.next_attempt()?;
            let number = found.as_ref().map_or(attempt, |copy| copy.number);
            let copy = CopyRecord { source: source.to_owned(), number, attempt, is_complete: false };
            work.write(Kind::Copy, "", &copy.text())?;
            Ok((copy, found.is_some()))
        })
    }

    /// Deletes the record of a copy that has written no row yet, or that is complete.
    pub(crate) fn forget_copy(&self, copy: &CopyRecord) -> Result<()> {
        self.change_facts(|work| match CopyRecord::of(work.facts) {
            Some(found) if found == *copy => work.forget(Kind::Copy, ""),
            _ => Ok(()),
        })
    }

    /// Records that all rows were copied.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`] if another attempt has continued the copy.
    pub(crate) fn complete_copy(&self, copy: &CopyRecord) -> Result<()> {
        self.change_facts(|work| match CopyRecord::of(work.facts) {
            Some(found) if found == *copy => {
                work.write(Kind::Copy, "", &CopyRecord { is_complete: true, ..found }.text())
            }
            _ => Err(has_ended()),
        })
    }
}

fn has_ended() -> Error {
    Error::new(ErrorKind::Stale, "another process has continued the copy, so that this one has ended")
}

/// Records an attempt on a shard, in a transaction: earlier attempts can write nothing there any more.
///
/// # Errors
/// [`ErrorKind::Stale`] if a later attempt is recorded.
pub(crate) fn enter_copy(connection: &dyn Connection, location: &Location, attempt: u64) -> Result<()> {
    match lock_attempt(connection, location)? {
        Some(entered) if entered > attempt => Err(has_ended()),
        _ => {
            let (names, dialect) = (&location.names, location.dialect);
            facts::write(connection, names, dialect, Kind::Copied, ATTEMPT, &attempt.to_string())
        }
    }
}

/// Locks the attempt on a shard until the transaction ends.
///
/// # Errors
/// [`ErrorKind::Stale`] if another attempt is recorded.
pub(crate) fn claim_copy(connection: &dyn Connection, location: &Location, attempt: u64) -> Result<()> {
    if lock_attempt(connection, location)? == Some(attempt) { Ok(()) } else { Err(has_ended()) }
}

fn lock_attempt(connection: &dyn Connection, location: &Location) -> Result<Option<u64>> {
    lock_part(connection, location)?;
    let table = location.names.table(facts::TABLE);
    let (kind, name) = (literal(Kind::Copied.name()), literal(ATTEMPT));
    let sql = format!("SELECT value FROM {table} WHERE kind = {kind} AND name = {name}");
    Ok(facts::texts(connection, &sql, &[])?.first().and_then(|row| row.first()?.parse().ok()))
}

/// Refuses writes to these tables of a shard after the end of this transaction, except in transactions of the copy. Waits
/// for all transactions that have written to them.
pub(crate) fn guard(connection: &dyn Connection, location: &Location, tables: &[&str]) -> Result<()> {
    let message = format!("{GUARDED}, and nothing else may write until it has ended; see `copy_to`");
    let (kind, name) = (literal(Kind::Copied.name()), literal(WRITER));
    let table = location.names.table(facts::TABLE);
    let unless = format!("SELECT 1 FROM {table} WHERE kind = {kind} AND name = {name}");
    let sql = location.dialect.guard_sql(&location.names, GUARD, tables, &unless, (&message, GUARDED_STATE));
    sql.iter().try_for_each(|sql| connection.lock(sql))
}

/// Allows or forbids writes of this transaction through the triggers of [`guard`]. They must be forbidden again before it
/// commits.
pub(crate) fn let_write(connection: &dyn Connection, location: &Location, may_write: bool) -> Result<()> {
    let (names, dialect) = (&location.names, location.dialect);
    match may_write {
        true => facts::write(connection, names, dialect, Kind::Copied, WRITER, "copy"),
        false => facts::forget(connection, names, dialect, Kind::Copied, WRITER),
    }
}

/// Removes the remains of a complete copy from the shards, and then its record. Any process that opens the cluster does
/// this, if the one that made the copy has not.
///
/// # Errors
/// Those of the databases, with the shard's name.
pub(crate) fn end_copy(cluster: &Cluster) -> Result<()> {
    let control = &cluster.0.control;
    let facts = match control.facts() {
        // A role that may not read the facts removes nothing.
        Err(error) if error.kind() == ErrorKind::Denied => return Ok(()),
        facts => facts?,
    };
    let Some(copy) = CopyRecord::of(&facts).filter(|copy| copy.is_complete) else { return Ok(()) };
    for shard in cluster.0.layout.shards().serving() {
        let location = cluster.0.layout.location(shard.index())?;
        let Some(database) = cluster.0.databases.get(location.database) else { continue };
        let connection = database.driver.connect_durable(cluster.0.timeout)?;
        clean(&*connection, location).map_err(|error| error.on_shard(shard.name()))?;
    }
    control.forget_copy(&copy)
}

fn clean(connection: &dyn Connection, location: &Location) -> Result<()> {
    connection.begin(TransactionMode::Write)?;
    let cleaned = drop_triggers(connection, location, GUARD).and_then(|()| {
        let table = location.names.table(facts::TABLE);
        let kind = literal(Kind::Copied.name());
        connection.run(&format!("DELETE FROM {table} WHERE kind = {kind}"))?;
        connection.commit()
    });
    cleaned.inspect_err(|_| {
        let _ = connection.rollback();
    })
}

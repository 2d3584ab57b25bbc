//! How a unit of work is committed over several databases: all of it or nothing, through a kill at any point.
//!
//! One database that was changed is its own commit; nothing here takes part in it. Several are committed by a
//! *decision*: what was done to each of them is written down in the control database, with the version that the
//! database had before (its *base*), and that record's commit is the unit's.
//!
//! 1. Every database is locked for writing from before the session's first write to it; right after the lock, and
//!    before anything is read under it, it is healed (`heal`).
//! 2. To commit, the session raises the version of each database inside its transaction, decides in the control
//!    database, and commits the databases: at the same time, where each waits for its disk.
//! 3. A database whose owner died, or failed, between the decision and its own commit has the version that was its
//!    base. Whoever locks it next sees this, does what the record says, and raises the version in the same
//!    transaction: the record is applied to exactly the state that it was computed on, and exactly once.
//! 4. The record is removed in a later transaction, once every database is known to be committed.
//!
//! What this rests on, each with a test that fails without it (`tests/torture`): a database's lock is held from before
//! the decision until its own commit or its owner's death, so that an unapplied record under the lock means that the
//! owner is gone, without leases or clocks; the version moves in the transaction that it stands for; the decision is
//! durable before the first database is committed, and removed after the last; a decision that its owner has left in
//! control's log, where no process reads it, is overwritten before one of its databases is changed; control is locked
//! last, and no lock is waited for under it; no path is in any record, so that the whole folder can be moved.
//!
//! Where some of the databases are PostgreSQL servers, or all of them, see `prepared`.
//!
//! A unit is not isolated over several databases: another session may see one of them before and another after it.

mod apply;
mod coordinator;
mod decision;
mod participants;
mod prepared;
mod recovery;
mod redo;
mod search;
mod unfinished;

pub(crate) use apply::{apply_decided, bump_version, version};
pub(crate) use decision::{DecisionError, Decisions, MAKE, Participant, Record, STATE, STATE_VERSION};
#[cfg(feature = "postgres")]
pub(crate) use prepared::new_unit;
pub(crate) use prepared::{
    PreparedPart, collect, has_committed, is_committed, lingering, make_units, old_units, prepared,
    prepared_by, unfinished_units, write_unit,
};
pub(crate) use recovery::apply_decided as apply_decided_in;
pub(crate) use redo::{Redo, encode_values};
pub(crate) use search::Searches;
pub(crate) use unfinished::{Decider, Unfinished};

use crate::error::Error;

/// How a session commits what it wrote on several databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Commit {
    /// All of it or nothing, whatever fails: see [`Session::commit`](crate::Session::commit).
    #[default]
    Atomic,
    /// One database after the other, in the cluster's order, and without a record. Where one fails, those before it
    /// stay committed, and the error ([`ErrorKind::PartialCommit`](crate::ErrorKind::PartialCommit)) says which
    /// shards are, which failed and which were not tried. A kill in between leaves the same, with nobody to say it.
    BestEffort,
}

/// What a commit has come to, where it has come to one: the unit of work is stored, on every shard that it wrote.
#[derive(Debug, Default)]
pub struct Committed {
    pub(crate) pending: Vec<Error>,
}

impl Committed {
    /// Returns an error for each database that could not be committed at once although the unit was decided, with its
    /// shard's name; none in the ordinary case. The next session that begins to write to the shard, or meets a lock of
    /// the unit there, finishes it, or [`Cluster::recover`](crate::Cluster::recover); until then reads of that shard see
    /// the rows as they were before.
    pub fn pending(&self) -> &[Error] {
        &self.pending
    }
}

/// The result of [`Cluster::recover`](crate::Cluster::recover).
#[derive(Debug, Default)]
pub struct Recovered {
    pub(crate) transactions: Vec<String>,
    pub(crate) left: Vec<Error>,
}

impl Recovered {
    /// Returns the ids of the global transactions that were finished after their owners were gone, by this call or
    /// before on this handle; [`Error::unit`](crate::Error::unit) names a transaction in doubt by the same id.
    pub fn transactions(&self) -> &[String] {
        &self.transactions
    }

    /// Returns an error for each participant that is still prepared on a server, with the shard's name and the
    /// transaction's id: its owner is about to decide, the server that decides cannot be reached, or another role has
    /// prepared it (PostgreSQL lets only that role or a superuser finish it).
    pub fn left(&self) -> &[Error] {
        &self.left
    }
}

//! The atomic commit of a transaction over several databases, through a kill at any point. Uses `driver`, and the
//! cluster's state.
//!
//! A transaction that changed one database is committed by that database alone. Several files are committed by a
//! *decision*: the control database records the statements of each file and the version that the file had before (its
//! *base*). The commit of that record commits the transaction.
//!
//! 1. Every database is locked for writing from before the session's first write to it. Right after the lock, and before
//!    anything is read under it, decided transactions are applied (`apply_decided`).
//! 2. To commit, the session raises the version of each database inside its transaction, decides in the control
//!    database, and commits the databases: at the same time, if each waits for its disk.
//! 3. If the owner died or failed between the decision and a database's commit, that database still has its base version.
//!    The next session that locks it runs the recorded statements, and raises the version in the same transaction. The
//!    record is applied exactly once, to the state that it was computed on.
//! 4. The record is removed in a later transaction, once every database is known to be committed.
//!
//! The guarantees behind this each have a test that fails without them (`tests/torture`): a database's lock is held from before
//! the decision until its own commit or its owner's death, so that an unapplied record under the lock means that the
//! owner is gone, without leases or clocks; the version moves in the transaction that it stands for; the decision is
//! durable before the first database is committed, and removed after the last; a decision that its owner has left in
//! control's log, and that no process reads, is overwritten before one of its databases is changed; control is locked
//! last, and no lock is waited for under it; no path is in any record, so that the whole folder can be moved.
//!
//! If some of the databases are PostgreSQL servers, or all of them, see `prepared`.
//!
//! A transaction is not isolated over several databases: another session may see one of them before it and one after it.

mod apply;
mod coordinator;
mod decision;
mod decision_row;
mod in_turn;
mod participants;
mod pending;
mod prepared;
mod recovery;
mod redo;
mod search;
mod unfinished;

pub(crate) use apply::{apply_decided, bump_version, version};
pub(crate) use decision::{
    DecisionError, Decisions, MAKE, Participant, Record, STATE, STATE_VERSION, integer,
};
pub(crate) use decision_row::DecisionRow;
pub(crate) use pending::PendingPart;
#[cfg(feature = "postgres")]
pub(crate) use prepared::new_unit;
pub(crate) use prepared::{
    PreparedPart, collect, has_committed, is_committed, is_recorded, lingering, make_units, old_units,
    prepared, prepared_by, unfinished_units, unit_row, write_unit,
};
pub(crate) use recovery::apply_decided as apply_decided_in;
pub(crate) use redo::{Redo, encode_values};
pub(crate) use search::Searches;
pub(crate) use unfinished::{Decider, Unfinished};

use crate::error::Error;

/// How a session commits what it wrote on several databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Commit {
    /// All of it or nothing, also if a shard fails: see [`Session::commit`](crate::Session::commit).
    #[default]
    Atomic,
    /// One database after the other, in the cluster's order, and without a record. If one fails, those before it
    /// stay committed, and the error ([`ErrorKind::PartialCommit`](crate::ErrorKind::PartialCommit)) names the
    /// shards that are committed, that failed and that were not tried. A kill in between leaves the same without an error.
    BestEffort,
}

/// The result of a successful commit: the transaction is stored on every shard that it wrote.
#[derive(Debug, Default)]
pub struct Committed {
    pub(crate) pending: Vec<Error>,
}

impl Committed {
    /// Returns an error for each database that could not be committed at once although the transaction was decided, with
    /// its shard's name; none in the ordinary case. The next session that begins to write to the shard, or meets a lock of
    /// the transaction there, finishes it, or [`Cluster::recover`](crate::Cluster::recover); until then reads of that shard see
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
    /// before on this handle; [`Error::transaction_id`](crate::Error::transaction_id) is the same
    /// id of a transaction in doubt.
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

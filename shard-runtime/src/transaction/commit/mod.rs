//! The atomic commit of a transaction over several databases, through a kill at any point. Uses `driver`, and the
//! cluster's state.
//!
//! A transaction that changed one database is committed by that database alone. Several files are committed by a
//! *decision*. The control database records the statements of each file, and the version that the file had before (its
//! *base*). The commit of that record commits the transaction.
//!
//! 1. Every database is locked for writing from before the session's first write to it. Right after the lock, and before
//!    anything is read under it, decided transactions are applied (`apply_decided`).
//! 2. To commit, the session raises the version of each database inside its transaction, decides in the control database,
//!    and commits the databases. If each waits for its disk, they commit at the same time.
//! 3. If the owner died or failed between the decision and a database's commit, that database still has its base version.
//!    The next session that locks it runs the recorded statements, and raises the version in the same transaction. The
//!    record is applied exactly once, to the state that it was computed on.
//! 4. The record is removed in a later transaction, once every database is known to be committed.
//!
//! Each of the guarantees behind this has a test that fails without it (`tests/torture`):
//!
//! - A database's lock is held from before the decision until the database's commit or its owner's death. An unapplied
//!   record under the lock therefore means that the owner has died; no leases or clocks are needed.
//! - The version changes in the transaction that it counts.
//! - The decision is durable before the first database is committed, and removed after the last.
//! - A decision that a dead owner has left in control's log, and that no process reads, is overwritten before one of its
//!   databases is changed.
//! - Control is locked last, and no session waits for a lock while it holds control's.
//! - No record contains a path, so that the whole folder can be moved.
//!
//! If some of the databases are PostgreSQL servers, or all of them, see `prepared`.
//!
//! A transaction is not isolated over several databases: another session may see one of them before it and one after it.

mod apply;
mod coordinator;
mod decision;
mod decision_row;
mod participants;
mod pending;
mod prepared;
mod recovery;
mod redo;
mod search;
mod sequential;
mod unfinished;

pub(crate) use apply::{apply_decided, bump_version, version};
pub(crate) use decision::{
    DecisionError, Decisions, MAKE, Participant, Record, STATE, STATE_VERSION, integer,
};
pub(crate) use decision_row::DecisionRow;
pub(crate) use pending::PendingPart;
#[cfg(feature = "postgres")]
pub(crate) use prepared::random_transaction_id;
pub(crate) use prepared::{
    PreparedPart, collect, decision_statement, has_committed, is_committed, is_recorded, lingering,
    make_decision_log, old_decisions, prepared, prepared_by, unfinished_transactions, write_decision,
};
pub(crate) use recovery::apply_decided as apply_decided_in;
pub(crate) use redo::{Redo, encode_values};
pub(crate) use search::Searches;
pub(crate) use unfinished::{Decider, Unfinished};

use crate::error::Error;

/// The protocol with which a session commits its writes on several databases.
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
    /// Returns an error, with the shard's name, for each database that could not be committed at once although the
    /// transaction was decided. Usually there is none.
    ///
    /// Until the transaction is finished there, reads of that shard see the rows as they were before. The next session
    /// that begins to write to the shard, or meets a lock of the transaction there, finishes it. So does
    /// [`Cluster::recover`](crate::Cluster::recover).
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
    /// Returns the ids of the global transactions whose owners had died, and which this call finished, or an earlier one
    /// on this handle. A transaction in doubt has the same id in [`Error::transaction_id`](crate::Error::transaction_id).
    pub fn transactions(&self) -> &[String] {
        &self.transactions
    }

    /// Returns an error for each participant that is still prepared on a server, with the shard's name and the
    /// transaction's id. There are three reasons:
    ///
    /// - Its owner is about to decide.
    /// - The server that decides cannot be reached.
    /// - Another role has prepared it: PostgreSQL lets only that role or a superuser finish it.
    pub fn left(&self) -> &[Error] {
        &self.left
    }
}

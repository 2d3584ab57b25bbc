//! The transactions of one session: one for each database, begun when they are first needed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::commit::{Commit, DecisionRow};
use super::database::DatabaseTransaction;
use super::{Age, Cluster};
use crate::driver::LeaseOwner;
use crate::error::{Error, ErrorKind, Result};
use crate::sparse::Sparse;
use crate::tasks::ExecutionContext;

/// The transactions of one session.
pub(crate) struct Transactions {
    pub(crate) cluster: Cluster,
    /// The owner of the connections to all databases.
    pub(crate) owner: LeaseOwner,
    /// One for each database.
    pub(crate) databases: Sparse<DatabaseTransaction>,
    /// Counts the snapshots of each database since the last rollback: rows that were read in an earlier one may be out of
    /// date.
    snapshots: Sparse<u64>,
    /// Counts the rollbacks, which end all snapshots.
    rollbacks: u64,
    /// The only shard that the session may use.
    pub(crate) pinned: Option<usize>,
    /// The error that has ended the global transaction.
    pub(crate) aborted: Option<String>,
    /// How long a call may read.
    pub(crate) timeout: Option<Duration>,
    pub(crate) commit: Commit,
    /// How many savepoints are open.
    pub(crate) depth: usize,
    /// Whether the caller adds rows in batches, and undoes a failed batch together with those before it.
    pub(crate) in_batches: bool,
    /// Whether a lock or an earlier change of another session has caused an error, so that a retry may succeed.
    pub(crate) had_conflict: bool,
    /// Whether a server was lost, or has become a standby.
    pub(crate) has_lost_a_server: bool,
    /// Whether the global transaction, or a part of it, may be stored although its commit has failed: a retry could apply
    /// it twice.
    pub(crate) may_be_stored: bool,
    /// Its age among the sessions that write, once it writes.
    pub(crate) age: Option<Age>,
    /// The databases that it has begun, or has tried to begin, to write, each with the first shard that needed that.
    pub(crate) wanted: BTreeMap<usize, usize>,
    /// Whether it gives up waits early while it holds locks that it has not taken in the cluster's order. It is retried
    /// after that.
    pub(crate) gives_up_early: bool,
    /// The databases whose locks it has taken in the cluster's order, before any other statement.
    pub(crate) locked_first: BTreeSet<usize>,
    /// Whether the changes that are being sent are the last ones before the commit.
    pub(crate) is_committing: bool,
    /// The transaction's row, if the server that decides has it already.
    pub(crate) decision_row: Option<DecisionRow>,
    /// The state of the call that is running.
    pub(crate) context: ExecutionContext,
}

/// A type that contains a session's transactions: the transactions themselves, the unit of work, the session.
pub(crate) trait HasTransactions {
    fn tx(&mut self) -> &mut Transactions;
}

impl HasTransactions for Transactions {
    fn tx(&mut self) -> &mut Transactions {
        self
    }
}

impl Transactions {
    pub(crate) fn new(cluster: Cluster, pinned: Option<usize>) -> Self {
        Transactions {
            owner: LeaseOwner::default(),
            databases: Sparse::new(cluster.databases()),
            snapshots: Sparse::new(cluster.databases()),
            rollbacks: 0,
            pinned,
            aborted: None,
            timeout: None,
            commit: Commit::default(),
            depth: 0,
            in_batches: false,
            had_conflict: false,
            has_lost_a_server: false,
            may_be_stored: false,
            age: None,
            wanted: BTreeMap::new(),
            gives_up_early: false,
            locked_first: BTreeSet::new(),
            is_committing: false,
            decision_row: None,
            context: ExecutionContext::default(),
            cluster,
        }
    }

    /// Returns the number of the snapshot in which a shard is read.
    pub(crate) fn snapshot(&self, shard: usize) -> (u64, u64) {
        let location = self.cluster.layout().location(shard).ok();
        let number = location.and_then(|location| self.snapshots.get(location.database)).copied();
        (self.rollbacks, number.unwrap_or_default())
    }

    /// Notes that the snapshot of a database ends: other sessions may change the rows before the next one begins.
    pub(crate) fn end_snapshot(&mut self, database: usize) {
        if let Some(snapshot) = self.snapshots.get_mut(database) {
            *snapshot += 1;
        }
    }

    /// Rolls back everything since the session began, or since its last commit.
    pub(crate) fn rollback(&mut self) {
        self.rollbacks += 1;
        self.forget_decision_row();
        self.databases.used_mut().for_each(|(_, transaction)| transaction.rollback());
        self.locked_first.clear();
        self.aborted = None;
        self.depth = 0;
        self.in_batches = false;
    }

    /// Ends the global transaction because of an error.
    pub(crate) fn abort(&mut self, error: &Error) {
        self.rollback();
        self.aborted = Some(error.to_string());
    }

    /// Passes the settings and the state of the running call on to the transactions that replace these.
    pub(crate) fn hand_over(&mut self, next: &mut Self) {
        (next.timeout, next.commit) = (self.timeout, self.commit);
        next.context = std::mem::take(&mut self.context);
        (next.age, next.gives_up_early) = (self.age, self.gives_up_early);
        next.had_conflict = self.had_conflict;
        (next.has_lost_a_server, next.may_be_stored) = (self.has_lost_a_server, self.may_be_stored);
    }

    /// Returns whether it has a connection to any database.
    pub(crate) fn is_connected(&self) -> bool {
        self.databases.used().any(|(_, transaction)| transaction.connection().is_some())
    }

    /// Aborts after an error if a database has ended its transaction itself, because its disk is full or fails. The
    /// writes of that transaction are lost.
    pub(crate) fn abort_if_transaction_lost<O>(&mut self, result: Result<O>) -> Result<O> {
        if let Err(error) = &result
            && self.has_lost_a_transaction()
        {
            self.abort(error);
        }
        self.note_conflict(result)
    }

    /// Returns whether a database has ended a transaction that this session has not ended.
    pub(crate) fn has_lost_a_transaction(&self) -> bool {
        self.databases.used().any(|(_, transaction)| transaction.has_lost_its_transaction())
    }

    pub(crate) fn check_usable(&self) -> Result<()> {
        match &self.aborted {
            None => Ok(()),
            Some(why) => {
                let message =
                    format!("transaction was aborted by an earlier error; call `rollback` first: {why}");
                Err(Error::new(ErrorKind::TransactionAborted, message))
            }
        }
    }

    /// Notes from an error whether a retry may succeed, or must not run. Another transaction may also have caused two
    /// errors. After `NotFound`, it may have moved or removed the row since this session read it. After `Ambiguous`, it
    /// may not have finished moving a row that was found on two shards.
    pub(crate) fn note_conflict<O>(&mut self, result: Result<O>) -> Result<O> {
        if let Err(error) = &result {
            let may_have_moved = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Ambiguous);
            self.had_conflict |= error.is_retryable() || may_have_moved;
            self.has_lost_a_server |= error.is_retryable()
                && !matches!(error.kind(), ErrorKind::Busy | ErrorKind::Stale | ErrorKind::Moved);
            self.may_be_stored |= matches!(error.kind(), ErrorKind::InDoubt | ErrorKind::PartialCommit);
        }
        result
    }

    /// Names the first shard of a database that was written, unless a shard is named already.
    pub(crate) fn named(&self, database: usize, error: Error) -> Error {
        named(&self.cluster, &self.databases, database, error)
    }
}

/// Names the first shard of a database that was written, unless a shard is named already.
pub(crate) fn named(
    cluster: &Cluster,
    databases: &Sparse<DatabaseTransaction>,
    database: usize,
    error: Error,
) -> Error {
    let written = databases.get(database).and_then(|transaction| transaction.written.indexes().first());
    let shard = written.and_then(|&shard| cluster.layout().shards().by_index(shard));
    error.on_shard(shard.map_or_else(|| cluster.database_name(database), |shard| shard.name()))
}

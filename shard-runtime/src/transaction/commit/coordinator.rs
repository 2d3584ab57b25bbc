//! The commit of a transaction over several databases: all of them or none. Owns the protocol's order; uses the session's
//! database transactions, the decision log (`decision`) and prepared transactions (`prepared`).
//!
//! ```text
//! Open ─flush─▶ Locked ─prepare─▶ Prepared ─record and commit in control─▶ DECIDED ─apply─▶ Applied ─forget─▶ Done
//!   └ error: roll back all   └ error: roll back all   └ commit of control fails ─ overwrite the WAL ─ ok ▶ Aborted
//!                                                                                           └ fails ▶ InDoubt
//! ```
//!
//! The unit of work flushes, which locks every database that is written. Each later transition is a method of
//! [`Coordinator`].
//!
//! | transition | on files | on servers |
//! |---|---|---|
//! | prepare | raise the file's version, inside its transaction | `PREPARE TRANSACTION` |
//! | decide | commit the record in the control database | commit the first server, with the transaction's row |
//! | apply | `COMMIT` | `COMMIT PREPARED` |
//! | forget | remove the record, with the next decision | remove the row, with the next decision |
//!
//! With files and servers the control database decides, and all servers are prepared. Without files the first server
//! decides and is not prepared itself. There is no log to overwrite. If the reply to its commit is lost, the coordinator
//! looks for the row.

use super::participants::finish_parts;
use super::{Decider, DecisionError, DecisionRow, Participant, PreparedPart, write_decision};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Shard;
use crate::sparse::Sparse;
use crate::tasks::Work;
use crate::transaction::Cluster;
use crate::transaction::DatabaseTransaction;
use crate::transaction::scatter;
use crate::transaction::transactions::named;

/// An operation on the connection to a database.
pub(super) type CommitJob = Box<dyn FnOnce(&dyn Connection) -> Result<()> + Send>;

/// Commits one global transaction.
pub(crate) struct Coordinator<'t> {
    pub(super) cluster: &'t Cluster,
    pub(super) databases: &'t mut Sparse<DatabaseTransaction>,
    participants: Participants,
    /// The transaction's id.
    id: String,
    /// Whether the deciding server has the transaction's row already.
    has_row: bool,
    /// Each file with the version that it had before.
    bases: Vec<(usize, i64)>,
    /// The parts that are prepared on servers, each with its database.
    parts: Vec<(usize, PreparedPart)>,
    /// Rows of the deciding server's log that its decision removes.
    removable: Vec<String>,
    /// How often rows of that log were collected before the decision.
    collected: i64,
}

/// The databases that a global transaction has written.
#[derive(Default)]
pub(crate) struct Participants {
    pub(crate) files: Vec<usize>,
    pub(crate) servers: Vec<usize>,
    /// Databases in memory. They are checked before the decision and committed after it, by the caller.
    pub(crate) others: Vec<usize>,
}

impl Participants {
    /// Returns the server that decides; `None` if the control database does.
    fn deciding_server(&self) -> Option<usize> {
        self.servers.first().copied().filter(|_| self.files.is_empty())
    }

    /// Returns the servers that are prepared.
    fn prepared(&self) -> &[usize] {
        match (self.deciding_server(), self.servers.as_slice()) {
            (Some(_), [_, others @ ..]) => others,
            (_, servers) => servers,
        }
    }
}

/// The reason why a commit failed.
#[derive(Debug)]
pub(crate) enum CommitFailure {
    /// This protocol cannot commit the transaction. Nothing was done, and it stays open.
    Refused(Error),
    /// The transaction is aborted, or its outcome is unknown: [`ErrorKind::InDoubt`].
    Ended(Error),
}

impl<'t> Coordinator<'t> {
    pub(crate) fn new(
        cluster: &'t Cluster,
        databases: &'t mut Sparse<DatabaseTransaction>,
        participants: Participants,
        row: Option<DecisionRow>,
    ) -> Self {
        let (bases, parts) = Default::default();
        // A row on another server than the one that decides would belong to no transaction.
        let row = row.filter(|row| Some(row.server) == participants.deciding_server());
        let has_row = row.is_some();
        let (id, removable, collected) =
            row.map_or_else(Default::default, |row| (row.id, row.removable, row.collected));
        Coordinator { cluster, databases, participants, id, has_row, bases, parts, removable, collected }
    }

    /// Runs the protocol to its end. Returns an error for each database that is pending: the transaction is decided, but
    /// the database is not committed yet.
    pub(crate) fn run(mut self) -> Result<Vec<Error>, CommitFailure> {
        self.check().map_err(CommitFailure::Refused)?;
        let decided = self.prepare().and_then(|()| self.decide());
        if let Err(error) = decided {
            self.cluster.put_back_removable(self.participants.deciding_server(), self.removable.split_off(0));
            if error.kind() != ErrorKind::InDoubt {
                self.roll_back_prepared();
            }
            return Err(CommitFailure::Ended(error));
        }
        let applied = self.apply();
        Ok(self.forget(applied))
    }

    /// Open: refuses a transaction that this protocol cannot commit.
    fn check(&self) -> Result<()> {
        for &database in &self.participants.files {
            let redo = self.databases.get(database).and_then(|transaction| transaction.redo.as_ref());
            if let Some(statement) = redo.and_then(|redo| redo.first_unrepeatable()) {
                let message = format!(
                    "{statement} cannot be part of a transaction over several databases: recovery could not repeat it with \
                     the same result; commit it alone, or with `Commit::BestEffort`"
                );
                return Err(self.named(database, Error::new(ErrorKind::Query, message)));
            }
        }
        if !self.participants.servers.is_empty() && self.cluster.is_for_single_shards() {
            let message = "the transaction wrote several databases, which `without_prepared_transactions` excludes; write one database, or \
                           open the cluster without that setting";
            return Err(Error::new(ErrorKind::Query, message));
        }
        Ok(())
    }

    /// Locked → Prepared: after this, each part can be committed, also by another process.
    ///
    /// # Errors
    /// The error of the first database that fails. Nothing is stored, but parts of servers may be prepared.
    fn prepare(&mut self) -> Result<()> {
        let Participants { files, servers, others } = &self.participants;
        for &database in files.iter().chain(servers) {
            let transaction = self.databases.get(database);
            // A server reports the end of a transaction itself.
            let is_lost = |transaction: &DatabaseTransaction| match files.contains(&database) {
                true => transaction.has_lost_its_transaction(),
                false => transaction.connection().is_none(),
            };
            if transaction.is_none_or(is_lost) {
                let message =
                    "the database has ended the transaction; call `rollback`, and run the transaction again";
                return Err(self.named(database, Error::new(ErrorKind::TransactionAborted, message)));
            }
        }
        self.check_constraints(files)?;
        self.check_constraints(others)?;
        self.bases = self.bump_versions(files)?;
        if self.has_row {
            return self.prepare_parts();
        }
        self.id = self.cluster.new_transaction_id()?;
        if let Some(decider) = self.participants.deciding_server() {
            self.removable = self.cluster.take_removable(decider);
            let names = self.cluster.decision_log_names(decider)?;
            let written = self
                .connection(decider)
                .map_or(Ok(0), |connection| write_decision(connection, names, &self.id, &self.removable));
            self.collected = written.map_err(|error| self.named(decider, error))?;
        }
        self.prepare_parts()
    }

    /// Checks the constraints that a commit would check.
    fn check_constraints(&self, databases: &[usize]) -> Result<()> {
        check_constraints(self.cluster, self.databases, databases)
    }

    /// Raises the version of each file inside its transaction. Returns the versions that the files had.
    fn bump_versions(&self, files: &[usize]) -> Result<Vec<(usize, i64)>> {
        let mut bases = Vec::with_capacity(files.len());
        for &database in files {
            let Some(connection) = self.connection(database) else { continue };
            let base = self.cluster.begin_version(database, connection);
            let base = base.map_err(|error| self.named(database, error))?;
            bases.push((database, base));
        }
        Ok(bases)
    }

    /// Prepares the part of each server that does not decide.
    fn prepare_parts(&mut self) -> Result<()> {
        let Participants { files, servers, .. } = &self.participants;
        let decider = files.first().or(servers.first()).copied().unwrap_or_default();
        let part = |&database: &usize| {
            let part = PreparedPart {
                cluster: self.cluster.id().to_owned(),
                transaction: self.id.clone(),
                decider: self.cluster.first_place(decider),
                participant: self.cluster.first_place(database),
            };
            (database, part)
        };
        self.parts = self.participants.prepared().iter().map(part).collect();
        let jobs = self.parts.iter().map(|(database, part)| {
            let name = part.name();
            let job: CommitJob =
                Box::new(move |connection: &dyn Connection| connection.prepare_commit(&name));
            (*database, job)
        });
        for (database, prepared) in self.at_once(jobs.collect(), true) {
            prepared.map_err(|error| self.named(database, error))?;
        }
        Ok(())
    }

    /// Prepared → DECIDED, Aborted or InDoubt. Once this has returned, the transaction is committed, even if a later step
    /// fails.
    fn decide(&mut self) -> Result<()> {
        match self.participants.deciding_server() {
            Some(server) => self.decide_on_server(server),
            None => self.decide_in_control(),
        }
    }

    /// Commits the record in the control database.
    fn decide_in_control(&self) -> Result<()> {
        let parts = self.bases.iter().filter_map(|&(database, base)| {
            let redo = self.databases.get(database)?.redo.as_ref()?;
            Some(Participant { database: self.cluster.database_name(database), base, redo })
        });
        let servers = self.parts.iter().filter_map(|(_, part)| {
            self.cluster.layout().shards().at_place(part.participant).ok().map(Shard::name)
        });
        let servers: Vec<&str> = servers.collect();
        match self.cluster.decide(&self.id, &parts.collect::<Vec<_>>(), &servers) {
            Ok(()) => Ok(()),
            Err(DecisionError::Aborted(error)) => Err(Error::new(
                error.kind(),
                format!("the transaction could not be decided in the control database: {error}"),
            )
            .with_source(error)),
            Err(DecisionError::InDoubt(error)) => Err(in_doubt(&self.id, error)),
        }
    }

    /// Commits the first server's part, which holds the transaction's row. If the reply is lost, looks for the row.
    fn decide_on_server(&mut self, server: usize) -> Result<()> {
        let Err(error) = self.connection(server).map_or(Ok(()), |connection| connection.commit()) else {
            self.databases.get_mut(server).map(|transaction| transaction.has_committed(Ok(())));
            return Ok(());
        };
        let error = self.named(server, error);
        if error.kind() != ErrorKind::InDoubt {
            return Err(error);
        }
        match self.cluster.read_outcome(server, &self.id, self.collected) {
            Ok(true) => {
                self.databases.get_mut(server).map(DatabaseTransaction::roll_back_decided);
                Ok(())
            }
            Ok(false) => {
                let certain = Error::new(ErrorKind::ConnectionLost, "the connection was lost at the commit");
                Err(self.named(server, certain.with_source(error)))
            }
            // The parts stay prepared until a session or `recover` can reach the decider.
            Err(_) => Err(in_doubt(&self.id, error)),
        }
    }

    /// DECIDED → Applied: commits every part. Returns the result of each.
    fn apply(&mut self) -> Vec<(usize, Result<()>)> {
        let commit = |&database: &usize| {
            let job: CommitJob = Box::new(|connection: &dyn Connection| connection.commit());
            (database, job)
        };
        let jobs = self.participants.files.iter().map(commit).collect();
        let mut applied = self.at_once(jobs, self.cluster.waits_for_the_disk());
        applied.append(&mut finish_parts(self, true));
        applied
    }

    /// Applied → Done: notes that the record can be removed if every part is committed. Returns an error for each part
    /// that is pending. The next session that begins to write there finishes it.
    fn forget(mut self, applied: Vec<(usize, Result<()>)>) -> Vec<Error> {
        let is_applied = |wanted: &usize| {
            !applied.iter().any(|(database, applied)| database == wanted && applied.is_err())
        };
        let decider = match self.participants.deciding_server() {
            Some(server) => Decider::Server(server),
            None => Decider::Files { are_committed: self.participants.files.iter().all(is_applied) },
        };
        let mut left = std::mem::take(&mut self.parts);
        left.retain(|(database, _)| !is_applied(database));
        self.cluster.list_unfinished(&self.id, decider, true, left);
        let mut pending = Vec::new();
        for (database, applied) in applied {
            let Some(transaction) = self.databases.get_mut(database) else { continue };
            if let Err(error) = transaction.has_committed(applied) {
                pending.push(self.named(database, error));
                if let Some(transaction) = self.databases.get_mut(database) {
                    transaction.roll_back_decided();
                }
            }
        }
        pending
    }

    /// Aborted: rolls back every part that is prepared. The caller rolls back the other databases.
    fn roll_back_prepared(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        let finished = finish_parts(self, false);
        let is_left = |wanted: usize| {
            finished.iter().any(|(database, finished)| *database == wanted && finished.is_err())
        };
        let left = self.parts.drain(..).filter(|(database, _)| is_left(*database)).collect();
        // An aborted transaction has no record and no row.
        self.cluster.list_unfinished(&self.id, Decider::Files { are_committed: false }, false, left);
    }

    /// Runs jobs on databases, at the same time if `at_the_same_time` and there are workers. Returns each result.
    pub(super) fn at_once(
        &mut self,
        jobs: Vec<(usize, CommitJob)>,
        at_the_same_time: bool,
    ) -> Vec<(usize, Result<()>)> {
        let uses_threads = at_the_same_time && self.cluster.parallelism().uses_threads(Work::Commit);
        let results = scatter(self.databases, self.cluster.workers(), uses_threads, jobs);
        results.into_iter().map(|(database, result)| (database, result.flatten())).collect()
    }

    pub(super) fn parts(&self) -> &[(usize, PreparedPart)] {
        &self.parts
    }

    fn connection(&self, database: usize) -> Option<&dyn Connection> {
        self.databases.get(database).and_then(DatabaseTransaction::connection)
    }

    /// Adds the name of the first shard of a database that was written.
    fn named(&self, database: usize, error: Error) -> Error {
        named(self.cluster, self.databases, database, error)
    }
}

/// Checks the constraints that the commit of these databases would check.
pub(super) fn check_constraints(
    cluster: &Cluster,
    transactions: &Sparse<DatabaseTransaction>,
    databases: &[usize],
) -> Result<()> {
    databases.iter().try_for_each(|&database| {
        let connection = transactions.get(database).and_then(DatabaseTransaction::connection);
        let checked = connection.map_or(Ok(()), |connection| connection.check_constraints());
        checked.map_err(|error| named(cluster, transactions, database, error))
    })
}

/// Returns the error of a transaction whose outcome is unknown.
fn in_doubt(id: &str, error: Error) -> Error {
    let message = format!("the outcome of transaction {id} is unknown; call `recover`");
    Error::new(ErrorKind::InDoubt, message).with_source(error).of_transaction(id)
}

#[cfg(test)]
mod tests;

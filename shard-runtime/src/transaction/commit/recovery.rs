//! Recovery of global transactions over files after a kill or a disk failure, and the cluster's part of their commit. Uses
//! the control database and `apply`.

use std::sync::PoisonError;

use super::search::SearchResult;
use crate::driver::{Connection, LeaseOwner, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::sql::Dialect;
use crate::transaction::Cluster;
use crate::transaction::commit;
use crate::transaction::commit::{DecisionError, Participant, Record, Recovered};
use crate::transaction::control::Control;

impl Cluster {
    /// Finishes the global transactions that were decided and not yet committed on every shard that they wrote. A
    /// transaction that was in doubt is committed if its id is in [`Recovered::transactions`]. Otherwise it is undone, or
    /// another process has finished it before.
    ///
    /// Calling it is optional: opening the cluster does the same, and each session that begins to write to a shard does
    /// it for that shard. After this call readers see these transactions, too. Any process may call it at any time.
    ///
    /// A shard that another session keeps locked for longer than the [busy timeout](crate::Builder::busy_timeout) is left
    /// to that session. [`Recovered::left`] names the participants that stay prepared on servers.
    ///
    /// # Errors
    /// - Those of the control database, if a transaction is in doubt and control still cannot be written.
    /// - [`ErrorKind::WrongDatabase`] if a shard is older than its cluster.
    /// - The databases' errors, with the shard's name.
    pub fn recover(&self) -> Result<Recovered> {
        let mut finished = if self.0.control.decides() { self.recover_files()? } else { Vec::new() };
        let SearchResult { mut committed, left } = self.recover_servers()?;
        finished.append(&mut committed);
        let mut all = self.0.recovered.lock().unwrap_or_else(PoisonError::into_inner);
        for transaction in finished {
            if !all.contains(&transaction) {
                all.push(transaction);
            }
        }
        Ok(Recovered { transactions: all.clone(), left })
    }

    /// Finishes the transactions that the control database has decided.
    fn recover_files(&self) -> Result<Vec<String>> {
        let mut unread = None;
        let records = self.0.control.wait_with_decisions(Error::is_busy, |decisions, control| {
            decisions.resolve_in_doubt(control)?;
            decisions.overwrite_unread(control, &mut unread)?;
            decisions.remove(control, Vec::new())?;
            decisions.records(control).map(<[_]>::to_vec)
        })?;
        let mut reached: Vec<(usize, i64)> = Vec::new();
        for database in 0..self.databases() {
            let name = self.database_name(database);
            if records.iter().any(|record| record.database == name) {
                match self.confirm(database) {
                    Ok(version) => reached.push((database, version)),
                    Err(error) if error.kind() == ErrorKind::Busy => {}
                    Err(error) => return Err(error.on_shard(name)),
                }
            }
        }
        let is_missing = |record: &Record| {
            let at = reached.iter().find(|(database, _)| self.database_name(*database) == record.database);
            at.is_none_or(|(_, version)| *version <= record.base)
        };
        let mut finished: Vec<String> = Vec::new();
        for record in &records {
            let mut of_transaction = records.iter().filter(|other| other.transaction == record.transaction);
            if !finished.contains(&record.transaction)
                && !of_transaction.any(is_missing)
                && self.is_finished_on_servers(&record.transaction)?
            {
                finished.push(record.transaction.clone());
            }
        }
        self.0.control.wait_with_decisions(Error::is_busy, |decisions, control| {
            decisions.remove(control, finished.clone())
        })?;
        Ok(finished)
    }

    /// Applies decided transactions to a database, and makes its contents durable. Returns its version. The commit of a
    /// killed process may be visible without being on disk; a further commit makes it durable.
    fn confirm(&self, database: usize) -> Result<i64> {
        self.on_connection(&LeaseOwner::default(), database, |connection| {
            connection.begin(TransactionMode::Write)?;
            let own = self.own_table(database)?;
            let confirmed = self.apply_decided(database, connection).and_then(|has_applied| {
                if !has_applied {
                    commit::bump_version(connection, &own)?;
                }
                let version = commit::version(connection, &own)?;
                connection.commit()?;
                Ok(version)
            });
            confirmed.inspect_err(|_| {
                let _ = connection.rollback();
            })
        })
    }

    /// Returns whether a database outlives the process.
    pub(crate) fn outlives_the_process(&self, database: usize) -> bool {
        self.0.databases.get(database).is_some_and(|database| !database.driver.is_private())
    }

    /// Returns whether a session's statements on a database may be part of a decision.
    pub(crate) fn is_recorded(&self, database: usize) -> bool {
        self.0.is_decided
            && self.outlives_the_process(database)
            && self.dialect(database).keeps_redo_records()
    }

    /// Returns the SQL dialect of a database.
    pub(crate) fn dialect(&self, database: usize) -> Dialect {
        self.0.databases.get(database).map(|database| database.driver.dialect()).unwrap_or_default()
    }

    /// Applies decided transactions that a database misses. The connection holds its write lock. Returns whether there
    /// was anything to apply.
    pub(crate) fn apply_decided(&self, database: usize, connection: &dyn Connection) -> Result<bool> {
        match self.is_recorded(database) {
            true => apply_decided(&self.0.control, self.layout(), database, connection),
            false => Ok(false),
        }
    }

    /// Returns whether a commit waits until it is on disk.
    pub(crate) fn waits_for_the_disk(&self) -> bool {
        self.0.control.is_durable
    }

    pub(crate) fn new_transaction_id(&self) -> Result<String> {
        #[cfg(feature = "postgres")]
        if !self.0.control.decides() {
            return commit::random_transaction_id();
        }
        self.0.control.new_transaction_id()
    }

    /// Raises the version of a database inside a session's transaction. Returns the version before.
    pub(crate) fn begin_version(&self, database: usize, connection: &dyn Connection) -> Result<i64> {
        let own = self.own_table(database)?;
        let base = commit::version(connection, &own)?;
        commit::bump_version(connection, &own)?;
        Ok(base)
    }

    /// Commits a transaction that changes nothing but a database's version.
    pub(crate) fn commit_version_only(&self, database: usize, connection: &dyn Connection) -> Result<()> {
        connection.begin(TransactionMode::Write)?;
        let written = self
            .apply_decided(database, connection)
            .and_then(|_| commit::bump_version(connection, &self.own_table(database)?))
            .and_then(|()| connection.commit());
        written.inspect_err(|_| {
            let _ = connection.rollback();
        })
    }

    pub(crate) fn decide(
        &self,
        transaction: &str,
        parts: &[Participant<'_>],
        servers: &[&str],
    ) -> Result<(), DecisionError> {
        self.0.control.decide(transaction, parts, servers)
    }

    /// Notes that every database has committed a transaction.
    pub(crate) fn finished(&self, transaction: String) {
        self.0.control.with_decisions(|decisions, _| decisions.finish(transaction));
    }

    /// Returns the name of a database in the decision log: its first shard's name.
    pub(crate) fn database_name(&self, database: usize) -> &str {
        name(self.layout(), database)
    }

    /// Returns the table that holds a database's version.
    pub(crate) fn own_table(&self, database: usize) -> Result<String> {
        own_table(self.layout(), database)
    }
}

/// Applies decided transactions that a database misses. The connection holds its write lock. Returns whether there was
/// anything to apply.
pub(crate) fn apply_decided(
    control: &Control,
    layout: &Layout,
    database: usize,
    connection: &dyn Connection,
) -> Result<bool> {
    let first = layout.first_in(database);
    if !layout.location(first)?.dialect.keeps_redo_records() || !control.decides() {
        return Ok(false);
    }
    let name = name(layout, database);
    let mut unread = None;
    let has_decisions = control.wait_with_decisions(Error::is_busy, |decisions, control| {
        decisions.decisions_for(control, name, &mut unread)
    });
    if !has_decisions? {
        return Ok(false);
    }
    let own = own_table(layout, database)?;
    control.with_decisions(|decisions, control| {
        commit::apply_decided(decisions, control, name, &own, connection)
    })
}

fn name(layout: &Layout, database: usize) -> &str {
    layout.shards_in(database).next().map_or("", |shard| shard.name())
}

fn own_table(layout: &Layout, database: usize) -> Result<String> {
    let first = layout.first_in(database);
    Ok(layout.location(first)?.names.table(crate::planner::own_tables::SHARD))
}

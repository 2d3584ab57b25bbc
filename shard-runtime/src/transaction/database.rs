//! A session's transaction on one database, with its connection. Uses `driver` and the cluster's state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cluster, Written};
use crate::driver::{Connection, LeaseOwner, PooledConnection, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::query::WriteOutcome;
use crate::schema::ShardSet;
use crate::transaction::commit::Redo;
use crate::transaction::{Age, ServerWriter, WriteLock, WriteLocks};

/// The savepoint to which a failed statement is undone.
const SAVEPOINT: &str = "sharded_statement";

/// The session's side of one database. A connection is taken when it is first needed and given back when the
/// transaction ends.
#[derive(Default)]
pub(crate) struct DatabaseTransaction {
    connection: Option<PooledConnection>,
    transaction: Option<TransactionMode>,
    /// The write lock among the sessions of this process, while this one writes a SQLite database.
    lock: Option<WriteLock>,
    /// The registration among the sessions of this process, while this one writes on a server.
    writer: Option<ServerWriter>,
    /// The shards of this database that were written in this transaction.
    pub(crate) written: ShardSet,
    /// The statements of this transaction, if recovery may have to run them again: see `commit`.
    pub(crate) redo: Option<Redo>,
    /// The outcomes that written rows share: one for the transaction, and one for each savepoint. Empty if the
    /// transaction only reads.
    outcomes: Vec<WriteOutcome>,
    /// The number of statements and outcomes at each savepoint.
    marks: Vec<(usize, usize)>,
    /// The writer number that goes with the process's first transaction on this database.
    number: Option<Written>,
}

/// How long a session that has a write lock waits for a connection before it releases the lock and retries.
const SHORT_CONNECTION_WAIT: Duration = Duration::from_millis(20);

/// Limits of a session's waits, shorter than the whole busy timeout.
#[derive(Clone, Copy, Default)]
pub(crate) struct Waits {
    pub(crate) for_a_connection: Option<Duration>,
    /// For the write lock of a SQLite database.
    pub(crate) for_a_file: Option<Duration>,
    /// The end of all waits, and of connecting.
    pub(crate) deadline: Option<Instant>,
}

impl Waits {
    pub(crate) fn until(self, deadline: Instant) -> Self {
        Waits { deadline: Some(deadline), ..self }
    }

    /// Returns the earlier of this time and the deadline.
    fn until_deadline(self, end: Instant) -> Instant {
        self.deadline.map_or(end, |deadline| deadline.min(end))
    }

    fn check_deadline(self) -> Result<()> {
        match self.deadline {
            Some(deadline) if deadline <= Instant::now() => {
                let message = "the session's timeout ended before the database was locked";
                Err(Error::new(ErrorKind::TimedOut, message))
            }
            _ => Ok(()),
        }
    }
}

impl DatabaseTransaction {
    /// Begins a transaction that may read. A session that writes reads in its write transaction. Connecting stops at the
    /// deadline.
    pub(crate) fn read(
        &mut self,
        cluster: &Cluster,
        owner: &LeaseOwner,
        database: usize,
        waits: Waits,
    ) -> Result<()> {
        if self.transaction.is_none() {
            self.connected(cluster, owner, database, waits)?.begin(TransactionMode::Read)?;
            self.transaction = Some(TransactionMode::Read);
        }
        Ok(())
    }

    /// Takes a connection, without a transaction.
    pub(crate) fn reserve(&mut self, cluster: &Cluster, owner: &LeaseOwner, database: usize) -> Result<()> {
        self.connected(cluster, owner, database, Waits::default()).map(drop)
    }

    /// Takes an idle connection, if there is none yet. Returns whether there is one now.
    pub(crate) fn reserve_idle(&mut self, cluster: &Cluster, owner: &LeaseOwner, database: usize) -> bool {
        if self.connection.is_none() && self.transaction.is_none() {
            self.connection = cluster.connect_idle(owner, database);
        }
        self.connection.is_some()
    }

    /// Begins a transaction that may write. A read transaction is ended first: SQLite cannot upgrade it after another
    /// connection has written. `locked` are the databases that the session may write already.
    ///
    /// While it waits for other sessions of this process it holds no connection to this database, because the other
    /// session may need it.
    pub(crate) fn write(
        &mut self,
        cluster: &Cluster,
        owner: &LeaseOwner,
        database: usize,
        locked: &[usize],
        age: Age,
        waits: Waits,
    ) -> Result<()> {
        if self.may_write() {
            return Ok(());
        }
        if self.transaction.take().is_some() {
            self.connected(cluster, owner, database, waits)?.commit()?;
        }
        waits.check_deadline()?;
        let lock = match cluster.write_locks(database) {
            None => None,
            Some(locks) => Some(self.lock_file(cluster, owner, database, locks, age, waits)?),
        };
        let connection = self.connected(cluster, owner, database, waits)?;
        let writer = cluster.begin_to_write(database, connection, locked, age);
        if waits.deadline.is_some() {
            connection.set_deadline(waits.deadline);
        }
        connection.begin(TransactionMode::Write)?;
        let begun = cluster
            .apply_decided(database, connection)
            .and_then(|_| cluster.write_number(database, connection));
        let number = begun.inspect_err(|_| {
            let _ = connection.rollback();
        })?;
        self.number = number;
        self.transaction = Some(TransactionMode::Write);
        self.writer = writer;
        self.lock = lock;
        self.redo = cluster.is_recorded(database).then(Redo::default);
        self.outcomes = vec![WriteOutcome::default()];
        Ok(())
    }

    /// Takes the write lock of a SQLite database, with a connection to it. It waits for a connection without the lock,
    /// and for the lock without a connection. Otherwise sessions that wait for the lock could hold the connections that
    /// its owner needs.
    fn lock_file(
        &mut self,
        cluster: &Cluster,
        owner: &LeaseOwner,
        database: usize,
        locks: &Arc<WriteLocks>,
        age: Age,
        waits: Waits,
    ) -> Result<WriteLock> {
        let timeout = cluster.busy_timeout();
        let timeout = waits.for_a_file.map_or(timeout, |limit| limit.min(timeout));
        let end = waits.until_deadline(Instant::now() + timeout);
        loop {
            self.connected(cluster, owner, database, waits)?;
            if let Some(lock) = locks.try_acquire(age, database) {
                return Ok(lock);
            }
            self.connection.take().into_iter().for_each(PooledConnection::give_back);
            let rest = end.saturating_duration_since(Instant::now());
            let lock = locks.acquire(age, database, rest).or_else(|busy| {
                waits.check_deadline()?;
                Err(busy)
            })?;
            let brief = Waits { for_a_connection: Some(SHORT_CONNECTION_WAIT), ..waits };
            match self.connected(cluster, owner, database, brief) {
                Err(error) if error.kind() == ErrorKind::Busy && Instant::now() < end => drop(lock),
                connected => return connected.map(|_| lock),
            }
        }
    }

    /// Makes the transaction fail if the database does not hold this shard any more, or if keys have left it.
    pub(crate) fn expect(&self, cluster: &Cluster, shard: usize) -> Result<()> {
        match (self.connection(), cluster.expected(shard)) {
            (Some(connection), Some(expected)) => connection.expect(expected),
            _ => Ok(()),
        }
    }

    /// Returns whether a commit would store any change.
    pub(crate) fn has_changed(&self) -> bool {
        let changed = || self.redo.as_ref().map_or(!self.written.is_empty(), |redo| !redo.is_empty());
        self.may_write() && changed()
    }

    fn connected(
        &mut self,
        cluster: &Cluster,
        owner: &LeaseOwner,
        database: usize,
        waits: Waits,
    ) -> Result<&dyn Connection> {
        let kept = match self.connection.take() {
            // No transaction could be begun on it, because its server is lost.
            Some(lost) if self.transaction.is_none() && lost.has_lost_its_server() => {
                lost.give_back();
                None
            }
            kept => kept,
        };
        let connection = match kept {
            Some(connection) => connection,
            None => cluster.connect(owner, database, waits.for_a_connection, waits.deadline)?,
        };
        Ok(&**self.connection.insert(connection))
    }

    /// Takes the connection out, with its transaction, for another thread.
    pub(crate) fn take_connection(&mut self) -> Option<PooledConnection> {
        self.connection.take()
    }

    pub(crate) fn restore_connection(&mut self, connection: PooledConnection) {
        self.connection = Some(connection);
    }

    /// Takes a connection whose transaction was begun by another thread, if this one had none.
    pub(crate) fn read_on(&mut self, connection: PooledConnection) {
        self.connection = Some(connection);
        self.transaction.get_or_insert(TransactionMode::Read);
    }

    /// Returns the connection, if there is one.
    pub(crate) fn connection(&self) -> Option<&dyn Connection> {
        self.connection.as_deref()
    }

    pub(crate) fn is_in_a_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    pub(crate) fn may_write(&self) -> bool {
        self.transaction == Some(TransactionMode::Write)
    }

    /// Returns whether the database has ended a transaction that this session has not ended.
    pub(crate) fn has_lost_its_transaction(&self) -> bool {
        self.transaction.is_some() && self.connection().is_none_or(|connection| !connection.in_transaction())
    }

    /// Returns the outcome that is shared by the rows that are written now.
    pub(crate) fn outcome(&self) -> Option<&WriteOutcome> {
        self.outcomes.last()
    }

    /// Adds the outcome of rows that were changed before they were written.
    pub(crate) fn track_writes(&mut self, outcome: WriteOutcome) {
        if !outcome.is_unknown() {
            self.outcomes.push(outcome);
        }
    }

    /// Begins a savepoint. Savepoints are nested.
    pub(crate) fn savepoint(&mut self) -> Result<()> {
        self.run(&format!("SAVEPOINT {SAVEPOINT}"))?;
        self.marks.push((self.redo.as_mut().map_or(0, Redo::mark), self.outcomes.len()));
        self.outcomes.push(WriteOutcome::default());
        Ok(())
    }

    pub(crate) fn release(&mut self) -> Result<()> {
        self.marks.pop();
        // The statements after the savepoint are undone with those before it from now on.
        self.outcomes.pop_if(|outcome| outcome.is_unknown());
        self.run(&format!("RELEASE {SAVEPOINT}"))
    }

    pub(crate) fn rollback_to_savepoint(&mut self) -> Result<()> {
        if let Some((done, outcomes)) = self.marks.pop() {
            if let Some(redo) = &mut self.redo {
                redo.truncate(done);
            }
            self.outcomes.drain(outcomes..).for_each(|outcome| outcome.roll_back());
        }
        self.run(&format!("ROLLBACK TO {SAVEPOINT}; RELEASE {SAVEPOINT}"))
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.connection().map_or(Ok(()), |connection| connection.run(sql))
    }

    /// Ends the transaction with its effects and gives the connection back.
    pub(crate) fn commit(&mut self) -> Result<()> {
        let committed = match (self.connection(), self.transaction) {
            (Some(connection), Some(_)) => connection.commit(),
            // A panic has lost the connection, whose database rolls back.
            (None, Some(TransactionMode::Write)) => {
                let message = "the connection of the transaction is lost: call `rollback`, and write again";
                Err(Error::new(ErrorKind::TransactionAborted, message))
            }
            _ => Ok(()),
        };
        self.has_committed(committed)
    }

    /// Notes the result of a commit. If it succeeded, the connection is given back.
    pub(crate) fn has_committed(&mut self, committed: Result<()>) -> Result<()> {
        if committed.is_ok() {
            let DatabaseTransaction { connection, outcomes, number, lock, .. } = std::mem::take(self);
            outcomes.iter().for_each(WriteOutcome::commit);
            if let Some(connection) = connection {
                if let Some(number) = number {
                    number.committed(&*connection);
                }
                connection.give_back();
            }
            // Released after the transaction, whose end the next session would wait for.
            drop(lock);
        }
        committed
    }

    /// Makes sure that a failed commit stays undone. If the disk failed at the end of the commit, the frames in the WAL
    /// may be complete, and would be applied after a crash. Another transaction overwrites them. Returns the error, or
    /// [`ErrorKind::InDoubt`] if overwriting fails too.
    pub(crate) fn overwrite_failed_commit(
        &mut self,
        cluster: &Cluster,
        database: usize,
        error: Error,
    ) -> Error {
        let undone = match (error.kind(), self.connection()) {
            _ if cluster.dialect(database).reports_failed_commits() => Ok(()),
            (ErrorKind::Io | ErrorKind::Corrupt | ErrorKind::Database, Some(connection)) => {
                connection.rollback().and_then(|()| cluster.commit_version_only(database, connection))
            }
            _ => Ok(()),
        };
        self.rollback();
        match undone {
            Ok(()) => error,
            Err(_) => {
                let message = "the outcome of the shard's part of the transaction is unknown; check its rows before a retry";
                Error::new(ErrorKind::InDoubt, message).with_source(error)
            }
        }
    }

    /// Ends the transaction without its effects and gives the connection back.
    pub(crate) fn rollback(&mut self) {
        self.end().iter().for_each(WriteOutcome::roll_back);
    }

    /// Rolls a decided transaction back on this database and gives the connection back: recovery applies its writes.
    pub(crate) fn roll_back_decided(&mut self) {
        self.end().iter().for_each(WriteOutcome::commit);
    }

    fn end(&mut self) -> Vec<WriteOutcome> {
        let DatabaseTransaction { connection, transaction, outcomes, lock, .. } = std::mem::take(self);
        if let Some(connection) = connection {
            if transaction.is_some() {
                // If this fails, the connection is closed, and the database rolls back.
                let _ = connection.rollback();
            }
            connection.give_back();
        }
        drop(lock);
        outcomes
    }
}

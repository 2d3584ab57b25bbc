//! Lending a session's connections to other threads: a connection goes with a job and returns with the job's result. Owns
//! these leases; uses the connections of `driver` and the threads of `tasks`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::DatabaseTransaction;
use crate::driver::{Connection, PooledConnection};
use crate::error::Result;
use crate::sparse::Sparse;
use crate::tasks::{Worker, Workers, worker_lost};

/// A connection that another thread uses, and the job's result that comes with it.
pub(crate) struct Lease<T> {
    database: usize,
    returned: Receiver<(Option<PooledConnection>, T)>,
}

/// The other thread's side of a lease.
pub(crate) struct Borrower<T>(Sender<(Option<PooledConnection>, T)>);

impl<T> Lease<T> {
    /// Creates a lease of a connection to this database.
    pub(crate) fn new(database: usize) -> (Borrower<T>, Lease<T>) {
        let (sender, returned) = channel();
        (Borrower(sender), Lease { database, returned })
    }

    pub(crate) fn database(&self) -> usize {
        self.database
    }

    /// Blocks until the connection returns, at most for `limit`. Returns `None` after that, or if the thread has
    /// terminated: its connection and the transaction are lost.
    pub(crate) fn wait(self, limit: Option<Duration>) -> Option<(Option<PooledConnection>, T)> {
        match limit {
            None => self.returned.recv().ok(),
            Some(limit) => self.returned.recv_timeout(limit).ok(),
        }
    }

    /// Blocks until the connection returns, and restores it. Returns the job's result.
    ///
    /// # Errors
    /// [`ErrorKind::Database`](crate::ErrorKind::Database) if the thread has terminated, and its connection is lost.
    pub(crate) fn take_back(self, databases: &mut Sparse<DatabaseTransaction>) -> Result<T> {
        let database = self.database;
        let (connection, result) = self.wait(None).ok_or_else(worker_lost)?;
        if let (Some(transaction), Some(connection)) = (databases.get_mut(database), connection) {
            transaction.restore_connection(connection);
        }
        Ok(result)
    }
}

impl<T: Send + 'static> Lease<T> {
    /// Lends the connection to a database to a worker, which runs this job with it.
    ///
    /// # Errors
    /// [`ErrorKind::Database`](crate::ErrorKind::Database) if there is no connection: another thread has lost it.
    pub(crate) fn begin(
        databases: &mut Sparse<DatabaseTransaction>,
        worker: Worker,
        database: usize,
        job: impl FnOnce(&dyn Connection) -> T + Send + 'static,
    ) -> Result<Self> {
        let connection = databases.get_mut(database).and_then(DatabaseTransaction::take_connection);
        let connection = connection.ok_or_else(worker_lost)?;
        let (borrower, lease) = Lease::new(database);
        let run = move || {
            let result = job(&*connection);
            (Some(connection), result)
        };
        worker.run(run, move |(connection, result)| borrower.give_back(connection, result));
        Ok(lease)
    }
}

impl<T> Borrower<T> {
    /// Returns the connection with the result. If the session no longer waits for it, rolls the transaction back and
    /// gives the connection to the pool.
    pub(crate) fn give_back(self, connection: Option<PooledConnection>, result: T) {
        if let Err(unwanted) = self.0.send((connection, result))
            && let Some(connection) = unwanted.0.0
        {
            let _ = connection.rollback();
            connection.give_back();
        }
    }
}

/// Runs a job on each of these databases, to which the session is connected. If `uses_threads`, free workers run as many
/// as possible; this thread runs the others, at least one. Returns the result of each job.
///
/// If a job panics on this thread, the panic continues after all connections have returned.
pub(crate) fn scatter<T, J>(
    databases: &mut Sparse<DatabaseTransaction>,
    workers: &Arc<Workers>,
    uses_threads: bool,
    mut jobs: Vec<(usize, J)>,
) -> Vec<(usize, Result<T>)>
where
    T: Send + 'static,
    J: FnOnce(&dyn Connection) -> T + Send + 'static,
{
    let wanted = if uses_threads { jobs.len().saturating_sub(1) } else { 0 };
    let taken = workers.take(wanted);
    let here = jobs.split_off(taken.len().min(jobs.len()));
    let leases: Vec<(usize, Result<Lease<T>>)> = jobs
        .into_iter()
        .zip(taken)
        .map(|((database, job), worker)| (database, Lease::begin(databases, worker, database, job)))
        .collect();
    let run = |(database, job): (usize, J)| {
        let connection = databases.get(database).and_then(DatabaseTransaction::connection);
        (database, connection.map(job).ok_or_else(worker_lost))
    };
    let ran = catch_unwind(AssertUnwindSafe(|| here.into_iter().map(run).collect::<Vec<_>>()));
    let mut results = Vec::with_capacity(leases.len());
    for (database, lease) in leases {
        results.push((database, lease.and_then(|lease| lease.take_back(databases))));
    }
    match ran {
        Ok(ran) => results.extend(ran),
        Err(payload) => resume_unwind(payload),
    }
    results
}

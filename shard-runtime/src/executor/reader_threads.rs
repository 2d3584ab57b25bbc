//! Partial results before a deadline. One thread for each database connects to it and reads it, so that a database that does
//! not respond takes no time from the others. Uses leases of `transaction` and `fan_out`.
//!
//! The threads do not block on the reader. Their rows stay in memory until they are read.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::execute::{PlanStepState, ReadOptions};
use super::fan_out::{Loading, Message, RemoteRows, send_rows};
use crate::driver::{LeaseOwner, PooledConnection, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::PlanStep;
use crate::planner::sql::{Namespace, Param};
use crate::schema::Shard;
use crate::schema::Table;
use crate::tasks::{CancellationToken, Span};
use crate::transaction::{Cluster, Lease, Transactions, locate};

/// The longest wait for a connection that only reads, after its statement was cancelled. A server that responds cancels a
/// statement within a few milliseconds.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(100);

/// The threads that read the databases of one partial result.
#[derive(Default)]
pub(crate) struct ReaderThreads {
    /// The connections that the threads hold, each with whether its thread has begun the transaction.
    leases: Vec<(Lease<()>, bool)>,
    /// Cancels the threads that still read.
    cancellation: Arc<CancellationToken>,
}

/// The work of a thread on one database.
struct ReadTask {
    cluster: Cluster,
    owner: LeaseOwner,
    database: usize,
    connection: Option<PooledConnection>,
    begins: bool,
    deadline: Instant,
    /// Cancelled by the reader, and by the task that waits for the whole read.
    cancellations: Vec<Arc<CancellationToken>>,
    table: Option<&'static Table>,
    named: bool,
    statements: Vec<ThreadStatement>,
}

struct ThreadStatement {
    shard: Shard,
    names: Namespace,
    sql: String,
    params: Vec<Param<'static>>,
    loading: Option<Loading>,
    span: Span,
    sender: std::sync::mpsc::Sender<Message>,
}

impl Transactions {
    /// Returns the deadline if threads of their own read these statements. They do if the caller accepts a partial result
    /// within a time and several databases are read, some of which are servers. A server may not respond at all.
    pub(crate) fn reads_on_threads(&self, steps: &[&PlanStep<'_>]) -> Option<Instant> {
        let deadline = self.context.deadline.filter(|_| self.context.missing.is_some())?;
        let locations: Vec<_> =
            steps.iter().filter_map(|step| self.cluster.layout().location(step.shard).ok()).collect();
        let has_servers = locations.iter().any(|location| location.dialect.is_on_server());
        let first = locations.first()?.database;
        (has_servers && locations.iter().any(|location| location.database != first)).then_some(deadline)
    }

    /// Begins these statements, each database's on a thread of its own. After an error, `readers` has the threads that were
    /// started.
    pub(crate) fn read_on_threads(
        &mut self,
        steps: &[&PlanStep<'_>],
        options: ReadOptions<'_>,
        deadline: Instant,
        progress: &mut [PlanStepState],
        readers: &mut ReaderThreads,
    ) -> Result<()> {
        let cancellation = &readers.cancellation;
        let mut tasks: Vec<ReadTask> = Vec::new();
        for (step, progress) in steps.iter().zip(progress) {
            let Some(shard) = self.cluster.layout().shards().by_index(step.shard).cloned() else { continue };
            self.refuse_elsewhere(step.shard, "the statement")?;
            let Location { database, names, .. } = self.cluster.layout().location(step.shard)?;
            let (database, names) = (*database, names.clone());
            let watch = self.watch(step, &shard, options.table);
            let (sender, messages) = channel();
            let statement = ThreadStatement {
                loading: Loading::of(options, &shard),
                shard,
                names,
                sql: step.statement.sql.clone(),
                params: step.statement.params.iter().map(Param::to_owned).collect(),
                span: watch.span(),
                sender,
            };
            progress.watch = Some(watch);
            progress.remote = Some(RemoteRows::new(messages, options, Some(deadline)));
            match tasks.iter_mut().find(|task| task.database == database) {
                Some(task) => task.statements.push(statement),
                None => tasks.push(ReadTask {
                    cluster: self.cluster.clone(),
                    owner: self.owner.clone(),
                    database,
                    connection: None,
                    begins: true,
                    deadline,
                    cancellations: self
                        .context
                        .cancellation
                        .iter()
                        .cloned()
                        .chain([Arc::clone(cancellation)])
                        .collect(),
                    table: options.table,
                    named: options.named,
                    statements: vec![statement],
                }),
            }
        }
        for mut task in tasks {
            // The thread receives its task only after it runs: if the thread cannot be started, the session keeps its
            // connection.
            let (to_thread, tasks) = channel::<ReadTask>();
            let (borrower, lease) = Lease::new(task.database);
            let run = move || {
                if let Ok(task) = tasks.recv() {
                    borrower.give_back(task.run(), ());
                }
            };
            let thread = std::thread::Builder::new().name("sharded-partial".to_owned());
            thread.spawn(run).map_err(|error| {
                Error::new(ErrorKind::Io, format!("starting a thread to read a shard failed: {error}"))
                    .with_source(error)
            })?;
            if let Some(link) = self.databases.get_mut(task.database) {
                task.begins = !link.is_in_a_transaction();
                task.connection = link.take_connection();
            }
            readers.leases.push((lease, task.begins));
            // The thread receives until it has its task, so this does not fail.
            let _ = to_thread.send(task);
        }
        Ok(())
    }

    /// Takes the connections back after the rows were read, or reading them was stopped. The connection of a database that
    /// does not respond stays with its thread, which closes it.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] if the session had read or written in the transaction of such a database before. That
    /// transaction is lost.
    pub(crate) fn join_readers(&mut self, readers: ReaderThreads) -> Result<()> {
        let ReaderThreads { leases, cancellation } = readers;
        cancellation.cancel();
        let mut lost = Ok(());
        for (lease, begins) in leases {
            let database = lease.database();
            let Some(link) = self.databases.get_mut(database) else { continue };
            // Cancelling a statement takes a bounded time, and a transaction that writes is worth waiting for.
            let limit = if link.may_write() { None } else { Some(CANCEL_TIMEOUT) };
            match lease.wait(limit).and_then(|(connection, ())| connection) {
                Some(connection) => {
                    connection.set_deadline(None);
                    link.read_on(connection);
                }
                None if begins => {}
                None => {
                    let message =
                        "the server did not answer in time, and the session's transaction there is lost";
                    lost = Err(self.named(database, Error::new(ErrorKind::TimedOut, message)));
                }
            }
        }
        lost
    }
}

impl ReadTask {
    /// Reads all rows of its statements. Returns the connection, if there is one.
    fn run(self) -> Option<PooledConnection> {
        let ReadTask {
            cluster,
            owner,
            database,
            connection,
            begins,
            deadline,
            cancellations,
            table,
            named,
            statements,
        } = self;
        let ready = match connection {
            None if !begins => {
                Err(Error::new(ErrorKind::ConnectionLost, "the connection of the session was lost"))
            }
            None => cluster.connect(&owner, database, None, Some(deadline)),
            Some(connection) => Ok(connection),
        };
        let ready = ready.and_then(|connection| {
            if begins {
                connection.begin(TransactionMode::Read)?;
            }
            Ok(connection)
        });
        let connection = match ready {
            Ok(connection) => connection,
            Err(error) => {
                for ThreadStatement { shard, sender, .. } in statements {
                    let same = Error::new(error.kind(), error.to_string());
                    let _ = sender.send(Message::End(Err(locate(same, &shard, table))));
                }
                return None;
            }
        };
        connection.set_deadline(Some(deadline));
        let is_wanted = cancellations.iter().all(|cancellation| cancellation.begin(&*connection));
        for ThreadStatement { shard, names, sql, params, loading, span, sender } in statements {
            let mut busy = Duration::ZERO;
            let expected =
                cluster.expected(shard.index()).map_or(Ok(()), |expected| connection.expect(expected));
            if let Err(error) = expected {
                let _ = sender.send(Message::End(Err(locate(error, &shard, table))));
                continue;
            }
            let send = |message| sender.send(message).is_ok();
            let mut run = || {
                let end = match is_wanted {
                    true => send_rows(
                        &*connection,
                        &names,
                        (&sql, &params),
                        named,
                        loading.as_ref(),
                        send,
                        &mut busy,
                    ),
                    false => Err(Error::new(ErrorKind::TimedOut, "the query was cancelled")),
                };
                let _ = sender.send(Message::End(end.map_err(|error| locate(error, &shard, table))));
            };
            span.enclose(&mut run);
        }
        Some(connection)
    }
}

//! Sends pending changes to their shards in batches. Several servers receive theirs at the same time. Files receive
//! theirs one after the other, or on workers at the same time if several databases get many rows. Uses `batches`,
//! `pipelines`, and `transaction::scatter`.
//!
//! The result is the same in all cases. If rows of several shards cannot be written, the error is that of the first of
//! these shards in the cluster's order. Shards after it are stopped; those before it are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::UnitOfWork;
use super::batches::send_rows_of;
use super::pending::{Batch, ShardBatch};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::tasks::{Watch, Work};
use crate::transaction::{Cluster, Transactions, locate, scatter};

/// The cost of sending a row, besides its values, in bytes of values.
const PER_ROW: usize = 512;

/// The cost of an index entry, which is usually not next to the one before.
const PER_ENTRY: usize = 2_048;

/// The index of no shard: nothing has failed.
const NONE: usize = usize::MAX;

impl ShardBatch {
    /// Returns the cost of sending the changes of this shard, in bytes of values.
    fn weight(&self, layout: &Layout) -> usize {
        let of_batch = |batch: &Batch| {
            let indexes = layout.table(batch.model).map_or(0, |table| table.indexes.len());
            batch.bytes + (PER_ROW + PER_ENTRY * indexes) * batch.rows.len()
        };
        self.batches.iter().map(of_batch).sum()
    }
}

impl UnitOfWork {
    /// Sends batches to shards on which the session has begun to write.
    ///
    /// # Errors
    /// The error of the first shard, in the cluster's order, that has one. The caller undoes the rows that were written.
    pub(crate) fn send(&mut self, shard_batches: &mut Vec<ShardBatch>) -> Result<()> {
        if shard_batches.len() > 1 {
            let parts = self.by_database(shard_batches)?;
            let bytes = beside_the_largest(&parts, shard_batches, self.tx.cluster.layout());
            if self.tx.cluster.parallelism().uses_threads(Work::Flush { bytes }) {
                return self.send_at_once(shard_batches, parts);
            }
        }
        let mut next = 0;
        while next < shard_batches.len() {
            let rest = shard_batches.get(next..).unwrap_or_default();
            // The transaction's row is sent with all remaining changes, or is written later.
            let mut row = if next == 0 { self.tx.new_decision_row() } else { None };
            let sent = self.send_at_the_same_time(rest, &mut row);
            self.tx.decision_row = self.tx.decision_row.take().or(row);
            next += sent?;
            if let Some(ShardBatch { shard, batches, .. }) = shard_batches.get_mut(next) {
                for batch in batches {
                    self.send_batch(*shard, batch)?;
                }
                next += 1;
            }
        }
        Ok(())
    }

    pub(crate) fn send_batch(&self, shard: usize, batch: &mut Batch) -> Result<()> {
        let layout = self.tx.cluster.layout();
        let table = layout.table(batch.model)?;
        send_rows_of(batch, layout, shard, &|| false, &mut |sql, send| {
            self.tx.on(shard, table, sql, |statement| send(statement).map(|rows| (rows, rows)))
        })
    }

    /// Returns the databases of the batches, each with the indexes of its batches.
    fn by_database(&self, shard_batches: &[ShardBatch]) -> Result<Vec<(usize, Vec<usize>)>> {
        let mut parts: Vec<(usize, Vec<usize>)> = Vec::new();
        for (index, shard_batch) in shard_batches.iter().enumerate() {
            let database = self.tx.cluster.layout().location(shard_batch.shard)?.database;
            match parts.iter_mut().find(|(other, _)| *other == database) {
                Some((_, indexes)) => indexes.push(index),
                None => parts.push((database, vec![index])),
            }
        }
        Ok(parts)
    }

    /// Sends each database its part on a worker as long as there are workers, and the rest on this thread.
    fn send_at_once(
        &mut self,
        shard_batches: &mut Vec<ShardBatch>,
        parts: Vec<(usize, Vec<usize>)>,
    ) -> Result<()> {
        let first_failed = Arc::new(AtomicUsize::new(NONE));
        let mut taken: Vec<Option<ShardBatch>> =
            std::mem::take(shard_batches).into_iter().map(Some).collect();
        let Transactions { cluster, databases, context, .. } = &mut self.tx;
        let jobs = parts.into_iter().map(|(database, indexes)| {
            let task = FlushTask {
                cluster: cluster.clone(),
                shard_batches: indexes.into_iter().filter_map(|index| taken.get_mut(index)?.take()).collect(),
                sent: Vec::new(),
                failed: None,
                first_failed: Arc::clone(&first_failed),
            };
            let verb = context.span.clone();
            let job = move |connection: &dyn Connection| match verb {
                Some(verb) => verb.enclose(|| task.run(connection)),
                None => task.run(connection),
            };
            (database, job)
        });
        let done = scatter(databases, cluster.workers(), true, jobs.collect());
        self.join_flush(shard_batches, done.into_iter().map(|(_, done)| done).collect())
    }

    /// Collects the batches of finished tasks, and reports their statements in the shards' order.
    fn join_flush(
        &mut self,
        shard_batches: &mut Vec<ShardBatch>,
        done: Vec<Result<FlushTask>>,
    ) -> Result<()> {
        let (mut sent, mut failed): (Vec<Sent>, Option<(usize, Error)>) = Default::default();
        let mut lost = Ok(());
        for task in done {
            let mut task = match task {
                Ok(task) => task,
                Err(error) => {
                    lost = Err(error);
                    continue;
                }
            };
            shard_batches.append(&mut task.shard_batches);
            sent.append(&mut task.sent);
            let is_before =
                |(shard, _): &(usize, Error)| failed.as_ref().is_none_or(|(first, _)| shard < first);
            if let Some(first) = task.failed.take_if(|failed| is_before(failed)) {
                failed = Some(first);
            }
        }
        shard_batches.sort_by_key(|shard_batch| shard_batch.shard);
        sent.sort_by_key(|sent| sent.shard);
        for Sent { shard, sql, watch, rows, error } in sent {
            if let Some(handle) = self.tx.cluster.layout().shards().by_index(shard) {
                watch.ended(self.tx.cluster.observer(), handle, &sql, rows, error);
            }
        }
        match failed {
            Some((_, error)) => Err(error),
            None => lost,
        }
    }
}

/// Returns the cost of all parts except the largest one, in bytes.
fn beside_the_largest(parts: &[(usize, Vec<usize>)], shard_batches: &[ShardBatch], layout: &Layout) -> usize {
    let weight = |(_, indexes): &(usize, Vec<usize>)| -> usize {
        indexes
            .iter()
            .filter_map(|&index| shard_batches.get(index))
            .map(|shard_batch| shard_batch.weight(layout))
            .sum()
    };
    let weights: Vec<usize> = parts.iter().map(weight).collect();
    let largest = weights.iter().max().copied().unwrap_or(0);
    weights.iter().sum::<usize>().saturating_sub(largest)
}

/// The batches of one database's shards.
struct FlushTask {
    cluster: Cluster,
    shard_batches: Vec<ShardBatch>,
    /// The statements that were sent, to be reported by the session.
    sent: Vec<Sent>,
    /// The shard that has failed, and its error.
    failed: Option<(usize, Error)>,
    /// The first shard of all tasks that has failed so far.
    first_failed: Arc<AtomicUsize>,
}

/// A statement of a task.
struct Sent {
    shard: usize,
    sql: String,
    watch: Watch,
    rows: u64,
    error: Option<ErrorKind>,
}

impl FlushTask {
    fn run(mut self, connection: &dyn Connection) -> Self {
        let mut shard_batches = std::mem::take(&mut self.shard_batches);
        for ShardBatch { shard, batches, .. } in &mut shard_batches {
            let sent = batches.iter_mut().try_for_each(|batch| self.send(connection, *shard, batch));
            if let Err(error) = sent {
                self.first_failed.fetch_min(*shard, Ordering::Relaxed);
                self.failed = Some((*shard, error));
                break;
            }
        }
        self.shard_batches = shard_batches;
        self
    }

    /// Sends a batch, unless a shard before this one has failed.
    fn send(&mut self, connection: &dyn Connection, shard: usize, batch: &mut Batch) -> Result<()> {
        let is_stopped = || self.first_failed.load(Ordering::Relaxed) < shard;
        let (layout, handle) = (self.cluster.layout(), self.cluster.layout().shards().by_index(shard));
        let Some(handle) = handle else {
            return Err(Error::new(
                ErrorKind::UnknownShard,
                format!("the cluster has no shard with the index {shard}"),
            ));
        };
        if is_stopped() {
            return Ok(());
        }
        let table = layout.table(batch.model)?;
        let names = &layout.location(shard)?.names;
        let statements = &mut self.sent;
        send_rows_of(batch, layout, shard, &is_stopped, &mut |sql, send| {
            let mut statement =
                connection.prepare_in(names, sql).map_err(|error| locate(error, handle, Some(table)))?;
            let mut watch = self.cluster.watch(handle, Some(table.name), sql);
            let sent = send(&mut *statement);
            watch.stop();
            let sent = sent.map_err(|error| locate(error, handle, Some(table)));
            let (rows, error) = (*sent.as_ref().unwrap_or(&0), sent.as_ref().err().map(Error::kind));
            statements.push(Sent { shard, sql: sql.to_owned(), watch, rows, error });
            sent
        })
    }
}

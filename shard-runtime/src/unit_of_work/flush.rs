//! Flush: pending changes are sent to their shards in batches: to several servers at the same time, to files one after the
//! other or, if several databases get many rows, at the same time on workers. Uses `batches`, `pipelines`, and
//! `transaction::scatter`.
//!
//! All ways end the same. If rows of several shards cannot be written, the error is that of the first of these shards in
//! the cluster's order. The shards after it are stopped, those before it are not.

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

/// The cost of sending a row beside its values, in bytes of values.
const PER_ROW: usize = 512;

/// The cost of an entry of an index, which is mostly not beside the one before.
const PER_ENTRY: usize = 2_048;

/// No shard: nothing has failed.
const NONE: usize = usize::MAX;

impl ShardBatch {
    /// The cost of sending it, in bytes of values.
    fn weight(&self, layout: &Layout) -> usize {
        let of_batch = |batch: &Batch| {
            let indexes = layout.table(batch.model).map_or(0, |table| table.indexes.len());
            batch.bytes + (PER_ROW + PER_ENTRY * indexes) * batch.rows.len()
        };
        self.batches.iter().map(of_batch).sum()
    }
}

impl UnitOfWork {
    /// Sends what is on its way to shards on which the session has begun to write.
    ///
    /// # Errors
    /// That of the first shard, in the cluster's order, that has one. The caller undoes the rows that were written.
    pub(crate) fn send(&mut self, loads: &mut Vec<ShardBatch>) -> Result<()> {
        if loads.len() > 1 {
            let parts = self.by_database(loads)?;
            let bytes = beside_the_largest(&parts, loads, self.tx.cluster.layout());
            if self.tx.cluster.parallelism().uses_threads(Work::Flush { bytes }) {
                return self.send_at_once(loads, parts);
            }
        }
        let mut next = 0;
        while next < loads.len() {
            let rest = loads.get(next..).unwrap_or_default();
            // The row of the transaction goes with all changes that are left, or is written later.
            let mut row = if next == 0 { self.tx.new_decision_row() } else { None };
            let sent = self.send_at_the_same_time(rest, &mut row);
            self.tx.decision_row = self.tx.decision_row.take().or(row);
            next += sent?;
            if let Some(ShardBatch { shard, batches, .. }) = loads.get_mut(next) {
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

    /// The databases that loads are for, each with the places of its loads.
    fn by_database(&self, loads: &[ShardBatch]) -> Result<Vec<(usize, Vec<usize>)>> {
        let mut parts: Vec<(usize, Vec<usize>)> = Vec::new();
        for (place, load) in loads.iter().enumerate() {
            let database = self.tx.cluster.layout().place(load.shard)?.database;
            match parts.iter_mut().find(|(other, _)| *other == database) {
                Some((_, places)) => places.push(place),
                None => parts.push((database, vec![place])),
            }
        }
        Ok(parts)
    }

    /// Sends each database its part on a worker, as far as there are workers, and the rest on this thread.
    fn send_at_once(&mut self, loads: &mut Vec<ShardBatch>, parts: Vec<(usize, Vec<usize>)>) -> Result<()> {
        let first_failed = Arc::new(AtomicUsize::new(NONE));
        let mut taken: Vec<Option<ShardBatch>> = std::mem::take(loads).into_iter().map(Some).collect();
        let Transactions { cluster, databases, context, .. } = &mut self.tx;
        let jobs = parts.into_iter().map(|(database, places)| {
            let task = FlushTask {
                cluster: cluster.clone(),
                loads: places.into_iter().filter_map(|place| taken.get_mut(place)?.take()).collect(),
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
        self.join_flush(loads, done.into_iter().map(|(_, done)| done).collect())
    }

    /// Takes back the batches of tasks, and reports their statements in the shards' order.
    fn join_flush(&mut self, loads: &mut Vec<ShardBatch>, done: Vec<Result<FlushTask>>) -> Result<()> {
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
            loads.append(&mut task.loads);
            sent.append(&mut task.sent);
            let is_before =
                |(shard, _): &(usize, Error)| failed.as_ref().is_none_or(|(first, _)| shard < first);
            if let Some(first) = task.failed.take_if(|failed| is_before(failed)) {
                failed = Some(first);
            }
        }
        loads.sort_by_key(|load| load.shard);
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

/// The cost of all parts beside the largest one, in bytes.
fn beside_the_largest(parts: &[(usize, Vec<usize>)], loads: &[ShardBatch], layout: &Layout) -> usize {
    let weight = |(_, places): &(usize, Vec<usize>)| -> usize {
        places.iter().filter_map(|&place| loads.get(place)).map(|load| load.weight(layout)).sum()
    };
    let weights: Vec<usize> = parts.iter().map(weight).collect();
    let largest = weights.iter().max().copied().unwrap_or(0);
    weights.iter().sum::<usize>().saturating_sub(largest)
}

/// The batches of one database's shards.
struct FlushTask {
    cluster: Cluster,
    loads: Vec<ShardBatch>,
    /// The statements that were sent, to be reported by the session.
    sent: Vec<Sent>,
    /// The shard that has failed, and why.
    failed: Option<(usize, Error)>,
    /// The first shard of all that has failed so far.
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
        let mut loads = std::mem::take(&mut self.loads);
        for ShardBatch { shard, batches, .. } in &mut loads {
            let sent = batches.iter_mut().try_for_each(|batch| self.send(connection, *shard, batch));
            if let Err(error) = sent {
                self.first_failed.fetch_min(*shard, Ordering::Relaxed);
                self.failed = Some((*shard, error));
                break;
            }
        }
        self.loads = loads;
        self
    }

    /// Sends a batch, unless a shard before this one has failed.
    fn send(&mut self, connection: &dyn Connection, shard: usize, batch: &mut Batch) -> Result<()> {
        let is_in_vain = || self.first_failed.load(Ordering::Relaxed) < shard;
        let (layout, handle) = (self.cluster.layout(), self.cluster.layout().shards().by_index(shard));
        let Some(handle) = handle else {
            return Err(Error::new(
                ErrorKind::UnknownShard,
                format!("the cluster has no shard with the index {shard}"),
            ));
        };
        if is_in_vain() {
            return Ok(());
        }
        let table = layout.table(batch.model)?;
        let names = &layout.place(shard)?.names;
        let statements = &mut self.sent;
        send_rows_of(batch, layout, shard, &is_in_vain, &mut |sql, send| {
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

//! A flush to several servers: each gets its changes in one pipeline, all at the same time. Uses `batches`, and the
//! pipelines of `driver`.
//!
//! Sessions wait for the locks of servers in the cluster's order, so that two of them do not wait for each other. A
//! session that writes several servers at once cannot keep that order. Its pipelines therefore do not wait: each fails at
//! a lock that another transaction holds. The changes of that server, and of those after it, are then undone with their
//! locks, and sent again one server after the other. The same happens after any other error, which is then reported as
//! without pipelines.
//!
//! The last flush before a commit that a server decides also sends the row of its decision log.

use std::time::{Duration, Instant};

use super::UnitOfWork;
use super::batches::whole_statement;
use super::pending::ShardBatch;
use crate::driver::{Connection, Pipeline, PipelineAnswer, Pipelined};
use crate::error::{Error, Result};
use crate::planner::{Layout, RowChange};
use crate::transaction::commit::{DecisionRow, decision_statement};
use crate::transaction::{DatabaseTransaction, locate};
use crate::value::Value;

/// The changes of one shard that are being sent.
struct Running<'c> {
    pipeline: Box<dyn Pipeline + 'c>,
    /// The texts of the statements.
    sent: Vec<String>,
}

impl UnitOfWork {
    /// Sends batches at the same time: the longest prefix in which each is for another server and a pipeline can send it.
    /// Returns how many of them were written. The others are unchanged.
    ///
    /// The decision's row is sent if the prefix is the whole list. `row` is `None` afterwards if it was not written.
    ///
    /// # Errors
    /// The error of a server that was lost, or has become a standby: nothing can be sent to it again.
    pub(crate) fn send_at_the_same_time(
        &self,
        shard_batches: &[ShardBatch],
        row: &mut Option<DecisionRow>,
    ) -> Result<usize> {
        let layout = self.tx.cluster.layout();
        let servers = shard_batches.get(..on_servers(layout, shard_batches)).unwrap_or_default();
        let begun: Vec<_> = servers
            .iter()
            .map_while(|shard_batch| Some((shard_batch, statements(layout, shard_batch)?)))
            .collect();
        let sends_row = begun.len() == shard_batches.len();
        let mut sent_row = row.take();
        if let Some(row) = sent_row.take_if(|_| !sends_row) {
            self.tx.put_back_decision_row(row);
        }
        if begun.len() < 2 && sent_row.is_none() {
            return Ok(0);
        }
        let (written, collected, lost) = self.send_pipelines(begun, sent_row.as_ref());
        match (sent_row, collected) {
            (Some(sent), Some(collected)) => *row = Some(DecisionRow { collected, ..sent }),
            (Some(sent), None) => self.tx.put_back_decision_row(sent),
            (None, _) => {}
        }
        lost.map_or(Ok(written), Err)
    }

    /// Sends the statements of these batches, and the decision's row behind those of its server. Returns how many batches
    /// were written and, if the row was, how often rows of its log were collected.
    fn send_pipelines<'c>(
        &'c self,
        mut begun: Vec<(&'c ShardBatch, Vec<Pipelined<'c>>)>,
        row: Option<&'c DecisionRow>,
    ) -> (usize, Option<i64>, Option<Error>) {
        let shard_batches: Vec<&ShardBatch> = begun.iter().map(|(shard_batch, _)| *shard_batch).collect();
        let row_index = row
            .and_then(|row| shard_batches.iter().position(|shard_batch| self.is_on(shard_batch, row.server)));
        let mut row_alone = row.and_then(|row| self.begin_row(row, &mut begun, row_index));
        let mut running: Vec<Running<'_>> = begun
            .into_iter()
            .map_while(|(shard_batch, statements)| self.begin_pipeline(shard_batch, statements))
            .collect();
        let began = Instant::now();
        running.iter_mut().for_each(|running| running.pipeline.send());
        row_alone.iter_mut().for_each(|pipeline| pipeline.send());
        // All of them end before any is undone.
        let finish = |Running { pipeline, sent }: Running<'_>| (pipeline.finish(), (sent, began.elapsed()));
        let ended: Vec<_> = running.into_iter().map(finish).collect();
        let row_alone = row_alone.map(Pipeline::finish);
        let is_written = |(shard_batch, (answers, _)): (&&ShardBatch, &(Result<Vec<PipelineAnswer>>, _))| {
            answers.as_ref().is_ok_and(|answers| are_written(shard_batch, answers))
        };
        let written = shard_batches.iter().zip(&ended).take_while(|ended| is_written(*ended)).count();
        let answers = match (&row_alone, row_index) {
            (Some(answers), _) => answers.as_ref().ok().filter(|_| written == shard_batches.len()),
            (None, Some(index)) if index < written => {
                ended.get(index).and_then(|(answers, _)| answers.as_ref().ok())
            }
            (None, _) => None,
        };
        let collected = match answers.and_then(|answers| answers.last()?.value.as_ref()) {
            Some(Value::Integer(times)) if row.is_some() => Some(*times),
            _ => None,
        };
        // If one cannot be undone, its connection has lost the transaction, and its changes cannot be sent again.
        let mut lost = None;
        for (index, (shard_batch, (answers, (sent, took)))) in shard_batches.iter().zip(ended).enumerate() {
            match answers {
                // Undone batches are reported when they are sent again.
                Ok(answers) if index < written => self.report(shard_batch, &sent, &answers, took),
                answers => {
                    let undone = self
                        .tx
                        .ready(shard_batch.shard)
                        .and_then(|(_, connection)| connection.undo_pipeline());
                    let error =
                        undone.err().map(|undone| self.located(shard_batch, answers.err().unwrap_or(undone)));
                    lost = lost.or(error);
                }
            }
        }
        if let (Some(row), Some(answers), None) = (row, row_alone, collected) {
            let undone =
                self.connection_to(row.server).map_or(Ok(()), |connection| connection.undo_pipeline());
            let error = undone.err().map(|undone| self.tx.named(row.server, answers.err().unwrap_or(undone)));
            lost = lost.or(error);
        }
        (written, collected, lost)
    }

    /// Appends the row to the statements of the batch with this index, or begins a pipeline for it.
    fn begin_row<'c>(
        &'c self,
        row: &'c DecisionRow,
        begun: &mut [(&'c ShardBatch, Vec<Pipelined<'c>>)],
        index: Option<usize>,
    ) -> Option<Box<dyn Pipeline + 'c>> {
        let names = self.tx.cluster.decision_log_names(row.server).ok()?;
        let (sql, params) = decision_statement(names, &row.id, &row.removable);
        let statement = Pipelined { sql: sql.into(), params };
        match index.and_then(|index| begun.get_mut(index)) {
            Some((_, statements)) => {
                statements.push(statement);
                None
            }
            None => self.connection_to(row.server)?.begin_pipeline(names, vec![statement]),
        }
    }

    /// Adds the shard to an error and, if all changes are in one table, the table.
    fn located(&self, shard_batch: &ShardBatch, error: Error) -> Error {
        let layout = self.tx.cluster.layout();
        let table = match shard_batch.batches.as_slice() {
            [batch] => layout.table(batch.model).ok(),
            _ => None,
        };
        match layout.shards().by_index(shard_batch.shard) {
            Some(shard) => locate(error, shard, table),
            None => error,
        }
    }

    fn is_on(&self, shard_batch: &ShardBatch, database: usize) -> bool {
        self.tx
            .cluster
            .layout()
            .location(shard_batch.shard)
            .is_ok_and(|location| location.database == database)
    }

    fn connection_to(&self, database: usize) -> Option<&dyn Connection> {
        self.tx.databases.get(database).and_then(DatabaseTransaction::connection)
    }

    fn report(&self, shard_batch: &ShardBatch, sent: &[String], answers: &[PipelineAnswer], took: Duration) {
        let layout = self.tx.cluster.layout();
        let Some(handle) = layout.shards().by_index(shard_batch.shard) else { return };
        for ((batch, sql), answer) in shard_batch.batches.iter().zip(sent).zip(answers) {
            let table = layout.table(batch.model).ok().map(|table| table.name);
            let mut watch = self.tx.cluster.watch(handle, table, sql);
            watch.has_taken(took);
            watch.ended(self.tx.cluster.observer(), handle, sql, answer.rows, None);
        }
    }

    fn begin_pipeline<'c>(
        &'c self,
        shard_batch: &'c ShardBatch,
        statements: Vec<Pipelined<'c>>,
    ) -> Option<Running<'c>> {
        let layout = self.tx.cluster.layout();
        let (_, connection) = self.tx.ready(shard_batch.shard).ok()?;
        let sent = statements.iter().map(|statement| statement.sql.to_string()).collect();
        let names = &layout.location(shard_batch.shard).ok()?.names;
        let pipeline = connection.begin_pipeline(names, statements)?;
        Some(Running { pipeline, sent })
    }
}

/// Returns the length of the longest prefix of batches for servers, each for another one.
fn on_servers(layout: &Layout, shard_batches: &[ShardBatch]) -> usize {
    let mut servers: Vec<usize> = Vec::new();
    let is_another = |shard_batch: &&ShardBatch| {
        let server =
            layout.location(shard_batch.shard).ok().filter(|location| location.dialect.answers_later());
        let another = server.map(|location| location.database).filter(|database| !servers.contains(database));
        servers.extend(another);
        another.is_some()
    };
    shard_batches.iter().take_while(is_another).count()
}

/// Returns the statements of a shard's batches, if each batch is one statement.
fn statements<'l>(layout: &'l Layout, shard_batch: &'l ShardBatch) -> Option<Vec<Pipelined<'l>>> {
    let statement = |batch| {
        let (sql, params) = whole_statement(batch, layout, shard_batch.shard).ok()??;
        Some(Pipelined { sql, params })
    };
    shard_batch.batches.iter().map(statement).collect()
}

/// Returns whether each updated or deleted row existed.
fn are_written(shard_batch: &ShardBatch, answers: &[PipelineAnswer]) -> bool {
    shard_batch.batches.len() <= answers.len()
        && shard_batch.batches.iter().zip(answers).all(|(batch, answer)| {
            batch.change == RowChange::Insert || answer.rows >= batch.rows.len() as u64
        })
}

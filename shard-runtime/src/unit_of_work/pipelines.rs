//! A flush over servers: each gets its changes in one pipeline, and all of them at the same time. Uses `batches`, and the
//! pipelines of `driver`.
//!
//! Sessions wait for the locks of servers in the cluster's order, so that two of them do not wait for each other. A session
//! that writes several servers at once cannot keep that order, so it does not wait: a pipeline fails at a lock that another
//! transaction holds. Then the changes of this server, and of those after it, are undone with their locks, and are sent again
//! one server after the other. The same is done after any other error, so that it is reported as without pipelines.
//!
//! The last flush before a commit that a server decides also sends the row of its decision log.

use std::time::{Duration, Instant};

use super::UnitOfWork;
use super::batches::whole_statement;
use super::pending::ShardBatch;
use crate::driver::{Connection, Pipeline, PipelineAnswer, Pipelined};
use crate::error::{Error, Result};
use crate::planner::{Change, Layout};
use crate::transaction::commit::{DecisionRow, unit_row};
use crate::transaction::{DatabaseTransaction, locate};
use crate::value::Value;

/// The changes of one shard on their way.
struct Running<'c> {
    pipeline: Box<dyn Pipeline + 'c>,
    /// The texts of the statements.
    sent: Vec<String>,
}

impl UnitOfWork {
    /// Sends the first of these loads at the same time, as far as each is for another server and a pipeline can send it.
    /// Returns how many of them are written. Those after them are as before.
    ///
    /// The row of a decision goes along if all loads do. `row` is `None` afterwards if it is not written.
    ///
    /// # Errors
    /// That of a server that was lost, or has become a standby: nothing can be sent to it again.
    pub(crate) fn send_at_the_same_time(
        &self,
        loads: &[ShardBatch],
        row: &mut Option<DecisionRow>,
    ) -> Result<usize> {
        let layout = self.tx.cluster.layout();
        let servers = loads.get(..on_servers(layout, loads)).unwrap_or_default();
        let begun: Vec<_> =
            servers.iter().map_while(|load| Some((load, statements(layout, load)?))).collect();
        let sends_row = begun.len() == loads.len();
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

    /// Sends statements of these loads, and a decision's row behind those of its server. Returns how many loads are written
    /// and, if the row is, how often rows of its log were collected.
    fn send_pipelines<'c>(
        &'c self,
        mut begun: Vec<(&'c ShardBatch, Vec<Pipelined<'c>>)>,
        row: Option<&'c DecisionRow>,
    ) -> (usize, Option<i64>, Option<Error>) {
        let loads: Vec<&ShardBatch> = begun.iter().map(|(load, _)| *load).collect();
        let row_place = row.and_then(|row| loads.iter().position(|load| self.is_on(load, row.server)));
        let mut row_alone = row.and_then(|row| self.begin_row(row, &mut begun, row_place));
        let mut running: Vec<Running<'_>> =
            begun.into_iter().map_while(|(load, statements)| self.begin_pipeline(load, statements)).collect();
        let began = Instant::now();
        running.iter_mut().for_each(|running| running.pipeline.send());
        row_alone.iter_mut().for_each(|pipeline| pipeline.send());
        // All of them end before anything is undone.
        let finish = |Running { pipeline, sent }: Running<'_>| (pipeline.finish(), (sent, began.elapsed()));
        let ended: Vec<_> = running.into_iter().map(finish).collect();
        let row_alone = row_alone.map(Pipeline::finish);
        let is_written = |(load, (answers, _)): (&&ShardBatch, &(Result<Vec<PipelineAnswer>>, _))| {
            answers.as_ref().is_ok_and(|answers| are_written(load, answers))
        };
        let written = loads.iter().zip(&ended).take_while(|ended| is_written(*ended)).count();
        let answers = match (&row_alone, row_place) {
            (Some(answers), _) => answers.as_ref().ok().filter(|_| written == loads.len()),
            (None, Some(place)) if place < written => {
                ended.get(place).and_then(|(answers, _)| answers.as_ref().ok())
            }
            (None, _) => None,
        };
        let collected = match answers.and_then(|answers| answers.last()?.value.as_ref()) {
            Some(Value::Integer(times)) if row.is_some() => Some(*times),
            _ => None,
        };
        // If one cannot be undone, its connection has lost the transaction, and the changes cannot be sent again.
        let mut lost = None;
        for (place, (load, (answers, (sent, took)))) in loads.iter().zip(ended).enumerate() {
            match answers {
                // Those that are undone are reported when they are sent again.
                Ok(answers) if place < written => self.report(load, &sent, &answers, took),
                answers => {
                    let undone =
                        self.tx.ready(load.shard).and_then(|(_, connection)| connection.undo_pipeline());
                    let error =
                        undone.err().map(|undone| self.located(load, answers.err().unwrap_or(undone)));
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

    /// Puts the row behind the statements of the load at this place, or begins a pipeline for it.
    fn begin_row<'c>(
        &'c self,
        row: &'c DecisionRow,
        begun: &mut [(&'c ShardBatch, Vec<Pipelined<'c>>)],
        place: Option<usize>,
    ) -> Option<Box<dyn Pipeline + 'c>> {
        let names = self.tx.cluster.names_of_units(row.server).ok()?;
        let (sql, params) = unit_row(names, &row.id, &row.removable);
        let statement = Pipelined { sql: sql.into(), params };
        match place.and_then(|place| begun.get_mut(place)) {
            Some((_, statements)) => {
                statements.push(statement);
                None
            }
            None => self.connection_to(row.server)?.begin_pipeline(names, vec![statement]),
        }
    }

    /// Names the shard of an error and, if all its changes are of one table, the table.
    fn located(&self, load: &ShardBatch, error: Error) -> Error {
        let layout = self.tx.cluster.layout();
        let table = match load.batches.as_slice() {
            [batch] => layout.table(batch.model).ok(),
            _ => None,
        };
        match layout.shards().by_index(load.shard) {
            Some(shard) => locate(error, shard, table),
            None => error,
        }
    }

    fn is_on(&self, load: &ShardBatch, database: usize) -> bool {
        self.tx.cluster.layout().place(load.shard).is_ok_and(|place| place.database == database)
    }

    fn connection_to(&self, database: usize) -> Option<&dyn Connection> {
        self.tx.databases.get(database).and_then(DatabaseTransaction::connection)
    }

    fn report(&self, load: &ShardBatch, sent: &[String], answers: &[PipelineAnswer], took: Duration) {
        let layout = self.tx.cluster.layout();
        let Some(handle) = layout.shards().by_index(load.shard) else { return };
        for ((batch, sql), answer) in load.batches.iter().zip(sent).zip(answers) {
            let table = layout.table(batch.model).ok().map(|table| table.name);
            let mut watch = self.tx.cluster.watch(handle, table, sql);
            watch.has_taken(took);
            watch.ended(self.tx.cluster.observer(), handle, sql, answer.rows, None);
        }
    }

    fn begin_pipeline<'c>(
        &'c self,
        load: &'c ShardBatch,
        statements: Vec<Pipelined<'c>>,
    ) -> Option<Running<'c>> {
        let layout = self.tx.cluster.layout();
        let (_, connection) = self.tx.ready(load.shard).ok()?;
        let sent = statements.iter().map(|statement| statement.sql.to_string()).collect();
        let names = &layout.place(load.shard).ok()?.names;
        let pipeline = connection.begin_pipeline(names, statements)?;
        Some(Running { pipeline, sent })
    }
}

/// How many loads at the beginning are for servers, each for another one.
fn on_servers(layout: &Layout, loads: &[ShardBatch]) -> usize {
    let mut servers: Vec<usize> = Vec::new();
    let is_another = |load: &&ShardBatch| {
        let server = layout.place(load.shard).ok().filter(|place| place.dialect.answers_later());
        let another = server.map(|place| place.database).filter(|database| !servers.contains(database));
        servers.extend(another);
        another.is_some()
    };
    loads.iter().take_while(is_another).count()
}

/// The statements of a load, if each batch is one statement.
fn statements<'l>(layout: &'l Layout, load: &'l ShardBatch) -> Option<Vec<Pipelined<'l>>> {
    let statement = |batch| {
        let (sql, params) = whole_statement(batch, layout, load.shard).ok()??;
        Some(Pipelined { sql, params })
    };
    load.batches.iter().map(statement).collect()
}

/// Whether each row was there to be changed.
fn are_written(load: &ShardBatch, answers: &[PipelineAnswer]) -> bool {
    load.batches.len() <= answers.len()
        && load
            .batches
            .iter()
            .zip(answers)
            .all(|(batch, answer)| batch.change == Change::Insert || answer.rows >= batch.rows.len() as u64)
}

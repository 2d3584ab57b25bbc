//! A flush over servers: each gets its changes in one pipeline, and all of them at the same time. Uses `batches`, and the
//! pipelines of `driver`.
//!
//! Sessions wait for the locks of servers in the cluster's order, so that two of them do not wait for each other. A session
//! that writes several servers at once cannot keep that order, so it does not wait: a pipeline fails at a lock that another
//! transaction holds. Then the changes of this server, and of those after it, are undone with their locks, and are sent again
//! one server after the other. The same is done after any other error, so that it is reported as without pipelines.

use std::time::{Duration, Instant};

use super::UnitOfWork;
use super::batches::whole_statement;
use super::pending::ShardBatch;
use crate::driver::{Pipeline, PipelineAnswer, Pipelined};
use crate::error::Result;
use crate::planner::{Change, Layout};

/// The changes of one shard on their way.
struct Running<'c> {
    pipeline: Box<dyn Pipeline + 'c>,
    /// The texts of the statements.
    sent: Vec<String>,
}

impl UnitOfWork {
    /// Sends the first of these loads at the same time, as far as each is for another server and a pipeline can send it.
    /// Returns how many of them are written. Those after them are as before.
    pub(crate) fn send_at_the_same_time(&self, loads: &[ShardBatch]) -> usize {
        let layout = self.tx.cluster.layout();
        let loads = loads.get(..on_servers(layout, loads)).unwrap_or_default();
        let statements: Vec<_> = loads.iter().map_while(|load| statements(layout, load)).collect();
        if statements.len() < 2 {
            return 0;
        }
        let begun = loads.iter().zip(statements);
        let mut running: Vec<Running<'_>> =
            begun.map_while(|(load, statements)| self.begin_pipeline(load, statements)).collect();
        let began = Instant::now();
        running.iter_mut().for_each(|running| running.pipeline.send());
        // All of them end before anything is undone.
        let finish = |Running { pipeline, sent }: Running<'_>| (pipeline.finish(), (sent, began.elapsed()));
        let ended: Vec<_> = running.into_iter().map(finish).collect();
        let is_written = |(load, (answers, _)): (&ShardBatch, &(Result<Vec<PipelineAnswer>>, _))| {
            answers.as_ref().is_ok_and(|answers| are_written(load, answers))
        };
        let written = loads.iter().zip(&ended).take_while(|ended| is_written(*ended)).count();
        for load in loads.get(written..ended.len()).unwrap_or_default() {
            // If this fails, the connection has lost its transaction, which its next statement reports.
            let _ = self.tx.ready(load.shard).and_then(|(_, connection)| connection.undo_pipeline());
        }
        // Those that are undone are reported when they are sent again.
        for (load, (answers, (sent, took))) in loads.iter().zip(ended).take(written) {
            self.report(load, &sent, &answers.unwrap_or_default(), took);
        }
        written
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

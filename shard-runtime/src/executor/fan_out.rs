//! Fan-out: statements that run on several shards at once, each on a worker with the session's own connection. The rows
//! return in chunks. Uses leases of `transaction` and the workers of `tasks`.
//!
//! Short statements run on the calling thread ([`Parallelism`](crate::Parallelism)). A statement that fails stops the
//! others at once, because the reader may be blocked on any of them.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::execute::{PlanStepState, ReadOptions};
use crate::driver::{Connection, Interrupter, RowCursor};
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::planner::PlanStep;
use crate::planner::sql::{Namespace, Param};
use crate::row::{LoadModel, LoadedModel, Row, RowSource, Stream};
use crate::schema::{Shard, Table};
use crate::tasks::{Watch, Work, worker_lost};
use crate::transaction::{Lease, Transactions, locate};
use crate::value::Value;

/// The numbers of rows of the first and of the largest chunk. A small chunk arrives soon, a large one costs less per row.
const CHUNK: (usize, usize) = (16, 1_024);

/// The number of chunks that a worker may be ahead of its reader.
const AHEAD: usize = 2;

pub(crate) enum Message {
    /// The names of the columns, sent before the first row if the reader needs them.
    Columns(Vec<String>),
    Rows(Chunk),
    End(Result<()>),
}

/// Some rows that a worker sends to its reader.
#[derive(Default)]
pub(crate) struct Chunk {
    rows: Vec<SentRow>,
    cells: Vec<Cell>,
    /// The number of columns of a row.
    width: usize,
    /// The texts and the bytes of all cells, concatenated. Otherwise one thread would allocate each of them and another
    /// thread would free it.
    text: String,
    bytes: Vec<u8>,
}

/// A row of a chunk.
struct SentRow {
    /// The index of its first cell.
    at: usize,
    /// The model, if the row was decoded. Then the row has cells only for the columns by which results are merged.
    model: Option<LoadedModel>,
}

/// How a worker decodes the rows of a statement as models.
pub(crate) struct Loading {
    load: LoadModel,
    table: &'static Table,
    shard: Shard,
    /// The columns by which results are merged.
    merged_by: Vec<usize>,
}

impl Loading {
    pub(crate) fn of(options: ReadOptions<'_>, shard: &Shard) -> Option<Self> {
        let merged_by = options.order.iter().map(|by| by.index).collect();
        Some(Loading { load: options.load?, table: options.table?, shard: shard.clone(), merged_by })
    }
}

enum Cell {
    Value(Value<'static>),
    /// The range in the chunk's text.
    Text(Range<usize>),
    /// The range in the chunk's bytes.
    Bytes(Range<usize>),
    Wrong(ValueError),
}

impl Chunk {
    /// Adds the current row of a cursor. A row that cannot be decoded is added as its values, so that its reader gets the
    /// same error or panic.
    fn push_row(&mut self, cursor: &dyn RowCursor, loading: Option<&Loading>) {
        self.width = cursor.width().max(1);
        let load = |Loading { load, table, shard, .. }: &Loading| {
            let row = Row { source: cursor, shard, table, columns: None };
            catch_unwind(AssertUnwindSafe(|| load(&row))).ok()?.ok()
        };
        let model = loading.and_then(load);
        self.rows.push(SentRow { at: self.cells.len(), model });
        match (loading, self.rows.last()) {
            (Some(loading), Some(SentRow { model: Some(_), .. })) => {
                loading.merged_by.iter().for_each(|&column| self.push(cursor.value(column)));
            }
            _ => (0..self.width).for_each(|column| self.push(cursor.value(column))),
        }
    }

    fn push(&mut self, value: Result<Value<'_>, ValueError>) {
        self.cells.push(match value {
            Ok(Value::Text(text)) => {
                let start = self.text.len();
                self.text.push_str(&text);
                Cell::Text(start..self.text.len())
            }
            Ok(Value::Bytes(bytes)) => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(&bytes);
                Cell::Bytes(start..self.bytes.len())
            }
            Ok(value) => Cell::Value(value.into_owned()),
            Err(error) => Cell::Wrong(error),
        });
    }

    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        let missing = || ValueError::new("the row has no such column");
        match self.cells.get(index).ok_or_else(missing)? {
            Cell::Value(value) => Ok(value.borrowed()),
            Cell::Text(range) => {
                self.text.get(range.clone()).map(|text| Value::Text(text.into())).ok_or_else(missing)
            }
            Cell::Bytes(range) => {
                self.bytes.get(range.clone()).map(|bytes| Value::Bytes(bytes.into())).ok_or_else(missing)
            }
            Cell::Wrong(error) => Err(error.clone()),
        }
    }
}

/// The rows of a statement that runs on a worker.
pub(crate) struct RemoteRows {
    messages: Receiver<Message>,
    /// The time at which the reader stops waiting for rows; without it, the reader waits for the worker's end message.
    deadline: Option<Instant>,
    columns: Vec<String>,
    chunk: Chunk,
    /// The index of the current row; `None` before the first.
    at: Option<usize>,
    /// The columns that decoded rows have.
    merged_by: Vec<usize>,
    ended: bool,
}

/// The statements of one read, some of which run on workers.
pub(crate) struct FanOut {
    cancel_group: Arc<CancelGroup>,
    /// The connections that workers hold. Each returns with the time that its worker was busy.
    leases: Vec<Lease<Duration>>,
    /// The databases whose statements run here.
    here: Vec<usize>,
}

/// Stops the statements of one read when one of them fails.
struct CancelGroup {
    /// One for each statement.
    interrupters: Vec<Interrupter>,
    /// Whether the others continue if a shard fails.
    is_partial: bool,
    /// The first failure, because of which the others were stopped.
    first: Mutex<Option<Error>>,
}

impl CancelGroup {
    fn stop(&self) {
        self.interrupters.iter().for_each(|interrupt| interrupt());
    }

    /// Stops the other statements because of this error, unless they were stopped before. Returns the error for the reader of
    /// this statement; the reader may be reading another one.
    fn failed(&self, error: Error) -> Error {
        if self.is_partial && error.is_about_a_shard() {
            return error;
        }
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_some() {
            return error;
        }
        *first = Some(error);
        drop(first);
        self.stop();
        Error::new(ErrorKind::Database, "the statement has failed, and the others of its query were stopped")
    }
}

impl FanOut {
    /// Returns the outcome of a read, and whether a statement on a worker has failed. If so, the outcome is its error, not an
    /// error of the statements that were stopped because of it.
    pub(crate) fn outcome(&self, read: Result<()>) -> (Result<()>, bool) {
        let first = self.cancel_group.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (read, first) {
            // The others had enough rows.
            (Ok(()), Some(_)) if !self.cancel_group.is_partial => (Ok(()), true),
            // In a partial result, statements that were stopped look like shards that are missing.
            (_, Some(error)) => (Err(error), true),
            (read, None) => (read, false),
        }
    }
}

impl Transactions {
    /// Begins steps on workers, as far as workers are free. A step that shares its database with other steps stays with the
    /// caller. Returns `None` if no step was begun. All steps must be ready.
    pub(crate) fn fan_out(
        &mut self,
        steps: &[&PlanStep<'_>],
        options: ReadOptions<'_>,
        progress: &mut [PlanStepState],
    ) -> Option<FanOut> {
        let database = |step: &PlanStep<'_>| {
            self.cluster.layout().location(step.shard).ok().map(|location| location.database)
        };
        let databases: Vec<Option<usize>> = steps.iter().map(|step| database(step)).collect();
        let is_alone =
            |database: &usize| databases.iter().flatten().filter(|other| *other == database).count() == 1;
        let connection = |database: usize| self.databases.get(database).and_then(|link| link.connection());
        let mut alone: Vec<(usize, usize)> = (0..)
            .zip(&databases)
            .filter_map(|(step, database)| Some((step, database.filter(is_alone)?)))
            .filter(|(_, database)| connection(*database).is_some())
            .collect();
        let workers = self.cluster.workers().take(alone.len());
        if workers.is_empty() {
            return None;
        }
        alone.truncate(workers.len());
        let mut all: Vec<usize> = databases.iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        let cancel_group = Arc::new(CancelGroup {
            interrupters: all.iter().filter_map(|&at| Some(connection(at)?.interrupter())).collect(),
            is_partial: self.context.missing.is_some(),
            first: Mutex::new(None),
        });
        let mut leases = Vec::with_capacity(workers.len());
        for ((index, database), worker) in alone.into_iter().zip(workers) {
            let (Some(step), Some(progress)) = (steps.get(index), progress.get_mut(index)) else { continue };
            let Some(shard) = self.cluster.layout().shards().by_index(step.shard) else { continue };
            let watch = self.watch(step, shard, options.table);
            let (job, rows) = self.remote(step, options, shard.clone(), &watch, Arc::clone(&cancel_group));
            if let Ok(lease) = Lease::begin(&mut self.databases, worker, database, job) {
                (progress.watch, progress.remote) = (Some(watch), Some(rows));
                leases.push(lease);
            }
        }
        let here = all.into_iter().filter(|&at| leases.iter().all(|lease| lease.database() != at)).collect();
        Some(FanOut { cancel_group, leases, here })
    }

    /// Returns whether a statement is worth waking workers, by its time on one shard.
    pub(crate) fn is_worth_waking(&self, step: &PlanStep<'_>, options: ReadOptions<'_>) -> bool {
        let Ok(location) = self.cluster.layout().location(step.shard) else { return false };
        let connection = self.databases.get(location.database).and_then(|link| link.connection());
        let time = self.cluster.workers().time_of(&step.statement.sql);
        self.cluster.parallelism().uses_threads(Work::Read {
            time,
            is_large: time.is_none() && connection.is_some_and(|connection| connection.is_large()),
            may_end_early: options.may_end_early(),
            is_server: location.dialect.answers_later(),
        })
    }

    /// Makes the job of a worker that runs a step, and the receiver of its rows. The job returns the time that it was busy.
    fn remote(
        &self,
        step: &PlanStep<'_>,
        options: ReadOptions<'_>,
        shard: Shard,
        watch: &Watch,
        cancel_group: Arc<CancelGroup>,
    ) -> (impl FnOnce(&dyn Connection) -> Duration + Send + 'static, RemoteRows) {
        let (sender, messages) = sync_channel(AHEAD);
        let sql = step.statement.sql.clone();
        let params: Vec<Param<'static>> = step.statement.params.iter().map(Param::to_owned).collect();
        let span = watch.span();
        let ReadOptions { table, named, .. } = options;
        let loading = Loading::of(options, &shard);
        let names = self
            .cluster
            .layout()
            .location(step.shard)
            .map(|location| location.names.clone())
            .unwrap_or_default();
        let job = move |connection: &dyn Connection| {
            let mut busy = Duration::ZERO;
            span.enclose(|| {
                let send = |message| sender.send(message).is_ok();
                let end =
                    send_rows(connection, &names, (&sql, &params), named, loading.as_ref(), send, &mut busy);
                let end = end.map_err(|error| cancel_group.failed(locate(error, &shard, table)));
                let _ = sender.send(Message::End(end));
            });
            busy
        };
        (job, RemoteRows::new(messages, options, None))
    }

    /// Stops the statements that still run, and takes their connections back. Returns the longest time that a worker was
    /// busy.
    pub(crate) fn end_fan_out(&mut self, fan: FanOut) -> Duration {
        fan.cancel_group.stop();
        let mut longest = Duration::ZERO;
        let mut databases = fan.here;
        for lease in fan.leases {
            databases.push(lease.database());
            // If the worker is lost, so is its connection, and with it the transaction.
            if let Ok(busy) = lease.take_back(&mut self.databases) {
                longest = longest.max(busy);
            }
        }
        // Only now can the connections be used again: a worker that is stopped stops the others once more.
        for database in databases {
            if let Some(connection) = self.databases.get(database).and_then(|link| link.connection()) {
                connection.set_deadline(None);
            }
        }
        longest
    }

    /// Records the time that a statement takes on one shard.
    pub(crate) fn remember_time(&self, step: &PlanStep<'_>, time: Duration, on_worker: bool) {
        self.cluster.workers().remember(&step.statement.sql, time, on_worker);
    }
}

/// Runs a statement and sends its rows, until they end or `send` returns false because the reader is gone.
pub(crate) fn send_rows(
    connection: &dyn Connection,
    names: &Namespace,
    (sql, params): (&str, &[Param<'_>]),
    mut named: bool,
    loading: Option<&Loading>,
    send: impl Fn(Message) -> bool,
    busy: &mut Duration,
) -> Result<()> {
    let mut began = Instant::now();
    let mut statement = connection.prepare_in(names, sql)?;
    let mut cursor = statement.query(params)?;
    let (mut rows, mut chunk) = (CHUNK.0, Chunk::default());
    loop {
        let more = cursor.advance();
        if matches!(more, Ok(true)) {
            if std::mem::take(&mut named) && !send(Message::Columns(cursor.columns())) {
                return Ok(());
            }
            chunk.push_row(&*cursor, loading);
            if chunk.rows.len() < rows {
                continue;
            }
        }
        *busy += began.elapsed();
        rows = (rows * 4).min(CHUNK.1);
        let cells = chunk.cells.len().checked_div(chunk.rows.len()).unwrap_or_default();
        let next = Chunk {
            rows: Vec::with_capacity(rows),
            cells: Vec::with_capacity(rows * cells),
            ..Chunk::default()
        };
        let full = std::mem::replace(&mut chunk, next);
        if !full.rows.is_empty() && !send(Message::Rows(full)) {
            return Ok(());
        }
        if !more? {
            return Ok(());
        }
        began = Instant::now();
    }
}

impl RemoteRows {
    pub(crate) fn new(
        messages: Receiver<Message>,
        options: ReadOptions<'_>,
        deadline: Option<Instant>,
    ) -> Self {
        let merged_by = options.order.iter().map(|by| by.index).collect();
        let (columns, chunk) = Default::default();
        RemoteRows { messages, deadline, columns, chunk, at: None, merged_by, ended: false }
    }

    fn row(&self) -> Option<&SentRow> {
        self.chunk.rows.get(self.at?)
    }

    /// Receives the next message. Messages that were sent before the deadline can be received after it.
    fn receive(&self) -> Result<Message, RecvTimeoutError> {
        match self.deadline {
            None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.messages.recv_timeout(at.saturating_duration_since(Instant::now())),
        }
    }
}

impl Stream for RemoteRows {
    fn advance(&mut self) -> Result<bool> {
        let next = self.at.map_or(0, |at| at + 1);
        self.at = Some(next);
        if next < self.chunk.rows.len() {
            return Ok(true);
        }
        if self.ended {
            return Ok(false);
        }
        let mut next = self.receive();
        if let Ok(Message::Columns(columns)) = next {
            self.columns = columns;
            next = self.receive();
        }
        match next {
            Ok(Message::Rows(chunk)) => {
                (self.chunk, self.at) = (chunk, Some(0));
                Ok(true)
            }
            Ok(Message::End(end)) => {
                self.ended = true;
                end.map(|()| false)
            }
            Err(RecvTimeoutError::Timeout) => {
                self.ended = true;
                Err(Error::new(ErrorKind::TimedOut, "the shard did not answer within the session's timeout"))
            }
            Ok(Message::Columns(_)) | Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                Err(worker_lost())
            }
        }
    }
}

impl RowCursor for RemoteRows {
    fn width(&self) -> usize {
        self.chunk.width
    }

    fn columns(&self) -> Vec<String> {
        self.columns.clone()
    }
}

impl RowSource for RemoteRows {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        let missing = || ValueError::new("the row has no such column");
        let row = self.row().ok_or_else(missing)?;
        let cell = match row.model {
            Some(_) => self.merged_by.iter().position(|column| *column == index),
            None => Some(index).filter(|index| *index < self.chunk.width),
        };
        self.chunk.value(row.at + cell.ok_or_else(missing)?)
    }

    fn model(&self) -> Option<LoadedModel> {
        self.row()?.model.clone()
    }
}

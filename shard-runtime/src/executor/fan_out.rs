//! Statements that run on several shards at once: each on one of the cluster's workers, with the session's own
//! connection, its rows coming back in chunks.
//!
//! A statement that takes less time than waking a thread runs on the caller's ([`Parallelism`](crate::Parallelism)).
//!
//! Where one of them fails, it stops the others itself, at once: whoever reads may be waiting for any of them.

use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::execute::{ReadOptions, StepState};
use crate::driver::{Connection, Cursor, Interrupter, PooledConnection};
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::planner::Step;
use crate::planner::sql::{Namespace, Param};
use crate::row::RowSource;
use crate::row::Stream;
use crate::tasks::{Watch, Work};
use crate::transaction::Transactions;
use crate::transaction::locate;
use crate::value::Value;

/// The rows of the first chunk, and of the largest: the first comes soon, many cost little each.
const CHUNK: (usize, usize) = (16, 1_024);

/// How many chunks a worker is ahead of its reader.
const AHEAD: usize = 2;

pub(crate) enum Message {
    /// The names of the columns, once there is a row, where they are wanted.
    Columns(Vec<String>),
    Rows(Chunk),
    End(Result<()>),
}

/// Some rows, on their way from a worker to its reader.
#[derive(Default)]
pub(crate) struct Chunk {
    cells: Vec<Cell>,
    /// How many cells a row has.
    width: usize,
    /// The texts and the bytes of all cells one after the other: an allocation for each would be made by one thread
    /// and freed by another.
    text: String,
    bytes: Vec<u8>,
}

enum Cell {
    Value(Value<'static>),
    /// Where it stands in the chunk's text.
    Text(Range<usize>),
    /// Where they stand in the chunk's bytes.
    Bytes(Range<usize>),
    Wrong(ValueError),
}

impl Chunk {
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

    fn value(&self, place: usize) -> Result<Value<'_>, ValueError> {
        let missing = || ValueError::new("the row has no such column");
        match self.cells.get(place).ok_or_else(missing)? {
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
    /// When the rows are not waited for any more; without this the worker says when they end.
    deadline: Option<Instant>,
    columns: Vec<String>,
    chunk: Chunk,
    /// Where the current row begins; none before the first.
    at: Option<usize>,
    ended: bool,
}

/// Statements of one read, of which some run on workers.
pub(crate) struct FanOut {
    cancel_group: Arc<CancelGroup>,
    leases: Vec<Lease>,
    /// The databases whose statements run here.
    here: Vec<usize>,
}

/// A connection that a worker has.
struct Lease {
    database: usize,
    home: Receiver<(PooledConnection, Duration)>,
}

/// What the statements of one read know of each other.
struct CancelGroup {
    /// What stops each of them.
    interrupters: Vec<Interrupter>,
    /// Whether others go on where one fails by its shard's fault.
    is_partial: bool,
    /// The first failure for which the others were stopped.
    first: Mutex<Option<Error>>,
}

impl CancelGroup {
    fn stop(&self) {
        self.interrupters.iter().for_each(|interrupt| interrupt());
    }

    /// Stops the others because of this error, unless they were stopped before; what the reader of the statement
    /// is told, who may be reading another meanwhile.
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
    /// The outcome of a read, and whether a statement on a worker has failed: then its error, whatever became of the
    /// statements that were stopped because of it.
    pub(crate) fn outcome(&self, read: Result<()>) -> (Result<()>, bool) {
        let first = self.cancel_group.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (read, first) {
            // There were rows enough without it.
            (Ok(()), Some(_)) if !self.cancel_group.is_partial => (Ok(()), true),
            // In a partial answer, statements that were stopped look like shards that are missing.
            (_, Some(error)) => (Err(error), true),
            (read, None) => (read, false),
        }
    }
}

impl Transactions {
    /// Begins those of these steps on workers of whose database nothing else is asked, as far as there are workers;
    /// `None` where there are none. The others are run by the caller. All of them are ready.
    pub(crate) fn fan_out(
        &mut self,
        steps: &[&Step<'_>],
        reading: ReadOptions<'_>,
        progress: &mut [StepState],
    ) -> Option<FanOut> {
        let database =
            |step: &Step<'_>| self.cluster.layout().place(step.shard).ok().map(|place| place.database);
        let databases: Vec<Option<usize>> = steps.iter().map(|step| database(step)).collect();
        let is_alone =
            |wanted: &usize| databases.iter().flatten().filter(|other| *other == wanted).count() == 1;
        let connection = |database: usize| self.databases.get(database).and_then(|link| link.connection());
        let mut alone: Vec<(usize, usize)> = (0..)
            .zip(&databases)
            .filter_map(|(step, database)| Some((step, database.filter(is_alone)?)))
            .filter(|(_, database)| connection(*database).is_some())
            .collect();
        let workers = self.cluster.workers().take(alone.len());
        if workers == 0 {
            return None;
        }
        alone.truncate(workers);
        let mut all: Vec<usize> = databases.iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        let cancel_group = Arc::new(CancelGroup {
            interrupters: all.iter().filter_map(|&at| Some(connection(at)?.interrupter())).collect(),
            is_partial: self.context.missing.is_some(),
            first: Mutex::new(None),
        });
        let mut leases = Vec::with_capacity(workers);
        for (place, database) in alone {
            let connection = self.databases.get_mut(database).and_then(|link| link.take_connection());
            if let (Some(connection), Some(step), Some(progress)) =
                (connection, steps.get(place), progress.get_mut(place))
                && let Some(shard) = self.cluster.shards().by_index(step.shard)
            {
                progress.watch = Some(self.watch(step, shard, reading.table));
                let (remote, home) =
                    self.begin(step, reading, connection, progress, Arc::clone(&cancel_group));
                progress.remote = Some(remote);
                leases.push(Lease { database, home });
            }
        }
        let here = all.into_iter().filter(|&at| leases.iter().all(|lease| lease.database != at)).collect();
        Some(FanOut { cancel_group, leases, here })
    }

    /// Whether a statement is worth threads, by how long it takes on one shard.
    pub(crate) fn is_worth_waking(&self, step: &Step<'_>, reading: ReadOptions<'_>) -> bool {
        let Ok(place) = self.cluster.layout().place(step.shard) else { return false };
        let connection = self.databases.get(place.database).and_then(|link| link.connection());
        let time = self.cluster.workers().time_of(&step.statement.sql);
        self.cluster.parallelism().uses_threads(Work::Read {
            time,
            is_large: time.is_none() && connection.is_some_and(|connection| connection.is_large()),
            may_end_early: reading.may_end_early(),
            is_server: place.dialect.answers_later(),
        })
    }

    /// Begins a step on a worker that was taken.
    fn begin(
        &self,
        step: &Step<'_>,
        reading: ReadOptions<'_>,
        connection: PooledConnection,
        progress: &StepState,
        cancel_group: Arc<CancelGroup>,
    ) -> (RemoteRows, Receiver<(PooledConnection, Duration)>) {
        let (sender, messages) = sync_channel(AHEAD);
        let (sent_home, home) = channel();
        let sql = step.statement.sql.clone();
        let params: Vec<Param<'static>> = step.statement.params.iter().map(Param::to_owned).collect();
        let shard = self.cluster.shards().by_index(step.shard).cloned();
        let span = progress.watch.as_ref().map(Watch::span);
        let ReadOptions { table, named, .. } = reading;
        let names =
            self.cluster.layout().place(step.shard).map(|place| place.names.clone()).unwrap_or_default();
        let job = move || {
            let mut busy = Duration::ZERO;
            let mut send = || {
                let send = |message| sender.send(message).is_ok();
                let end = send_rows(&*connection, &names, &sql, &params, named, send, &mut busy);
                let end = end.map_err(|error| match &shard {
                    Some(shard) => cancel_group.failed(locate(error, shard, table)),
                    None => cancel_group.failed(error),
                });
                let _ = sender.send(Message::End(end));
            };
            match &span {
                Some(span) => span.enclose(send),
                None => send(),
            }
            (connection, busy)
        };
        self.cluster.workers().run(job, move |done| {
            let _ = sent_home.send(done);
        });
        (RemoteRows::new(messages, None), home)
    }

    /// Takes the connections back that were lent, whose readers are gone: what still runs is stopped. The longest
    /// time that a worker was busy.
    pub(crate) fn take_back(&mut self, fan: FanOut) -> Duration {
        fan.cancel_group.stop();
        let mut longest = Duration::ZERO;
        let mut databases = fan.here;
        for Lease { database, home } in fan.leases {
            // Where the worker is gone, so is its connection, and with it the transaction.
            let Ok((connection, busy)) = home.recv() else { continue };
            longest = longest.max(busy);
            if let Some(link) = self.databases.get_mut(database) {
                link.restore_connection(connection);
                databases.push(database);
            }
        }
        // What was stopped may run again. Only now: a worker that is stopped stops the others once more.
        for database in databases {
            if let Some(connection) = self.databases.get(database).and_then(|link| link.connection()) {
                connection.set_deadline(None);
            }
        }
        longest
    }

    /// Remembers how long a statement takes on one shard.
    pub(crate) fn remember_time(&self, step: &Step<'_>, time: Duration, on_worker: bool) {
        self.cluster.workers().remember(&step.statement.sql, time, on_worker);
    }
}

/// Runs a statement and sends its rows, until they end or `send` returns that they are not read any more.
pub(crate) fn send_rows(
    connection: &dyn Connection,
    names: &Namespace,
    sql: &str,
    params: &[Param<'_>],
    mut named: bool,
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
            chunk.width = cursor.width().max(1);
            for place in 0..chunk.width {
                chunk.push(cursor.value(place));
            }
            if chunk.cells.len() < rows * chunk.width {
                continue;
            }
        }
        *busy += began.elapsed();
        rows = (rows * 4).min(CHUNK.1);
        let next = Chunk { cells: Vec::with_capacity(rows * chunk.width), ..Chunk::default() };
        let full = std::mem::replace(&mut chunk, next);
        if !full.cells.is_empty() && !send(Message::Rows(full)) {
            return Ok(());
        }
        if !more? {
            return Ok(());
        }
        began = Instant::now();
    }
}

impl RemoteRows {
    pub(crate) fn new(messages: Receiver<Message>, deadline: Option<Instant>) -> Self {
        RemoteRows {
            messages,
            deadline,
            columns: Vec::new(),
            chunk: Chunk::default(),
            at: None,
            ended: false,
        }
    }

    /// What the worker sends next; what it has sent before the deadline is there after it, too.
    fn receive(&self) -> Result<Message, RecvTimeoutError> {
        match self.deadline {
            None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.messages.recv_timeout(at.saturating_duration_since(Instant::now())),
        }
    }
}

impl Stream for RemoteRows {
    fn advance(&mut self) -> Result<bool> {
        let next = self.at.map_or(0, |at| at + self.chunk.width);
        self.at = Some(next);
        if next < self.chunk.cells.len() {
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
                Err(Error::new(ErrorKind::Database, "the thread that ran the statement is gone"))
            }
        }
    }
}

impl Cursor for RemoteRows {
    fn width(&self) -> usize {
        self.chunk.width
    }

    fn columns(&self) -> Vec<String> {
        self.columns.clone()
    }
}

impl RowSource for RemoteRows {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        match self.at.filter(|_| index < self.chunk.width) {
            Some(at) => self.chunk.value(at + index),
            None => Err(ValueError::new("the row has no such column")),
        }
    }
}

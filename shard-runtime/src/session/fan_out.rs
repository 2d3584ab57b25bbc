//! Statements that run on several shards at once: each on one of the cluster's workers, with the session's own
//! connection, its rows coming back in chunks.
//!
//! A statement that takes less time than waking a thread runs on the caller's. Which those are is seen from how
//! long they took before; of one that was never seen, it is guessed from the size of the database.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use super::Session;
use crate::driver::{Connection, Interrupter, Pooled};
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::merge::Stream;
use crate::model::RowSource;
use crate::plan::Step;
use crate::sql::Param;
use crate::value::Value;

/// What a shard's part takes at least for a worker to be worth waking.
const WORTH_WAKING: Duration = Duration::from_millis(1);

/// The rows of the first chunk, and of the largest: the first comes soon, many cost little each.
const CHUNK: (usize, usize) = (16, 1_024);

/// How many chunks a worker is ahead of its reader.
const AHEAD: usize = 2;

enum Message {
    Rows(Chunk),
    End(Result<()>),
}

/// Some rows, on their way from a worker to its reader.
#[derive(Default)]
struct Chunk {
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
pub(super) struct Remote {
    messages: Receiver<Message>,
    chunk: Chunk,
    /// Where the current row begins; none before the first.
    at: Option<usize>,
    ended: bool,
}

/// A connection that a worker has.
pub(super) struct Loan {
    database: usize,
    interrupter: Interrupter,
    home: Receiver<(Pooled, Duration)>,
}

impl Session {
    /// Begins those of a plan's steps on workers that are worth it: each of whose database nothing else is
    /// asked, as far as there are workers. The others are run by the caller.
    pub(super) fn fan_out(&mut self, steps: &[&Step<'_>]) -> (Vec<Option<Remote>>, Vec<Loan>) {
        let mut remotes: Vec<Option<Remote>> = steps.iter().map(|_| None).collect();
        let mut loans = Vec::new();
        let [first, _, ..] = steps else { return (remotes, loans) };
        if !self.is_worth_waking(first) {
            return (remotes, loans);
        }
        let database =
            |step: &Step<'_>| self.cluster.layout().place(step.shard).ok().map(|place| place.database);
        let databases: Vec<Option<usize>> = steps.iter().map(|step| database(step)).collect();
        let is_alone =
            |wanted: &usize| databases.iter().flatten().filter(|other| *other == wanted).count() == 1;
        let alone: Vec<(usize, usize)> = (0..)
            .zip(&databases)
            .filter_map(|(step, database)| Some((step, database.filter(is_alone)?)))
            .filter(|(_, database)| self.links.get(*database).is_some_and(|link| link.connection().is_some()))
            .collect();
        let workers = self.cluster.workers().take(alone.len());
        for (place, database) in alone.into_iter().take(workers) {
            let connection = self.links.get_mut(database).and_then(|link| link.lend());
            if let (Some(connection), Some(step)) = (connection, steps.get(place)) {
                let (remote, loan) = self.begin(step, database, connection);
                remotes[place] = Some(remote);
                loans.push(loan);
            }
        }
        (remotes, loans)
    }

    fn is_worth_waking(&self, step: &Step<'_>) -> bool {
        match self.cluster.workers().time_of(&step.statement.sql) {
            Some(time) => time >= WORTH_WAKING,
            None => {
                let place = self.cluster.layout().place(step.shard);
                let link = place.ok().and_then(|place| self.links.get(place.database));
                link.and_then(|link| link.connection()).is_some_and(|connection| connection.is_large())
            }
        }
    }

    /// Begins a step on a worker that was taken.
    fn begin(&self, step: &Step<'_>, database: usize, connection: Pooled) -> (Remote, Loan) {
        let interrupter = connection.interrupter();
        let (sender, messages) = sync_channel(AHEAD);
        let (sent_home, home) = channel();
        let sql = step.statement.sql.clone();
        let params: Vec<Param<'static>> = step.statement.params.iter().map(Param::to_owned).collect();
        let job = move || {
            let mut busy = Duration::ZERO;
            let end = send_rows(&**connection, &sql, &params, &sender, &mut busy);
            let _ = sender.send(Message::End(end));
            (connection, busy)
        };
        self.cluster.workers().run(job, move |done| {
            let _ = sent_home.send(done);
        });
        let remote = Remote { messages, chunk: Chunk::default(), at: None, ended: false };
        (remote, Loan { database, interrupter, home })
    }

    /// Takes the connections back that were lent, whose readers are gone: what still runs is stopped. The longest
    /// time that a worker was busy.
    pub(super) fn take_back(&mut self, loans: Vec<Loan>) -> Duration {
        let mut longest = Duration::ZERO;
        for Loan { database, interrupter, home } in loans {
            interrupter();
            // Where the worker is gone, so is its connection, and with it the transaction.
            let Ok((connection, busy)) = home.recv() else { continue };
            longest = longest.max(busy);
            if let Some(link) = self.links.get_mut(database) {
                link.take_back(connection);
            }
        }
        longest
    }

    /// Remembers how long a plan's statement takes on one shard: as long as the slowest worker was busy, or its
    /// share of the time that all of them took here.
    pub(super) fn remember_time(&self, steps: &[&Step<'_>], there: Option<Duration>, here: Duration) {
        if let [first, _, ..] = steps {
            let share = here / u32::try_from(steps.len()).unwrap_or(u32::MAX);
            self.cluster.workers().remember(&first.statement.sql, there.unwrap_or(share));
        }
    }
}

/// Runs a statement and sends its rows, until they end or nobody reads them any more.
fn send_rows(
    connection: &dyn Connection,
    sql: &str,
    params: &[Param<'_>],
    sender: &SyncSender<Message>,
    busy: &mut Duration,
) -> Result<()> {
    let mut began = Instant::now();
    let mut statement = connection.prepare(sql)?;
    let mut cursor = statement.query(params)?;
    let (mut rows, mut chunk) = (CHUNK.0, Chunk::default());
    loop {
        let more = cursor.advance();
        if matches!(more, Ok(true)) {
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
        if !full.cells.is_empty() && sender.send(Message::Rows(full)).is_err() {
            return Ok(());
        }
        if !more? {
            return Ok(());
        }
        began = Instant::now();
    }
}

impl Stream for Remote {
    fn advance(&mut self) -> Result<bool> {
        let next = self.at.map_or(0, |at| at + self.chunk.width);
        self.at = Some(next);
        if next < self.chunk.cells.len() {
            return Ok(true);
        }
        if self.ended {
            return Ok(false);
        }
        match self.messages.recv() {
            Ok(Message::Rows(chunk)) => {
                (self.chunk, self.at) = (chunk, Some(0));
                Ok(true)
            }
            Ok(Message::End(end)) => {
                self.ended = true;
                end.map(|()| false)
            }
            Err(_) => {
                self.ended = true;
                Err(Error::new(ErrorKind::Database, "the thread that ran the statement is gone"))
            }
        }
    }
}

impl RowSource for Remote {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        match self.at.filter(|_| index < self.chunk.width) {
            Some(at) => self.chunk.value(at + index),
            None => Err(ValueError::new("the row has no such column")),
        }
    }
}

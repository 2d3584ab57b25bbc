//! Statements that run on several shards at once: each on one of the cluster's workers, with the session's own
//! connection, its rows coming back in chunks.
//!
//! A statement that takes less time than waking a thread runs on the caller's. Which those are is seen from how
//! long they took before; of one that was never seen, it is guessed from the size of the database.

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

type Cell = Result<Value<'static>, ValueError>;

enum Message {
    Rows { cells: Vec<Cell>, width: usize },
    End(Result<()>),
}

/// The rows of a statement that runs on a worker.
pub(super) struct Remote {
    messages: Receiver<Message>,
    cells: Vec<Cell>,
    width: usize,
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

    /// Whether a shard's part takes longer than waking a worker for it.
    pub(super) fn is_worth_waking(&self, step: &Step<'_>) -> bool {
        match self.cluster.workers().time_of(&step.statement.sql) {
            Some(time) => time >= WORTH_WAKING,
            None => self.is_large(step),
        }
    }

    /// Whether a step's database is one in which a statement may take long.
    pub(super) fn is_large(&self, step: &Step<'_>) -> bool {
        let place = self.cluster.layout().place(step.shard);
        let link = place.ok().and_then(|place| self.links.get(place.database));
        link.and_then(|link| link.connection()).is_some_and(|connection| connection.is_large())
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
        let remote = Remote { messages, cells: Vec::new(), width: 1, at: None, ended: false };
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
    let (mut rows, mut cells) = (CHUNK.0, Vec::new());
    let mut width = 1;
    loop {
        let more = cursor.advance();
        if matches!(more, Ok(true)) {
            width = cursor.width().max(1);
            for place in 0..width {
                cells.push(cursor.value(place).map(Value::into_owned));
            }
            if cells.len() < rows * width {
                continue;
            }
        }
        *busy += began.elapsed();
        let full = std::mem::take(&mut cells);
        if !full.is_empty() && sender.send(Message::Rows { cells: full, width }).is_err() {
            return Ok(());
        }
        if !more? {
            return Ok(());
        }
        rows = (rows * 4).min(CHUNK.1);
        cells.reserve(rows * width);
        began = Instant::now();
    }
}

impl Stream for Remote {
    fn advance(&mut self) -> Result<bool> {
        let next = self.at.map_or(0, |at| at + self.width);
        self.at = Some(next);
        if next < self.cells.len() {
            return Ok(true);
        }
        if self.ended {
            return Ok(false);
        }
        match self.messages.recv() {
            Ok(Message::Rows { cells, width }) => {
                (self.cells, self.width, self.at) = (cells, width, Some(0));
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
        let cell = self.at.and_then(|at| self.cells.get(at + index)).filter(|_| index < self.width);
        match cell {
            Some(Ok(value)) => Ok(value.borrowed()),
            Some(Err(error)) => Err(error.clone()),
            None => Err(ValueError::new("the row has no such column")),
        }
    }
}

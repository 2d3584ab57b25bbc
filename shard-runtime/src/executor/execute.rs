//! Runs the statements of one read on their shards: one after the other or at once, on workers or on this thread, and
//! visits the rows of their common answer. Uses `fan_out`, `apart`, `merge` and the session's transactions.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::apart::Apart;
use super::fan_out::RemoteRows;
use super::rows::{Later, Rows, compare};
use crate::driver::{Cursor, Prepared, Preparing};
use crate::error::{Error, ErrorKind, Result};
use crate::executor::merge;
use crate::planner::{LimitOffset, MergeBy, Step};
use crate::row::LoadModel;
use crate::schema::{Shard, Table};
use crate::tasks::Watch;
use crate::tasks::unwind::caught;
use crate::transaction::{Transactions, bounded, locate};

/// How the shards' answers become one.
#[derive(Clone, Copy)]
pub(crate) struct ReadOptions<'p> {
    /// The table that errors name; none for raw SQL.
    pub(crate) table: Option<&'static Table>,
    /// How the answers are merged; where this is empty, one follows the other.
    pub(crate) order: &'p [MergeBy],
    pub(crate) distinct: bool,
    pub(crate) bounds: LimitOffset,
    /// Loads a row as its model, if its values are not wanted: on the thread that reads it.
    pub(crate) load: Option<LoadModel>,
    /// Whether the names of the answers' columns are wanted.
    pub(crate) named: bool,
    /// Whether workers are known to be worth waking.
    pub(crate) is_slow: bool,
    /// Whether one shard is asked after the other, in the cluster's order, because the statements lock rows.
    pub(crate) sequential: bool,
}

impl ReadOptions<'_> {
    /// The whole answers, one after the other.
    pub(crate) fn whole(table: &'static Table) -> Self {
        let (order, bounds) = (&[], LimitOffset::default());
        ReadOptions {
            table: Some(table),
            order,
            distinct: false,
            bounds,
            load: None,
            named: false,
            is_slow: false,
            sequential: false,
        }
    }

    /// Whether the first shards may have rows enough.
    pub(crate) fn may_end_early(&self) -> bool {
        self.order.is_empty() && self.bounds.has_end()
    }
}

/// A shard, and a statement that its connection has begun to prepare; none where it is prepared later.
type BegunOn<'s> = (&'s Shard, Option<Preparing<'s>>);

/// How a statement comes to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// No other statement of the read is on it.
    Alone,
    /// It is the first of several.
    First,
    /// It is not the first of several.
    Later,
}

/// Visits the rows of one stream after the other.
fn follow_all(
    streams: &mut [Rows<'_>],
    mut bounds: LimitOffset,
    visit: &mut impl FnMut(&Rows<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    for rows in streams {
        if merge::follow(rows, &mut bounds, &mut *visit)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The state of one of several statements.
#[derive(Default)]
pub(crate) struct StepState {
    /// None before it is begun, and after it was reported.
    pub(crate) watch: Option<Watch>,
    /// Its rows, if a worker runs it.
    pub(crate) remote: Option<RemoteRows>,
    rows: u64,
    failed: Option<ErrorKind>,
    /// Whether its shard is ready.
    is_ready: bool,
    /// Whether it was the only one under way, here.
    is_here: bool,
    /// How long it took until its shard was ready: to connect, perhaps.
    waited: Duration,
    /// Whether it was reported.
    ended: bool,
}

impl StepState {
    fn read(&mut self, rows: &Rows<'_>) {
        (self.rows, self.failed) = (rows.read, rows.failed);
    }

    /// Reports the statement, unless it was reported.
    fn end(&mut self, tx: &Transactions, step: &Step<'_>, error: Option<&Error>) {
        let shards = tx.cluster.layout().shards();
        if let (Some(watch), Some(shard)) = (self.watch.take(), shards.by_index(step.shard)) {
            let own = error.filter(|error| error.shard() == Some(shard.name())).map(Error::kind);
            watch.ended(tx.cluster.observer(), shard, &step.statement.sql, self.rows, self.failed.or(own));
            self.ended = true;
        }
    }
}

impl Transactions {
    /// Runs the statements and visits the rows of their common answer. Shards are asked at once if that is expected to be
    /// faster: on workers, or from this thread if answers are merged or servers work meanwhile. Otherwise each shard is
    /// asked after the one before has no more rows. That is also the rule if the first shards may have rows enough, unless
    /// the statement is known to be slow.
    pub(crate) fn execute(
        &mut self,
        steps: &[Step<'_>],
        reading: ReadOptions<'_>,
        visit: impl FnMut(&Rows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.execute_some(steps.iter().collect(), reading, visit)
    }

    /// The same for some of a plan's statements.
    pub(crate) fn execute_some(
        &mut self,
        steps: Vec<&Step<'_>>,
        reading: ReadOptions<'_>,
        mut visit: impl FnMut(&Rows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        bounded(self, |session| {
            let asked = session.execute_bounded(steps, reading, &mut visit);
            session.lift_deadlines();
            asked
        })
    }

    fn execute_bounded(
        &mut self,
        mut steps: Vec<&Step<'_>>,
        reading: ReadOptions<'_>,
        visit: &mut impl FnMut(&Rows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if let Some(deadline) = self.reads_apart(&steps) {
            return self.execute_apart(&steps, reading, deadline, visit);
        }
        while let Some(first) = steps.first() {
            if self.is_ready(first.shard, reading.table)? {
                break;
            }
            steps.remove(0);
        }
        let Some(first) = steps.first() else { return Ok(()) };
        let several = steps.len() > 1;
        let at_once = several && !reading.sequential;
        let wakes = at_once && (reading.is_slow || self.is_worth_waking(first, reading));
        // Without an order, one answer follows the other.
        let merges = !reading.order.is_empty() || (at_once && !wakes && self.answer_later(&steps, reading));
        let at_once = wakes || merges;
        if at_once {
            let mut ready = Vec::with_capacity(steps.len());
            for (place, step) in steps.into_iter().enumerate() {
                if place == 0 || self.is_ready(step.shard, reading.table)? {
                    ready.push(step);
                }
            }
            steps = ready;
        }
        let not_begun = |place| StepState { is_ready: at_once || place == 0, ..StepState::default() };
        let mut progress: Vec<StepState> = (0..steps.len()).map(not_begun).collect();
        let fan = if wakes { self.fan_out(&steps, reading, &mut progress) } else { None };
        // Without a free worker, servers can still work at the same time.
        let merges = merges || (at_once && fan.is_none() && self.answer_later(&steps, reading));
        let began = several.then(Instant::now);
        let (visited, panic) = caught(|| match merges && steps.len() > 1 {
            true => self.k_way_merge(&steps, reading, &mut progress, visit),
            false => self.sequential(&steps, reading, &mut progress, visit),
        });
        let waited = progress.iter().map(|progress| progress.waited).sum();
        let here = began.map(|began| began.elapsed().saturating_sub(waited));
        // A worker whose rows are not read any more stops.
        progress.iter_mut().for_each(|progress| drop(progress.remote.take()));
        let (visited, there) = match fan {
            Some(fan) => {
                let (visited, failed) = fan.outcome(visited);
                if failed {
                    // A statement that was stopped because of another one has not failed itself.
                    progress.iter_mut().for_each(|progress| progress.failed = None);
                }
                (visited, Some(self.take_back(fan)))
            }
            None => (visited, None),
        };
        panic.resume();
        for (progress, step) in progress.iter_mut().zip(&steps) {
            progress.end(self, step, visited.as_ref().err());
        }
        if let (Ok(()), Some(here), Some(first)) = (&visited, here, steps.first()) {
            let asked = progress.iter().filter(|progress| progress.ended).count();
            let share = here / u32::try_from(asked.max(1)).unwrap_or(u32::MAX);
            self.remember_time(first, there.unwrap_or(share), there.is_some());
        }
        visited
    }

    /// Reads the shards of a partial answer, each database on a thread of its own.
    fn execute_apart(
        &mut self,
        steps: &[&Step<'_>],
        reading: ReadOptions<'_>,
        deadline: Instant,
        visit: &mut impl FnMut(&Rows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let ready = || StepState { is_ready: true, ..StepState::default() };
        let mut progress: Vec<StepState> = steps.iter().map(|_| ready()).collect();
        let mut apart = Apart::default();
        let begun = self.read_apart(steps, reading, deadline, &mut progress, &mut apart);
        let are_told = begun.is_ok();
        let (visited, panic) = caught(|| {
            begun?;
            match reading.order.is_empty() {
                true => self.sequential(steps, reading, &mut progress, visit),
                false => self.k_way_merge(steps, reading, &mut progress, visit),
            }
        });
        progress.iter_mut().for_each(|progress| drop(progress.remote.take()));
        if let Err(lost) = self.bring_home(apart) {
            // The rows are right; the next statement there would not be of the same transaction.
            self.abort(&lost);
        }
        panic.resume();
        if are_told {
            for (progress, step) in progress.iter_mut().zip(steps) {
                progress.end(self, step, visited.as_ref().err());
            }
        }
        visited
    }

    /// Whether all of these shards are needed, and some work while this thread asks others.
    fn answer_later(&self, steps: &[&Step<'_>], reading: ReadOptions<'_>) -> bool {
        let answers_later = |step: &&Step<'_>| {
            self.cluster.layout().place(step.shard).is_ok_and(|place| place.dialect.answers_later())
        };
        !reading.may_end_early() && steps.iter().any(answers_later)
    }

    /// Visits the rows of one statement after the other.
    fn sequential(
        &mut self,
        steps: &[&Step<'_>],
        reading: ReadOptions<'_>,
        progress: &mut [StepState],
        visit: &mut impl FnMut(&Rows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut bounds = reading.bounds;
        for (step, progress) in steps.iter().zip(progress) {
            let more = match progress.remote.take() {
                Some(remote) => {
                    let Some(shard) = self.cluster.layout().shards().by_index(step.shard) else { continue };
                    let mut rows = Rows::new(self, shard, reading.table, Box::new(remote));
                    let more = merge::follow(&mut rows, &mut bounds, &mut *visit);
                    progress.read(&rows);
                    more
                }
                None => {
                    let began = Instant::now();
                    if !progress.is_ready && !self.is_ready(step.shard, reading.table)? {
                        continue;
                    }
                    progress.waited = began.elapsed();
                    self.follow_here(step, reading.table, &mut bounds, progress, visit)
                }
            };
            if progress.is_here {
                progress.end(self, step, more.as_ref().err());
            }
            if more?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Visits the rows of a statement that runs here.
    fn follow_here(
        &self,
        step: &Step<'_>,
        table: Option<&'static Table>,
        bounds: &mut LimitOffset,
        progress: &mut StepState,
        visit: &mut impl FnMut(&Rows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let go_on = |()| ControlFlow::Continue(());
        let (shard, mut statement) = match self.prepare(step.shard, &step.statement.sql, table) {
            Ok(prepared) => prepared,
            Err(error) => return self.context.tolerated(error).map(go_on),
        };
        progress.watch = Some(self.watch(step, shard, table));
        progress.is_here = true;
        match statement.query(&step.statement.params) {
            Ok(cursor) => {
                let mut rows = Rows::new(self, shard, table, cursor);
                let more = merge::follow(&mut rows, bounds, visit);
                progress.read(&rows);
                more
            }
            Err(error) => {
                progress.failed = Some(error.kind());
                self.context.tolerated(locate(error, shard, table)).map(go_on)
            }
        }
    }

    /// Visits the rows of all statements, of which some run on workers, in their order.
    fn k_way_merge(
        &self,
        steps: &[&Step<'_>],
        reading: ReadOptions<'_>,
        progress: &mut [StepState],
        visit: &mut impl FnMut(&Rows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut prepared = self.prepare_all(steps, reading, progress)?;
        let shared = self.on_shared_connections(steps, progress);
        let in_order = !reading.order.is_empty();
        let mut places = Vec::with_capacity(steps.len());
        let mut streams = Vec::with_capacity(steps.len());
        for (place, (step, statement)) in steps.iter().zip(&mut prepared).enumerate() {
            let (Some(shard), Some(progress)) =
                (self.cluster.layout().shards().by_index(step.shard), progress.get_mut(place))
            else {
                continue;
            };
            let cursor: Box<dyn Cursor + '_> = match (progress.remote.take(), statement) {
                (Some(remote), _) => Box::new(remote),
                (None, Some(statement)) => {
                    progress.watch = Some(self.watch(step, shard, reading.table));
                    let params = &step.statement.params;
                    let cursor = match shared.get(place).copied().unwrap_or(Sharing::Alone) {
                        Sharing::Alone => statement.query(params),
                        Sharing::First | Sharing::Later if in_order => statement.query_beside_others(params),
                        Sharing::First => statement.query(params),
                        Sharing::Later => {
                            Ok(Box::new(Later { begun: None, waits: Some((statement, params)) }) as _)
                        }
                    };
                    match cursor {
                        Ok(cursor) => cursor,
                        Err(error) => {
                            progress.failed = Some(error.kind());
                            self.context.tolerated(locate(error, shard, reading.table))?;
                            continue;
                        }
                    }
                }
                (None, None) => continue,
            };
            places.push(place);
            streams.push(Rows::new(self, shard, reading.table, cursor));
        }
        let read_key = |rows: &Rows<'_>, key: &mut Vec<_>| rows.read_key(reading.order, key);
        let by_order = |a: &Vec<_>, b: &Vec<_>| compare(reading.order, a, b);
        let unite = |rows: &mut Rows<'_>, other: &Vec<_>| rows.unite(reading.order, other);
        let distinct: Option<merge::Unite<'_, Rows<'_>, Vec<_>>> = reading.distinct.then_some(&unite);
        let each = |_: usize, rows: &Rows<'_>| visit(rows);
        let result = match in_order {
            true => merge::merge(&mut streams, read_key, by_order, distinct, reading.bounds, each),
            // A statement that waits for its connection begins when those before it have ended.
            false => follow_all(&mut streams, reading.bounds, visit),
        };
        for (place, rows) in places.into_iter().zip(&streams) {
            if let Some(progress) = progress.get_mut(place) {
                progress.read(rows);
            }
        }
        result
    }

    /// Returns how each statement that runs here comes to its connection.
    fn on_shared_connections(&self, steps: &[&Step<'_>], progress: &[StepState]) -> Vec<Sharing> {
        let database =
            |step: &Step<'_>| self.cluster.layout().place(step.shard).ok().map(|place| place.database);
        let runs_here = |(_, progress): &(&&Step<'_>, &StepState)| progress.remote.is_none();
        let mut count: HashMap<usize, usize> = HashMap::new();
        for (step, _) in steps.iter().zip(progress).filter(runs_here) {
            if let Some(database) = database(step) {
                *count.entry(database).or_default() += 1;
            }
        }
        let mut seen: HashSet<usize> = HashSet::new();
        let sharing = |step: &&Step<'_>| match database(step) {
            Some(database) if count.get(&database).is_some_and(|count| *count > 1) => {
                if seen.insert(database) { Sharing::First } else { Sharing::Later }
            }
            _ => Sharing::Alone,
        };
        steps.iter().map(sharing).collect()
    }

    /// The statements that run here, none where a partial answer does without one. All databases are asked to prepare
    /// theirs before one is waited for; further statements of one database are prepared one after the other.
    fn prepare_all<'s>(
        &'s self,
        steps: &[&Step<'_>],
        reading: ReadOptions<'_>,
        progress: &[StepState],
    ) -> Result<Vec<Option<Box<dyn Prepared + 's>>>> {
        let sharing = self.on_shared_connections(steps, progress);
        let begin = |((step, progress), sharing): ((&&Step<'_>, &StepState), Sharing)| match progress.remote {
            Some(_) => None,
            None => Some(self.ready(step.shard).and_then(|(shard, connection)| {
                let names = &self.cluster.layout().place(step.shard)?.names;
                let sql = &step.statement.sql;
                Ok((shard, (sharing != Sharing::Later).then(|| connection.begin_to_prepare(names, sql))))
            })),
        };
        let begun: Vec<_> = steps.iter().zip(progress).zip(sharing).map(begin).collect();
        let finish = |(step, begun): (&&Step<'_>, Option<Result<BegunOn<'s>>>)| {
            let Some(begun) = begun else { return Ok(None) };
            let prepared = begun.and_then(|(shard, begun)| match begun {
                Some(begun) => begun.finish().map_err(|error| locate(error, shard, reading.table)),
                None => self
                    .prepare(step.shard, &step.statement.sql, reading.table)
                    .map(|(_, statement)| statement),
            });
            prepared.map(Some).or_else(|error| self.context.tolerated(error).map(|()| None))
        };
        steps.iter().zip(begun).map(finish).collect()
    }
}

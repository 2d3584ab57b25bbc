//! Runs the statements of one read on their shards: one after the other or at once, on workers or on this thread. Visits the
//! rows of their merged result. Uses `fan_out`, `reader_threads`, `merge` and the session's transactions.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::fan_out::RemoteRows;
use super::reader_threads::ReaderThreads;
use super::rows::{Later, ShardRows, compare};
use crate::driver::{Prepared, Preparing, RowCursor};
use crate::error::{Error, ErrorKind, Result};
use crate::executor::merge;
use crate::planner::{LimitOffset, MergeBy, PlanStep};
use crate::row::LoadModel;
use crate::schema::{Shard, Table};
use crate::tasks::Watch;
use crate::tasks::unwind::caught;
use crate::transaction::{Transactions, bounded, locate};

/// Options of a read: how its statements run and how the shards' results become one.
#[derive(Clone, Copy)]
pub(crate) struct ReadOptions<'p> {
    /// The table that errors name; `None` for raw SQL.
    pub(crate) table: Option<&'static Table>,
    /// The order by which the results are merged. If it is empty, one result follows the other.
    pub(crate) order: &'p [MergeBy],
    pub(crate) distinct: bool,
    pub(crate) bounds: LimitOffset,
    /// Decodes a row as its model, if its values are not needed: on the thread that reads it.
    pub(crate) load: Option<LoadModel>,
    /// Whether the names of the result's columns are needed.
    pub(crate) named: bool,
    /// Whether it is known that workers are worth waking.
    pub(crate) is_slow: bool,
    /// Whether the shards are read one after the other, in the cluster's order, because the statements lock rows.
    pub(crate) sequential: bool,
}

impl ReadOptions<'_> {
    /// Returns the options to read whole results, one after the other.
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

    /// Returns whether the first shards may have enough rows.
    pub(crate) fn may_end_early(&self) -> bool {
        self.order.is_empty() && self.bounds.has_end()
    }
}

/// A shard, and a statement that its connection has begun to prepare; `None` if it is prepared later.
type BegunOn<'s> = (&'s Shard, Option<Preparing<'s>>);

/// How a statement shares its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// No other statement of the read uses the connection.
    Alone,
    /// It is the first of several on the connection.
    First,
    /// It is a later one of several on the connection.
    Later,
}

/// Visits the rows of the streams, one stream after the other.
fn follow_all(
    streams: &mut [ShardRows<'_>],
    mut bounds: LimitOffset,
    visit: &mut impl FnMut(&ShardRows<'_>) -> Result<ControlFlow<()>>,
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
pub(crate) struct PlanStepState {
    /// `None` before the statement is begun, and after it was reported.
    pub(crate) watch: Option<Watch>,
    /// Its rows, if a worker runs it.
    pub(crate) remote: Option<RemoteRows>,
    rows: u64,
    failed: Option<ErrorKind>,
    /// Whether its shard is ready.
    is_ready: bool,
    /// Whether it ran alone, on this thread.
    is_here: bool,
    /// The time until its shard was ready, which may include connecting.
    waited: Duration,
    /// Whether it was reported.
    ended: bool,
}

impl PlanStepState {
    fn read(&mut self, rows: &ShardRows<'_>) {
        (self.rows, self.failed) = (rows.read, rows.failed);
    }

    /// Reports the statement, unless it was reported.
    fn end(&mut self, tx: &Transactions, step: &PlanStep<'_>, error: Option<&Error>) {
        let shards = tx.cluster.layout().shards();
        if let (Some(watch), Some(shard)) = (self.watch.take(), shards.by_index(step.shard)) {
            let own = error.filter(|error| error.shard() == Some(shard.name())).map(Error::kind);
            watch.ended(tx.cluster.observer(), shard, &step.statement.sql, self.rows, self.failed.or(own));
            self.ended = true;
        }
    }
}

impl Transactions {
    /// Runs the statements and visits the rows of their merged result.
    ///
    /// Shards are read at once if that is expected to be faster. They are read on workers, or from this thread if results are
    /// merged or servers work at the same time. Otherwise each shard is read after the one before has no more rows. The
    /// latter is also the rule if the first shards may have enough rows, unless the statement is known to be slow.
    pub(crate) fn execute(
        &mut self,
        steps: &[PlanStep<'_>],
        options: ReadOptions<'_>,
        visit: impl FnMut(&ShardRows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.execute_some(steps.iter().collect(), options, visit)
    }

    /// Runs some of a plan's statements, as [`execute`](Self::execute) does.
    pub(crate) fn execute_some(
        &mut self,
        steps: Vec<&PlanStep<'_>>,
        options: ReadOptions<'_>,
        mut visit: impl FnMut(&ShardRows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        bounded(self, |session| {
            let result = session.execute_bounded(steps, options, &mut visit);
            session.lift_deadlines();
            result
        })
    }

    fn execute_bounded(
        &mut self,
        mut steps: Vec<&PlanStep<'_>>,
        options: ReadOptions<'_>,
        visit: &mut impl FnMut(&ShardRows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if let Some(deadline) = self.reads_on_threads(&steps) {
            return self.execute_on_threads(&steps, options, deadline, visit);
        }
        while let Some(first) = steps.first() {
            if self.is_ready(first.shard, options.table)? {
                break;
            }
            steps.remove(0);
        }
        let Some(first) = steps.first() else { return Ok(()) };
        let several = steps.len() > 1;
        let at_once = several && !options.sequential;
        let wakes = at_once && (options.is_slow || self.is_worth_waking(first, options));
        // Without an order, one result follows the other.
        let merges = !options.order.is_empty() || (at_once && !wakes && self.answer_later(&steps, options));
        let at_once = wakes || merges;
        if at_once {
            let mut ready = Vec::with_capacity(steps.len());
            for (index, step) in steps.into_iter().enumerate() {
                if index == 0 || self.is_ready(step.shard, options.table)? {
                    ready.push(step);
                }
            }
            steps = ready;
        }
        let not_begun = |index| PlanStepState { is_ready: at_once || index == 0, ..PlanStepState::default() };
        let mut progress: Vec<PlanStepState> = (0..steps.len()).map(not_begun).collect();
        let fan = if wakes { self.fan_out(&steps, options, &mut progress) } else { None };
        // Without a free worker, servers can still work at the same time.
        let merges = merges || (at_once && fan.is_none() && self.answer_later(&steps, options));
        let began = several.then(Instant::now);
        let (visited, panic) = caught(|| match merges && steps.len() > 1 {
            true => self.k_way_merge(&steps, options, &mut progress, visit),
            false => self.sequential(&steps, options, &mut progress, visit),
        });
        let waited = progress.iter().map(|progress| progress.waited).sum();
        let here = began.map(|began| began.elapsed().saturating_sub(waited));
        // A worker stops if its rows are no longer read.
        progress.iter_mut().for_each(|progress| drop(progress.remote.take()));
        let (visited, there) = match fan {
            Some(fan) => {
                let (visited, failed) = fan.outcome(visited);
                if failed {
                    // A statement that was stopped because of another one did not fail itself.
                    progress.iter_mut().for_each(|progress| progress.failed = None);
                }
                (visited, Some(self.end_fan_out(fan)))
            }
            None => (visited, None),
        };
        panic.resume();
        for (progress, step) in progress.iter_mut().zip(&steps) {
            progress.end(self, step, visited.as_ref().err());
        }
        if let (Ok(()), Some(here), Some(first)) = (&visited, here, steps.first()) {
            let ran = progress.iter().filter(|progress| progress.ended).count();
            let share = here / u32::try_from(ran.max(1)).unwrap_or(u32::MAX);
            self.remember_time(first, there.unwrap_or(share), there.is_some());
        }
        visited
    }

    /// Reads the shards of a partial result, each database on a thread of its own.
    fn execute_on_threads(
        &mut self,
        steps: &[&PlanStep<'_>],
        options: ReadOptions<'_>,
        deadline: Instant,
        visit: &mut impl FnMut(&ShardRows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let ready = || PlanStepState { is_ready: true, ..PlanStepState::default() };
        let mut progress: Vec<PlanStepState> = steps.iter().map(|_| ready()).collect();
        let mut readers = ReaderThreads::default();
        let begun = self.read_on_threads(steps, options, deadline, &mut progress, &mut readers);
        let has_begun = begun.is_ok();
        let (visited, panic) = caught(|| {
            begun?;
            match options.order.is_empty() {
                true => self.sequential(steps, options, &mut progress, visit),
                false => self.k_way_merge(steps, options, &mut progress, visit),
            }
        });
        progress.iter_mut().for_each(|progress| drop(progress.remote.take()));
        if let Err(lost) = self.join_readers(readers) {
            // The rows are right, but the next statement there would not be in the same transaction.
            self.abort(&lost);
        }
        panic.resume();
        if has_begun {
            for (progress, step) in progress.iter_mut().zip(steps) {
                progress.end(self, step, visited.as_ref().err());
            }
        }
        visited
    }

    /// Returns whether all of these shards are needed, and some work while this thread sends statements to others.
    fn answer_later(&self, steps: &[&PlanStep<'_>], options: ReadOptions<'_>) -> bool {
        let answers_later = |step: &&PlanStep<'_>| {
            self.cluster.layout().location(step.shard).is_ok_and(|location| location.dialect.answers_later())
        };
        !options.may_end_early() && steps.iter().any(answers_later)
    }

    /// Visits the rows of the statements, one statement after the other.
    fn sequential(
        &mut self,
        steps: &[&PlanStep<'_>],
        options: ReadOptions<'_>,
        progress: &mut [PlanStepState],
        visit: &mut impl FnMut(&ShardRows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut bounds = options.bounds;
        for (step, progress) in steps.iter().zip(progress) {
            let more = match progress.remote.take() {
                Some(remote) => {
                    let Some(shard) = self.cluster.layout().shards().by_index(step.shard) else { continue };
                    let mut rows = ShardRows::new(self, shard, options.table, Box::new(remote));
                    let more = merge::follow(&mut rows, &mut bounds, &mut *visit);
                    progress.read(&rows);
                    more
                }
                None => {
                    let began = Instant::now();
                    if !progress.is_ready && !self.is_ready(step.shard, options.table)? {
                        continue;
                    }
                    progress.waited = began.elapsed();
                    self.follow_here(step, options.table, &mut bounds, progress, visit)
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
        step: &PlanStep<'_>,
        table: Option<&'static Table>,
        bounds: &mut LimitOffset,
        progress: &mut PlanStepState,
        visit: &mut impl FnMut(&ShardRows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let proceed = |()| ControlFlow::Continue(());
        let (shard, mut statement) = match self.prepare(step.shard, &step.statement.sql, table) {
            Ok(prepared) => prepared,
            Err(error) => return self.context.tolerated(error).map(proceed),
        };
        progress.watch = Some(self.watch(step, shard, table));
        progress.is_here = true;
        match statement.query(&step.statement.params) {
            Ok(cursor) => {
                let mut rows = ShardRows::new(self, shard, table, cursor);
                let more = merge::follow(&mut rows, bounds, visit);
                progress.read(&rows);
                more
            }
            Err(error) => {
                progress.failed = Some(error.kind());
                self.context.tolerated(locate(error, shard, table)).map(proceed)
            }
        }
    }

    /// Visits the rows of all statements in their order. Some of the statements run on workers.
    fn k_way_merge(
        &self,
        steps: &[&PlanStep<'_>],
        options: ReadOptions<'_>,
        progress: &mut [PlanStepState],
        visit: &mut impl FnMut(&ShardRows<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut prepared = self.prepare_all(steps, options, progress)?;
        let shared = self.on_shared_connections(steps, progress);
        let in_order = !options.order.is_empty();
        let mut indexes = Vec::with_capacity(steps.len());
        let mut streams = Vec::with_capacity(steps.len());
        for (index, (step, statement)) in steps.iter().zip(&mut prepared).enumerate() {
            let (Some(shard), Some(progress)) =
                (self.cluster.layout().shards().by_index(step.shard), progress.get_mut(index))
            else {
                continue;
            };
            let cursor: Box<dyn RowCursor + '_> = match (progress.remote.take(), statement) {
                (Some(remote), _) => Box::new(remote),
                (None, Some(statement)) => {
                    progress.watch = Some(self.watch(step, shard, options.table));
                    let params = &step.statement.params;
                    let cursor = match shared.get(index).copied().unwrap_or(Sharing::Alone) {
                        Sharing::Alone => statement.query(params),
                        Sharing::First | Sharing::Later if in_order => statement.query_beside_others(params),
                        Sharing::First => statement.query(params),
                        Sharing::Later => {
                            Ok(Box::new(Later { begun: None, pending: Some((statement, params)) }) as _)
                        }
                    };
                    match cursor {
                        Ok(cursor) => cursor,
                        Err(error) => {
                            progress.failed = Some(error.kind());
                            self.context.tolerated(locate(error, shard, options.table))?;
                            continue;
                        }
                    }
                }
                (None, None) => continue,
            };
            indexes.push(index);
            streams.push(ShardRows::new(self, shard, options.table, cursor));
        }
        let read_key = |rows: &ShardRows<'_>, key: &mut Vec<_>| rows.read_key(options.order, key);
        let by_order = |a: &Vec<_>, b: &Vec<_>| compare(options.order, a, b);
        let unite = |rows: &mut ShardRows<'_>, other: &Vec<_>| rows.unite(options.order, other);
        let distinct: Option<merge::Unite<'_, ShardRows<'_>, Vec<_>>> = options.distinct.then_some(&unite);
        let each = |_: usize, rows: &ShardRows<'_>| visit(rows);
        let result = match in_order {
            true => merge::merge(&mut streams, read_key, by_order, distinct, options.bounds, each),
            // A statement that waits for its connection begins after those before it have ended.
            false => follow_all(&mut streams, options.bounds, visit),
        };
        for (index, rows) in indexes.into_iter().zip(&streams) {
            if let Some(progress) = progress.get_mut(index) {
                progress.read(rows);
            }
        }
        result
    }

    /// Returns how each statement that runs here shares its connection.
    fn on_shared_connections(&self, steps: &[&PlanStep<'_>], progress: &[PlanStepState]) -> Vec<Sharing> {
        let database = |step: &PlanStep<'_>| {
            self.cluster.layout().location(step.shard).ok().map(|location| location.database)
        };
        let runs_here = |(_, progress): &(&&PlanStep<'_>, &PlanStepState)| progress.remote.is_none();
        let mut count: HashMap<usize, usize> = HashMap::new();
        for (step, _) in steps.iter().zip(progress).filter(runs_here) {
            if let Some(database) = database(step) {
                *count.entry(database).or_default() += 1;
            }
        }
        let mut seen: HashSet<usize> = HashSet::new();
        let sharing = |step: &&PlanStep<'_>| match database(step) {
            Some(database) if count.get(&database).is_some_and(|count| *count > 1) => {
                if seen.insert(database) { Sharing::First } else { Sharing::Later }
            }
            _ => Sharing::Alone,
        };
        steps.iter().map(sharing).collect()
    }

    /// Prepares the statements that run here; `None` for one that a partial result does without. All databases begin to
    /// prepare before this thread waits for any of them. Further statements of one database are prepared one after the other.
    fn prepare_all<'s>(
        &'s self,
        steps: &[&PlanStep<'_>],
        options: ReadOptions<'_>,
        progress: &[PlanStepState],
    ) -> Result<Vec<Option<Box<dyn Prepared + 's>>>> {
        let sharing = self.on_shared_connections(steps, progress);
        let begin = |((step, progress), sharing): ((&&PlanStep<'_>, &PlanStepState), Sharing)| match progress
            .remote
        {
            Some(_) => None,
            None => Some(self.ready(step.shard).and_then(|(shard, connection)| {
                let names = &self.cluster.layout().location(step.shard)?.names;
                let sql = &step.statement.sql;
                Ok((shard, (sharing != Sharing::Later).then(|| connection.begin_to_prepare(names, sql))))
            })),
        };
        let begun: Vec<_> = steps.iter().zip(progress).zip(sharing).map(begin).collect();
        let finish = |(step, begun): (&&PlanStep<'_>, Option<Result<BegunOn<'s>>>)| {
            let Some(begun) = begun else { return Ok(None) };
            let prepared = begun.and_then(|(shard, begun)| match begun {
                Some(begun) => begun.finish().map_err(|error| locate(error, shard, options.table)),
                None => self
                    .prepare(step.shard, &step.statement.sql, options.table)
                    .map(|(_, statement)| statement),
            });
            prepared.map(Some).or_else(|error| self.context.tolerated(error).map(|()| None))
        };
        steps.iter().zip(begun).map(finish).collect()
    }
}

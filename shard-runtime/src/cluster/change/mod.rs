//! Changes of the layout while the application reads and writes: the rows of one shard or several are moved to spare shards. All
//! changes follow one protocol. Uses `transaction::change`, `transaction`, `driver`, `planner`, and the lock of
//! `cluster::migrate`.
//!
//! A serving shard never holds a row that it does not own. Rows are copied to shards that serve nothing, and the sources are
//! retired as a whole.
//!
//! | step | where | what |
//! |---|---|---|
//! | 0 | control | the change is recorded ([`Cluster::begin_change`]) |
//! | 1 | targets | their tables are emptied, without indexes ([`target`]) |
//! | 2 | sources | triggers record the rows that change ([`capture`]) |
//! | 3, 4 | targets | rows are copied by id, and again if they have changed ([`copy`]) |
//! | 5 | targets | indexes, and a comparison of all rows ([`verify`]) |
//! | 6 | sources | a fence: the database refuses writes ([`switch`]) |
//! | 7, 8 | targets | the remaining changes are copied and compared |
//! | 9 | sources | the tables get other names, so that readers do not see old rows |
//! | 10 | control | the decision: the new layout is recorded |
//! | 11 | targets | they serve |
//! | 12 | sources | the capture triggers are removed ([`finish`]) |
//!
//! If a process dies, any other process can continue or cancel its change. It takes a new attempt in control first. Every
//! transaction of a change locks the attempt in the databases that it writes, so that an earlier attempt writes nothing more. The
//! decision is a transaction of control that requires the attempt whose fences are in force.

mod capture;
mod carried;
pub(in crate::cluster) mod copy;
mod finish;
mod key;
#[cfg(feature = "admin")]
mod leftovers;
mod lines;
pub(in crate::cluster) mod links;
pub(in crate::cluster) mod plan;
pub(in crate::cluster) mod rows;
mod shape;
mod status;
mod stored;
pub(in crate::cluster) mod switch;
pub(in crate::cluster) mod target;
pub(in crate::cluster) mod verify;
mod writer;

use std::fmt;
use std::time::{Duration, Instant};

pub use key::{KeyMove, MovedKey};
#[cfg(feature = "admin")]
pub(crate) use leftovers::Leftover;
pub use plan::{ChangePlan, ChangePlanner};
pub use status::{ChangePhase, ChangeProgress, ChangeStatus};
pub use switch::Switch;
pub use verify::ChangeReport;

use copy::{Attempt, Copier};
use links::{Endpoint, Links, LockWait, endpoint};
use rows::Tables;
use verify::Touched;

use super::migrate::{MigrationLock, RecordedSteps};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::own_tables;
use crate::schema::Table;
use crate::transaction::Cluster;
use crate::transaction::change::{
    ChangeRecord, ChangeState, Part, Role, claim_part, hidden_name, is_gone, lock_part, refuse_serving,
    remove_fence, rename, unfence, write_part,
};
use crate::transaction::commit::apply_decided_in;
use crate::transaction::facts;
use carried::OfSources;

/// The number of rows that one transaction of a copy or a backfill writes, and the rest after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    rows: u32,
    rest: Duration,
}

impl Default for Pace {
    /// Returns 1,000 rows and no rest.
    fn default() -> Self {
        Pace { rows: 1_000, rest: Duration::ZERO }
    }
}

impl Pace {
    pub(in crate::cluster) fn rows_and_rest(self) -> (u32, Duration) {
        (self.rows, self.rest)
    }

    /// Writes this number of rows in one transaction; at least one.
    pub fn rows(rows: u32) -> Self {
        Pace { rows: rows.max(1), ..Pace::default() }
    }

    /// Rests for this time after each transaction.
    pub fn rest(self, rest: Duration) -> Self {
        Pace { rest, ..self }
    }
}

/// A change of the layout that has begun; made by [`Cluster::begin_change`] and [`Cluster::changes`].
///
/// Dropping it loses nothing: any process can continue the change.
pub struct Change {
    /// The handle as it was before the change: its layout has the sources.
    cluster: Cluster,
    record: ChangeRecord,
    /// Whether this value has taken the attempt.
    is_owner: bool,
    /// The rows that were copied again since all rows were compared; `None` before that.
    touched: Option<Touched>,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("record", &self.record).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Begins a change: records it, empties the targets, and makes the triggers that record changed rows on the sources. From now
    /// on a write on a source takes somewhat longer.
    ///
    /// It waits for a running migration. While a change runs, `create`, migrations and other changes are refused.
    ///
    /// # Errors
    /// - [`ErrorKind::Layout`] if another change runs, or the layout was changed since the plan was made.
    /// - [`ErrorKind::Configuration`] if a source has tables that a change cannot move.
    /// - Those of the databases.
    ///
    /// After an error nothing of the change remains.
    pub fn begin_change(&self, plan: &ChangePlan) -> Result<Change> {
        self.reload()?;
        let cluster = self.latest().clone();
        let control = &cluster.0.control;
        let _lock = MigrationLock::take(&*control.driver, &control.cluster, cluster.0.timeout, || {})?;
        cluster.end_key_move()?;
        cluster.check_change(plan)?;
        let record = control.begin_change(&plan.record)?;
        let change = Change { cluster: cluster.clone(), record, is_owner: true, touched: None };
        match change.record_attempt().and_then(|()| change.try_names()) {
            Ok(()) => Ok(change),
            Err(error) => match change.cancel() {
                Ok(()) => Err(error),
                Err(failed) => {
                    Err(error.with_remedy(&format!("cancelling the change failed, too: {failed}")))
                }
            },
        }
    }

    /// Refuses tables that a change cannot move. It writes nothing and takes no locks.
    ///
    /// # Errors
    /// Those of [`begin_change`](Cluster::begin_change) about the tables of its shards.
    pub(crate) fn check_change(&self, plan: &ChangePlan) -> Result<()> {
        let (sources, targets) = (sources_of(self, &plan.record)?, targets_of(self, &plan.record)?);
        let links = Links::connect(self, sources.iter().chain(&targets).copied())?;
        let tables: Vec<&'static Table> = self.0.layout.tables().collect();
        for source in &sources {
            let checked = capture::check(links.at(*source)?, *source, &tables);
            checked.map_err(|error| error.on_shard(source.name))?;
        }
        // Compares the columns, too.
        Tables::new(self, &links, &plan.record, sources, targets).map(drop)
    }

    /// Returns the changes that are not retired, ascending by number: a running one, and those whose sources still hold their
    /// rows under other names.
    ///
    /// # Errors
    /// Those of the control database.
    pub fn changes(&self) -> Result<Vec<Change>> {
        let cluster = self.latest();
        let changes = cluster.0.control.changes()?.into_iter();
        let changes = changes.filter(|change| change.state != ChangeState::Retired);
        Ok(changes
            .map(|record| Change { cluster: cluster.clone(), record, is_owner: false, touched: None })
            .collect())
    }
}

impl Change {
    /// Returns the number of the change, which the cluster never gives again.
    pub fn number(&self) -> u64 {
        self.record.number
    }

    fn attempt(&self) -> (u64, u64) {
        (self.record.number, self.record.attempt)
    }

    fn links(&self) -> Result<Links> {
        Links::connect(&self.cluster, self.sources()?.into_iter().chain(self.targets()?))
    }

    fn sources(&self) -> Result<Vec<Endpoint<'_>>> {
        sources_of(&self.cluster, &self.record)
    }

    fn targets(&self) -> Result<Vec<Endpoint<'_>>> {
        targets_of(&self.cluster, &self.record)
    }

    /// Returns those of the named shards that still exist, each with its connection. A shard whose database is missing, or holds
    /// another shard now, needs no cleanup.
    fn existing<'c>(&'c self, names: &'c [String], is_source: bool) -> Result<Vec<(Endpoint<'c>, Links)>> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let connected = endpoint(&self.cluster, name, is_source).and_then(|endpoint| {
                let links = Links::connect(&self.cluster, [endpoint])?;
                let own = endpoint.location.names.table(own_tables::SHARD);
                let rows = facts::texts(links.at(endpoint)?, &format!("SELECT shard FROM {own}"), &[])?;
                let names_it =
                    |held: &String| held == name || held.starts_with(&format!("{name}, retired by"));
                Ok(rows.iter().flatten().any(names_it).then_some((endpoint, links)))
            });
            match connected {
                Ok(connected) => found.extend(connected),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error.on_shard(name)),
            }
        }
        Ok(found)
    }

    /// Returns all tables of a source.
    fn tables(&self) -> Vec<&'static Table> {
        self.cluster.0.layout.tables().collect()
    }

    /// Calls the closure with the connections and the tables of the change.
    fn with_copier<O>(&self, run: impl FnOnce(&Copier<'_>) -> Result<O>) -> Result<O> {
        let links = self.links()?;
        let (sources, targets) = (self.sources()?, self.targets()?);
        let tables = Tables::new(&self.cluster, &links, &self.record, sources.clone(), targets.clone())?;
        let (change, attempt) = self.attempt();
        let attempt = Attempt::Change(change, attempt);
        run(&Copier { links: &links, tables: &tables, sources, targets, attempt })
    }

    /// Takes the change over, unless this value has begun it or taken it over already.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`] if it was cancelled or finished meanwhile.
    fn ensure_attempt(&mut self) -> Result<()> {
        if !self.is_owner { self.take_over() } else { Ok(()) }
    }

    /// Takes a new attempt, which ends the previous one, and records it on all shards of the change.
    fn take_over(&mut self) -> Result<()> {
        // Another change may have been made since this handle was opened.
        self.cluster.reload()?;
        self.cluster = self.cluster.latest().clone();
        let now = self.cluster.0.control.next_attempt(self.number(), None, ChangeState::Copying)?;
        match now {
            Some(now) if now.state == ChangeState::Copying => self.record = now,
            now => return Err(self.has_ended(now.map(|now| now.state))),
        }
        self.record_attempt()?;
        self.is_owner = true;
        Ok(())
    }

    fn has_ended(&self, state: Option<ChangeState>) -> Error {
        let what = match state {
            None => "was cancelled",
            Some(ChangeState::Copying) => "was taken over by another attempt",
            Some(ChangeState::Cancelling) => "is being cancelled; cancel it again to end that",
            Some(_) => "is decided; finish it",
        };
        Error::new(ErrorKind::Stale, format!("change {} {what}", self.number()))
    }

    /// Records the attempt on the targets and then on the sources, where it removes fences of earlier attempts. It also makes
    /// anything that an earlier attempt has not made yet.
    fn record_attempt(&self) -> Result<()> {
        // Prepared participants of sessions that have ended hold locks on the tables.
        self.cluster.recover()?;
        let links = self.links()?;
        let (change, attempt) = self.attempt();
        let (layout, control) = (&self.cluster.0.layout, &self.cluster.0.control);
        let (tables, sources) = (self.tables(), self.sources()?);
        // Otherwise the next migration would run the steps again on rows that have them.
        let steps = sources.iter().map(|source| RecordedSteps::read(links.at(*source)?, source.location));
        let steps = RecordedSteps::common(steps.collect::<Result<_>>()?);
        for target in self.targets()? {
            let connection = links.at(target)?;
            let entered = links.transaction(&[target], LockWait::Durable, || {
                match self.lock_current(connection, target, ChangeState::Copying)? {
                    Some(part) if part.change == change => {
                        refuse_serving(part, change, target.name)?;
                        target::drop_constraints(connection, target, layout)?;
                    }
                    _ => {
                        let OfSources { plain, special, checks } =
                            OfSources::find(&links, target, &sources, &tables)?;
                        target::empty(connection, target, layout)?;
                        target::try_indexes(connection, &special)?;
                        target::make_checks(connection, target, &checks)?;
                        target::record_indexes(connection, target, &[plain, special].concat())?;
                        steps.clone().record_but_for_contracts(connection, target.location)?;
                    }
                }
                write_part(connection, target.location, Some(Part { role: Role::Incoming, change, attempt }))
            });
            entered.map_err(|error| error.on_shard(target.name))?;
        }
        for source in sources {
            let connection = links.at(source)?;
            let entered = links.transaction(&[source], LockWait::Durable, || {
                apply_decided_in(control, layout, source.location.database, connection)?;
                match self.lock_current(connection, source, ChangeState::Copying)? {
                    Some(part) if part.change == change => {
                        if matches!(part.role, Role::Fenced | Role::Hidden) {
                            unfence(connection, source.location, (source.name, change))?;
                        }
                    }
                    _ => {
                        capture::check(connection, source, &tables)?;
                        capture::make(connection, source, &tables)?;
                    }
                }
                write_part(connection, source.location, Some(Part { role: Role::Source, change, attempt }))
            });
            entered.map_err(|error| error.on_shard(source.name))?;
        }
        Ok(())
    }

    /// Locks a shard's part, and checks that the attempt is still the current one in control, in this state. The part may be of
    /// another change, or absent.
    fn lock_current(
        &self,
        connection: &dyn Connection,
        endpoint: Endpoint<'_>,
        state: ChangeState,
    ) -> Result<Option<Part>> {
        let part = lock_part(connection, endpoint.location)?;
        if let Some(part) = part.filter(|part| part.change == self.number()) {
            self.check_newer(part)?;
        }
        match self.cluster.0.control.change(self.number())? {
            Some(now) if now.attempt == self.record.attempt && now.state == state => Ok(part),
            now => Err(self.has_ended(now.map(|now| now.state))),
        }
    }

    fn check_newer(&self, part: Part) -> Result<()> {
        if part.attempt <= self.record.attempt {
            return Ok(());
        }
        let message = format!(
            "attempt {} of change {} has ended: attempt {} has taken over",
            self.record.attempt, part.change, part.attempt
        );
        Err(Error::new(ErrorKind::Stale, message))
    }

    /// Checks that the tables of the sources can be renamed, which the switch needs: a view or a trigger can prevent that.
    fn try_names(&self) -> Result<()> {
        let links = self.links()?;
        let tried = || Error::new(ErrorKind::Database, "tried");
        for source in self.sources()? {
            let connection = links.at(source)?;
            let mut is_possible = false;
            let result = links.transaction(&[source], LockWait::Timeout, || {
                for (at, table) in self.tables().iter().enumerate() {
                    rename(connection, source.location, table.name, &hidden_name(self.number(), at))
                        .map_err(|error| error.in_table(table.name))?;
                }
                is_possible = true;
                // Rolls back.
                Err::<(), Error>(tried())
            });
            if let (Err(error), false) = (result, is_possible) {
                let message =
                    format!("the table cannot be renamed, which the switch of a change does: {error}");
                return Err(Error::new(error.kind(), message).with_source(error).on_shard(source.name));
            }
        }
        Ok(())
    }

    /// Copies all rows, and those that have changed meanwhile, and then makes the indexes. It continues a copy that any process
    /// has begun. `progress` is called after each transaction.
    ///
    /// # Errors
    /// - [`ErrorKind::Stale`] if another process has taken the change over or cancelled it.
    /// - [`ErrorKind::Layout`] if a row's key belongs on no target.
    /// - Those of the databases.
    ///
    /// The change stays as it is: call this method again, or cancel.
    pub fn copy(&mut self, pace: Pace, progress: impl FnMut(&ChangeProgress)) -> Result<()> {
        self.ensure_attempt()?;
        let copied = self.copy_all(pace, progress);
        self.give_up_on_error(copied)
    }

    /// Gives the attempt up after an error: the outcome of a commit may be unknown, so that the next call takes a new attempt.
    fn give_up_on_error<O>(&mut self, result: Result<O>) -> Result<O> {
        if result.is_err() {
            self.is_owner = false;
            self.touched = None;
        }
        result
    }

    fn copy_all(&self, pace: Pace, mut progress: impl FnMut(&ChangeProgress)) -> Result<()> {
        // An earlier call may have copied some.
        let rows = self.rows_of(&self.record.sources)?.saturating_sub(self.rows_of(&self.record.targets)?);
        let mut state = ChangeProgress::new(rows);
        self.with_copier(|copier| {
            copier.align(&self.cluster.0.layout)?;
            for source in 0..copier.sources.len() {
                while let Some(batch) = copier.copy_batch(source, pace.rows)? {
                    state.add(ChangePhase::Copying, batch.table.name, batch.rows);
                    progress(&state);
                    std::thread::sleep(pace.rest);
                }
            }
            self.catch_up(copier, pace, &mut state, &mut progress)?;
            for target in &copier.targets {
                let connection = copier.links.at(*target)?;
                let made = copier.links.transaction(&[*target], LockWait::Timeout, || {
                    claim_part(connection, target.location, self.attempt())?;
                    target::make_indexes(connection, *target)
                });
                made.map_err(|error| error.on_shard(target.name))?;
                state.add(ChangePhase::Indexes, target.name, 0);
                progress(&state);
            }
            self.catch_up(copier, pace, &mut state, &mut progress)
        })
    }

    /// Counts the rows of some shards, as far as they can be read.
    fn rows_of(&self, shards: &[String]) -> Result<u64> {
        let rows = shards.iter().map(|shard| {
            let shard = self.cluster.0.layout.shards().require(shard)?;
            Ok(self.cluster.size_of_shard(shard).0.unwrap_or_default())
        });
        rows.sum()
    }

    /// Copies changed rows until few remain.
    fn catch_up(
        &self,
        copier: &Copier<'_>,
        pace: Pace,
        state: &mut ChangeProgress,
        progress: &mut impl FnMut(&ChangeProgress),
    ) -> Result<()> {
        let limit = u64::from(pace.rows);
        // Repeats while one pass handles more rows than one transaction copies, for ten minutes at most: the switch copies the
        // rest.
        let began = Instant::now();
        loop {
            let mut handled = 0;
            for source in 0..copier.sources.len() {
                handled += copier.catch_up(source, LockWait::Durable)?.len() as u64;
            }
            state.caught_up(handled, copier.dirty()?);
            progress(state);
            if handled <= limit || began.elapsed() > Duration::from_secs(600) {
                return Ok(());
            }
            std::thread::sleep(pace.rest);
        }
    }

    /// Compares every row with its copy while the application writes. Rows that differ are copied again and compared again.
    ///
    /// JSON that is copied between a SQLite file and a server is not compared: they write it differently.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if a row differs that was not written since it was copied; those of [`copy`](Change::copy).
    pub fn verify(&mut self) -> Result<ChangeReport> {
        self.verify_noting(&mut |_| {})
    }

    /// Does the same as [`verify`](Change::verify), and calls `progress` with the number of rows compared since its last call.
    pub(crate) fn verify_noting(&mut self, progress: &mut dyn FnMut(u64)) -> Result<ChangeReport> {
        self.ensure_attempt()?;
        let verified = self.compare_all(progress);
        let (report, touched) = self.give_up_on_error(verified)?;
        self.touched = Some(touched);
        Ok(report)
    }

    /// Compares every row. Also returns the rows that were copied again meanwhile.
    fn compare_all(&self, progress: &mut dyn FnMut(u64)) -> Result<(ChangeReport, Touched)> {
        self.with_copier(|copier| {
            let mut touched = Touched::default();
            let (rows, mut different) = copier.compare(&mut |seen| {
                if !seen.are_copies {
                    progress(seen.rows.len() as u64);
                }
                Ok(())
            })?;
            let count = different.iter().map(|different| different.ids.len() as u64).sum();
            for _ in 0..10 {
                for source in 0..copier.sources.len() {
                    touched.add(source, copier.catch_up(source, LockWait::Durable)?);
                }
                if different.is_empty() {
                    break;
                }
                let mut again = Vec::new();
                for verify::Different { source, table, ids } in different {
                    let ids = copier.different_listed(source, table, &ids)?;
                    if !ids.is_empty() {
                        again.push(verify::Different { source, table, ids });
                    }
                }
                different = again;
            }
            // Rows that are written all the time are compared under the fence.
            if let Some(verify::Different { table, ids, .. }) = different.first()
                && copier.dirty()? == 0
            {
                let id = ids.first().map_or_else(String::new, ToString::to_string);
                return Err(copier.differ(table, &format!("the row with id {id}")));
            }
            for verify::Different { source, table, ids } in different {
                ids.into_iter().for_each(|id| touched.add_row(source, table, id));
            }
            Ok((ChangeReport { rows, different: count }, touched))
        })
    }

    /// Cancels the change, and removes everything that it has made. Any process may cancel it, also while another one copies.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`] if the change is decided; those of the databases, after which the call can be repeated.
    pub fn cancel(mut self) -> Result<()> {
        let control = &self.cluster.0.control;
        let now = control.next_attempt(self.number(), None, ChangeState::Cancelling)?;
        match now {
            None => return Ok(()),
            Some(now) if now.is_decided() => return Err(self.has_ended(Some(now.state))),
            Some(now) => self.record = now,
        }
        let links = Links::connect(&self.cluster, self.sources()?)?;
        let (change, attempt) = self.attempt();
        // Durable before control forgets the change: if a power loss restored a fence after that, no process would remove it. The
        // fences go first, because removing them does not wait for readers.
        for is_all in [false, true] {
            for source in self.sources()? {
                let connection = links.at(source)?;
                let removed = links.transaction(&[source], LockWait::Durable, || {
                    match self.lock_current(connection, source, ChangeState::Cancelling)? {
                        Some(part) if part.change == change => {
                            if matches!(part.role, Role::Fenced | Role::Hidden) {
                                unfence(connection, source.location, (source.name, change))?;
                            }
                            if !is_all {
                                let part = Part { role: Role::Source, change, attempt };
                                return write_part(connection, source.location, Some(part));
                            }
                            remove_fence(connection, source.location)?;
                            capture::remove(connection, source)?;
                            write_part(connection, source.location, None)
                        }
                        _ => Ok(()),
                    }
                });
                removed.map_err(|error| error.on_shard(source.name))?;
            }
        }
        // A missing target needs no cleanup: it serves nothing.
        for (target, links) in self.existing(&self.record.targets, false)? {
            let connection = links.at(target)?;
            let removed = links.transaction(&[target], LockWait::Durable, || {
                match self.lock_current(connection, target, ChangeState::Cancelling)? {
                    Some(part) if part.change == change => {
                        refuse_serving(part, change, target.name)?;
                        write_part(connection, target.location, Some(Part { attempt, ..part }))?;
                        target::empty(connection, target, &self.cluster.0.layout)?;
                        target::make_indexes(connection, target)?;
                        target::make_constraints(connection, target)?;
                        write_part(connection, target.location, None)
                    }
                    _ => Ok(()),
                }
            });
            removed.map_err(|error| error.on_shard(target.name))?;
            target::validate(connection, target).map_err(|error| error.on_shard(target.name))?;
        }
        self.cluster.0.control.forget_change(&self.record)
    }
}

fn sources_of<'c>(cluster: &'c Cluster, change: &'c ChangeRecord) -> Result<Vec<Endpoint<'c>>> {
    change.sources.iter().map(|name| endpoint(cluster, name, true)).collect()
}

fn targets_of<'c>(cluster: &'c Cluster, change: &'c ChangeRecord) -> Result<Vec<Endpoint<'c>>> {
    change.targets.iter().map(|name| endpoint(cluster, name, false)).collect()
}

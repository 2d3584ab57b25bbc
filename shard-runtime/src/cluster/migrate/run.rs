//! Runs a migration: shard by shard, and on each shard what is added, then the numbered steps, then indexes and contracts.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::backfill::{BackfillRows, cursor_id, cursor_text};
use super::expand::{self, How, Work};
use super::lock::MigrationLock;
use super::plan::{self, MigrationPlan};
use super::rename::{Progress, Rename};
use super::state::{self, StepState};
use super::status::{MigrationStatus, StepPhase};
use super::step::{Action, Migrations, Step};
use super::{index, rebuild, require};
use crate::cluster::builder::Builder;
use crate::driver::{Connection, Mode, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Place;
use crate::planner::sql::quoted;
use crate::query::Models;
use crate::schema::Shard;
use crate::transaction::Cluster;
use crate::transaction::commit::apply_decided_in;

/// How long a statement waits for a lock on a server before its transaction is tried again: later statements wait behind it.
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// A migration that can run; made by [`Builder::migrate`].
pub struct Migration<M> {
    builder: Builder,
    cluster: Cluster,
    migrations: Migrations,
    plan: MigrationPlan,
    rows: u32,
    rest: Duration,
    canary: Option<String>,
    at_once: usize,
    models: PhantomData<fn() -> M>,
}

impl<M> fmt::Debug for Migration<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migration").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// One event of a migration that runs. Prints a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationProgress {
    /// The shard's name.
    pub shard: String,
    /// The step's number; 0 for what is added without a step.
    pub step: u32,
    /// The step's name.
    pub name: String,
    /// How far the step is.
    pub phase: StepPhase,
    /// How many rows its backfills have read.
    pub rows: u64,
    /// The SQL that is about to run; `None` after a portion, at the end of a step, and while another migrator is waited for.
    pub sql: Option<String>,
}

impl fmt::Display for MigrationProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MigrationProgress { shard, step, name, phase, rows, sql } = self;
        write!(f, "{shard}: step {step} `{name}`: {phase}")?;
        if *rows > 0 {
            write!(f, ", {rows} rows")?;
        }
        match sql {
            Some(sql) => write!(f, ": {sql}"),
            None => Ok(()),
        }
    }
}

impl<M: Models> Migration<M> {
    pub(super) fn new(builder: Builder, cluster: Cluster, migrations: Migrations) -> Result<Self> {
        let plan = MigrationPlan::new(&cluster, &migrations)?;
        Ok(Migration {
            builder,
            cluster,
            migrations,
            plan,
            rows: 1_000,
            rest: Duration::ZERO,
            canary: None,
            at_once: 1,
            models: PhantomData,
        })
    }

    /// Returns what would be run, as it was when the migration was made.
    pub fn plan(&self) -> &MigrationPlan {
        &self.plan
    }

    /// Returns how far every shard is.
    ///
    /// # Errors
    /// As [`Cluster::migration_status`].
    pub fn status(&self) -> Result<MigrationStatus> {
        self.cluster.migration_status()
    }

    /// Runs contracts, too: drops columns, makes columns NOT NULL. Programs of earlier releases that use these columns then
    /// fail. Without it, contracts wait.
    pub fn contract(mut self) -> Self {
        self.plan.contracts = true;
        self
    }

    /// Sets how many rows a backfill changes in one transaction, and how long it rests after each. Default: 1,000 rows, no
    /// rest. While a portion is written, a SQLite shard is locked for other writers.
    pub fn pace(mut self, rows: u32, rest: Duration) -> Self {
        (self.rows, self.rest) = (rows.max(1), rest);
        self
    }

    /// Migrates this shard before all others, and alone.
    pub fn canary(mut self, shard: impl Into<String>) -> Self {
        self.canary = Some(shard.into());
        self
    }

    /// Migrates up to so many shards at the same time, after the canary. Default: one after the other, in the cluster's order.
    pub fn at_once(mut self, shards: usize) -> Self {
        self.at_once = shards.max(1);
        self
    }

    /// Runs the migration, and returns how far every shard is. `progress` is called for each statement and after each portion.
    ///
    /// It waits for another migrator of the cluster. Decided transactions are applied first. It stops at the first failure;
    /// running it again continues there. If it fails, the programs that ran before can still run.
    ///
    /// # Errors
    /// They name the shard, the step and the SQL. [`ErrorKind::UnknownShard`] if the canary is not configured. Those of
    /// [`Builder::create`], which is called at the end, to make what new models need.
    pub fn run(self, progress: impl Fn(&MigrationProgress) + Send + Sync) -> Result<MigrationStatus> {
        let cluster = &self.cluster;
        let layout = cluster.layout();
        let canary = self.canary.as_deref().map(|name| layout.shards().require(name)).transpose()?;
        let control = &cluster.0.control;
        let _lock = MigrationLock::take(&*control.driver, &control.cluster, cluster.0.timeout, || {
            progress(&MigrationProgress {
                shard: "control".to_owned(),
                step: 0,
                name: "waits for another migrator".to_owned(),
                phase: StepPhase::Pending,
                rows: 0,
                sql: None,
            });
        })?;
        cluster.recover()?;
        // Another migrator may have changed the shards since the plan was made.
        MigrationPlan::new(cluster, &self.migrations)?;
        let run = |shard: &Shard| {
            let place = layout.place(shard.index())?;
            let on_shard = OnShard { migration: &self, shard, place, progress: &progress };
            on_shard.run().map_err(|error| error.on_shard(shard.name()))
        };
        if let Some(canary) = canary {
            run(canary)?;
        }
        let others = layout
            .shards()
            .iter()
            .filter(|shard| canary.is_none_or(|canary| canary.index() != shard.index()));
        let others: Vec<&Shard> = others.collect();
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None::<(usize, Error)>));
        std::thread::scope(|scope| {
            for _ in 0..self.at_once.min(others.len()) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(shard) = others.get(index) else { return };
                        if failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                            return;
                        }
                        let Err(error) = run(shard) else { continue };
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                            *failed = Some((index, error));
                        }
                    }
                });
            }
        });
        if let Some((_, error)) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let status = cluster.migration_status()?;
        // Records the layout of new models, and fills new reference tables.
        match self.builder.clone().create::<M>() {
            // A model may declare a column already as the contract will make it.
            Err(error)
                if error.kind() == ErrorKind::Schema
                    && !self.plan.contracts
                    && status.waits_for_contract() => {}
            created => drop(created?),
        }
        Ok(status)
    }
}

/// The migration of one shard.
struct OnShard<'r, M> {
    migration: &'r Migration<M>,
    shard: &'r Shard,
    place: &'r Place,
    progress: &'r (dyn Fn(&MigrationProgress) + Send + Sync),
}

impl<M> OnShard<'_, M> {
    fn run(&self) -> Result<()> {
        let cluster = &self.migration.cluster;
        let Some(database) = cluster.0.databases.get(self.place.database) else { return Ok(()) };
        let connection = database.driver.connect_waiting(Mode::Open, cluster.0.timeout)?;
        let connection = &*connection;
        let (place, layout, migrations) = (self.place, cluster.layout(), &self.migration.migrations);
        let states = state::read(connection, place)?;
        if states.is_empty() {
            self.transaction(connection, How::Together, |connection| connection.run(&state::make(place)))?;
        }
        let mut added = StepState { name: "additions".to_owned(), ..StepState::default() };
        added.phase = StepPhase::Done;
        for work in expand::pending(connection, place, layout, migrations)? {
            self.work(connection, &mut added, &work, None)?;
        }
        let mut states: Vec<(StepState, &Step)> = migrations
            .steps()
            .iter()
            .map(|step| {
                let state = states.iter().find(|state| state.number == step.number).cloned();
                (state.unwrap_or_else(|| new_state(step)), step)
            })
            .collect();
        // Before all steps: a backfill reads the columns of this release.
        for (state, step) in states.iter_mut().filter(|(state, _)| state.phase < StepPhase::Ready) {
            self.recorded(connection, state, |state| self.rename_columns(connection, state, step))?;
        }
        for (state, step) in states.iter_mut().filter(|(state, _)| state.phase < StepPhase::Ready) {
            self.recorded(connection, state, |state| self.step(connection, state, step))?;
        }
        for work in index::pending(connection, place, layout)? {
            self.recorded(connection, &mut added, |added| self.work(connection, added, &work, None))?;
        }
        for (state, step) in states.iter_mut().filter(|(state, _)| state.phase == StepPhase::Ready) {
            if self.migration.plan.contracts {
                self.recorded(connection, state, |state| self.contract(connection, state, step))?;
            }
        }
        Ok(())
    }

    /// Runs a part of a step, and records its error.
    fn recorded(
        &self,
        connection: &dyn Connection,
        state: &mut StepState,
        run: impl FnOnce(&mut StepState) -> Result<()>,
    ) -> Result<()> {
        run(state).map_err(|error| {
            let StepState { number, name, .. } = state;
            let message = match number {
                0 => error.to_string(),
                _ => format!("step {number} `{name}`: {error}"),
            };
            state.error = error.to_string();
            // The shard may be full, or gone: then nothing is recorded.
            let _ = self.transaction(connection, How::Together, |connection| {
                state::write(connection, self.place, state)
            });
            let kind = error.kind();
            Error::new(kind, message).with_source(error)
        })
    }

    fn tell(&self, state: &StepState, sql: Option<&str>) {
        (self.progress)(&MigrationProgress {
            shard: self.shard.name().to_owned(),
            step: state.number,
            name: state.name.clone(),
            phase: state.phase,
            rows: state.rows,
            sql: sql.map(str::to_owned),
        });
    }

    /// Runs in a transaction of the shard, after the decided transactions that it misses. On a server it tries again while
    /// another transaction holds a lock.
    fn transaction<R>(
        &self,
        connection: &dyn Connection,
        how: How,
        mut run: impl FnMut(&dyn Connection) -> Result<R>,
    ) -> Result<R> {
        let cluster = &self.migration.cluster;
        let began = Instant::now();
        if how == How::Rebuild {
            connection.run("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON")?;
        }
        let result = loop {
            let done = connection.begin(Transaction::Write).and_then(|()| {
                connection.limit_lock_waits(LOCK_WAIT);
                let broken = match how {
                    How::Rebuild => rebuild::broken_foreign_keys(connection)?,
                    How::Together | How::Alone => 0,
                };
                apply_decided_in(&cluster.0.control, cluster.layout(), self.place.database, connection)?;
                let result = run(connection)?;
                if how == How::Rebuild && rebuild::broken_foreign_keys(connection)? > broken {
                    let message = "rows refer to rows that do not exist any more";
                    return Err(Error::new(ErrorKind::ForeignKey, message));
                }
                connection.commit().map(|()| result)
            });
            match done {
                Err(error) => {
                    connection.rollback()?;
                    let is_tried_again = error.is_busy() && self.place.dialect.is_on_server();
                    if !is_tried_again || began.elapsed() > cluster.0.timeout {
                        break Err(error);
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                done => break done,
            }
        };
        if how == How::Rebuild {
            connection.run("PRAGMA legacy_alter_table = OFF; PRAGMA foreign_keys = ON")?;
        }
        result
    }

    /// Runs SQL and records it. `next` is what is recorded, if it differs from the state.
    fn work(
        &self,
        connection: &dyn Connection,
        state: &mut StepState,
        work: &Work,
        next: Option<StepState>,
    ) -> Result<()> {
        let failed = |error: Error, sql: &str| {
            let message = format!("{error}; the SQL was: {sql}");
            Error::new(error.kind(), message).with_source(error)
        };
        work.sql.iter().for_each(|sql| self.tell(state, Some(sql)));
        let next = StepState { error: String::new(), ..next.unwrap_or_else(|| state.clone()) };
        if work.how == How::Alone {
            work.sql.iter().try_for_each(|sql| connection.run(sql).map_err(|error| failed(error, sql)))?;
            self.transaction(connection, How::Together, |connection| {
                state::write(connection, self.place, &next)
            })?;
        } else {
            self.transaction(connection, work.how, |connection| {
                for sql in &work.sql {
                    connection.run(sql).map_err(|error| failed(error, sql))?;
                }
                state::write(connection, self.place, &next)
            })?;
        }
        *state = next;
        Ok(())
    }

    /// Changes rows portion by portion. After the last one `next` is recorded.
    fn backfill(
        &self,
        connection: &dyn Connection,
        state: &mut StepState,
        rows: &dyn BackfillRows,
        next: impl Fn(&StepState) -> StepState,
    ) -> Result<()> {
        loop {
            let limit = self.migration.rows;
            let (portion, is_last) = self.transaction(connection, How::Together, |connection| {
                let after = cursor_id(&state.cursor)?;
                let portion = rows
                    .portion(connection, self.place, self.shard, after.as_ref(), limit)
                    .map_err(|error| error.in_table(rows.table().name))?;
                let read = StepState {
                    phase: StepPhase::Backfill,
                    rows: state.rows + portion.rows,
                    error: String::new(),
                    cursor: portion.last.as_ref().map_or_else(|| state.cursor.clone(), cursor_text),
                    ..state.clone()
                };
                let is_last = portion.rows < u64::from(limit);
                let recorded = if is_last { next(&read) } else { read };
                state::write(connection, self.place, &recorded)?;
                Ok((recorded, is_last))
            })?;
            *state = portion;
            self.tell(state, None);
            if is_last {
                return Ok(());
            }
            std::thread::sleep(self.migration.rest);
        }
    }

    /// Adds the new columns of the step's renames, and copies the old ones.
    fn rename_columns(&self, connection: &dyn Connection, state: &mut StepState, step: &Step) -> Result<()> {
        for action in &step.actions {
            let Action::Rename { table, column, from } = action else { continue };
            let rename = Rename::new(self.place, table, *column, from)?;
            let mut progress = rename.progress(connection)?;
            if progress == Progress::Old {
                state.phase = StepPhase::Expand;
                let begun = rename.begin(connection)?;
                self.work(
                    connection,
                    state,
                    &begun,
                    Some(StepState { cursor: String::new(), ..state.clone() }),
                )?;
                progress = Progress::Copying;
            }
            if progress == Progress::Copying {
                self.backfill(connection, state, &rename.copy(), |read| read.clone())?;
                for work in rename.finish() {
                    // The next action begins without a cursor.
                    self.work(connection, state, &work, None)?;
                }
                let cleared = StepState { cursor: String::new(), ..state.clone() };
                self.work(connection, state, &Work::together(Vec::new()), Some(cleared))?;
            }
        }
        Ok(())
    }

    fn step(&self, connection: &dyn Connection, state: &mut StepState, step: &Step) -> Result<()> {
        let layout = self.migration.cluster.layout();
        for (index, action) in step.actions.iter().enumerate().skip(state.action) {
            let after =
                |state: &StepState| StepState { action: index + 1, cursor: String::new(), ..state.clone() };
            state.phase = state.phase.max(StepPhase::Expand);
            let next = after(state);
            match action {
                Action::Backfill(rows) => {
                    self.backfill(connection, state, &**rows, after)?;
                    continue;
                }
                Action::Sql { .. } => {
                    if let Some(sql) = plan::sql_of(action, self.place, layout)? {
                        self.work(connection, state, &self.raw(sql), Some(next))?;
                        continue;
                    }
                }
                Action::Require { table, column } => {
                    if let Some(column) = table.columns.get(*column) {
                        require::validate(connection, self.place, table, column)?;
                    }
                }
                Action::Drop { table, column } => {
                    if let Some(work) = expand::relaxed(connection, self.place, table, column)? {
                        self.work(connection, state, &work, Some(next))?;
                        continue;
                    }
                }
                Action::Rename { .. } => {}
                Action::Finished => self.refuse_rows(connection, step)?,
            }
            self.work(connection, state, &Work::together(Vec::new()), Some(next))?;
        }
        let phase =
            if step.actions.iter().any(Action::contracts) { StepPhase::Ready } else { StepPhase::Done };
        let done = StepState { phase, ..state.clone() };
        self.work(connection, state, &Work::together(Vec::new()), Some(done))?;
        self.tell(state, None);
        Ok(())
    }

    /// Returns how SQL of the application runs.
    fn raw(&self, sql: String) -> Work {
        if !self.place.dialect.is_on_server() {
            return Work::together(vec![sql]);
        }
        if super::create_table::has_word(&sql, "CONCURRENTLY") {
            return Work { sql: vec![sql], how: How::Alone };
        }
        let schema = self.place.names.schema.as_deref().unwrap_or("public");
        Work::together(vec![format!("SET LOCAL search_path = {}", quoted(schema)), sql])
    }

    /// Refuses a step that an earlier release should have run, if there are rows.
    fn refuse_rows(&self, connection: &dyn Connection, step: &Step) -> Result<()> {
        for table in self.migration.cluster.layout().tables() {
            let sql = format!("SELECT 1 FROM {} LIMIT 1", self.place.names.table(table.name));
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query(&[])?;
            if rows.advance()? {
                while rows.advance()? {}
                let message = format!(
                    "the shard has rows and did not run {step}; migrate it with an earlier release first"
                );
                return Err(Error::new(ErrorKind::Schema, message).in_table(table.name));
            }
        }
        Ok(())
    }

    fn contract(&self, connection: &dyn Connection, state: &mut StepState, step: &Step) -> Result<()> {
        for action in &step.actions {
            let works = match action {
                Action::Rename { table, column, from } => {
                    let rename = Rename::new(self.place, table, *column, from)?;
                    match rename.progress(connection)? {
                        Progress::Both => vec![rename.contract(connection)?],
                        Progress::Old | Progress::Copying | Progress::New => Vec::new(),
                    }
                }
                Action::Require { table, column } => match table.columns.get(*column) {
                    Some(column) => {
                        require::validate(connection, self.place, table, column)?;
                        require::contract(connection, self.place, table, column)?
                    }
                    None => Vec::new(),
                },
                Action::Drop { table, column } => {
                    require::drop_column(connection, self.place, table, column)?
                }
                Action::Backfill(_) | Action::Sql { .. } | Action::Finished => Vec::new(),
            };
            for work in works {
                self.work(connection, state, &work, None)?;
            }
        }
        let done = StepState { phase: StepPhase::Done, ..state.clone() };
        self.work(connection, state, &Work::together(Vec::new()), Some(done))?;
        self.tell(state, None);
        Ok(())
    }
}

fn new_state(step: &Step) -> StepState {
    StepState { number: step.number, name: step.name.clone(), does: does(step), ..StepState::default() }
}

/// Returns the columns that a step is about, for [`state::Tolerated`].
fn does(step: &Step) -> String {
    let name = |table: &crate::schema::Table, column: usize| {
        table.columns.get(column).map_or("", |column| column.name).to_owned()
    };
    let each = step.actions.iter().map(|action| match action {
        Action::Rename { table, column, from } => {
            let to = state::renames_to(table.name, &name(table, *column));
            to + &state::renames_from(table.name, from)
        }
        Action::Require { table, column } => state::requires(table.name, &name(table, *column)),
        Action::Drop { table, column } => state::drops(table.name, column),
        Action::Backfill(_) | Action::Sql { .. } | Action::Finished => String::new(),
    });
    each.collect()
}

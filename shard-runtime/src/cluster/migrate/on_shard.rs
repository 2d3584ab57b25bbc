//! The migration of one shard: additions, renamed columns, numbered steps, indexes, contracts. Each part is recorded in the
//! transaction that does it.

use std::time::{Duration, Instant};

use super::arrivals::{self, Arrivals};
use super::backfill::{BackfillRows, Next, cursor_id, cursor_text, rows_after};
use super::expand::{self, How, SchemaWork};
use super::plan;
use super::rename::{Rename, RenameProgress};
use super::run::{Migration, MigrationProgress};
use super::state::{self, StepState};
use super::status::StepPhase;
use super::step::{Action, Step};
use super::{index, rebuild, remedy, require, rights};
use crate::driver::{Connection, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::sql::quoted;
use crate::schema::{ColumnDef, Shard, Table};
use crate::transaction::commit::apply_decided_in;

/// The time that a statement waits for a lock on a server before its transaction is retried: later statements queue behind it.
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// The migration of one shard.
pub(super) struct OnShard<'r, M> {
    pub(super) migration: &'r Migration<M>,
    pub(super) shard: &'r Shard,
    pub(super) location: &'r Location,
    pub(super) progress: &'r (dyn Fn(&MigrationProgress) + Send + Sync),
}

impl<M> OnShard<'_, M> {
    pub(super) fn run(&self) -> Result<()> {
        let cluster = &self.migration.cluster;
        let Some(database) = cluster.0.databases.get(self.location.database) else { return Ok(()) };
        let connection = database.driver.connect_durable(cluster.0.timeout)?;
        let connection = &*connection;
        self.run_on(connection).map_err(|error| remedy::added(error, connection, self.location))
    }

    fn run_on(&self, connection: &dyn Connection) -> Result<()> {
        let layout = self.migration.cluster.layout();
        let (location, migrations) = (self.location, &self.migration.migrations);
        rights::check(connection, location, layout, migrations, self.migration.plan.contracts)?;
        let states = state::read(connection, location)?;
        if states.is_empty() {
            let make = state::make(location);
            self.transaction(connection, How::Together, |connection| connection.lock(&make))
                .map_err(|error| remedy::of_sql(error, &make))?;
        }
        let had_failed = states.iter().any(|state| state.number == 0 && !state.error.is_empty());
        let mut added = StepState { name: "additions".to_owned(), ..StepState::default() };
        added.phase = StepPhase::Done;
        for work in expand::pending(connection, location, layout, migrations)? {
            self.recorded(connection, &mut added, |added| self.work(connection, added, &work, None))?;
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
        for work in index::pending(connection, location, layout)? {
            self.recorded(connection, &mut added, |added| self.work(connection, added, &work, None))?;
        }
        for (state, step) in states.iter_mut().filter(|(state, _)| state.phase == StepPhase::Ready) {
            if self.migration.plan.contracts {
                self.recorded(connection, state, |state| self.contract(connection, state, step))?;
            }
        }
        // An operator may have run the SQL of the additions: then none has recorded its success.
        if had_failed {
            self.work(connection, &mut added, &SchemaWork::together(Vec::new()), None)?;
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
            // The shard may be full or unreachable: then nothing is recorded.
            let _ = self.record(connection, state, state, How::Together, |_| Ok(()));
            let kind = error.kind();
            Error::new(kind, message).with_source(error)
        })
    }

    pub(super) fn tell(&self, state: &StepState, sql: Option<&str>) {
        self.tell_of(state, None, sql);
    }

    fn tell_of(&self, state: &StepState, of: Option<u64>, sql: Option<&str>) {
        (self.progress)(&MigrationProgress {
            shard: self.shard.name().to_owned(),
            step: state.number,
            name: state.name.clone(),
            phase: state.phase,
            rows: state.rows,
            of,
            sql: sql.map(str::to_owned),
        });
    }

    /// Runs a transaction on the shard, after decided transactions that are not applied there. On a server it is retried while
    /// another transaction holds a lock.
    pub(super) fn transaction<R>(
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
            let done = connection.begin(TransactionMode::Write).and_then(|()| {
                connection.limit_lock_waits(LOCK_WAIT);
                let (broken, objects) = match how {
                    How::Rebuild => {
                        (rebuild::broken_foreign_keys(connection)?, rebuild::broken_objects(connection)?)
                    }
                    How::Together | How::Alone => Default::default(),
                };
                apply_decided_in(&cluster.0.control, cluster.layout(), self.location.database, connection)?;
                let result = run(connection)?;
                if how == How::Rebuild {
                    rebuild::refuse_broken_foreign_keys(connection, &broken)?;
                    rebuild::refuse_broken_objects(connection, &objects)?;
                }
                connection.commit().map(|()| result)
            });
            match done {
                Err(error) => {
                    connection.rollback()?;
                    let is_tried_again = error.is_busy() && self.location.dialect.is_on_server();
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

    /// Runs a part of a step in a transaction, and records `next` in it. No other migrator can run the part, too.
    fn record(
        &self,
        connection: &dyn Connection,
        state: &StepState,
        next: &StepState,
        how: How,
        run: impl Fn(&dyn Connection) -> Result<()>,
    ) -> Result<()> {
        self.transaction(connection, how, |connection| {
            self.claim(connection, state)?;
            run(connection)?;
            state::write(connection, self.location, next)
        })
    }

    /// Claims the record of a step. Additions without a step need no claim: the database refuses to add a column twice.
    fn claim(&self, connection: &dyn Connection, state: &StepState) -> Result<()> {
        if state.number == 0 { Ok(()) } else { state::claim(connection, self.location, state) }
    }

    /// Runs SQL and records it. `next` is the recorded state, if it differs from the current one.
    fn work(
        &self,
        connection: &dyn Connection,
        state: &mut StepState,
        work: &SchemaWork,
        next: Option<StepState>,
    ) -> Result<()> {
        work.sql.iter().for_each(|sql| self.tell(state, Some(sql)));
        let next = StepState { error: String::new(), ..next.unwrap_or_else(|| state.clone()) };
        if work.how == How::Alone {
            work.sql
                .iter()
                .try_for_each(|sql| connection.run(sql).map_err(|error| remedy::of_sql(error, sql)))?;
            self.record(connection, state, &next, How::Together, |_| Ok(()))?;
        } else {
            let run = self.record(connection, state, &next, work.how, |connection| {
                // After a refused lock, the connection must still be able to retry the transaction.
                let mut each = work.sql.iter();
                each.try_for_each(|sql| connection.lock(sql).map_err(|error| remedy::of_sql(error, sql)))
            });
            // The commit failed, or a check before it.
            run.map_err(|error| match work.sql.as_slice() {
                [] => remedy::of_sql(error, &state::describe(self.location, &next)),
                sql => remedy::of_sql(error, &sql.join("; ")),
            })?;
        }
        *state = next.kept();
        Ok(())
    }

    /// Changes rows batch by batch. After the last one `next` is recorded.
    fn backfill(
        &self,
        connection: &dyn Connection,
        state: &mut StepState,
        rows: &dyn BackfillRows,
        (null, arrivals): (Option<&'static ColumnDef>, Option<&Arrivals<'_>>),
        next: impl Fn(&StepState) -> StepState,
    ) -> Result<()> {
        let mut of = None;
        loop {
            let limit = self.migration.rows;
            let (portion, is_last) = self
                .transaction(connection, How::Together, |connection| {
                    self.claim(connection, state)?;
                    let after = cursor_id(&state.cursor)?;
                    let following = Next { after: after.as_ref(), limit, null, among: None };
                    let portion = rows
                        .portion(connection, self.location, self.shard, following)
                        .map_err(|error| error.in_table(rows.table().name))?;
                    if let Some(arrivals) = arrivals {
                        arrivals.remove_changed(connection, &portion.ids)?;
                    }
                    let number = portion.ids.len() as u64;
                    let read = StepState {
                        phase: state.phase.max(StepPhase::Backfill),
                        rows: state.rows + number,
                        error: String::new(),
                        cursor: portion.ids.last().map_or_else(|| state.cursor.clone(), cursor_text),
                        ..state.clone()
                    };
                    let is_last = number < u64::from(limit);
                    let recorded = if is_last { next(&read) } else { read };
                    state::write(connection, self.location, &recorded)?;
                    Ok((recorded, is_last))
                })
                .map_err(|error| remedy::of_sql(error, &rows.describe(self.location)))?;
            *state = portion.kept();
            if is_last {
                self.tell(state, None);
                return Ok(());
            }
            if of.is_none() && null.is_none() {
                of = Some(state.rows + rows_after(connection, self.location, rows.table(), &state.cursor)?);
            }
            self.tell_of(state, of, None);
            std::thread::sleep(self.migration.rest);
        }
    }

    /// Adds the new columns of the step's renames, and copies the old ones.
    fn rename_columns(&self, connection: &dyn Connection, state: &mut StepState, step: &Step) -> Result<()> {
        for action in &step.actions {
            let Action::Rename { table, column, from } = action else { continue };
            let rename = Rename::new(self.location, table, *column, from)?;
            let mut progress = rename.progress(connection)?;
            if progress == RenameProgress::Old {
                state.phase = StepPhase::Expand;
                let begun = rename.begin(connection)?;
                self.work(
                    connection,
                    state,
                    &begun,
                    Some(StepState { cursor: String::new(), ..state.clone() }),
                )?;
                progress = RenameProgress::Copying;
            }
            if progress == RenameProgress::Copying {
                self.backfill(connection, state, &rename.copy(), (None, None), |read| read.clone())?;
                for work in rename.finish() {
                    // The next action begins without a cursor.
                    self.work(connection, state, &work, None)?;
                }
                let cleared = StepState { cursor: String::new(), ..state.clone() };
                self.work(connection, state, &SchemaWork::together(Vec::new()), Some(cleared))?;
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
                    let backfill = (step.number, index);
                    let arrivals = Arrivals::new(self.location, rows.table(), backfill);
                    if !arrivals::recorded(connection, self.location)?.contains(&backfill) {
                        self.work(connection, state, &arrivals.begin(), None)?;
                    }
                    self.backfill(connection, state, &**rows, (None, Some(&arrivals)), after)?;
                    continue;
                }
                Action::Sql { .. } => {
                    if let Some(sql) = plan::sql_of(action, self.location, layout)? {
                        self.work(connection, state, &self.raw(sql), Some(next))?;
                        continue;
                    }
                }
                Action::Drop { table, column } => {
                    if let Some(work) = expand::defaulted(connection, self.location, table, column)? {
                        self.work(connection, state, &work, Some(next))?;
                        continue;
                    }
                }
                // The contract validates: the earlier release still adds rows.
                Action::Rename { .. } | Action::Require { .. } => {}
                Action::Finished => self.refuse_rows(connection, step)?,
            }
            self.work(connection, state, &SchemaWork::together(Vec::new()), Some(next))?;
        }
        let phase =
            if step.actions.iter().any(Action::contracts) { StepPhase::Ready } else { StepPhase::Done };
        let done = StepState { phase, ..state.clone() };
        self.work(connection, state, &SchemaWork::together(Vec::new()), Some(done))?;
        self.tell(state, None);
        Ok(())
    }

    /// Returns the work of an action's SQL: in a transaction, or outside of one.
    fn raw(&self, sql: String) -> SchemaWork {
        if !self.location.dialect.is_on_server() {
            return SchemaWork::together(vec![sql]);
        }
        if super::create_table::has_word(&sql, "CONCURRENTLY") {
            return SchemaWork { sql: vec![sql], how: How::Alone };
        }
        let schema = self.location.names.schema.as_deref().unwrap_or("public");
        SchemaWork::together(vec![format!("SET LOCAL search_path = {}", quoted(schema)), sql])
    }

    /// Refuses a step that an earlier release should have run, if there are rows.
    fn refuse_rows(&self, connection: &dyn Connection, step: &Step) -> Result<()> {
        for table in self.migration.cluster.layout().tables() {
            let sql = format!("SELECT 1 FROM {} LIMIT 1", self.location.names.table(table.name));
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
                    let rename = Rename::new(self.location, table, *column, from)?;
                    match rename.progress(connection)? {
                        RenameProgress::Both => vec![rename.contract(connection)?],
                        RenameProgress::Old | RenameProgress::Copying | RenameProgress::New => Vec::new(),
                    }
                }
                Action::Require { table, column } => match table.columns.get(*column) {
                    Some(column) => {
                        self.fill(connection, state, table, column)?;
                        require::validate(connection, self.location, table, column)?;
                        require::contract(connection, self.location, table, column)?
                    }
                    None => Vec::new(),
                },
                Action::Drop { table, column } => {
                    require::drop_column(connection, self.location, table, column)?
                }
                Action::Backfill(_) | Action::Sql { .. } | Action::Finished => Vec::new(),
            };
            for work in works {
                self.work(connection, state, &work, None)?;
            }
        }
        let done = StepState { phase: StepPhase::Done, ..state.clone() };
        self.work(connection, state, &SchemaWork::together(Vec::new()), Some(done))?;
        self.tell(state, None);
        Ok(())
    }
}

impl<M> OnShard<'_, M> {
    /// Runs the backfills of a table for the rows that the earlier release has added after them, with NULL in this column.
    fn fill(
        &self,
        connection: &dyn Connection,
        state: &mut StepState,
        table: &Table,
        column: &'static ColumnDef,
    ) -> Result<()> {
        let number = state.number;
        let steps = self.migration.migrations.steps().iter().filter(|step| step.number <= number);
        for action in steps.flat_map(|step| &step.actions) {
            if let Action::Backfill(rows) = action
                && rows.table().is(table)
            {
                let cleared = |read: &StepState| StepState { cursor: String::new(), ..read.clone() };
                self.backfill(connection, state, &**rows, (Some(column), None), cleared)?;
            }
        }
        Ok(())
    }
}

pub(super) fn new_state(step: &Step) -> StepState {
    StepState { number: step.number, name: step.name.clone(), does: does(step), ..StepState::default() }
}

/// Returns the columns that a step changes, for [`state::Tolerated`].
pub(super) fn does(step: &Step) -> String {
    let name =
        |table: &Table, column: usize| table.columns.get(column).map_or("", |column| column.name).to_owned();
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

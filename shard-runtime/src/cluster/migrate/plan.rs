//! The plan of a migration: its SQL for each shard, as text.

use std::fmt;

use super::arrivals::{self, Arrivals};
use super::expand::{self, How, SchemaWork};
use super::rename::{Rename, RenameProgress};
use super::state::{self, StepState};
use super::status::StepPhase;
use super::step::{Action, Migrations, Step};
use super::{index, on_shard, require};
use crate::cluster::schema;
use crate::driver::{Connection, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::raw_sql;
use crate::planner::{Layout, Location};
use crate::schema::Shard;
use crate::transaction::Cluster;

/// The SQL that a migration runs on each shard, in the cluster's order; made by [`Migration::plan`](super::Migration::plan). Prints the
/// SQL.
///
/// The SQL of a contract depends on what the steps before it have made: it is printed once they have run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationPlan {
    pub(super) shards: Vec<ShardPlan>,
    /// Whether contracts are run, too.
    pub(super) contracts: bool,
    /// Whether a step runs SQL, which may write columns with a lookup; a backfill may not.
    pub(super) runs_sql: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardPlan {
    shard: String,
    parts: Vec<PlanPart>,
    /// The reason why the spare shard cannot be migrated.
    left_out: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PlanPart {
    title: String,
    lines: Vec<String>,
    is_contract: bool,
}

impl MigrationPlan {
    /// Returns whether no shard needs a change.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().flat_map(|shard| &shard.parts).all(|part| part.is_contract && !self.contracts)
    }

    /// Returns the names of the shards that are changed.
    pub fn shards(&self) -> Vec<&str> {
        let is_changed =
            |shard: &&ShardPlan| shard.parts.iter().any(|part| !part.is_contract || self.contracts);
        self.shards.iter().filter(is_changed).map(|shard| shard.shard.as_str()).collect()
    }

    /// Makes the plan, and refuses differences that no migration can remove, of all shards at once.
    pub(super) fn new(cluster: &Cluster, migrations: &Migrations) -> Result<Self> {
        let layout = cluster.layout();
        let (mut plan, mut refused) = (MigrationPlan::default(), Vec::new());
        for shard in layout.shards().iter() {
            if let Some(why) = cluster.left_out(shard) {
                let (shard, left_out) = (shard.name().to_owned(), Some(why.to_owned()));
                plan.shards.push(ShardPlan { shard, parts: Vec::new(), left_out });
                continue;
            }
            let location = layout.location(shard.index())?;
            let Some(database) = cluster.0.databases.get(location.database) else { continue };
            let connection = database.driver.connect_waiting(Mode::Open, cluster.0.timeout);
            let planned = connection.and_then(|connection| {
                refused.extend(expand::refused(&*connection, location, layout, shard, migrations)?);
                plan.runs_sql |= refuse_or_find_sql(&*connection, location, layout, migrations)?;
                shard_plan(&*connection, location, layout, shard, migrations)
            });
            plan.shards.push(planned.map_err(|error| error.on_shard(shard.name()))?);
        }
        match refused.is_empty() {
            true => Ok(plan),
            false => Err(schema::error(refused)),
        }
    }
}

fn shard_plan(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
    shard: &Shard,
    migrations: &Migrations,
) -> Result<ShardPlan> {
    let parts = parts(connection, location, layout, migrations)?;
    Ok(ShardPlan { shard: shard.name().to_owned(), parts, left_out: None })
}

fn parts(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
    migrations: &Migrations,
) -> Result<Vec<PlanPart>> {
    let mut parts = Vec::new();
    let mut add = |title: String, lines: Vec<String>, is_contract: bool| {
        if !lines.is_empty() {
            parts.push(PlanPart { title, lines, is_contract });
        }
    };
    add(
        "tables and columns".to_owned(),
        lines(expand::pending(connection, location, layout, migrations)?),
        false,
    );
    let states = state::read(connection, location)?;
    refuse_other_steps(&states, migrations)?;
    refuse_lost_contracts(&states, migrations, connection, location, layout)?;
    let mut recorded = arrivals::recorded(connection, location)?;
    for step in migrations.steps() {
        let phase = phase_of(&states, step);
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for action in &step.actions {
            if phase < StepPhase::Ready {
                now.extend(describe(action, connection, location, layout)?);
            }
            if phase < StepPhase::Done && action.contracts() {
                later.extend(describe_contract(action, connection, location, phase)?);
            }
        }
        if now.is_empty() && phase < StepPhase::Ready {
            now.push("-- is recorded".to_owned());
        }
        for (index, action) in step.actions.iter().enumerate() {
            if let Action::Backfill(rows) = action
                && let Some(at) = recorded.iter().position(|backfill| *backfill == (step.number, index))
            {
                recorded.remove(at);
                now.push(Arrivals::new(location, rows.table(), (step.number, index)).describe());
            }
        }
        add(step.to_string(), now, false);
        add(format!("{step}, contract"), later, true);
    }
    if let Some((step, _)) = recorded.first() {
        let message = format!(
            "rows have arrived while step {step} ran and were not changed yet, and this program does not have its backfill; \
             migrate with the release that has begun the step first"
        );
        return Err(Error::new(ErrorKind::Schema, message));
    }
    let mut made = lines(index::pending(connection, location, layout)?);
    made.dedup();
    add("indexes".to_owned(), made, false);
    Ok(parts)
}

/// Returns the statements of a shard's plan.
pub(super) fn statements(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
    migrations: &Migrations,
    contracts: bool,
) -> Result<Vec<String>> {
    let parts = parts(connection, location, layout, migrations)?;
    let run = parts.into_iter().filter(|part| contracts || !part.is_contract);
    let lines = run.flat_map(|part| part.lines).filter(|line| !line.starts_with("--"));
    Ok(lines.map(|line| line.trim_end_matches(';').to_owned()).collect())
}

/// Returns whether a step has to run on a shard, its contract aside.
pub(super) fn is_to_be_run(states: &[StepState], step: &Step) -> bool {
    phase_of(states, step) < StepPhase::Ready
}

/// Refuses to rename the column of a lookup: each release would have entries in its own table. Returns whether a step that has
/// not run has SQL.
fn refuse_or_find_sql(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
    migrations: &Migrations,
) -> Result<bool> {
    let states = state::read(connection, location)?;
    let steps = migrations.steps().iter().filter(|step| phase_of(&states, step) < StepPhase::Ready);
    let mut runs_sql = false;
    for action in steps.flat_map(|step| &step.actions) {
        match action {
            Action::Sql { .. } => runs_sql = true,
            Action::Rename { table, column, from }
                if layout.lookups_of(table).any(|lookup| lookup.column == *column) =>
            {
                let actual = connection.columns(&location.names, table.name)?;
                if !actual.iter().any(|actual| actual.name.eq_ignore_ascii_case(from)) {
                    continue;
                }
                let message = format!(
                    "the column is a `#[lookup]` and cannot be renamed from `{from}`: its entries are in a table with the name of \
                     the column; keep it with `#[sharded(column = \"{from}\")]` at the field, and remove the action from the step"
                );
                let column = table.columns.get(*column).map_or("", |column| column.name);
                return Err(Error::new(ErrorKind::Schema, message).in_table(table.name).at_column(column));
            }
            _ => {}
        }
    }
    Ok(runs_sql)
}

pub(super) fn phase_of(states: &[StepState], step: &Step) -> StepPhase {
    states.iter().find(|state| state.number == step.number).map(|state| state.phase).unwrap_or_default()
}

/// Refuses a shard that has run a step which the program lacks, although the program has higher ones: a number was used twice.
fn refuse_other_steps(states: &[StepState], migrations: &Migrations) -> Result<()> {
    for state in states.iter().filter(|state| state.number > 0) {
        let known = migrations.steps().iter().find(|step| step.number == state.number);
        let message = match known {
            Some(step) if step.name == state.name => continue,
            Some(step) => format!(
                "the shard has recorded step {} as `{}`, and the program has it as `{}`; give each step a number of its own",
                state.number, state.name, step.name
            ),
            None => format!(
                "the shard has recorded step {} `{}`, which this program does not have; migrate with the newest release",
                state.number, state.name
            ),
        };
        return Err(Error::new(ErrorKind::Schema, message));
    }
    Ok(())
}

/// Refuses a shard with a contract that the program has no action for: another release has begun the step. The old column and its
/// triggers would remain, and a second rename would break the triggers of the first.
fn refuse_lost_contracts(
    states: &[StepState],
    migrations: &Migrations,
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
) -> Result<()> {
    for state in states.iter().filter(|state| state.phase < StepPhase::Done && !state.does.is_empty()) {
        let Some(step) = migrations.steps().iter().find(|step| step.number == state.number) else { continue };
        let does = on_shard::does(step);
        if does == state.does {
            continue;
        }
        for table in layout.tables() {
            let is_lost = |column: &str| {
                let contracts = [state::renames_from(table.name, column), state::drops(table.name, column)];
                contracts.iter().any(|contract| state.does.contains(contract) && !does.contains(contract))
            };
            let columns = connection.columns(&location.names, table.name)?;
            let Some(column) = columns.iter().find(|column| is_lost(&column.name)) else { continue };
            let message = format!(
                "the contract of {step} has not dropped the column, and this program does not have its action; run \
                 `migrate --contract` with the release that has begun the step first"
            );
            return Err(Error::new(ErrorKind::Schema, message).in_table(table.name).at_column(&column.name));
        }
    }
    Ok(())
}

fn lines(works: Vec<SchemaWork>) -> Vec<String> {
    let mut lines = Vec::new();
    for SchemaWork { sql, how } in works {
        if how == How::Rebuild {
            lines.push("-- in one transaction, with foreign keys checked before its commit:".to_owned());
        }
        lines.extend(sql.into_iter().map(|sql| format!("{sql};")));
    }
    lines
}

fn describe(
    action: &Action,
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
) -> Result<Vec<String>> {
    Ok(match action {
        Action::Backfill(backfill) => vec![backfill.describe(location)],
        Action::Sql { .. } => {
            sql_of(action, location, layout)?.map(|sql| format!("{sql};")).into_iter().collect()
        }
        Action::Rename { table, column, from } => {
            use super::backfill::BackfillRows as _;
            let rename = Rename::new(location, table, *column, from)?;
            if !connection.exists(&location.names, table.name)? {
                return Ok(Vec::new());
            }
            let mut text = Vec::new();
            let progress = rename.progress(connection)?;
            if progress == RenameProgress::Old {
                text.extend(lines(vec![rename.begin(connection)?]));
            }
            if matches!(progress, RenameProgress::Old | RenameProgress::Copying) {
                text.push(rename.copy().describe(location));
                text.extend(lines(rename.finish()));
            }
            text
        }
        Action::Require { table, column } => {
            let column = table.columns.get(*column).map_or("", |column| column.name);
            vec![format!(
                "-- {}: `{column}` is to be filled by every program",
                location.names.table(table.name)
            )]
        }
        Action::Drop { table, column } => {
            lines(expand::defaulted(connection, location, table, column)?.into_iter().collect())
        }
        Action::Finished => Vec::new(),
    })
}

fn describe_contract(
    action: &Action,
    connection: &dyn Connection,
    location: &Location,
    phase: StepPhase,
) -> Result<Vec<String>> {
    let exists = |table: &crate::schema::Table| connection.exists(&location.names, table.name);
    Ok(match action {
        Action::Rename { table, column, from } => {
            let rename = Rename::new(location, table, *column, from)?;
            match phase == StepPhase::Ready && rename.progress(connection)? == RenameProgress::Both {
                true => lines(vec![rename.contract(connection)?]),
                false => vec![format!("-- {}: `{from}` is dropped", location.names.table(table.name))],
            }
        }
        Action::Require { table, column } => match table.columns.get(*column) {
            Some(column) if phase == StepPhase::Ready && exists(table)? => {
                lines(require::contract(connection, location, table, column)?)
            }
            Some(column) => {
                vec![format!("-- {}: `{}` becomes NOT NULL", location.names.table(table.name), column.name)]
            }
            None => Vec::new(),
        },
        Action::Drop { table, column } if phase == StepPhase::Ready => {
            lines(require::drop_column(connection, location, table, column)?)
        }
        Action::Drop { table, column } => {
            vec![format!("-- {}: `{column}` is dropped", location.names.table(table.name))]
        }
        Action::Backfill(_) | Action::Sql { .. } | Action::Finished => Vec::new(),
    })
}

/// Returns the SQL of an action for a shard, with the names of the shard's tables in place of those in braces.
pub(super) fn sql_of(action: &Action, location: &Location, layout: &Layout) -> Result<Option<String>> {
    let Action::Sql { sqlite, postgres } = action else { return Ok(None) };
    let sql = if location.dialect.is_on_server() { postgres } else { sqlite };
    let Some(sql) = sql else { return Ok(None) };
    let tables: Vec<(&str, String)> =
        layout.tables().map(|table| (table.name, location.names.table(table.name))).collect();
    let named = raw_sql::named(sql, |name| {
        let table = tables.iter().find(|(table, _)| *table == name);
        table
            .map(|(_, sql)| sql.as_str())
            .ok_or_else(|| Error::new(ErrorKind::Query, format!("no model has the table `{name}`")))
    });
    named.map(Some)
}

impl fmt::Display for MigrationPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ShardPlan { shard, parts, left_out } in &self.shards {
            writeln!(f, "-- shard {shard}")?;
            if let Some(why) = left_out {
                writeln!(f, "-- left out: {why}")?;
                continue;
            }
            if parts.is_empty() {
                writeln!(f, "-- nothing to do")?;
            }
            for PlanPart { title, lines, is_contract } in parts {
                let later = if *is_contract && !self.contracts { " (only with `contract`)" } else { "" };
                writeln!(f, "-- {title}{later}")?;
                lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
            }
        }
        Ok(())
    }
}

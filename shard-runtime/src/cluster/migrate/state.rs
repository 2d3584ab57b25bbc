//! `sharded_migration`: the steps that a shard has run, and their progress. Each row is written in the transaction of the work
//! that it describes.

use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::own_tables;
use crate::planner::sql::Param;
use crate::transaction::facts::texts;
use crate::value::{ColumnType, Value};

use super::status::StepPhase;

/// The table of the steps.
const TABLE: &str = own_tables::MIGRATION;

/// The record of one step on a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StepState {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) phase: StepPhase,
    /// The index of the next action.
    pub(super) action: usize,
    /// The id after which a backfill continues; empty at its beginning.
    pub(super) cursor: String,
    /// The number of rows that backfills have read.
    pub(super) rows: u64,
    /// The last error, empty after a success.
    pub(super) error: String,
    /// The columns that the step changes, as [`renames_to`], [`renames_from`], [`requires`] and [`drops`] write them.
    pub(super) does: String,
    /// The record on the shard that this migrator has read or written last; `None` if there was none.
    pub(super) recorded: Option<Recorded>,
}

/// The part of a record that shows another migrator's progress: phase, action, cursor, rows.
pub(super) type Recorded = (StepPhase, usize, String, u64);

impl StepState {
    /// Returns the state once it is recorded.
    pub(super) fn kept(mut self) -> Self {
        self.recorded = Some((self.phase, self.action, self.cursor.clone(), self.rows));
        self
    }
}

/// Returns the entry of [`StepState::does`] for the new name of a column.
pub(super) fn renames_to(table: &str, column: &str) -> String {
    format!("rename to {table}({column});")
}

/// Returns the entry of [`StepState::does`] for the old name of a column.
pub(super) fn renames_from(table: &str, column: &str) -> String {
    format!("rename from {table}({column});")
}

/// Returns the entry of [`StepState::does`] for a column that becomes NOT NULL.
pub(super) fn requires(table: &str, column: &str) -> String {
    format!("require {table}({column});")
}

/// Returns the entry of [`StepState::does`] for a column that is dropped.
pub(super) fn drops(table: &str, column: &str) -> String {
    format!("drop {table}({column});")
}

/// Returns the SQL that makes the table.
pub(super) fn make(location: &Location) -> String {
    let Location { names, dialect, .. } = location;
    let (table, options) = (names.table(TABLE), dialect.strict_without_rowid());
    let integer = dialect.column_type(ColumnType::Integer);
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (step {integer} NOT NULL PRIMARY KEY, name TEXT NOT NULL, phase TEXT NOT NULL, \
         action {integer} NOT NULL, cursor TEXT NOT NULL, rows {integer} NOT NULL, error TEXT NOT NULL, does TEXT NOT NULL){options}"
    )
}

/// Returns the recorded steps; none if the shard was never migrated.
///
/// # Errors
/// [`ErrorKind::Denied`] if the role may not read them, with the SQL that gives it the right.
pub(super) fn read(connection: &dyn Connection, location: &Location) -> Result<Vec<StepState>> {
    let table = location.names.table(TABLE);
    let sql = format!(
        "SELECT CAST(step AS TEXT), name, phase, CAST(action AS TEXT), cursor, CAST(rows AS TEXT), error, does FROM {table} ORDER BY {table}.step"
    );
    let rows = match texts(connection, &sql, &[]) {
        Err(error) if error.kind() == ErrorKind::Schema => return Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::Denied => {
            let message = format!(
                "the role may not read how far the migrations of the shard are; run {}",
                grant(connection, location)?
            );
            return Err(Error::new(ErrorKind::Denied, message).with_source(error));
        }
        rows => rows?,
    };
    let parse = |row: Vec<String>| {
        let [step, name, phase, action, cursor, rows, error, does] = <[String; 8]>::try_from(row).ok()?;
        Some(StepState {
            number: step.parse().ok()?,
            name,
            phase: StepPhase::parse(&phase),
            action: action.parse().ok()?,
            cursor,
            rows: rows.parse().ok()?,
            error,
            does,
            recorded: None,
        })
    };
    Ok(rows.into_iter().filter_map(parse).map(StepState::kept).collect())
}

/// Returns the SQL with which a role may read the steps.
fn grant(connection: &dyn Connection, location: &Location) -> Result<String> {
    let role = texts(connection, "SELECT quote_ident(current_user)", &[])?;
    let role = role.into_iter().flatten().next().unwrap_or_default();
    Ok(format!("GRANT SELECT ON {} TO {role}", location.names.table(TABLE)))
}

/// Locks the record of a step until the transaction ends, so that its work is done once. The migration lock alone does not
/// guarantee this: a server ends it together with its connection.
///
/// # Errors
/// [`ErrorKind::Stale`] if another migrator has changed the record.
pub(super) fn claim(connection: &dyn Connection, location: &Location, state: &StepState) -> Result<()> {
    let Location { names, dialect, .. } = location;
    let claimed = match &state.recorded {
        None => insert(connection, location, state, "DO NOTHING")?,
        Some((phase, action, cursor, rows)) => {
            let param = |position| dialect.param(position);
            let sql = format!(
                "UPDATE {} SET error = error WHERE step = {} AND phase = {} AND action = {} AND cursor = {} AND rows = {}",
                names.table(TABLE),
                param(1),
                param(2),
                param(3),
                param(4),
                param(5)
            );
            connection.prepare(&sql)?.execute(&[
                number(u64::from(state.number)),
                Param::Value(Value::Text(phase.name().into())),
                number(u64::try_from(*action).unwrap_or(u64::MAX)),
                Param::Value(Value::Text(cursor.clone().into())),
                number(*rows),
            ])?
        }
    };
    if claimed == 1 {
        return Ok(());
    }
    let message = "another migrator has continued the step; run `migrate` again";
    Err(Error::new(ErrorKind::Stale, message))
}

/// Returns what [`write`] does, for a message.
pub(super) fn describe(location: &Location, state: &StepState) -> String {
    let StepState { number, phase, .. } = state;
    format!(
        "INSERT INTO {} (step, phase, ..) VALUES ({number}, '{}', ..)",
        location.names.table(TABLE),
        phase.name()
    )
}

/// Records a step.
pub(super) fn write(connection: &dyn Connection, location: &Location, state: &StepState) -> Result<()> {
    let update = "DO UPDATE SET name = excluded.name, phase = excluded.phase, action = excluded.action, \
                  cursor = excluded.cursor, rows = excluded.rows, error = excluded.error, does = excluded.does";
    insert(connection, location, state, update).map(drop)
}

fn insert(
    connection: &dyn Connection,
    location: &Location,
    state: &StepState,
    on_conflict: &str,
) -> Result<u64> {
    let Location { names, dialect, .. } = location;
    let sql = format!(
        "INSERT INTO {} (step, name, phase, action, cursor, rows, error, does) VALUES ({}) ON CONFLICT (step) {on_conflict}",
        names.table(TABLE),
        dialect.params(8)
    );
    let text = |text: &'static str| Param::Value(Value::Text(text.into()));
    let owned = |text: &String| Param::Value(Value::Text(text.clone().into()));
    let StepState { number: step, name, phase, action, cursor, rows, error, does, .. } = state;
    connection.prepare(&sql)?.execute(&[
        number(u64::from(*step)),
        owned(name),
        text(phase.name()),
        number(u64::try_from(*action).unwrap_or(u64::MAX)),
        owned(cursor),
        number(*rows),
        owned(error),
        owned(does),
    ])
}

fn number(number: u64) -> Param<'static> {
    Param::Value(Value::Integer(i64::try_from(number).unwrap_or(i64::MAX)))
}

/// The steps of a shard that explain why columns differ from the model although a program can use them.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Tolerated {
    steps: Vec<StepState>,
    /// The SQL with which the role could read the steps; `None` if it may.
    pub(in crate::cluster) grant: Option<String>,
}

impl Tolerated {
    pub(in crate::cluster) fn read(connection: &dyn Connection, location: &Location) -> Result<Self> {
        match read(connection, location) {
            Err(error) if error.kind() == ErrorKind::Denied => {
                Ok(Tolerated { steps: Vec::new(), grant: Some(grant(connection, location)?) })
            }
            steps => steps.map(|steps| Tolerated { steps, grant: None }),
        }
    }

    /// Returns whether triggers fill this column until the contract, whatever its constraint is. These are the old column of a
    /// rename and the new one, which has its name once every row is copied.
    pub(in crate::cluster) fn is_filled(&self, table: &str, column: &str) -> bool {
        let (to, from) = (renames_to(table, column), renames_from(table, column));
        self.has(|step| {
            step.phase < StepPhase::Done && (step.does.contains(&to) || step.does.contains(&from))
        })
    }

    /// Returns whether a step has made this column NOT NULL, so that a model may declare it as nullable.
    pub(in crate::cluster) fn is_required(&self, table: &str, column: &str) -> bool {
        let required = requires(table, column);
        self.has(|step| step.phase == StepPhase::Done && step.does.contains(&required))
    }

    fn has(&self, is_it: impl Fn(&StepState) -> bool) -> bool {
        self.steps.iter().any(is_it)
    }

    /// Returns the step whose contract has dropped this column or made it NOT NULL, for a message.
    pub(in crate::cluster) fn contracted_by(&self, table: &str, column: &str) -> Option<String> {
        let contracts = [renames_from(table, column), drops(table, column), requires(table, column)];
        let is_done = |step: &&StepState| {
            step.phase == StepPhase::Done && contracts.iter().any(|contract| step.does.contains(contract))
        };
        self.steps.iter().find(is_done).map(|step| format!("step {} `{}`", step.number, step.name))
    }
}

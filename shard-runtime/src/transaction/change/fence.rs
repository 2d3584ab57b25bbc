//! The fence of a shard that is being moved: triggers that refuse every write, and new names for the tables, which
//! prevent reads. The database itself thus refuses sessions with the old layout, old releases, and other programs.
//!
//! Fences are found in the database's catalog: the process that removes a fence may have other models than the one that
//! made it.

use crate::driver::{Connection, FENCED, FENCED_STATE};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::own_tables;
use crate::planner::sql::quoted;
use crate::transaction::facts::{self, Kind};

/// The beginning of the names of the triggers and of the function.
pub(crate) const FENCE: &str = "sharded_fence_";

/// The beginning of the names of hidden tables.
const HIDDEN: &str = "sharded_retired_";

/// The beginning of the names of the facts that record the original name of each hidden table.
const HIDDEN_FACT: &str = "hidden ";

/// Refuses writes to these tables of a shard after the end of this transaction. Waits for all transactions that have
/// written to them, including prepared ones.
pub(crate) fn make_fence(
    connection: &dyn Connection,
    location: &Location,
    tables: &[&str],
    change: u64,
) -> Result<()> {
    let message = format!("{FENCED} by change {change} of the layout; try again");
    let sql = location.dialect.fence_sql(&location.names, FENCE, tables, (&message, FENCED_STATE));
    sql.iter().try_for_each(|sql| connection.lock(sql))
}

/// Renames these tables of a shard, and gives its identity the name of a retired shard, which every release refuses.
pub(crate) fn hide(
    connection: &dyn Connection,
    location: &Location,
    tables: &[&str],
    (shard, change): (&str, u64),
) -> Result<()> {
    for (at, table) in tables.iter().enumerate() {
        rename(connection, location, table, &hidden_name(change, at))?;
        let (names, dialect) = (&location.names, location.dialect);
        facts::write(connection, names, dialect, Kind::Change, &format!("{HIDDEN_FACT}{at}"), table)?;
    }
    name_shard(connection, location, &retired_name(shard, change))
}

/// Returns the name under which a table is hidden.
pub(crate) fn hidden_name(change: u64, at: usize) -> String {
    format!("{HIDDEN}{change}_{at}")
}

/// Returns the name in the identity of a hidden shard.
fn retired_name(shard: &str, change: u64) -> String {
    format!("{shard}{RETIRED}{change}")
}

const RETIRED: &str = ", retired by change ";

/// The change that has given a shard this name because it was hidden.
pub(crate) fn retired_by(name: &str, shard: &str) -> Option<u64> {
    name.strip_prefix(shard)?.strip_prefix(RETIRED)?.parse().ok()
}

fn name_shard(connection: &dyn Connection, location: &Location, name: &str) -> Result<()> {
    let own = location.names.table(own_tables::SHARD);
    let sql = format!("UPDATE {own} SET shard = {}", location.dialect.param(1));
    connection.prepare(&sql)?.execute(&[facts::text(name)]).map(|_| ())
}

/// Renames a table of a shard.
pub(crate) fn rename(connection: &dyn Connection, location: &Location, from: &str, to: &str) -> Result<()> {
    let to = quoted(&location.names.plain(to));
    connection.lock(&format!("ALTER TABLE {} RENAME TO {to}", location.names.table(from)))
}

/// Returns the hidden tables of a shard, each with its number.
pub(crate) fn hidden(connection: &dyn Connection, location: &Location) -> Result<Vec<(usize, String)>> {
    let table = location.names.table(facts::TABLE);
    let sql = format!(
        "SELECT name, value FROM {table} WHERE kind = '{}' AND name LIKE '{HIDDEN_FACT}%'",
        Kind::Change.name()
    );
    let rows = facts::texts(connection, &sql, &[])?.into_iter().filter_map(|row| {
        let [name, table] = <[String; 2]>::try_from(row).ok()?;
        Some((name.strip_prefix(HIDDEN_FACT)?.parse().ok()?, table))
    });
    Ok(rows.collect())
}

/// Deletes the facts about the hidden tables of a shard, which were dropped, and drops the function of its fence.
pub(crate) fn retire_part(connection: &dyn Connection, location: &Location) -> Result<()> {
    for (at, _) in hidden(connection, location)? {
        let name = format!("{HIDDEN_FACT}{at}");
        facts::forget(connection, &location.names, location.dialect, Kind::Change, &name)?;
    }
    drop_triggers(connection, location, FENCE)
}

/// Removes the fence of a shard, and gives its tables their names back. On a server the triggers stay, disabled: dropping
/// them would wait for readers while writers are refused. [`remove_fence`] drops them.
pub(crate) fn unfence(
    connection: &dyn Connection,
    location: &Location,
    (shard, change): (&str, u64),
) -> Result<()> {
    for (at, table) in hidden(connection, location)? {
        rename(connection, location, &hidden_name(change, at), &table)?;
        let name = format!("{HIDDEN_FACT}{at}");
        facts::forget(connection, &location.names, location.dialect, Kind::Change, &name)?;
    }
    name_shard(connection, location, shard)?;
    let sql = location.dialect.unfence_sql(&location.names, FENCE);
    let lowered = facts::texts(connection, &sql, &[])?;
    lowered.iter().flatten().try_for_each(|sql| connection.lock(sql))
}

/// Drops the disabled triggers that [`unfence`] has left.
pub(crate) fn remove_fence(connection: &dyn Connection, location: &Location) -> Result<()> {
    drop_triggers(connection, location, FENCE)
}

/// Drops all triggers of a shard whose names have this beginning, and their functions.
pub(crate) fn drop_triggers(connection: &dyn Connection, location: &Location, beginning: &str) -> Result<()> {
    let sql = location.dialect.drop_triggers_sql(&location.names, beginning);
    let drops = facts::texts(connection, &sql, &[])?;
    drops.iter().flatten().try_for_each(|drop| connection.lock(drop))
}

/// Returns the names of all triggers of a shard with this beginning.
pub(crate) fn triggers(
    connection: &dyn Connection,
    location: &Location,
    beginning: &str,
) -> Result<Vec<String>> {
    let sql = location.dialect.triggers_sql(&location.names, beginning);
    Ok(facts::texts(connection, &sql, &[])?.into_iter().flatten().collect())
}

/// Returns whether an error can come from a fence, or from a shard whose tables are hidden.
pub(crate) fn may_be_of_a_change(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Moved | ErrorKind::Schema | ErrorKind::WrongDatabase | ErrorKind::Missing
    )
}

/// Returns whether an error means that a shard's database does not exist any more.
pub(crate) fn is_gone(error: &Error) -> bool {
    use ErrorKind::{Corrupt, Missing, Schema, UnknownShard, WrongDatabase};
    matches!(error.kind(), Missing | UnknownShard | WrongDatabase | Schema | Corrupt)
}

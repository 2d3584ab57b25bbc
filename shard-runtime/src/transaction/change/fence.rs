//! The fence of a shard that is being moved: triggers that refuse every write, and other names for the tables, so that they
//! cannot be read either. The database itself refuses sessions with the old layout, old releases, and other programs.
//!
//! What stands is found in the database's catalog: a process that takes a fence down may know other models than the one
//! that has made it.

use crate::driver::{Connection, FENCED, FENCED_STATE};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Place;
use crate::planner::own_tables;
use crate::planner::sql::{Dialect, literal, quoted};
use crate::transaction::facts::{self, Kind};

/// The beginning of the names of the triggers and of the function.
const FENCE: &str = "sharded_fence_";

/// The beginning of the names that hidden tables have.
const HIDDEN: &str = "sharded_retired_";

/// The beginning of the names of the facts that say which table is hidden under which name.
const HIDDEN_FACT: &str = "hidden ";

/// Refuses writes to these tables of a shard from the end of the transaction on. It waits for all transactions that have
/// written to them, also for prepared ones.
pub(crate) fn make_fence(
    connection: &dyn Connection,
    place: &Place,
    tables: &[&str],
    change: u64,
) -> Result<()> {
    let message = format!("{FENCED} by change {change} of the layout; try again");
    match place.dialect {
        Dialect::Sqlite => {
            for (at, table) in tables.iter().enumerate() {
                let on = place.names.table(table);
                for event in ["INSERT", "UPDATE", "DELETE"] {
                    let name = quoted(&place.names.plain(&format!("{FENCE}{at}_{}", event.to_lowercase())));
                    connection.run(&format!(
                        "CREATE TRIGGER {name} BEFORE {event} ON {on} BEGIN SELECT RAISE(ABORT, {}); END",
                        literal(&message)
                    ))?;
                }
            }
        }
        Dialect::Postgres => {
            let function = place.names.table(&format!("{FENCE}function"));
            connection.lock(&format!(
                "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $fence$ BEGIN RAISE EXCEPTION \
                 USING ERRCODE = '{FENCED_STATE}', MESSAGE = {}; END $fence$",
                literal(&message)
            ))?;
            for (at, table) in tables.iter().enumerate() {
                let on = place.names.table(table);
                let triggers =
                    [("rows", "INSERT OR UPDATE OR DELETE", "ROW"), ("all", "TRUNCATE", "STATEMENT")];
                for (name, events, each) in triggers {
                    let name = quoted(&format!("{FENCE}{at}_{name}"));
                    connection.lock(&format!(
                        "CREATE OR REPLACE TRIGGER {name} BEFORE {events} ON {on} FOR EACH {each} EXECUTE FUNCTION {function}(); \
                         ALTER TABLE {on} ENABLE ALWAYS TRIGGER {name}"
                    ))?;
                }
            }
        }
    }
    Ok(())
}

/// Gives these tables of a shard other names, and its identity the name of a retired shard, which every release refuses.
pub(crate) fn hide(
    connection: &dyn Connection,
    place: &Place,
    tables: &[&str],
    (shard, change): (&str, u64),
) -> Result<()> {
    for (at, table) in tables.iter().enumerate() {
        rename(connection, place, table, &hidden_name(change, at))?;
        let (names, dialect) = (&place.names, place.dialect);
        facts::write(connection, names, dialect, Kind::Change, &format!("{HIDDEN_FACT}{at}"), table)?;
    }
    name_shard(connection, place, &retired_name(shard, change))
}

/// The name under which a table is hidden.
pub(crate) fn hidden_name(change: u64, at: usize) -> String {
    format!("{HIDDEN}{change}_{at}")
}

/// The name in the identity of a hidden shard.
fn retired_name(shard: &str, change: u64) -> String {
    format!("{shard}, retired by change {change}")
}

fn name_shard(connection: &dyn Connection, place: &Place, name: &str) -> Result<()> {
    let own = place.names.table(own_tables::SHARD);
    let sql = format!("UPDATE {own} SET shard = {}", place.dialect.param(1));
    connection.prepare(&sql)?.execute(&[facts::text(name)]).map(|_| ())
}

/// Renames a table of a shard.
pub(crate) fn rename(connection: &dyn Connection, place: &Place, from: &str, to: &str) -> Result<()> {
    let to = quoted(&place.names.plain(to));
    connection.lock(&format!("ALTER TABLE {} RENAME TO {to}", place.names.table(from)))
}

/// The tables of a shard that are hidden, each with its place among them.
pub(crate) fn hidden(connection: &dyn Connection, place: &Place) -> Result<Vec<(usize, String)>> {
    let table = place.names.table(facts::TABLE);
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

/// Forgets the hidden tables of a shard, which were dropped, and the function of its fence.
pub(crate) fn retire_part(connection: &dyn Connection, place: &Place) -> Result<()> {
    for (at, _) in hidden(connection, place)? {
        let name = format!("{HIDDEN_FACT}{at}");
        facts::forget(connection, &place.names, place.dialect, Kind::Change, &name)?;
    }
    drop_triggers(connection, place, FENCE)
}

/// Takes the fence of a shard down, and gives its tables their names back. On a server the triggers stay, disabled: dropping them
/// would wait for readers while writers are refused. [`remove_fence`] drops them.
pub(crate) fn unfence(
    connection: &dyn Connection,
    place: &Place,
    (shard, change): (&str, u64),
) -> Result<()> {
    for (at, table) in hidden(connection, place)? {
        rename(connection, place, &hidden_name(change, at), &table)?;
        let name = format!("{HIDDEN_FACT}{at}");
        facts::forget(connection, &place.names, place.dialect, Kind::Change, &name)?;
    }
    name_shard(connection, place, shard)?;
    match place.dialect {
        Dialect::Sqlite => drop_triggers(connection, place, FENCE),
        Dialect::Postgres => {
            let schema = literal(place.names.schema.as_deref().unwrap_or("public"));
            let sql = format!(
                "SELECT format('ALTER TABLE %I.%I DISABLE TRIGGER %I', n.nspname, c.relname, t.tgname) FROM pg_trigger t \
                 JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = {schema} AND t.tgname LIKE {} ESCAPE '!'",
                literal(&format!("{}%", FENCE.replace('_', "!_")))
            );
            let disable = facts::texts(connection, &sql, &[])?.into_iter().flatten();
            disable.into_iter().try_for_each(|sql| connection.lock(&sql))
        }
    }
}

/// Drops what [`unfence`] has left of fences.
pub(crate) fn remove_fence(connection: &dyn Connection, place: &Place) -> Result<()> {
    drop_triggers(connection, place, FENCE)
}

/// Drops all triggers of a shard whose names begin so, and their functions.
pub(crate) fn drop_triggers(connection: &dyn Connection, place: &Place, beginning: &str) -> Result<()> {
    // `_` would stand for any character.
    let escaped = place.names.plain(beginning).replace('!', "!!").replace('_', "!_").replace('%', "!%");
    let pattern = format!("{} ESCAPE '!'", literal(&format!("{escaped}%")));
    let sql = match place.dialect {
        Dialect::Sqlite => format!(
            "SELECT 'DROP TRIGGER \"' || replace(name, '\"', '\"\"') || '\"' FROM sqlite_schema WHERE type = 'trigger' \
             AND name LIKE {pattern}"
        ),
        Dialect::Postgres => {
            let schema = literal(place.names.schema.as_deref().unwrap_or("public"));
            format!(
                "SELECT format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname) FROM pg_trigger t \
                 JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = {schema} AND t.tgname LIKE {pattern} \
                 UNION ALL SELECT format('DROP FUNCTION %I.%I()', n.nspname, p.proname) FROM pg_proc p \
                 JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = {schema} AND p.proname LIKE {pattern}"
            )
        }
    };
    let drops = facts::texts(connection, &sql, &[])?.into_iter().flatten();
    let (functions, triggers): (Vec<String>, Vec<String>) =
        drops.partition(|drop| drop.starts_with("DROP FUNCTION"));
    triggers.iter().chain(&functions).try_for_each(|drop| connection.lock(drop))
}

/// Returns whether an error can come from a fence, or from a shard whose tables are hidden.
pub(crate) fn may_be_of_a_change(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Moved | ErrorKind::Schema | ErrorKind::WrongDatabase | ErrorKind::Missing
    )
}

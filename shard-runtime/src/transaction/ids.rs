//! Ids of models with `#[id(sequence)]` that the cluster did not generate. They are in tables of a model that begins to
//! use a sequence, or come from an import.
//!
//! A process reserves ids in blocks, and may still use ids of a block that it reserved earlier. An import may therefore
//! supply an id only if it was in no block: it is above all blocks, or the sequence has skipped it. The control database
//! records the skipped ranges, and adds to them whenever a sequence is advanced.

use super::control::SEQUENCE;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::own_tables::SKIPPED_IDS;
use crate::planner::sql::{Dialect, Namespace, Param, quoted};
use crate::planner::{Layout, Location};
use crate::schema::{IdKind, Table};
use crate::value::{ColumnType, Value, mismatch};

/// How many ids after an imported one are skipped with it. An import in ascending order then need not write the control
/// database for each row.
const AHEAD: i64 = 999;

/// Returns the highest id that the tables of each generated model hold on a shard, by the models' order.
pub(crate) fn highest(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
) -> Result<Vec<(&'static Table, i64)>> {
    let tables: Vec<&'static Table> =
        layout.tables().filter(|table| table.id_kind == IdKind::Sequence).collect();
    let mut found = Vec::new();
    // A separate statement for each would need a round trip to a server.
    for tables in tables.chunks(100) {
        let highest = |table: &&'static Table| {
            let id = table.columns.get(table.id).map_or("id", |column| column.name);
            format!("(SELECT max({}) FROM {})", quoted(id), location.names.table(table.name))
        };
        let columns: Vec<String> = tables.iter().map(highest).collect();
        let mut statement = connection.prepare(&format!("SELECT {}", columns.join(", ")))?;
        let mut rows = statement.query(&[])?;
        if !rows.advance()? {
            continue;
        }
        for (column, &table) in tables.iter().enumerate() {
            match rows.value(column).map_err(|error| table.error_at(table.id, error))? {
                Value::Null => {}
                Value::Integer(id) => found.push((table, id)),
                other => return Err(table.error_at(table.id, mismatch("an integer", &other))),
            }
        }
    }
    Ok(found)
}

/// Creates the table of the skipped ranges if it does not exist; a cluster of an older release has none.
///
/// # Errors
/// [`ErrorKind::Denied`] if the role may not create or use it, with the missing SQL.
pub(crate) fn make(connection: &dyn Connection, names: &Namespace, dialect: Dialect) -> Result<()> {
    let skipped = prepare_skipped(connection, names, dialect)?;
    if skipped == Skipped::Usable {
        return Ok(());
    }
    let (table, role) = (names.table(SKIPPED_IDS), one_text(connection, "SELECT current_user::text", &[])?);
    let grant = format!("GRANT SELECT, INSERT, UPDATE ON {table} TO {}", quoted(&role));
    let message = match skipped {
        Skipped::Refused => format!("the role may not use the table {table}; run as its owner: {grant};"),
        _ => format!(
            "the role may not make the table {table} of this release; run `create`, or run as the owner of the schema: {}; \
             {grant};",
            definition(names, dialect)
        ),
    };
    Err(Error::new(ErrorKind::Denied, message))
}

/// Whether a role can use the table of the skipped ranges.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Skipped {
    Usable,
    /// The table exists, but the role may not read or write it.
    Refused,
    /// The table does not exist, and the role may not create it.
    Missing,
}

/// Returns the SQL that makes the table of the skipped ranges.
fn definition(names: &Namespace, dialect: Dialect) -> String {
    let (integer, strict) = (dialect.column_type(ColumnType::Integer), dialect.strict());
    format!(
        "CREATE TABLE IF NOT EXISTS {} (name TEXT NOT NULL, first {integer} NOT NULL, last {integer} NOT NULL){strict}",
        names.table(SKIPPED_IDS)
    )
}

/// Creates the table of the skipped ranges if it does not exist. Returns whether the role can use it. The privileges are
/// checked first: a failed statement would end the transaction.
fn prepare_skipped(connection: &dyn Connection, names: &Namespace, dialect: Dialect) -> Result<Skipped> {
    let table = names.table(SKIPPED_IDS);
    let found = |connection: &dyn Connection| {
        if !connection.exists(names, SKIPPED_IDS)? {
            return Ok(None);
        }
        let is_usable =
            may(connection, &table, &["SELECT", "INSERT", "UPDATE"], dialect).map(
                |is_usable| match is_usable {
                    true => Skipped::Usable,
                    false => Skipped::Refused,
                },
            );
        is_usable.map(Some)
    };
    if let Some(found) = found(connection)? {
        return Ok(found);
    }
    if let Some(schema) = &names.schema {
        let sql = "SELECT has_schema_privilege($1, 'CREATE')::text";
        if one_text(connection, sql, &[Param::Value(Value::Text(schema.into()))])? != "true" {
            return Ok(Skipped::Missing);
        }
    }
    // On a server, two processes that create one table at once fail: `IF NOT EXISTS` does not wait.
    if let Some(lock) = dialect.advisory_lock(&format!("sharded ids {table}")) {
        connection.run(&lock)?;
        if let Some(found) = found(connection)? {
            return Ok(found);
        }
    }
    connection.run(&definition(names, dialect)).map(|()| Skipped::Usable)
}

/// Returns whether the role has all of these privileges on a table.
fn may(connection: &dyn Connection, table: &str, rights: &[&str], dialect: Dialect) -> Result<bool> {
    if !dialect.is_on_server() {
        return Ok(true);
    }
    let has = |right: &&str| format!("has_table_privilege($1, '{right}')");
    let all: Vec<String> = rights.iter().map(has).collect();
    let sql = format!("SELECT ({})::text", all.join(" AND "));
    Ok(one_text(connection, &sql, &[Param::Value(Value::Text(table.into()))])? == "true")
}

/// Returns whether the role may generate ids.
pub(crate) fn may_generate(connection: &dyn Connection, names: &Namespace, dialect: Dialect) -> Result<bool> {
    may(connection, &names.table(SEQUENCE), &["SELECT", "INSERT", "UPDATE"], dialect)
}

/// Returns the text in the last column of the last row; empty if there is none.
fn one_text(connection: &dyn Connection, sql: &str, params: &[Param<'_>]) -> Result<String> {
    let mut rows = super::facts::texts(connection, sql, params)?;
    Ok(rows.pop().and_then(|mut row| row.pop()).unwrap_or_default())
}

/// Returns the next id of a sequence, if it has begun. If `locked`, no other process reserves a block or advances the
/// sequence until the transaction ends. SQLite has one lock for everything, which the transaction already holds.
pub(crate) fn next(
    connection: &dyn Connection,
    names: &Namespace,
    table: &Table,
    dialect: Dialect,
    locked: bool,
) -> Result<Option<i64>> {
    let name = dialect.param(1);
    let lock = if locked { dialect.for_update() } else { "" };
    integer(
        connection,
        &format!("SELECT next FROM {} WHERE name = {name}{lock}", names.table(SEQUENCE)),
        table,
        &[],
    )
}

fn integer(connection: &dyn Connection, sql: &str, table: &Table, more: &[i64]) -> Result<Option<i64>> {
    let name = [Param::Value(Value::Text(table.name.into()))];
    let more = more.iter().map(|&integer| Param::Value(Value::Integer(integer)));
    let params: Vec<Param<'_>> = name.into_iter().chain(more).collect();
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(&params)?;
    let found = match rows.advance()?.then(|| rows.value(0)).transpose()? {
        None | Some(Value::Null) => None,
        Some(Value::Integer(integer)) => Some(integer),
        Some(other) => return Err(table.error_at(table.id, mismatch("an integer", &other))),
    };
    while rows.advance()? {}
    Ok(found)
}

/// Makes a sequence continue above an id, in a transaction of the control database. Does nothing if it is above already.
/// If the role cannot use the table of the skipped ranges, the skipped ids cannot be imported later.
pub(crate) fn advance(
    connection: &dyn Connection,
    names: &Namespace,
    table: &Table,
    above: i64,
    dialect: Dialect,
) -> Result<()> {
    let (param, skipped) = (|position: usize| dialect.param(position), names.table(SKIPPED_IDS));
    // Inserted first, so that two processes that begin the sequence at once wait for each other.
    let begin = format!(
        "INSERT INTO {} (name, next) VALUES ({}, 1) ON CONFLICT (name) DO NOTHING RETURNING next",
        names.table(SEQUENCE),
        param(1)
    );
    integer(connection, &begin, table, &[])?;
    let next = next(connection, names, table, dialect, true)?.unwrap_or(1);
    if above < next {
        return Ok(());
    }
    if prepare_skipped(connection, names, dialect)? == Skipped::Usable {
        let known = format!(
            "SELECT max(last) FROM {skipped} WHERE name = {} AND last >= CAST({} AS bigint)",
            param(1),
            param(2)
        );
        if integer(connection, &known, table, &[above])?.is_some() {
            // `next` cannot exceed the greatest id, so that the range may exist although `next` lies in it.
            return Ok(());
        }
        let extend = format!(
            "UPDATE {skipped} SET last = CAST({} AS bigint) WHERE name = {} AND last = CAST({} AS bigint) - 1 \
             RETURNING last",
            param(2),
            param(1),
            param(3)
        );
        if integer(connection, &extend, table, &[above, next])?.is_none() {
            let insert = format!(
                "INSERT INTO {skipped} (name, first, last) VALUES ({}, {}, {}) RETURNING last",
                param(1),
                param(2),
                param(3)
            );
            integer(connection, &insert, table, &[next, above])?;
        }
    }
    let set = format!(
        "UPDATE {} SET next = {} WHERE name = {} RETURNING next",
        names.table(SEQUENCE),
        param(2),
        param(1)
    );
    // Above the greatest id, the sequence is exhausted, which `reserve` finds.
    integer(connection, &set, table, &[above.saturating_add(1)])?;
    Ok(())
}

/// Finds or creates the range of skipped ids that holds an id, in a transaction of the control database.
pub(crate) fn claim(
    connection: &dyn Connection,
    names: &Namespace,
    table: &Table,
    id: i64,
    dialect: Dialect,
) -> Result<(i64, i64)> {
    make(connection, names, dialect)?;
    let next = next(connection, names, table, dialect, true)?.unwrap_or(1);
    if id >= next {
        advance(connection, names, table, id.saturating_add(AHEAD), dialect)?;
    }
    let (param, skipped) = (|position: usize| dialect.param(position), names.table(SKIPPED_IDS));
    let bound = |column: &str| {
        format!(
            "SELECT {column} FROM {skipped} WHERE name = {} AND CAST({} AS bigint) BETWEEN first AND last",
            param(1),
            param(2)
        )
    };
    let first = integer(connection, &bound("first"), table, &[id])?;
    let last = integer(connection, &bound("last"), table, &[id])?;
    match (first, last) {
        (Some(first), Some(last)) => Ok((first, last)),
        _ => {
            let message = format!(
                "id {id} cannot be given: it may have been generated already, or still be; give an id from {} on, or call \
                 `advance_ids` before the first id is generated",
                next.max(1)
            );
            Err(table.error_at(table.id, Error::new(ErrorKind::Value, message)))
        }
    }
}

/// Returns the error of a sequence that has no block of ids left.
pub(crate) fn exhausted(table: &Table) -> Error {
    let message = "the sequence is exhausted: the next ids would be above 9223372036854775807; use `#[id(uuid)]`, or give \
                   the rows lower ids";
    table.error_at(table.id, Error::new(ErrorKind::Value, message))
}

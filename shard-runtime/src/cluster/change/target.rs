//! The tables of a target: emptied, without secondary indexes and constraints while rows are copied, and completed afterwards.
//! The SQL of each dropped index and constraint is recorded in the target, so that another process can make it again. Uses
//! `driver` and `facts`.

use super::carried::Carried;
use super::links::Endpoint;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::schema::Table;
use crate::transaction::facts::{self, Kind};

/// The beginning of the names of the facts with the SQL of indexes.
const INDEX: &str = "index ";

/// The beginning of the names of the facts with the SQL of constraints.
const CONSTRAINT: &str = "constraint ";

/// The beginning of the names of facts for an index of a source: the SQL that makes it, and the SQL that drops it. They are kept
/// until the change ends, so that a cancelled change leaves no such index.
const CARRIED: &str = "carried ";

/// The beginning of the names of facts for a CHECK constraint of a source: the SQL that drops it, for a change that is cancelled.
const CHECK: &str = "check ";

/// The separator of the two. No name of an index has it.
const BETWEEN: char = '\u{1f}';

/// The beginning of the names of the facts with the cursors of sources.
const CURSOR: &str = "cursor ";

/// Removes all rows of a target's tables, their indexes and constraints except the primary keys, and all cursors, in the caller's
/// transaction.
pub(super) fn empty(connection: &dyn Connection, endpoint: Endpoint<'_>, layout: &Layout) -> Result<()> {
    let names = &endpoint.location.names;
    let tables: Vec<&'static str> = layout.tables().map(|table| table.name).collect();
    let sql = endpoint.location.dialect.empty_sql(names, &tables);
    sql.iter().try_for_each(|sql| connection.lock(sql))?;
    for (_, carried) in recorded(connection, endpoint, CARRIED)? {
        carried.split_once(BETWEEN).map_or(Ok(()), |(_, drop)| connection.lock(drop))?;
    }
    for (_, drop) in recorded(connection, endpoint, CHECK)? {
        connection.lock(&drop)?;
    }
    forget_copy(connection, endpoint)?;
    drop_secondary(connection, endpoint, layout, &[CONSTRAINT, INDEX])
}

/// Records indexes that are made when the rows are copied, in the caller's transaction.
pub(super) fn record_indexes(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    indexes: &[Carried],
) -> Result<()> {
    indexes.iter().enumerate().try_for_each(|(number, Carried { make, drop })| {
        record(connection, endpoint, &format!("{CARRIED}{number:06}"), &format!("{make}{BETWEEN}{drop}"))
    })
}

/// Tries to make each index on the empty tables, in the caller's transaction: it may need a function that the target lacks.
pub(super) fn try_indexes(connection: &dyn Connection, indexes: &[Carried]) -> Result<()> {
    for Carried { make, .. } in indexes {
        connection.run("SAVEPOINT tried")?;
        connection.run(make).map_err(|error| not_carried(error, make))?;
        connection.run("ROLLBACK TO tried; RELEASE tried")?;
    }
    Ok(())
}

/// Makes CHECK constraints on the empty tables and records how to drop them, in the caller's transaction.
pub(super) fn make_checks(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    checks: &[Carried],
) -> Result<()> {
    for (number, Carried { make, drop }) in checks.iter().enumerate() {
        connection.lock(make).map_err(|error| not_carried(error, make))?;
        record(connection, endpoint, &format!("{CHECK}{number:06}"), drop)?;
    }
    Ok(())
}

fn not_carried(error: Error, sql: &str) -> Error {
    if error.is_busy() {
        return error;
    }
    let message = format!(
        "the target cannot have an index or a constraint of the source: {error}; drop it on the source, or make what it needs on the target. \
         The SQL was: {sql}"
    );
    Error::new(ErrorKind::Schema, message).with_source(error)
}

/// Drops the indexes and the constraints of a target before a copy or a repeated copy, in the caller's transaction.
pub(in crate::cluster) fn drop_all(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    layout: &Layout,
) -> Result<()> {
    drop_secondary(connection, endpoint, layout, &[CONSTRAINT, INDEX])
}

/// Drops the constraints of a target that an abandoned switch has made: rows are again inserted in any order. It runs in the
/// caller's transaction.
pub(super) fn drop_constraints(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    layout: &Layout,
) -> Result<()> {
    drop_secondary(connection, endpoint, layout, &[CONSTRAINT])
}

fn drop_secondary(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    layout: &Layout,
    kinds: &[&str],
) -> Result<()> {
    if let Some(sql) = endpoint.location.dialect.qualify_sql() {
        connection.run(sql)?;
    }
    let before = recorded(connection, endpoint, "")?;
    let last = before.iter().filter_map(|(name, _)| name.rsplit(' ').next()?.parse().ok());
    let mut number: usize = last.max().map_or(0, |last: usize| last + 1);
    for table in layout.tables() {
        for (kind, sql, drop) in secondary(connection, endpoint, table.name)? {
            if !kinds.contains(&kind) {
                continue;
            }
            connection.lock(&drop)?;
            // `create` may have made it again.
            if !before.iter().any(|(_, known)| *known == sql) {
                record(connection, endpoint, &format!("{kind}{number:06}"), &sql)?;
                number += 1;
            }
        }
    }
    Ok(())
}

/// Makes the indexes that were dropped, and those of the sources, in the caller's transaction.
pub(in crate::cluster) fn make_indexes(connection: &dyn Connection, endpoint: Endpoint<'_>) -> Result<()> {
    make(connection, endpoint, INDEX)?;
    for (_, carried) in recorded(connection, endpoint, CARRIED)? {
        carried.split_once(BETWEEN).map_or(Ok(()), |(make, _)| connection.lock(make))?;
    }
    Ok(())
}

/// Makes the constraints that were dropped, in the caller's transaction. On servers foreign keys are made without a check of the
/// rows, see [`validate`].
pub(in crate::cluster) fn make_constraints(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
) -> Result<()> {
    make(connection, endpoint, CONSTRAINT)
}

fn make(connection: &dyn Connection, endpoint: Endpoint<'_>, kind: &str) -> Result<()> {
    for (name, sql) in recorded(connection, endpoint, kind)? {
        connection.lock(&sql)?;
        facts::forget(connection, &endpoint.location.names, endpoint.location.dialect, Kind::Copied, &name)?;
    }
    Ok(())
}

/// Validates the constraints that were made without a check of the rows.
pub(in crate::cluster) fn validate(connection: &dyn Connection, endpoint: Endpoint<'_>) -> Result<()> {
    let Some(sql) = endpoint.location.dialect.validate_sql(&endpoint.location.names) else { return Ok(()) };
    facts::texts(connection, &sql, &[])?.into_iter().flatten().try_for_each(|sql| connection.run(&sql))
}

/// Runs `ANALYZE` on a target's tables, and not on other tables of the database, which may be many and large.
pub(in crate::cluster) fn analyze(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    tables: &[&'static Table],
) -> Result<()> {
    let analyze = |table: &&'static Table| format!("ANALYZE {}", endpoint.location.names.table(table.name));
    connection.run(&tables.iter().map(analyze).collect::<Vec<_>>().join("; "))
}

/// Returns the secondary indexes and the constraints of a table: the kind, the SQL that makes it, and the SQL that drops it.
fn secondary(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    table: &str,
) -> Result<Vec<(&'static str, String, String)>> {
    let names = &endpoint.location.names;
    let dialect = endpoint.location.dialect;
    // Foreign keys first: they need unique constraints of other tables, which are dropped later.
    let constraints = dialect.constraints_sql(names, table).map(|sql| (CONSTRAINT, sql));
    let queries = constraints.into_iter().chain([(INDEX, dialect.indexes_sql(names, table))]);
    let mut found = Vec::new();
    for (kind, sql) in queries {
        for row in facts::texts(connection, &sql, &[])? {
            if let Ok([make, drop]) = <[String; 2]>::try_from(row) {
                found.push((kind, make, drop));
            }
        }
    }
    Ok(found)
}

/// Returns the recorded SQL of a kind, in its order, with the names of the facts.
fn recorded(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    kind: &str,
) -> Result<Vec<(String, String)>> {
    let table = endpoint.location.names.table(facts::TABLE);
    let sql = format!(
        "SELECT name, value FROM {table} WHERE kind = '{}' AND name LIKE '{kind}%' ORDER BY {table}.name",
        Kind::Copied.name()
    );
    let rows = facts::texts(connection, &sql, &[])?.into_iter();
    Ok(rows.filter_map(|row| <[String; 2]>::try_from(row).ok()).map(Into::into).collect())
}

fn record(connection: &dyn Connection, endpoint: Endpoint<'_>, name: &str, value: &str) -> Result<()> {
    facts::write(connection, &endpoint.location.names, endpoint.location.dialect, Kind::Copied, name, value)
}

/// Returns the recorded cursor of a source's rows; `None` before the first row.
pub(super) fn cursor(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    source: &str,
) -> Result<Option<String>> {
    let name = format!("{CURSOR}{source}");
    let found = recorded(connection, endpoint, CURSOR)?;
    Ok(found.into_iter().find(|(known, _)| *known == name).map(|(_, cursor)| cursor))
}

/// Records the cursor of a source's rows.
pub(super) fn set_cursor(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    source: &str,
    cursor: &str,
) -> Result<()> {
    record(connection, endpoint, &format!("{CURSOR}{source}"), cursor)
}

/// Removes the cursors of all sources, and the record of their indexes.
pub(super) fn forget_copy(connection: &dyn Connection, endpoint: Endpoint<'_>) -> Result<()> {
    let Endpoint { location, .. } = endpoint;
    for kind in [CURSOR, CARRIED, CHECK] {
        for (name, _) in recorded(connection, endpoint, kind)? {
            facts::forget(connection, &location.names, location.dialect, Kind::Copied, &name)?;
        }
    }
    Ok(())
}

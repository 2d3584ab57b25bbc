//! The rebuild that changes a column in SQLite: a new table gets the rows of the old one, and then its name.

use super::create_table::{Edit, edited, has_word};
use super::expand::{How, SchemaWork};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::sql::{Param, quoted};
use crate::schema::Table;
use crate::transaction::facts::texts;
use crate::value::Value;

/// Returns the statements that rebuild a table with these changes of its columns, and then run `also`. Indexes and triggers are
/// made again, except indexes on a removed column. Views, children and the last generated id stay unchanged.
pub(super) fn work(
    connection: &dyn Connection,
    location: &Location,
    table: &Table,
    edits: &[Edit],
    also: Vec<String>,
) -> Result<SchemaWork> {
    let names = &location.names;
    let (plain, on) = (names.plain(table.name), names.table(table.name));
    let (new, new_plain) =
        (names.table(&format!("{} new", table.name)), names.plain(&format!("{} new", table.name)));
    let by_name = [Param::Value(Value::Text(plain.clone().into()))];
    let found = texts(
        connection,
        "SELECT sql FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower(?1)",
        &by_name,
    )?;
    let sql = found.into_iter().flatten().next().unwrap_or_default();
    let Some(create) = edited(&sql, &new, edits) else {
        let message = format!("the table {on} cannot be rebuilt: its CREATE TABLE cannot be read: {sql}");
        return Err(Error::new(ErrorKind::Schema, message).in_table(table.name));
    };
    let removed = |column: &str| {
        edits.iter().any(|edit| matches!(edit, Edit::Remove(removed) if removed.eq_ignore_ascii_case(column)))
    };
    // The result has no generated columns.
    let columns = connection.columns(names, table.name)?;
    let columns: Vec<String> =
        columns.iter().filter(|column| !removed(&column.name)).map(|column| quoted(&column.name)).collect();
    let columns = columns.join(", ");
    let mut statements = vec![
        format!("DROP TABLE IF EXISTS {new}"),
        create,
        format!("INSERT INTO {new} ({columns}) SELECT {columns} FROM {on}"),
    ];
    if has_word(&sql, "AUTOINCREMENT") {
        let (old, new) = (location.dialect.literal(&plain), location.dialect.literal(&new_plain));
        statements.push(format!("DELETE FROM sqlite_sequence WHERE name = {new}"));
        statements.push(format!(
            "INSERT INTO sqlite_sequence (name, seq) SELECT {new}, seq FROM sqlite_sequence WHERE name = {old}"
        ));
    }
    let objects = texts(
        connection,
        "SELECT type, name, sql FROM sqlite_schema WHERE lower(tbl_name) = lower(?1) AND type IN ('index', 'trigger') \
         AND sql IS NOT NULL ORDER BY type, name",
        &by_name,
    )?;
    statements.push(format!("DROP TABLE {on}"));
    statements.push(format!("ALTER TABLE {new} RENAME TO {}", quoted(&plain)));
    for object in objects {
        let [kind, name, sql] = object.as_slice() else { continue };
        let is_kept = kind != "index" || !indexed(connection, name)?.iter().any(|column| removed(column));
        if is_kept {
            statements.push(sql.clone());
        }
    }
    statements.extend(also);
    Ok(SchemaWork { sql: statements, how: How::Rebuild })
}

/// Returns the triggers and views that SQLite cannot compile, by a statement that uses each. SQLite compiles them only with such
/// a statement, so that a rebuild does not notice that they need a removed column.
pub(super) fn broken_objects(connection: &dyn Connection) -> Result<Vec<String>> {
    let tables = texts(
        connection,
        "SELECT tbl_name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name IN \
         (SELECT name FROM sqlite_schema WHERE type = 'table') GROUP BY 1 ORDER BY 1",
        &[],
    )?;
    let mut statements = Vec::new();
    for table in tables.into_iter().flatten() {
        let on = quoted(&table);
        let name = [Param::Value(Value::Text(table.into()))];
        let columns = texts(connection, "SELECT name FROM pragma_table_info(?1)", &name)?;
        statements.push(format!("INSERT INTO {on} DEFAULT VALUES"));
        statements.push(format!("DELETE FROM {on}"));
        statements.extend(columns.into_iter().flatten().map(|column| {
            let column = quoted(&column);
            format!("UPDATE {on} SET {column} = {column}")
        }));
    }
    let views = texts(connection, "SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY 1", &[])?;
    statements.extend(views.into_iter().flatten().map(|view| format!("SELECT * FROM {}", quoted(&view))));
    // `run` compiles each time: a kept statement would not notice a change.
    let error =
        |sql: String| connection.run(&format!("EXPLAIN {sql}")).err().map(|error| format!("{sql}: {error}"));
    Ok(statements.into_iter().filter_map(error).collect())
}

/// Refuses triggers and views that the rebuild has broken.
///
/// # Errors
/// [`ErrorKind::Schema`] if a trigger or a view worked before.
pub(super) fn refuse_broken_objects(connection: &dyn Connection, before: &[String]) -> Result<()> {
    let now = broken_objects(connection)?;
    let Some(broken) = now.iter().find(|broken| !before.contains(broken)) else { return Ok(()) };
    let message = format!(
        "a trigger or a view uses a column that is removed ({broken}); drop it or change it, and run the migration again"
    );
    Err(Error::new(ErrorKind::Schema, message))
}

/// Returns the columns of an index.
fn indexed(connection: &dyn Connection, index: &str) -> Result<Vec<String>> {
    let name = [Param::Value(Value::Text(index.into()))];
    let found = texts(connection, "SELECT coalesce(name, '') FROM pragma_index_info(?1)", &name)?;
    Ok(found.into_iter().flatten().collect())
}

/// Returns the table of each row that breaks a foreign key.
///
/// # Errors
/// [`ErrorKind::ForeignKey`] if a table refers to columns that do not exist, or that no unique index has.
pub(super) fn broken_foreign_keys(connection: &dyn Connection) -> Result<Vec<String>> {
    let broken = texts(connection, "SELECT \"table\" FROM pragma_foreign_key_check ORDER BY 1", &[]);
    match broken {
        Ok(rows) => Ok(rows.into_iter().flatten().collect()),
        // `foreign key mismatch - "child" referencing "parent"`
        Err(error) if error.to_string().contains("foreign key mismatch") => {
            let message = format!(
                "rows refer to a column that is gone ({error}); drop the foreign key or its table, and run the migration again"
            );
            Err(Error::new(ErrorKind::ForeignKey, message).with_source(error))
        }
        Err(error) => Err(error),
    }
}

/// # Errors
/// [`ErrorKind::ForeignKey`] if more rows of a table break a foreign key than before.
pub(super) fn refuse_broken_foreign_keys(connection: &dyn Connection, before: &[String]) -> Result<()> {
    let now = broken_foreign_keys(connection)?;
    let rows = |of: &[String], table: &String| of.iter().filter(|other| *other == table).count();
    let Some(table) = now.iter().find(|table| rows(&now, table) > rows(before, table)) else {
        return Ok(());
    };
    let message = format!(
        "{} rows of `{table}` refer to rows that do not exist; add or delete them, and run the migration again",
        rows(&now, table) - rows(before, table)
    );
    Err(Error::new(ErrorKind::ForeignKey, message))
}

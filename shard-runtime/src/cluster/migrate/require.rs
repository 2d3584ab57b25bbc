//! A nullable column that becomes NOT NULL, or that is dropped.

use super::create_table::Edit;
use super::expand::SchemaWork;
use super::{rebuild, remedy};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::sql::{quoted, shortened};
use crate::schema::{ColumnDef, Table};
use crate::transaction::facts::texts;

/// Checks that no row has NULL in the column.
///
/// # Errors
/// [`ErrorKind::NotNull`] if a row has NULL in the column.
pub(super) fn validate(
    connection: &dyn Connection,
    location: &Location,
    table: &Table,
    column: &ColumnDef,
) -> Result<()> {
    let (on, name) = (location.names.table(table.name), quoted(column.name));
    let sql = format!("SELECT CAST(count(*) AS TEXT) FROM {on} WHERE {name} IS NULL");
    let count = texts(connection, &sql, &[])?.into_iter().flatten().next().unwrap_or_default();
    if count == "0" {
        return Ok(());
    }
    let message = format!(
        "{count} rows have NULL in the column, and it is to be NOT NULL; add a backfill before `require`"
    );
    Err(remedy::of_sql(
        Error::new(ErrorKind::NotNull, message).in_table(table.name).at_column(column.name),
        &sql,
    ))
}

/// Returns the SQL that makes a column NOT NULL; none if it is NOT NULL already.
pub(super) fn contract(
    connection: &dyn Connection,
    location: &Location,
    table: &Table,
    column: &ColumnDef,
) -> Result<Vec<SchemaWork>> {
    let (on, name) = (location.names.table(table.name), quoted(column.name));
    let actual = connection.columns(&location.names, table.name)?;
    let actual = actual.iter().find(|actual| actual.name.eq_ignore_ascii_case(column.name));
    if actual.is_some_and(|actual| !actual.nullable) {
        return Ok(Vec::new());
    }
    if !location.dialect.alters_columns() {
        let edits = [Edit::Require(column.name.to_owned())];
        return Ok(vec![rebuild::work(connection, location, table, &edits, Vec::new())?]);
    }
    let check = quoted(&shortened(format!("{} not null", column.name), location.dialect));
    Ok(vec![
        SchemaWork::together(vec![
            format!("ALTER TABLE {on} DROP CONSTRAINT IF EXISTS {check}"),
            format!("ALTER TABLE {on} ADD CONSTRAINT {check} CHECK ({name} IS NOT NULL) NOT VALID"),
        ]),
        // The table can be written while it reads the rows.
        SchemaWork::together(vec![format!("ALTER TABLE {on} VALIDATE CONSTRAINT {check}")]),
        SchemaWork::together(vec![
            // No scan: the constraint proves it.
            format!("ALTER TABLE {on} ALTER COLUMN {name} SET NOT NULL"),
            format!("ALTER TABLE {on} DROP CONSTRAINT {check}"),
        ]),
    ])
}

/// Returns the SQL that drops a column; none if it does not exist.
pub(super) fn drop_column(
    connection: &dyn Connection,
    location: &Location,
    table: &Table,
    column: &str,
) -> Result<Vec<SchemaWork>> {
    let actual = connection.columns(&location.names, table.name)?;
    if !actual.iter().any(|actual| actual.name.eq_ignore_ascii_case(column)) {
        return Ok(Vec::new());
    }
    if location.dialect.alters_columns() {
        let (on, name) = (location.names.table(table.name), quoted(column));
        return Ok(vec![SchemaWork::together(vec![format!("ALTER TABLE {on} DROP COLUMN {name}")])]);
    }
    let edits = [Edit::Remove(column.to_owned())];
    Ok(vec![rebuild::work(connection, location, table, &edits, Vec::new())?])
}

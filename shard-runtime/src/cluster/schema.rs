//! The models' tables and indexes on one shard: making them, and comparing what is there with what is declared.

use crate::driver::{ActualColumn, Connection};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{DeclaredIndex, Dialect, collation_name, create_table_sql, indexes};
use crate::planner::{Layout, Place};
use crate::schema::Table;

/// Creates a model's table and its indexes if they do not exist.
pub(super) fn create_table(connection: &dyn Connection, place: &Place, table: &Table) -> Result<()> {
    let Place { names, dialect, .. } = place;
    connection.run(&create_table_sql(names, table, *dialect))?;
    let indexes = indexes(names, table, *dialect);
    indexes.iter().try_for_each(|index| connection.run(&index.create_sql(names, table, *dialect)))
}

/// Looks whether every model's table on a shard is what the model says.
pub(super) fn check(connection: &dyn Connection, place: &Place, layout: &Layout) -> Result<()> {
    for table in layout.tables() {
        let actual = connection.columns(&place.names, table.name)?;
        if actual.is_empty() {
            let message = "the shard has no such table; `create` makes it";
            return Err(Error::new(ErrorKind::Schema, message).in_table(table.name));
        }
        check_columns(table, &actual, place.dialect)
            .and_then(|()| check_indexes(connection, place, table))
            .map_err(|error| error.in_table(table.name))?;
    }
    Ok(())
}

fn check_columns(table: &Table, actual: &[ActualColumn], dialect: Dialect) -> Result<()> {
    let wrong = |column: &str, message: String| Err(Error::new(ErrorKind::Schema, message).at_column(column));
    for column in table.columns {
        let Some(found) = actual.iter().find(|found| found.name.eq_ignore_ascii_case(column.name)) else {
            return wrong(column.name, "the table has no such column".to_owned());
        };
        let wanted = dialect.column_type(column.kind);
        if !found.sql_type.eq_ignore_ascii_case(wanted) {
            return wrong(column.name, format!("the column is {}, the model says {wanted}", found.sql_type));
        }
        let wanted = collation_name(column.collation, dialect);
        if dialect.has_collation(column.kind) && !found.collation.eq_ignore_ascii_case(wanted) {
            let message = format!("the column's collation is {}, the model's {wanted}", found.collation);
            return wrong(column.name, message);
        }
        if found.nullable != column.nullable {
            let message = |nullable| if nullable { "may be NULL" } else { "may not be NULL" };
            return wrong(
                column.name,
                format!("the column {}, the model's {}", message(found.nullable), message(column.nullable)),
            );
        }
    }
    for found in actual {
        let is_id = table.columns.get(table.id).is_some_and(|id| id.name.eq_ignore_ascii_case(&found.name));
        if found.is_primary_key != is_id {
            let message = |is_key| if is_key { "the primary key" } else { "not the primary key" };
            return wrong(
                &found.name,
                format!(
                    "the column is {}, the model says that it is {}",
                    message(found.is_primary_key),
                    message(is_id)
                ),
            );
        }
        let known = table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(&found.name));
        if !known && !found.nullable && !found.has_default {
            return wrong(&found.name, "the column needs a value, and the model does not have it".to_owned());
        }
    }
    Ok(())
}

fn check_indexes(connection: &dyn Connection, place: &Place, table: &Table) -> Result<()> {
    let Place { names, dialect, .. } = place;
    let actual = connection.indexes(names, table.name)?;
    for DeclaredIndex { name, columns, unique } in indexes(names, table, *dialect) {
        if !actual.iter().any(|(found, is_unique)| *found == name && *is_unique == unique) {
            let what = if unique { "unique index" } else { "index" };
            let message =
                format!("the table has no {what} `{name}` on {}; `create` makes it", columns.join(", "));
            return Err(Error::new(ErrorKind::Schema, message));
        }
    }
    Ok(())
}

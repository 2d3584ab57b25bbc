//! The models' tables and indexes on one shard: making them, and comparing what is there with what is declared.

use std::fmt::Write as _;

use super::layout::Layout;
use crate::collation::Collation;
use crate::driver::{ActualColumn, Connection};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{IdKind, Table};
use crate::sql::{Dialect, collation_name, quoted};
use crate::value::ColumnType;

/// Makes a model's table and its indexes where they are not there yet.
pub(super) fn create_table(connection: &dyn Connection, prefix: &str, table: &Table) -> Result<()> {
    connection.run(&create_sql(prefix, table))?;
    let on = quoted(&format!("{prefix}{}", table.name));
    for DeclaredIndex { name, columns, unique } in indexes(prefix, table) {
        let unique = if unique { "UNIQUE " } else { "" };
        let list: Vec<String> = columns.into_iter().map(quoted).collect();
        let (name, list) = (quoted(&name), list.join(", "));
        connection.run(&format!("CREATE {unique}INDEX IF NOT EXISTS {name} ON {on} ({list})"))?;
    }
    Ok(())
}

struct DeclaredIndex {
    name: String,
    columns: Vec<&'static str>,
    unique: bool,
}

/// The declared indexes, and the one by which children are read. An index is named after what it indexes, as
/// `reports(location_id)`: two that differ never have one name.
fn indexes(prefix: &str, table: &Table) -> Vec<DeclaredIndex> {
    let declared = table.indexes.iter().map(|index| (index.columns.to_vec(), index.unique));
    let parent = table.parent.map(|parent| (vec![parent.column], false));
    let columns = |places: Vec<usize>| {
        places.into_iter().filter_map(|place| table.columns.get(place)).map(|column| column.name).collect()
    };
    declared
        .chain(parent)
        .map(|(places, unique)| {
            let columns: Vec<&str> = columns(places);
            let suffix = if unique { " unique" } else { "" };
            DeclaredIndex {
                name: format!("{prefix}{}({}){suffix}", table.name, columns.join(", ")),
                columns,
                unique,
            }
        })
        .collect()
}

/// A table in SQLite's dialect: STRICT, so that a column holds what it says; without a row id where the id is
/// no integer; with a counter that never hands out an id twice where the database counts.
fn create_sql(prefix: &str, table: &Table) -> String {
    let mut sql = format!("CREATE TABLE IF NOT EXISTS {} (", quoted(&format!("{prefix}{}", table.name)));
    let mut integer_id = false;
    for (place, column) in table.columns.iter().enumerate() {
        let separator = if place == 0 { "" } else { ", " };
        let _ = write!(sql, "{separator}{} {}", quoted(column.name), sql_type(column.kind, Dialect::Sqlite));
        if column.collation != Collation::Binary {
            let _ = write!(sql, " COLLATE {}", collation_name(column.collation, Dialect::Sqlite));
        }
        if place == table.id {
            integer_id = column.kind == ColumnType::Integer;
            sql.push_str(if integer_id { " PRIMARY KEY" } else { " NOT NULL PRIMARY KEY" });
            if table.id_kind == IdKind::Auto {
                sql.push_str(" AUTOINCREMENT");
            }
        } else if !column.nullable {
            sql.push_str(" NOT NULL");
        }
        let parent = table.parent.map(|parent| (parent.column, parent.table));
        let referred = table.references.iter().map(|reference| (reference.column, reference.table));
        for (_, other) in parent.into_iter().chain(referred).filter(|(column, _)| *column == place) {
            let id = other.columns.get(other.id).map_or("id", |column| column.name);
            let name = quoted(&format!("{prefix}{}", other.name));
            let _ = write!(sql, " REFERENCES {name} ({})", quoted(id));
        }
    }
    sql.push_str(if integer_id { ") STRICT" } else { ") STRICT, WITHOUT ROWID" });
    sql
}

fn sql_type(kind: ColumnType, dialect: Dialect) -> &'static str {
    match (dialect, kind) {
        (Dialect::Sqlite, ColumnType::Boolean | ColumnType::Integer | ColumnType::Timestamp) => "INTEGER",
        (Dialect::Sqlite, ColumnType::Real) => "REAL",
        (Dialect::Sqlite, ColumnType::Text | ColumnType::Json) => "TEXT",
        (Dialect::Sqlite, ColumnType::Bytes | ColumnType::Uuid) => "BLOB",
    }
}

/// Looks whether every model's table on a shard is what the model says.
pub(super) fn check(connection: &dyn Connection, prefix: &str, layout: &Layout) -> Result<()> {
    for table in layout.tables() {
        let actual = connection.columns(&format!("{prefix}{}", table.name))?;
        if actual.is_empty() {
            let said = "the shard has no such table; `create` makes it";
            return Err(Error::new(ErrorKind::Schema, said).in_table(table.name));
        }
        check_columns(table, &actual)
            .and_then(|()| check_indexes(connection, prefix, table))
            .map_err(|error| error.in_table(table.name))?;
    }
    Ok(())
}

fn check_columns(table: &Table, actual: &[ActualColumn]) -> Result<()> {
    let wrong = |column: &str, said: String| Err(Error::new(ErrorKind::Schema, said).at_column(column));
    for column in table.columns {
        let Some(found) = actual.iter().find(|found| found.name.eq_ignore_ascii_case(column.name)) else {
            return wrong(column.name, "the table has no such column".to_owned());
        };
        let wanted = sql_type(column.kind, Dialect::Sqlite);
        if !found.sql_type.eq_ignore_ascii_case(wanted) {
            return wrong(column.name, format!("the column is {}, the model says {wanted}", found.sql_type));
        }
        let wanted = collation_name(column.collation, Dialect::Sqlite);
        if !found.collation.eq_ignore_ascii_case(wanted) {
            let said = format!("the column's collation is {}, the model's {wanted}", found.collation);
            return wrong(column.name, said);
        }
        if found.nullable != column.nullable {
            let said = |nullable| if nullable { "may be NULL" } else { "may not be NULL" };
            return wrong(
                column.name,
                format!("the column {}, the model's {}", said(found.nullable), said(column.nullable)),
            );
        }
    }
    for found in actual {
        let is_id = table.columns.get(table.id).is_some_and(|id| id.name.eq_ignore_ascii_case(&found.name));
        if found.is_primary_key != is_id {
            let said = |is_key| if is_key { "the primary key" } else { "not the primary key" };
            return wrong(
                &found.name,
                format!(
                    "the column is {}, the model says that it is {}",
                    said(found.is_primary_key),
                    said(is_id)
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

fn check_indexes(connection: &dyn Connection, prefix: &str, table: &Table) -> Result<()> {
    let actual = connection.indexes(&format!("{prefix}{}", table.name))?;
    for DeclaredIndex { name, columns, unique } in indexes(prefix, table) {
        if !actual.iter().any(|(found, is_unique)| *found == name && *is_unique == unique) {
            let what = if unique { "unique index" } else { "index" };
            let said =
                format!("the table has no {what} `{name}` on {}; `create` makes it", columns.join(", "));
            return Err(Error::new(ErrorKind::Schema, said));
        }
    }
    Ok(())
}

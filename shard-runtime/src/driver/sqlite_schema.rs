//! The columns and indexes of SQLite's tables, as its pragmas list them. Uses `sqlite_errors`.

use rusqlite::OptionalExtension as _;

use super::sqlite_errors::from_sqlite;
use super::{ActualColumn, ActualIndex};
use crate::error::Result;
use crate::planner::sql::quoted;

/// Returns the columns of a table; none if it does not exist.
pub(super) fn columns_of_table(raw: &rusqlite::Connection, table: &str) -> Result<Vec<ActualColumn>> {
    let mut statement = raw.prepare(&format!("PRAGMA table_info({})", quoted(table))).map_err(from_sqlite)?;
    let columns = statement
        .query_map([], |row| {
            let name: String = row.get("name")?;
            // No pragma returns the collation.
            let (_, collation, ..) = raw.column_metadata(None, table, name.as_str())?;
            let collation = collation.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            Ok(ActualColumn {
                compares_bytes: collation.eq_ignore_ascii_case("BINARY"),
                collation,
                name,
                sql_type: row.get("type")?,
                nullable: !row.get::<_, bool>("notnull")? && row.get::<_, i64>("pk")? == 0,
                has_default: row.get::<_, Option<String>>("dflt_value")?.is_some(),
                is_primary_key: row.get::<_, i64>("pk")? > 0,
            })
        })
        .map_err(from_sqlite)?;
    columns.collect::<rusqlite::Result<_>>().map_err(from_sqlite)
}

/// Returns whether a table is STRICT.
pub(super) fn is_strict(raw: &rusqlite::Connection, table: &str) -> Result<bool> {
    let sql = "SELECT strict FROM pragma_table_list(?1) WHERE schema = 'main'";
    let found = raw.query_row(sql, [table], |row| row.get(0)).optional();
    found.map_err(from_sqlite).map(Option::unwrap_or_default)
}

/// Returns the indexes of a table that have no conditions and no expressions.
pub(super) fn indexes_of_table(raw: &rusqlite::Connection, table: &str) -> Result<Vec<ActualIndex>> {
    // The name of an expression is NULL.
    let sql = "SELECT list.name, list.\"unique\", coalesce(key.name, '') \
               FROM pragma_index_list(?1) AS list, pragma_index_info(list.name) AS key \
               WHERE NOT list.partial ORDER BY list.seq, key.seqno";
    let mut statement = raw.prepare(sql).map_err(from_sqlite)?;
    let columns = statement
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(from_sqlite)?;
    let mut indexes: Vec<ActualIndex> = Vec::new();
    for column in columns {
        let (name, is_unique, column): (String, bool, String) = column.map_err(from_sqlite)?;
        match indexes.last_mut().filter(|last| last.name == name) {
            Some(last) => last.columns.push(column),
            None => indexes.push(ActualIndex { name, columns: vec![column], is_unique }),
        }
    }
    indexes.retain(|index| !index.columns.iter().any(String::is_empty));
    Ok(indexes)
}

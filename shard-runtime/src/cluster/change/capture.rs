//! Rows of a source that change while they are copied: triggers write their ids to a table of dirty rows. An entry means that the
//! row was inserted, changed or deleted. The copy reads the row's current values.
//!
//! The table has no unique constraint: with one, `INSERT OR REPLACE` of the application would replace entries. The reason is that
//! the outer statement's conflict clause also applies in triggers. Entries are removed one by one, by their number, after the
//! targets have the rows. Transactions commit in another order than they write, so that removing "everything up to the last one"
//! would lose rows.

use super::links::Endpoint;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Captured, Param};
use crate::schema::Table;
use crate::transaction::change::drop_triggers;
use crate::transaction::commit::integer;
use crate::transaction::facts;
use crate::value::{ColumnType, Value};

/// The table of dirty rows.
const DIRTY: &str = "sharded_dirty";

/// The beginning of the names of the triggers and functions.
pub(super) const CAPTURE: &str = "sharded_capture_";

/// An entry of the table of dirty rows.
pub(super) struct Dirty {
    pub(super) number: i64,
    pub(super) table: String,
    /// The row; `None` for all rows that the table had when it was emptied.
    pub(super) id: Option<Value<'static>>,
    /// Whether the row may belong to another target than before: it was inserted, deleted, or its key or its parent has
    /// changed. Its descendants are copied again with it.
    pub(super) has_moved: bool,
}

/// Returns the column of the table of dirty rows for ids of this kind.
fn column_of(table: &Table) -> Result<&'static str> {
    let kind = table.columns.get(table.id).map_or(ColumnType::Integer, |column| column.kind);
    match kind {
        ColumnType::Integer | ColumnType::Boolean => Ok("i"),
        ColumnType::Text => Ok("t"),
        ColumnType::Bytes => Ok("b"),
        ColumnType::Uuid => Ok("u"),
        ColumnType::Real | ColumnType::Timestamp | ColumnType::Json => {
            let message = "rows whose id is of this type cannot be moved by a change";
            Err(table.error_at(table.id, Error::new(ErrorKind::Configuration, message)))
        }
    }
}

/// Makes the triggers that record changed rows, in the caller's transaction. Every change after its commit is recorded.
pub(super) fn make(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    tables: &[&'static Table],
) -> Result<()> {
    let location = endpoint.location;
    let (dirty, dialect) = (location.names.table(DIRTY), location.dialect);
    connection.lock(&dialect.dirty_table_sql(&dirty))?;
    drop_triggers(connection, location, CAPTURE)?;
    for (at, table) in tables.iter().enumerate() {
        let captured = Captured {
            names: &location.names,
            beginning: format!("{CAPTURE}{at}_"),
            table,
            dirty: dirty.clone(),
            column: column_of(table)?,
            unique: unique_indexes(connection, endpoint, table.name)?,
        };
        let sql = dialect.capture_sql(&captured);
        sql.iter().try_for_each(|sql| connection.lock(sql)).map_err(|error| error.in_table(table.name))?;
    }
    Ok(())
}

/// Refuses tables that a change cannot move: dependent objects would bypass the fence, or stay on the source.
///
/// # Errors
/// [`ErrorKind::Configuration`]
pub(super) fn check(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    tables: &[&'static Table],
) -> Result<()> {
    for table in tables {
        column_of(table).map_err(|error| error.in_table(table.name))?;
        let sql = endpoint.location.dialect.dependents_sql(&endpoint.location.names, table.name);
        if let Some(what) = facts::texts(connection, &sql, &[])?.into_iter().flatten().next() {
            let message = format!(
                "{what} prevents the table from being moved: drop it on this shard, and make it on the targets"
            );
            return Err(Error::new(ErrorKind::Configuration, message).in_table(table.name));
        }
    }
    Ok(())
}

/// Returns the columns of the unique indexes of a SQLite table, without the primary key.
fn unique_indexes(
    connection: &dyn Connection,
    endpoint: Endpoint<'_>,
    table: &str,
) -> Result<Vec<Vec<String>>> {
    let Some(sql) = endpoint.location.dialect.unique_indexes_sql(&endpoint.location.names, table) else {
        return Ok(Vec::new());
    };
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for row in facts::texts(connection, &sql, &[])? {
        let Ok([index, column]) = <[String; 2]>::try_from(row) else { continue };
        match found.last_mut() {
            Some((last, columns)) if *last == index => columns.push(column),
            _ => found.push((index, vec![column])),
        }
    }
    Ok(found.into_iter().map(|(_, columns)| columns).collect())
}

/// Removes the triggers and the table of dirty rows.
pub(super) fn remove(connection: &dyn Connection, endpoint: Endpoint<'_>) -> Result<()> {
    drop_triggers(connection, endpoint.location, CAPTURE)?;
    connection.lock(&format!("DROP TABLE IF EXISTS {}", endpoint.location.names.table(DIRTY)))
}

/// Returns all entries, by number.
pub(super) fn entries(connection: &dyn Connection, endpoint: Endpoint<'_>) -> Result<Vec<Dirty>> {
    let dirty = endpoint.location.names.table(DIRTY);
    let mut statement =
        connection.prepare(&format!("SELECT entry, tbl, moved, i, t, b, u FROM {dirty} ORDER BY entry"))?;
    let mut rows = statement.query(&[])?;
    let mut found = Vec::new();
    while rows.advance()? {
        let (Value::Integer(number), Value::Text(table)) = (rows.value(0)?, rows.value(1)?) else { continue };
        let (table, has_moved) = (table.into_owned(), rows.value(2)? != Value::Integer(0));
        let mut id = None;
        for column in 3..7 {
            let value = rows.value(column)?;
            if value != Value::Null {
                let value = if column == 6 { value.into_kind(ColumnType::Uuid)? } else { value };
                id = Some(value.into_owned());
            }
        }
        found.push(Dirty { number, table, id, has_moved });
    }
    Ok(found)
}

/// Returns whether there are no entries.
pub(super) fn is_clean(connection: &dyn Connection, endpoint: Endpoint<'_>) -> Result<bool> {
    let sql = format!("SELECT 'one' FROM {} LIMIT 1", endpoint.location.names.table(DIRTY));
    Ok(facts::texts(connection, &sql, &[])?.is_empty())
}

/// Counts the entries.
pub(super) fn count(connection: &dyn Connection, endpoint: Endpoint<'_>) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM {}", endpoint.location.names.table(DIRTY));
    integer(connection, &sql, &[]).map(|count| u64::try_from(count).unwrap_or_default())
}

/// Removes exactly these entries, in the caller's transaction.
pub(super) fn forget(connection: &dyn Connection, endpoint: Endpoint<'_>, entries: &[Dirty]) -> Result<()> {
    let sql = format!(
        "DELETE FROM {} WHERE entry{}",
        endpoint.location.names.table(DIRTY),
        endpoint.location.dialect.is_in(1)
    );
    for entries in entries.chunks(10_000) {
        let numbers = entries.iter().map(|entry| Value::Integer(entry.number)).collect();
        connection.prepare(&sql)?.execute(&[Param::List(numbers)])?;
    }
    Ok(())
}

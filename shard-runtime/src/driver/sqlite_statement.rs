//! A prepared statement of SQLite and its rows. Uses `sqlite_errors`.

use std::rc::Rc;

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Rows, ffi};

use super::sqlite_errors::from_sqlite;
use super::{Prepared, RowCursor, StatementProperties};
use crate::error::{Result, ValueError};
use crate::planner::sql::Param;
use crate::row::{RowSource, Stream};
use crate::value::Value;

/// How often a statement is prepared again after changes of the schema; SQLite retries a prepared statement as often.
const SCHEMAS: usize = 50;

pub(super) struct SqliteStatement<'c> {
    statement: CachedStatement<'c>,
    connection: &'c rusqlite::Connection,
}

impl<'c> SqliteStatement<'c> {
    /// Prepares a statement. SQLite itself reads a changed schema again only once, and other connections may change it
    /// again meanwhile.
    pub(super) fn prepare(connection: &'c rusqlite::Connection, sql: &str) -> Result<Self> {
        let mut prepared = connection.prepare_cached(sql);
        for _ in 1..SCHEMAS {
            match &prepared {
                Err(rusqlite::Error::SqliteFailure(failure, _))
                    if failure.extended_code & 0xff == ffi::SQLITE_SCHEMA => {}
                Err(rusqlite::Error::SqlInputError { error, .. })
                    if error.extended_code & 0xff == ffi::SQLITE_SCHEMA => {}
                _ => break,
            }
            prepared = connection.prepare_cached(sql);
        }
        let statement = prepared.map_err(from_sqlite)?;
        Ok(SqliteStatement { statement, connection })
    }

    pub(super) fn bind(&mut self, params: &[Param<'_>]) -> Result<()> {
        for (position, param) in params.iter().enumerate() {
            match param {
                Param::Value(value) => self.statement.raw_bind_parameter(position + 1, BoundValue(value)),
                Param::List(values) => {
                    let list: Vec<rusqlite::types::Value> = values.iter().map(owned).collect();
                    self.statement.raw_bind_parameter(position + 1, Rc::new(list))
                }
            }
            .map_err(from_sqlite)?;
        }
        Ok(())
    }
}

impl SqliteStatement<'_> {
    /// Runs the statement, whose parameters are bound. Returns its rows.
    pub(super) fn cursor(&mut self) -> SqliteCursor<'_> {
        SqliteCursor { rows: self.statement.raw_query() }
    }
}

impl Prepared for SqliteStatement<'_> {
    fn properties(&self) -> StatementProperties {
        StatementProperties {
            parameters: self.statement.parameter_count(),
            returns_rows: self.statement.column_count() > 0,
            only_reads: self.statement.readonly(),
        }
    }

    fn execute(&mut self, params: &[Param<'_>]) -> Result<u64> {
        self.bind(params)?;
        self.statement.raw_execute().map(|rows| rows as u64).map_err(from_sqlite)
    }

    fn insert(&mut self, values: &[Value<'_>]) -> Result<i64> {
        for (position, value) in values.iter().enumerate() {
            self.statement.raw_bind_parameter(position + 1, BoundValue(value)).map_err(from_sqlite)?;
        }
        self.statement.raw_execute().map_err(from_sqlite)?;
        Ok(self.connection.last_insert_rowid())
    }

    fn query<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn RowCursor + 's>> {
        self.bind(params)?;
        Ok(Box::new(self.cursor()))
    }
}

pub(super) struct SqliteCursor<'s> {
    rows: Rows<'s>,
}

impl RowCursor for SqliteCursor<'_> {
    fn width(&self) -> usize {
        self.rows.as_ref().map_or(0, |statement| statement.column_count())
    }

    fn columns(&self) -> Vec<String> {
        let Some(row) = self.rows.get() else { return Vec::new() };
        let statement: &rusqlite::Statement<'_> = row.as_ref();
        statement.column_names().map(str::to_owned).collect()
    }
}

impl Stream for SqliteCursor<'_> {
    fn advance(&mut self) -> Result<bool> {
        self.rows.advance().map_err(from_sqlite)?;
        Ok(self.rows.get().is_some())
    }
}

impl RowSource for SqliteCursor<'_> {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        let row = self.rows.get().ok_or_else(|| ValueError::new("there is no row"))?;
        match row.get_ref(index).map_err(|error| ValueError::new(error.to_string()))? {
            ValueRef::Null => Ok(Value::Null),
            ValueRef::Integer(integer) => Ok(Value::Integer(integer)),
            ValueRef::Real(real) => Ok(Value::Real(real)),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Value::Text(text.into())),
                Err(error) => Err(ValueError::new(format!("the stored text is not UTF-8: {error}"))),
            },
            ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes.into())),
        }
    }
}

/// A value as a parameter of SQLite, without a copy.
struct BoundValue<'v>(&'v Value<'v>);

impl ToSql for BoundValue<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Boolean(value) => ValueRef::Integer(i64::from(*value)),
            Value::Integer(integer) | Value::Timestamp(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(text) | Value::Json(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::Uuid(uuid) => ValueRef::Blob(uuid),
        }))
    }
}

fn owned(value: &Value<'_>) -> rusqlite::types::Value {
    match value {
        Value::Null => rusqlite::types::Value::Null,
        Value::Boolean(value) => i64::from(*value).into(),
        Value::Integer(integer) | Value::Timestamp(integer) => (*integer).into(),
        Value::Real(real) => (*real).into(),
        Value::Text(text) | Value::Json(text) => text.to_string().into(),
        Value::Bytes(bytes) => bytes.to_vec().into(),
        Value::Uuid(uuid) => uuid.to_vec().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_missing_table_is_missing_also_while_others_change_the_schema() {
        let folder = std::env::temp_dir().join(format!("sharded-schemas-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let open = || {
            let raw = rusqlite::Connection::open(folder.join("a.db")).unwrap();
            raw.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
            raw.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
            raw
        };
        let (reads, is_over) = (open(), AtomicBool::new(false));
        // Reading a long schema takes some time.
        (0..200).for_each(|table| reads.execute_batch(&format!("CREATE TABLE t{table} (a, b)")).unwrap());
        std::thread::scope(|scope| {
            let (raw, is_over) = (open(), &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    raw.execute_batch("CREATE TABLE other (id); DROP TABLE other").unwrap();
                }
            });
            let missing = || SqliteStatement::prepare(&reads, "SELECT id FROM missing").err().unwrap();
            let kinds: Vec<ErrorKind> = (0..1_000).map(|_| missing().kind()).collect();
            is_over.store(true, Ordering::Relaxed);
            assert!(kinds.iter().all(|kind| *kind == ErrorKind::Schema), "{kinds:?}");
        });
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

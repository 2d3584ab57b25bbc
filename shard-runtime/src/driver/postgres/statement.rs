//! A statement that is prepared on a connection.

use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;

use super::connection::PostgresConnection;
use super::rows::PostgresRows;
use super::values::encoded;
use crate::driver::{Cursor, Prepared, Shape};
use crate::error::{Error, Result};
use crate::merge::Stream;
use crate::model::RowSource;
use crate::sql::Param;
use crate::value::{Value, mismatch};
use crate::written;

pub(super) struct PostgresStatement<'c> {
    connection: &'c PostgresConnection,
    statement: Statement,
    sql: String,
}

impl<'c> PostgresStatement<'c> {
    pub(super) fn new(connection: &'c PostgresConnection, statement: Statement, sql: String) -> Self {
        PostgresStatement { connection, statement, sql }
    }

    fn begin(&self, params: &[Param<'_>]) -> Result<PostgresRows<'c>> {
        let encoded = encoded(params, self.statement.params())?;
        Ok(PostgresRows::begin(self.connection, self.statement.clone(), encoded))
    }

    /// What is prepared may be for a table that was changed since.
    fn noticed<O>(&self, result: Result<O>) -> Result<O> {
        result.inspect_err(|error| {
            let source = std::error::Error::source(error);
            let said = source.and_then(|source| source.downcast_ref::<tokio_postgres::Error>());
            let code = said.and_then(tokio_postgres::Error::code);
            if [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INVALID_SQL_STATEMENT_NAME]
                .iter()
                .any(|stale| code == Some(stale))
            {
                self.connection.forget(&self.sql);
            }
        })
    }
}

impl Prepared for PostgresStatement<'_> {
    fn shape(&self) -> Shape {
        Shape {
            parameters: self.statement.params().len(),
            returns_rows: !self.statement.columns().is_empty(),
            only_reads: written::only_reads(&self.sql),
        }
    }

    fn execute(&mut self, params: &[Param<'_>]) -> Result<u64> {
        let end = self.begin(params).and_then(PostgresRows::end);
        self.noticed(end)
    }

    fn insert(&mut self, values: &[Value<'_>]) -> Result<i64> {
        let params: Vec<Param<'_>> = values.iter().map(|value| Param::Value(value.borrowed())).collect();
        let inserted = self.begin(&params).and_then(|mut rows| {
            let id = match rows.advance()? {
                false => return Ok(0),
                true => match rows.value(0)? {
                    Value::Integer(id) => id,
                    other => return Err(Error::from(mismatch("an id", &other))),
                },
            };
            rows.end().map(|_| id)
        });
        self.noticed(inserted)
    }

    fn query<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn Cursor + 's>> {
        let rows = self.begin(params);
        Ok(Box::new(self.noticed(rows)?))
    }
}

//! A statement that is prepared on a connection.

use std::sync::Arc;

use tokio_postgres::Statement;

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
    sql: Arc<str>,
}

impl<'c> PostgresStatement<'c> {
    pub(super) fn new(connection: &'c PostgresConnection, statement: Statement, sql: &str) -> Self {
        PostgresStatement { connection, statement, sql: sql.into() }
    }

    fn begin(&self, params: &[Param<'_>]) -> Result<PostgresRows<'c>> {
        let encoded = encoded(params, self.statement.params())?;
        let (statement, sql) = (self.statement.clone(), Arc::clone(&self.sql));
        Ok(PostgresRows::begin(self.connection, statement, sql, encoded.into()))
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
        self.begin(params).and_then(PostgresRows::end)
    }

    fn insert(&mut self, values: &[Value<'_>]) -> Result<i64> {
        let params: Vec<Param<'_>> = values.iter().map(|value| Param::Value(value.borrowed())).collect();
        let mut rows = self.begin(&params)?;
        let id = match rows.advance()? {
            false => return Ok(0),
            true => match rows.value(0)? {
                Value::Integer(id) => id,
                other => return Err(Error::from(mismatch("an id", &other))),
            },
        };
        rows.end().map(|_| id)
    }

    fn query<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn Cursor + 's>> {
        Ok(Box::new(self.begin(params)?))
    }
}

//! A prepared statement of a connection.

use std::sync::Arc;

use super::rows::PostgresRows;
use super::server_cursor::ServerCursor;
use super::server_session::PostgresConnection;
use super::text::{DescribedStatement, Text};
use super::values::encoded;
use crate::driver::{Prepared, RowCursor, StatementProperties};
use crate::error::{Error, Result};
use crate::planner::raw_sql;
use crate::planner::sql::Param;
use crate::row::RowSource;
use crate::row::Stream;
use crate::value::{Value, mismatch};

pub(super) struct PostgresStatement<'c> {
    connection: &'c PostgresConnection,
    described: Arc<DescribedStatement>,
    text: Text,
}

impl<'c> PostgresStatement<'c> {
    pub(super) fn new(
        connection: &'c PostgresConnection,
        described: Arc<DescribedStatement>,
        text: Text,
    ) -> Self {
        PostgresStatement { connection, described, text }
    }

    fn begin(&self, params: &[Param<'_>]) -> Result<PostgresRows<'c>> {
        let encoded = encoded(params, &self.described.params)?;
        let (described, text) = (Arc::clone(&self.described), self.text.clone());
        Ok(PostgresRows::begin(self.connection, described, text, encoded.into()))
    }
}

impl Prepared for PostgresStatement<'_> {
    fn properties(&self) -> StatementProperties {
        StatementProperties {
            parameters: self.described.params.len(),
            returns_rows: !self.described.columns.is_empty(),
            only_reads: raw_sql::only_reads(&self.text.sql),
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

    fn query<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn RowCursor + 's>> {
        Ok(Box::new(self.begin(params)?))
    }

    fn query_beside_others<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn RowCursor + 's>> {
        let encoded = encoded(params, &self.described.params)?;
        Ok(Box::new(ServerCursor::new(self.connection, &self.described, &self.text, encoded)))
    }
}

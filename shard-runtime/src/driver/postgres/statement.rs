//! A statement that is prepared on a connection.

use std::sync::Arc;

use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use super::connection::PostgresConnection;
use super::portions::Portions;
use super::rows::PostgresRows;
use super::values::encoded;
use crate::driver::{Cursor, Prepared, Shape};
use crate::error::{Error, Result};
use crate::planner::raw_sql;
use crate::planner::sql::{Namespace, Param};
use crate::row::RowSource;
use crate::row::Stream;
use crate::value::{Value, mismatch};

pub(super) struct PostgresStatement<'c> {
    connection: &'c PostgresConnection,
    described: Arc<Described>,
    text: Text,
}

/// The description of a statement that the server has prepared.
#[derive(Default)]
pub(super) struct Described {
    /// The statement under its name; none where its text is sent with every execution.
    pub(super) statement: Option<Statement>,
    pub(super) params: Vec<Type>,
    /// The names of the columns of its rows.
    pub(super) columns: Vec<String>,
}

impl Described {
    pub(super) fn named(statement: Statement) -> Self {
        Described {
            params: statement.params().to_vec(),
            columns: statement.columns().iter().map(|column| column.name().to_owned()).collect(),
            statement: Some(statement),
        }
    }
}

/// A statement's text, and where its table names without a schema are looked up.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Text {
    pub(super) sql: Arc<str>,
    /// The schema of the shard that it is for; none where it is for no shard.
    schema: Option<Arc<str>>,
}

impl Text {
    /// A text for no shard.
    pub(super) fn own(sql: &str) -> Self {
        Text { sql: sql.into(), schema: None }
    }

    /// A text for a shard.
    pub(super) fn in_schema(sql: &str, names: &Namespace) -> Self {
        Text { sql: sql.into(), schema: names.schema.as_deref().map(Arc::from) }
    }

    /// Another text for the same shard.
    pub(super) fn with_sql(&self, sql: &str) -> Self {
        Text { sql: sql.into(), schema: self.schema.clone() }
    }

    pub(super) fn schema(&self) -> Option<&Arc<str>> {
        self.schema.as_ref()
    }
}

impl<'c> PostgresStatement<'c> {
    pub(super) fn new(connection: &'c PostgresConnection, described: Arc<Described>, text: Text) -> Self {
        PostgresStatement { connection, described, text }
    }

    fn begin(&self, params: &[Param<'_>]) -> Result<PostgresRows<'c>> {
        let encoded = encoded(params, &self.described.params)?;
        let (described, text) = (Arc::clone(&self.described), self.text.clone());
        Ok(PostgresRows::begin(self.connection, described, text, encoded.into()))
    }
}

impl Prepared for PostgresStatement<'_> {
    fn shape(&self) -> Shape {
        Shape {
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

    fn query<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn Cursor + 's>> {
        Ok(Box::new(self.begin(params)?))
    }

    fn query_beside_others<'s>(&'s mut self, params: &[Param<'_>]) -> Result<Box<dyn Cursor + 's>> {
        let encoded = encoded(params, &self.described.params)?;
        Ok(Box::new(Portions::new(self.connection, &self.described, &self.text, encoded)))
    }
}

//! The rows of a statement that are read while other statements of the same connection run: a cursor on the server.
//!
//! A connection answers its statements in order: the rows of the first must be read before those of the second arrive. If
//! the rows of several shards in one database are merged, each statement is a cursor of the server. Its rows are fetched
//! in batches. At most one batch of each statement is in memory.

use std::pin::pin;
use std::sync::Arc;

use tokio_postgres::Row;

use super::rows::{PostgresRows, value_of};
use super::server_session::PostgresConnection;
use super::text::{DescribedStatement, Text};
use super::values::Encoded;
use crate::driver::{Connection, RowCursor};
use crate::error::{Result, ValueError};
use crate::row::RowSource;
use crate::row::Stream;
use crate::value::Value;

/// The number of rows in the first batch, which arrives soon, and in the largest, which costs least per row.
const BATCH: (usize, usize) = (64, 1_024);

pub(super) struct ServerCursor<'c> {
    connection: &'c PostgresConnection,
    columns: Vec<String>,
    /// The statement that declares the cursor, with its parameters, until it has run.
    declare: Option<(Text, Arc<DescribedStatement>, Arc<[Encoded]>)>,
    name: String,
    /// The number of undone statements when the cursor was declared.
    undone: u64,
    size: usize,
    /// The rows of the batch in reverse order.
    rows: Vec<Row>,
    is_first: bool,
    ended: bool,
}

impl<'c> ServerCursor<'c> {
    pub(super) fn new(
        connection: &'c PostgresConnection,
        described: &DescribedStatement,
        text: &Text,
        params: Vec<Encoded>,
    ) -> Self {
        let name = connection.name_cursor();
        let declare = text.with_sql(&format!("DECLARE {name} NO SCROLL CURSOR FOR {}", text.sql));
        let unnamed =
            DescribedStatement { statement: None, params: described.params.clone(), columns: Vec::new() };
        ServerCursor {
            connection,
            columns: described.columns.clone(),
            declare: Some((declare, Arc::new(unnamed), params.into())),
            name,
            undone: 0,
            size: BATCH.0,
            rows: Vec::new(),
            is_first: true,
            ended: false,
        }
    }

    /// Fetches the next batch completely: another statement may be next on the connection.
    fn fetch(&mut self) -> Result<()> {
        if let Some((declare, unnamed, params)) = self.declare.take() {
            self.ended = true;
            PostgresRows::begin(self.connection, unnamed, declare, params).end()?;
            self.ended = false;
            self.undone = self.connection.undone();
        }
        let fetch = format!("FETCH FORWARD {} FROM {}", self.size, self.name);
        let unnamed = Arc::new(DescribedStatement::default());
        let fetched = PostgresRows::begin(self.connection, unnamed, Text::own(&fetch), Arc::new([]));
        let fetched = fetched.take_all().inspect_err(|_| self.ended = true)?;
        self.ended = fetched.len() < self.size;
        self.size = (self.size * 4).min(BATCH.1);
        self.rows = fetched;
        self.rows.reverse();
        Ok(())
    }
}

impl Drop for ServerCursor<'_> {
    /// Closes the cursor. An undone transaction may have closed it already; the end of the transaction closes it in any
    /// case.
    fn drop(&mut self) {
        let is_open = self.declare.is_none() && !self.ended && self.connection.undone() == self.undone;
        if is_open && self.connection.in_transaction() {
            let close = format!("CLOSE {}", self.name);
            let _ = self.connection.executor().begin(pin!(self.connection.client().batch_execute(&close)));
        }
    }
}

impl Stream for ServerCursor<'_> {
    fn advance(&mut self) -> Result<bool> {
        if !std::mem::take(&mut self.is_first) {
            self.rows.pop();
        }
        if self.rows.is_empty() && !self.ended {
            self.fetch()?;
        }
        Ok(!self.rows.is_empty())
    }
}

impl RowSource for ServerCursor<'_> {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        value_of(self.rows.last().filter(|_| !self.is_first), index)
    }
}

impl RowCursor for ServerCursor<'_> {
    fn width(&self) -> usize {
        self.columns.len()
    }

    fn columns(&self) -> Vec<String> {
        self.columns.clone()
    }
}

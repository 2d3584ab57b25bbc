//! The rows of a statement that runs on its server. Uses `server_session`, `values`, `errors`.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::Stream as _;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Row, RowStream};

use super::errors::from_postgres;
use super::server_session::PostgresConnection;
use super::settings::IS_WHOLE;
use super::text::{DescribedStatement, Text};
use super::values::{Encoded, Raw};
use crate::driver::RowCursor;
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::row::RowSource;
use crate::row::Stream;
use crate::value::Value;

/// The largest number of received rows that are read at once.
const AT_ONCE: usize = 256;

type Beginning<'c> =
    Pin<Box<dyn Future<Output = std::result::Result<RowStream, tokio_postgres::Error>> + Send + 'c>>;

pub(super) struct PostgresRows<'c> {
    connection: &'c PostgresConnection,
    described: Arc<DescribedStatement>,
    text: Text,
    /// Kept in case the statement must be prepared again.
    params: Arc<[Encoded]>,
    stage: Stage<'c>,
    /// The received rows that were not read yet. The current row is the first.
    received: VecDeque<Row>,
    has_current: bool,
}

enum Stage<'c> {
    Sent(Beginning<'c>),
    Streaming(Pin<Box<RowStream>>),
    /// With the number of changed rows.
    Ended(u64),
}

impl<'c> PostgresRows<'c> {
    /// Sends a statement without waiting for its answer.
    pub(super) fn begin(
        connection: &'c PostgresConnection,
        described: Arc<DescribedStatement>,
        text: Text,
        params: Arc<[Encoded]>,
    ) -> Self {
        let (client, sql) = (connection.client(), Arc::clone(&text.sql));
        let (what, bound) = (Arc::clone(&described), Arc::clone(&params));
        let asking = async move {
            match &what.statement {
                Some(statement) => client.query_raw(statement, bound.iter()).await,
                None => client.query_typed_raw(&sql, bound.iter().zip(what.params.iter().cloned())).await,
            }
        };
        let mut beginning: Beginning<'c> = Box::pin(connection.with_due_statements(&text, asking));
        let stage = match connection.executor().begin(Pin::new(&mut beginning)) {
            None => Stage::Sent(beginning),
            Some(Ok(stream)) => Stage::Streaming(Box::pin(stream)),
            // It cannot be polled again; the error is reported when the first row is read.
            Some(Err(error)) => Stage::Sent(Box::pin(async move { Err(error) })),
        };
        PostgresRows {
            connection,
            described,
            text,
            params,
            stage,
            received: VecDeque::new(),
            has_current: false,
        }
    }

    /// Waits for the end of the statement. Returns the number of changed rows.
    pub(super) fn end(mut self) -> Result<u64> {
        while self.advance()? {}
        match self.stage {
            Stage::Ended(rows) => Ok(rows),
            Stage::Sent(_) | Stage::Streaming(_) => Ok(0),
        }
    }

    /// Waits for the end of the statement. Returns its rows.
    pub(super) fn take_all(mut self) -> Result<Vec<Row>> {
        let mut all = Vec::new();
        while self.advance()? {
            self.has_current = false;
            all.extend(self.received.drain(..));
        }
        Ok(all)
    }

    /// Waits for rows, and reads those that have arrived. If the table has changed since the statement was prepared,
    /// nothing was done, and the statement is prepared again, once.
    fn fill(&mut self) -> Result<()> {
        let has_begun = !matches!(self.stage, Stage::Sent(_));
        match self.fill_as_prepared() {
            Err(error) if !has_begun && self.described.statement.is_some() && is_stale(&error) => {
                let connection = self.connection;
                connection.forget(&self.text);
                let described = connection.prepared(&self.text)?;
                *self =
                    PostgresRows::begin(connection, described, self.text.clone(), Arc::clone(&self.params));
                self.fill_as_prepared()
            }
            filled => filled,
        }
    }

    fn fill_as_prepared(&mut self) -> Result<()> {
        let (stage, received) = (&mut self.stage, &mut self.received);
        let filling = async move {
            if let Stage::Sent(beginning) = stage {
                *stage = Stage::Streaming(Box::pin(beginning.await?));
            }
            let Stage::Streaming(stream) = stage else { return Ok(()) };
            let mut waits = true;
            let ended = poll_fn(|context| {
                while received.len() < AT_ONCE {
                    match stream.as_mut().poll_next(context) {
                        Poll::Ready(Some(Ok(row))) => {
                            received.push_back(row);
                            waits = false;
                        }
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                        Poll::Ready(None) => return Poll::Ready(Ok(true)),
                        Poll::Pending if waits => return Poll::Pending,
                        Poll::Pending => break,
                    }
                }
                Poll::Ready(Ok(false))
            });
            if ended.await? {
                let rows = stream.rows_affected().unwrap_or(0);
                *stage = Stage::Ended(rows);
            }
            Ok(())
        };
        match self.connection.executor().wait_until(self.connection.deadline(), filling) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.stage = Stage::Ended(0);
                Err(self.connection.failed(from_postgres(error)))
            }
            Err(stopped) => {
                self.stop_statement();
                Err(stopped)
            }
        }
    }

    /// Ends the statement on its server, unless it has ended.
    fn stop_statement(&mut self) {
        let rest = match std::mem::replace(&mut self.stage, Stage::Ended(0)) {
            Stage::Ended(_) => return,
            stage => stage,
        };
        let client = self.connection.client();
        self.connection.stop_statement(async move {
            let stream = match rest {
                Stage::Sent(beginning) => Box::pin(beginning.await?),
                Stage::Streaming(stream) => stream,
                Stage::Ended(_) => return Ok(()),
            };
            // Rows without a reader are skipped; megabytes of them may be in transit. The next answer reports their end,
            // and whether the transaction is intact.
            drop(stream);
            client.batch_execute(IS_WHOLE).await
        });
    }
}

/// Returns whether a statement was prepared for a table whose columns have changed their types.
fn is_stale(error: &Error) -> bool {
    let message = error.driver_error().and_then(|message| message.downcast_ref::<tokio_postgres::Error>());
    let code = message.and_then(tokio_postgres::Error::code);
    // A standby that refuses to begin a transaction reports it as a feature, too.
    error.kind() != ErrorKind::ReadOnly
        && [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INVALID_SQL_STATEMENT_NAME]
            .iter()
            .any(|stale| code == Some(stale))
}

impl Drop for PostgresRows<'_> {
    fn drop(&mut self) {
        self.stop_statement();
    }
}

impl Stream for PostgresRows<'_> {
    fn advance(&mut self) -> Result<bool> {
        if std::mem::take(&mut self.has_current) {
            self.received.pop_front();
        }
        if self.received.is_empty() && !matches!(self.stage, Stage::Ended(_)) {
            self.fill()?;
        }
        self.has_current = !self.received.is_empty();
        Ok(self.has_current)
    }
}

impl RowSource for PostgresRows<'_> {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        value_of(self.received.front().filter(|_| self.has_current), index)
    }
}

/// Returns the value of a column of the current row.
pub(super) fn value_of(row: Option<&Row>, index: usize) -> Result<Value<'_>, ValueError> {
    let row = row.ok_or_else(|| ValueError::new("there is no row"))?;
    let column = row.columns().get(index);
    let column = column.ok_or_else(|| ValueError::new("the row has no such column"))?;
    match row.try_get::<_, Option<Raw<'_>>>(index) {
        Ok(None) => Ok(Value::Null),
        Ok(Some(raw)) => raw.value(column.type_()),
        Err(error) => Err(ValueError::new(error.to_string())),
    }
}

impl RowCursor for PostgresRows<'_> {
    fn width(&self) -> usize {
        self.described.columns.len()
    }

    fn columns(&self) -> Vec<String> {
        self.described.columns.clone()
    }
}

//! A statement that a server is preparing.

use std::future::Future;
use std::pin::Pin;

use tokio_postgres::Statement;

use super::connection::PostgresConnection;
use super::errors::from_postgres;
use crate::error::{Error, ErrorKind, Result};

type Asking<'c> = Pin<Box<dyn Future<Output = Result<Statement, tokio_postgres::Error>> + Send + 'c>>;

pub(super) struct Preparation<'c> {
    connection: &'c PostgresConnection,
    sql: String,
    stage: Stage<'c>,
}

enum Stage<'c> {
    Asked(Asking<'c>),
    Known(Statement),
    Ended,
}

impl<'c> Preparation<'c> {
    /// One that is to be asked for.
    pub(super) fn new(connection: &'c PostgresConnection, sql: &str) -> Self {
        let (client, own) = (connection.client(), sql.to_owned());
        let asking = connection.after_what_is_due(async move { client.prepare(&own).await });
        Preparation { connection, sql: sql.to_owned(), stage: Stage::Asked(Box::pin(asking)) }
    }

    /// One that was prepared before.
    pub(super) fn known(connection: &'c PostgresConnection, statement: Statement) -> Self {
        Preparation { connection, sql: String::new(), stage: Stage::Known(statement) }
    }

    /// Asks for it and does not wait for the answer.
    pub(super) fn begin(&mut self) {
        if let Stage::Asked(asking) = &mut self.stage
            && let Some(answer) = self.connection.executor().begin(Pin::new(asking))
        {
            // It cannot be polled again.
            self.stage = Stage::Asked(Box::pin(async move { answer }));
        }
    }

    /// The statement, once the server has prepared it.
    pub(super) fn finish(mut self) -> Result<Statement> {
        let connection = self.connection;
        let mut asking = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Asked(asking) => asking,
            Stage::Known(statement) => return Ok(statement),
            Stage::Ended => {
                return Err(Error::new(ErrorKind::Database, "the statement was waited for already"));
            }
        };
        match connection.executor().wait_until(connection.deadline(), asking.as_mut()) {
            Ok(Ok(statement)) => {
                connection.keep(std::mem::take(&mut self.sql), statement.clone());
                Ok(statement)
            }
            Ok(Err(error)) => Err(connection.failed(from_postgres(error))),
            Err(stopped) => {
                // What was written before in the transaction is not lost for it.
                connection.give_up(async move { asking.await.map(drop) });
                Err(stopped)
            }
        }
    }
}

impl Drop for Preparation<'_> {
    /// What was asked for and is of no use any more has to end before the connection is asked something else: where it
    /// fails, the transaction has to be brought back to order.
    fn drop(&mut self) {
        if let Stage::Asked(asking) = std::mem::replace(&mut self.stage, Stage::Ended) {
            self.connection.give_up(async move { asking.await.map(drop) });
        }
    }
}

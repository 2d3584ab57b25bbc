//! A statement that a server is preparing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join;
use tokio_postgres::Client;

use super::errors::from_postgres;
use super::server_session::PostgresConnection;
use super::text::{DescribedStatement, Text};
use crate::error::{Error, ErrorKind, Result};

type Request<'c> =
    Pin<Box<dyn Future<Output = Result<DescribedStatement, tokio_postgres::Error>> + Send + 'c>>;

pub(super) struct Preparation<'c> {
    connection: &'c PostgresConnection,
    /// `None` if it was prepared before.
    text: Option<Text>,
    stage: Stage<'c>,
}

enum Stage<'c> {
    Requested(Request<'c>),
    Known(Arc<DescribedStatement>),
    Ended,
}

impl<'c> Preparation<'c> {
    /// Creates the preparation of a new statement.
    pub(super) fn new(connection: &'c PostgresConnection, text: Text) -> Self {
        let (client, sql) = (connection.client(), Arc::clone(&text.sql));
        let (is_pooled, is_alone) = (connection.is_pooled(), connection.is_alone());
        let request = connection.with_due_statements(&text, async move {
            match is_pooled {
                true => describe(client, &sql, is_alone).await,
                false => client.prepare(&sql).await.map(DescribedStatement::named),
            }
        });
        Preparation { connection, text: Some(text), stage: Stage::Requested(Box::pin(request)) }
    }

    /// Returns the preparation of a statement that was prepared before.
    pub(super) fn known(connection: &'c PostgresConnection, described: Arc<DescribedStatement>) -> Self {
        Preparation { connection, text: None, stage: Stage::Known(described) }
    }

    /// Sends the request without waiting for the answer.
    pub(super) fn begin(&mut self) {
        if let Stage::Requested(request) = &mut self.stage
            && let Some(answer) = self.connection.executor().begin(Pin::new(request))
        {
            // It cannot be polled again.
            self.stage = Stage::Requested(Box::pin(async move { answer }));
        }
    }

    /// Returns the statement, once the server has prepared it.
    pub(super) fn finish(mut self) -> Result<Arc<DescribedStatement>> {
        let connection = self.connection;
        let mut request = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Requested(request) => request,
            Stage::Known(described) => return Ok(described),
            Stage::Ended => {
                return Err(Error::new(ErrorKind::Database, "the statement was prepared already"));
            }
        };
        match connection.executor().wait_until(connection.deadline(), request.as_mut()) {
            Ok(Ok(described)) => {
                let described = Arc::new(described);
                if let Some(text) = self.text.take() {
                    connection.keep(text, Arc::clone(&described));
                }
                Ok(described)
            }
            Ok(Err(error)) => Err(connection.failed(from_postgres(error))),
            Err(stopped) => {
                // Earlier writes of the transaction survive.
                connection.stop_statement(async move { request.await.map(drop) });
                Err(stopped)
            }
        }
    }
}

/// Reads the parameters and columns of a statement, and closes it on the server. If each transaction can have another
/// backend, its name could collide with another client's.
async fn describe(
    client: &Client,
    sql: &str,
    is_alone: bool,
) -> Result<DescribedStatement, tokio_postgres::Error> {
    let described = match is_alone {
        false => client.prepare(sql).await,
        true => {
            let (begun, prepared) = join(client.batch_execute("BEGIN"), client.prepare(sql)).await;
            begun.and(prepared)
        }
    };
    // A dropped statement is closed before the transaction ends.
    let described = described
        .map(|statement| DescribedStatement { statement: None, ..DescribedStatement::named(statement) });
    if is_alone {
        client.clear_type_cache();
        client.batch_execute("COMMIT").await?;
    }
    described
}

impl Drop for Preparation<'_> {
    /// Ends a request whose answer is not needed before the next one is sent: if it fails, the transaction must be undone
    /// up to it.
    fn drop(&mut self) {
        if let Stage::Requested(request) = std::mem::replace(&mut self.stage, Stage::Ended) {
            self.connection.stop_statement(async move { request.await.map(drop) });
        }
    }
}

//! A statement that a server is preparing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join;
use tokio_postgres::Client;

use super::errors::from_postgres;
use super::server_session::PostgresConnection;
use super::text::{Described, Text};
use crate::error::{Error, ErrorKind, Result};

type Asking<'c> = Pin<Box<dyn Future<Output = Result<Described, tokio_postgres::Error>> + Send + 'c>>;

pub(super) struct Preparation<'c> {
    connection: &'c PostgresConnection,
    /// None where it was prepared before.
    text: Option<Text>,
    stage: Stage<'c>,
}

enum Stage<'c> {
    Asked(Asking<'c>),
    Known(Arc<Described>),
    Ended,
}

impl<'c> Preparation<'c> {
    /// One that is to be asked for.
    pub(super) fn new(connection: &'c PostgresConnection, text: Text) -> Self {
        let (client, sql) = (connection.client(), Arc::clone(&text.sql));
        let (is_pooled, is_alone) = (connection.is_pooled(), connection.is_alone());
        let asking = connection.after_what_is_due(&text, async move {
            match is_pooled {
                true => describe(client, &sql, is_alone).await,
                false => client.prepare(&sql).await.map(Described::named),
            }
        });
        Preparation { connection, text: Some(text), stage: Stage::Asked(Box::pin(asking)) }
    }

    /// One that was prepared before.
    pub(super) fn known(connection: &'c PostgresConnection, described: Arc<Described>) -> Self {
        Preparation { connection, text: None, stage: Stage::Known(described) }
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
    pub(super) fn finish(mut self) -> Result<Arc<Described>> {
        let connection = self.connection;
        let mut asking = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Asked(asking) => asking,
            Stage::Known(described) => return Ok(described),
            Stage::Ended => {
                return Err(Error::new(ErrorKind::Database, "the statement was prepared already"));
            }
        };
        match connection.executor().wait_until(connection.deadline(), asking.as_mut()) {
            Ok(Ok(described)) => {
                let described = Arc::new(described);
                if let Some(text) = self.text.take() {
                    connection.keep(text, Arc::clone(&described));
                }
                Ok(described)
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

/// Finds out what a statement takes and returns, and leaves nothing of it on the server: where each transaction may have
/// another server process, its name would be in the way of another client's.
async fn describe(client: &Client, sql: &str, is_alone: bool) -> Result<Described, tokio_postgres::Error> {
    let described = match is_alone {
        false => client.prepare(sql).await,
        true => {
            let (begun, prepared) = join(client.batch_execute("BEGIN"), client.prepare(sql)).await;
            begun.and(prepared)
        }
    };
    // What is dropped is closed, before the transaction ends.
    let described = described.map(|statement| Described { statement: None, ..Described::named(statement) });
    if is_alone {
        client.clear_type_cache();
        client.batch_execute("COMMIT").await?;
    }
    described
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

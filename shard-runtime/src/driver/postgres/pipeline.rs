//! Statements that are sent to a server one behind the other, without waiting for answers in between. Uses
//! `server_session`, `preparation`, `values`, `errors`.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use futures_util::future::{join, join_all};
use tokio_postgres::{Client, Row};

use super::errors::from_postgres;
use super::preparation::Preparation;
use super::rows::value_of;
use super::server_session::PostgresConnection;
use super::text::{DescribedStatement, Text};
use super::values::{Encoded, encoded};
use crate::driver::{Pipeline, PipelineAnswer};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Param;

/// The largest number of statements in a pipeline: `join_all` polls this many in their order.
pub(super) const STATEMENTS: usize = 16;

/// The number of rows that a statement changed, and its last row.
type Answered = (u64, Option<Row>);

type Request<'c> = Pin<Box<dyn Future<Output = Result<Vec<Answered>, tokio_postgres::Error>> + Send + 'c>>;

pub(super) struct PostgresPipeline<'c> {
    connection: &'c PostgresConnection,
    stage: Stage<'c>,
}

enum Stage<'c> {
    /// The first statement that is new on the connection is being prepared.
    Preparing(Option<(usize, Preparation<'c>)>, Vec<(Text, Vec<Param<'c>>)>),
    Sent(Request<'c>),
    Failed(Error),
    Ended,
}

impl<'c> PostgresPipeline<'c> {
    /// Sends the preparation of one of the statements, if there is one.
    pub(super) fn begin(
        connection: &'c PostgresConnection,
        mut preparation: Option<(usize, Preparation<'c>)>,
        statements: Vec<(Text, Vec<Param<'c>>)>,
    ) -> Self {
        if let Some((_, preparation)) = &mut preparation {
            preparation.begin();
        }
        PostgresPipeline { connection, stage: Stage::Preparing(preparation, statements) }
    }

    fn request(
        &self,
        mut begun: Option<(usize, Preparation<'c>)>,
        statements: Vec<(Text, Vec<Param<'c>>)>,
    ) -> Result<Request<'c>> {
        let connection = self.connection;
        let mut ready = Vec::with_capacity(statements.len());
        for (position, (text, params)) in statements.iter().enumerate() {
            let described = match begun.take_if(|(begun, _)| *begun == position) {
                Some((_, preparation)) => preparation.finish()?,
                None => connection.prepared(text)?,
            };
            let params = encoded(params, &described.params)?;
            ready.push((Arc::clone(&text.sql), described, params));
        }
        let Some((text, _)) = statements.first() else {
            return Err(Error::new(ErrorKind::Database, "the pipeline has no statement"));
        };
        let client = connection.client();
        let restore = connection.lock_limit_again();
        let statements =
            ready.into_iter().map(|(sql, described, params)| run(client, sql, described, params));
        let all = join_all(statements.collect::<Vec<_>>());
        let request = async move {
            let (answers, restored) = join(all, client.batch_execute(&restore)).await;
            let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
            restored.map(|()| answers)
        };
        let request = connection.without_waiting(|| connection.with_due_statements(text, request));
        connection.pipeline_is_sent();
        Ok(Box::pin(request))
    }
}

/// Runs one statement to its end. The first poll of the future sends it.
async fn run(
    client: &Client,
    sql: Arc<str>,
    described: Arc<DescribedStatement>,
    params: Vec<Encoded>,
) -> Result<Answered, tokio_postgres::Error> {
    let rows = match &described.statement {
        Some(statement) => client.query_raw(statement, params.iter()).await?,
        None => client.query_typed_raw(&sql, params.iter().zip(described.params.iter().cloned())).await?,
    };
    let mut rows = pin!(rows);
    let mut last = None;
    while let Some(row) = rows.try_next().await? {
        last = Some(row);
    }
    Ok((rows.rows_affected().unwrap_or(0), last))
}

fn answer((rows, row): Answered) -> Result<PipelineAnswer> {
    let value = match &row {
        None => None,
        Some(row) => Some(value_of(Some(row), 0)?.into_owned()),
    };
    Ok(PipelineAnswer { rows, value })
}

impl Pipeline for PostgresPipeline<'_> {
    fn send(&mut self) {
        let (begun, statements) = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Preparing(begun, statements) => (begun, statements),
            sent => return self.stage = sent,
        };
        let connection = self.connection;
        self.stage = match self.request(begun, statements) {
            Err(error) => Stage::Failed(error),
            Ok(mut request) => match connection.executor().begin(Pin::new(&mut request)) {
                // It cannot be polled again.
                Some(answers) => Stage::Sent(Box::pin(async move { answers })),
                None => Stage::Sent(request),
            },
        };
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<PipelineAnswer>> {
        self.send();
        let mut request = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Sent(request) => request,
            Stage::Failed(error) => return Err(error),
            Stage::Preparing(..) | Stage::Ended => {
                return Err(Error::new(ErrorKind::Database, "the pipeline has ended already"));
            }
        };
        let connection = self.connection;
        match connection.executor().wait_until(connection.deadline(), request.as_mut()) {
            Ok(Ok(answers)) => answers.into_iter().map(answer).collect(),
            Ok(Err(error)) => {
                let error = connection.failed(from_postgres(error));
                connection.pipeline_has_failed();
                Err(error)
            }
            Err(stopped) => {
                // Earlier writes of the transaction survive.
                connection.stop_statement(async move { request.await.map(drop) });
                Err(stopped)
            }
        }
    }
}

impl Drop for PostgresPipeline<'_> {
    /// Reads the answers before the next request is sent: if one is an error, the transaction must be undone up to it.
    fn drop(&mut self) {
        if let Stage::Sent(request) = std::mem::replace(&mut self.stage, Stage::Ended) {
            self.connection.stop_statement(async move { request.await.map(drop) });
        }
    }
}

//! A plain connection to a PostgreSQL server, outside of the library.

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{NoTls, SimpleQueryMessage};

pub struct Client {
    // Dropped before the event loop that it needs.
    client: tokio_postgres::Client,
    runtime: Runtime,
}

impl Client {
    pub fn connect(url: &str) -> Self {
        Self::try_connect(url).unwrap()
    }

    /// `None` if the server refuses.
    pub fn try_connect(url: &str) -> Option<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls)).ok()?;
        runtime.spawn(async move {
            let _ = connection.await;
        });
        Some(Client { client, runtime })
    }

    pub fn run(&self, sql: &str) {
        self.try_run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Returns the server's message if it refuses.
    pub fn try_run(&self, sql: &str) -> Result<(), String> {
        self.runtime.block_on(self.client.batch_execute(sql)).map_err(|error| format!("{error:?}"))
    }

    /// The rows of a query as texts; NULL is the empty one.
    pub fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let messages = self.runtime.block_on(self.client.simple_query(sql));
        let messages = messages.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.map(|row| (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
            .collect()
    }

    /// The one value of a query.
    pub fn text(&self, sql: &str) -> String {
        match self.rows(sql).as_slice() {
            [row] if row.len() == 1 => row[0].clone(),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

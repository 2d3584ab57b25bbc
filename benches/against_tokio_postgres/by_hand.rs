//! Careful code with `tokio-postgres` alone. It has a connection to each server, all of them on one runtime of the current
//! thread. It prepares statements once, sends them to all servers at the same time, and chooses the shard.

use std::future::Future;

use futures_util::future::try_join_all;
use shard_runtime::hash::{PARTITION_SEED, hash_integer, remainder, row_hash};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Error, NoTls, Row, Statement};

use crate::measure::Failure;
use crate::models::{Account, Measurement};
use crate::servers::SHARDS;

pub const GET_ACCOUNT: &str = "SELECT id, owner, cents FROM accounts WHERE id = $1";
pub const UPDATE_ACCOUNT: &str = "UPDATE accounts SET cents = $1 WHERE id = $2";
pub const UPDATE_ACCOUNTS: &str = "UPDATE accounts SET cents = listed.cents \
    FROM unnest($1::bigint[], $2::bigint[]) AS listed (id, cents) WHERE accounts.id = listed.id";
pub const INSERT_ACCOUNTS: &str =
    "INSERT INTO accounts (id, owner, cents) SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[])";

/// The connections, in the shards' order.
pub struct Hand {
    runtime: Runtime,
    pub clients: Vec<Client>,
}

impl Hand {
    /// Connects to all, with this schema.
    pub fn connect(urls: &[String], schema: &str) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connected = runtime.block_on(try_join_all(urls.iter().map(|url| connect(url, schema))));
        Ok(Hand { clients: connected?, runtime })
    }

    /// Blocks on a future.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// A statement, prepared on each server.
    pub fn prepare(&self, sql: &str) -> Result<Vec<Statement>, Error> {
        self.wait(try_join_all(self.clients.iter().map(|client| client.prepare(sql))))
    }

    /// Runs SQL on all servers at the same time.
    pub async fn say(&self, sql: &str) -> Result<(), Error> {
        try_join_all(self.clients.iter().map(|client| client.batch_execute(sql))).await.map(drop)
    }
}

async fn connect(url: &str, schema: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        // The task that waits for an answer gets the error.
        let _ = connection.await;
    });
    client.batch_execute(&format!("SET search_path = {schema}")).await?;
    Ok(client)
}

/// The shard of the row with this id: the framework's own hash, which is public.
pub fn shard_of(id: i64) -> usize {
    remainder(row_hash([hash_integer(id, PARTITION_SEED)]), SHARDS.len() as u64) as usize
}

pub fn account(row: &Row) -> Result<Account, Error> {
    Ok(Account { id: row.try_get(0)?, owner: row.try_get(1)?, cents: row.try_get(2)? })
}

pub fn measurement(row: &Row) -> Result<Measurement, Error> {
    Ok(Measurement {
        id: row.try_get(0)?,
        at: row.try_get(1)?,
        celsius: row.try_get(2)?,
        place: row.try_get(3)?,
    })
}

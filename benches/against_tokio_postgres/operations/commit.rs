//! Small transactions: one row is changed on each of some servers, and committed. On one server that is its own commit; over
//! several the framework's is all or nothing, by prepared transactions, and the hand-written ones are not.

use futures_util::future::try_join_all;
use shard_runtime::Stored;
use tokio_postgres::Error;

use super::pair;
use crate::by_hand::{UPDATE_ACCOUNT, shard_of};
use crate::measure::{Failure, Pair};
use crate::models::Account;
use crate::servers::Servers;

/// The number of transactions in a block.
const UNITS: usize = 5;

pub fn on<const N: usize>(servers: &Servers) -> Result<Pair<'_>, Failure> {
    let set = servers.accounts()?;
    // One row on each of the servers.
    let ids = (0..N).filter_map(|shard| set.ids.iter().copied().find(|&id| shard_of(id) == shard));
    let mut rows: Vec<Stored<Account>> = Vec::new();
    let mut session = set.cluster.session();
    for id in ids {
        rows.extend(session.get::<Account>(id)?);
    }
    drop(session);
    let mut accounts: Vec<Account> = rows.iter().map(|row| Account::clone(row)).collect();
    let (hand, statements) = (&set.by_hand, set.by_hand.prepare(UPDATE_ACCOUNT)?);
    let framework = move || {
        for _ in 0..UNITS {
            let mut session = set.cluster.session();
            for row in &mut rows {
                row.cents += 1;
                session.update(row)?;
            }
            session.commit()?;
        }
        Ok(rows.iter().map(|row| row.cents as u64).sum())
    };
    let by_hand = move || {
        for _ in 0..UNITS {
            accounts.iter_mut().for_each(|account| account.cents += 1);
            let clients = || hand.clients.iter().take(N);
            let updates = clients().zip(&statements).zip(&accounts);
            hand.wait(async {
                // Waits only for the necessary answers.
                try_join_all(updates.map(|((client, statement), account)| async move {
                    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
                        [&account.cents, &account.id];
                    let update = client.execute(statement, &params);
                    futures_util::future::try_join(client.batch_execute("BEGIN"), update).await
                }))
                .await?;
                try_join_all(clients().map(|client| client.batch_execute("COMMIT"))).await?;
                Ok::<_, Error>(())
            })?;
        }
        Ok(accounts.iter().map(|account| account.cents as u64).sum())
    };
    pair(UNITS, framework, by_hand)
}

//! Many rows written in one transaction over four servers.

use futures_util::future::try_join_all;
use shard_runtime::{Commit, Sharded, Stored};
use tokio_postgres::{Client, Error, Statement};

use super::pair;
use crate::by_hand::{Hand, INSERT_ACCOUNTS, UPDATE_ACCOUNT, UPDATE_ACCOUNTS, shard_of};
use crate::measure::{Failure, Pair, Side};
use crate::models::Account;
use crate::servers::{SHARDS, Servers, Set};

/// How many rows a statement inserts at most, as the framework's.
const LISTED: usize = 10_000;

struct InsertByFramework<'s> {
    set: &'s Set,
    rows: i64,
    commit: Commit,
    removal: Removal<'s>,
}

impl Side for InsertByFramework<'_> {
    fn block(&mut self) -> Result<u64, Failure> {
        let mut session = self.set.cluster.session();
        session.set_commit(self.commit);
        let added = session.add_all((1..=self.rows).map(Account::numbered))?.len();
        session.commit()?;
        Ok(added as u64)
    }

    fn between(&mut self) -> Result<(), Failure> {
        self.removal.remove()
    }
}

struct InsertByHand<'s> {
    set: &'s Set,
    rows: i64,
    statements: Vec<Statement>,
    removal: Removal<'s>,
}

impl Side for InsertByHand<'_> {
    fn block(&mut self) -> Result<u64, Failure> {
        let mut by_shard: [Vec<Account>; SHARDS.len()] = Default::default();
        for id in 1..=self.rows {
            by_shard[shard_of(id)].push(Account::numbered(id));
        }
        let hand = &self.set.by_hand;
        let inserts = hand.clients.iter().zip(&self.statements).zip(&by_shard);
        let inserted = hand.wait(async {
            hand.say("BEGIN").await?;
            let inserted =
                try_join_all(inserts.map(|((client, it), rows)| insert_rows(client, it, rows))).await?;
            hand.say("COMMIT").await?;
            Ok::<_, Error>(inserted)
        })?;
        Ok(inserted.iter().sum())
    }

    fn between(&mut self) -> Result<(), Failure> {
        self.removal.remove()
    }
}

async fn insert_rows(client: &Client, statement: &Statement, rows: &[Account]) -> Result<u64, Error> {
    let mut inserted = 0;
    for rows in rows.chunks(LISTED) {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let owners: Vec<&str> = rows.iter().map(|row| row.owner.as_str()).collect();
        let cents: Vec<i64> = rows.iter().map(|row| row.cents).collect();
        inserted += client.execute(statement, &[&ids, &owners, &cents]).await?;
    }
    Ok(inserted)
}

/// Empties a side's tables, so that every block begins with the same.
struct Removal<'s> {
    hand: &'s Hand,
    sql: String,
}

impl Removal<'_> {
    fn remove(&self) -> Result<(), Failure> {
        Ok(self.hand.wait(self.hand.say(&self.sql))?)
    }
}

fn insert_with(servers: &Servers, commit: Commit) -> Result<Pair<'_>, Failure> {
    let (set, rows) = (servers.empty()?, servers.effort.rows(100_000));
    let removal = |schema| Removal { hand: &set.by_hand, sql: format!("TRUNCATE {schema}.accounts") };
    let statements = set.by_hand.prepare(INSERT_ACCOUNTS)?;
    let framework = InsertByFramework { set, rows, commit, removal: removal("empty_framework") };
    let by_hand = InsertByHand { set, rows, statements, removal: removal("empty_by_hand") };
    pair(rows as usize, framework, by_hand)
}

pub fn insert(servers: &Servers) -> Result<Pair<'_>, Failure> {
    insert_with(servers, Commit::Atomic)
}

/// Committed as by hand: not all or nothing.
pub fn insert_by_best_effort(servers: &Servers) -> Result<Pair<'_>, Failure> {
    insert_with(servers, Commit::BestEffort)
}

/// Rows that were read before: one column of each is changed, and written by its id.
fn update<'s>(
    servers: &'s Servers,
    by_hand: impl FnOnce(&'s Set, Vec<Vec<Account>>) -> Result<Box<dyn Side + 's>, Failure>,
) -> Result<Pair<'s>, Failure> {
    let set = servers.accounts()?;
    let ids = &set.ids[..servers.effort.rows(1_000) as usize];
    let mut rows: Vec<Stored<Account>> =
        set.cluster.session().all(Account::select().filter(Account::ID.is_in(ids.iter().copied())))?;
    let mut by_shard = vec![Vec::new(); SHARDS.len()];
    rows.iter().for_each(|row| by_shard[shard_of(row.id)].push(Account::clone(row)));
    let per_block = rows.len() as u32;
    let framework = move || {
        let mut session = set.cluster.session();
        for row in &mut rows {
            row.cents += 1;
            session.update(row)?;
        }
        session.commit()?;
        Ok(rows.iter().map(|row| row.cents as u64).sum())
    };
    Ok(Pair { per_block, framework: Box::new(framework), by_hand: by_hand(set, by_shard)? })
}

/// A statement for each row, whose answer is awaited.
pub fn update_against_one_by_one(servers: &Servers) -> Result<Pair<'_>, Failure> {
    update(servers, |set, mut by_shard| {
        let (hand, statements) = (&set.by_hand, set.by_hand.prepare(UPDATE_ACCOUNT)?);
        Ok(Box::new(move || {
            by_shard.iter_mut().flatten().for_each(|account| account.cents += 1);
            let updates = hand.clients.iter().zip(&statements).zip(&by_shard);
            hand.wait(async {
                hand.say("BEGIN").await?;
                try_join_all(updates.map(|((client, it), rows)| async move {
                    for account in rows {
                        client.execute(it, &[&account.cents, &account.id]).await?;
                    }
                    Ok::<_, Error>(())
                }))
                .await?;
                hand.say("COMMIT").await
            })?;
            Ok(sum(&by_shard))
        }))
    })
}

/// A statement for each server.
pub fn update_against_lists(servers: &Servers) -> Result<Pair<'_>, Failure> {
    update(servers, |set, mut by_shard| {
        let (hand, statements) = (&set.by_hand, set.by_hand.prepare(UPDATE_ACCOUNTS)?);
        Ok(Box::new(move || {
            by_shard.iter_mut().flatten().for_each(|account| account.cents += 1);
            let updates = hand.clients.iter().zip(&statements).zip(&by_shard);
            hand.wait(async {
                hand.say("BEGIN").await?;
                try_join_all(updates.map(|((client, it), rows)| async move {
                    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
                    let cents: Vec<i64> = rows.iter().map(|row| row.cents).collect();
                    client.execute(it, &[&ids, &cents]).await
                }))
                .await?;
                hand.say("COMMIT").await
            })?;
            Ok(sum(&by_shard))
        }))
    })
}

fn sum(by_shard: &[Vec<Account>]) -> u64 {
    by_shard.iter().flatten().map(|account| account.cents as u64).sum()
}

//! Rows written, a thousand for each commit, spread over four shards.

use std::marker::PhantomData;
use std::path::Path;

use shard_runtime::sqlite::rusqlite::{self, Connection, Statement, params};
use shard_runtime::{Cluster, Commit, Insert, Sharded, Stored};

use crate::by_hand::{self, shard_of};
use crate::data::{Data, SHARDS, Set};
use crate::measure::{Failure, Pair, Side};
use crate::models::{Account, Measurement};

const ROWS: i64 = 1_000;

/// Removes the inserted rows, so that every block begins with the same table.
struct Removal {
    connections: Vec<Connection>,
    sql: String,
    above: i64,
}

impl Removal {
    fn new<T: Inserted>(folder: &Path, above: i64) -> Result<Self, Failure> {
        let open = |name: &&str| by_hand::open(&folder.join(format!("{name}.db")));
        let connections = SHARDS.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Removal { connections, sql: format!("DELETE FROM {} WHERE id > ?1", T::TABLE.name), above })
    }

    fn remove(&self) -> Result<(), Failure> {
        for connection in &self.connections {
            connection.prepare_cached(&self.sql)?.execute([self.above])?;
        }
        Ok(())
    }
}

/// A model whose rows are inserted.
trait Inserted: Sharded<Id = i64> + Insert<Model = Self> {
    const INSERT: &'static str;

    fn new(id: i64) -> Self;

    fn insert_by_hand(&self, statement: &mut Statement<'_>) -> rusqlite::Result<usize>;
}

impl Inserted for Account {
    const INSERT: &'static str = "INSERT INTO accounts (id, owner, cents) VALUES (?1, ?2, ?3)";

    fn new(id: i64) -> Self {
        Account::numbered(id)
    }

    fn insert_by_hand(&self, statement: &mut Statement<'_>) -> rusqlite::Result<usize> {
        statement.execute(params![self.id, self.owner, self.cents])
    }
}

impl Inserted for Measurement {
    const INSERT: &'static str = "INSERT INTO measurements (id, at, celsius, place) VALUES (?1, ?2, ?3, ?4)";

    fn new(id: i64) -> Self {
        Measurement::numbered(id)
    }

    fn insert_by_hand(&self, statement: &mut Statement<'_>) -> rusqlite::Result<usize> {
        statement.execute(params![self.id, self.at, self.celsius, self.place])
    }
}

struct InsertByFramework<'d, T> {
    cluster: &'d Cluster,
    commit: Commit,
    removal: Removal,
    model: PhantomData<T>,
}

impl<T: Inserted> Side for InsertByFramework<'_, T> {
    fn block(&mut self) -> Result<u64, Failure> {
        let mut session = self.cluster.session();
        session.set_commit(self.commit);
        for number in 1..=ROWS {
            session.add(T::new(self.removal.above + number))?;
        }
        session.commit()?;
        Ok(ROWS as u64)
    }

    fn between(&mut self) -> Result<(), Failure> {
        self.removal.remove()
    }
}

struct InsertByHand<'d, T> {
    set: &'d Set,
    removal: Removal,
    model: PhantomData<T>,
}

impl<T: Inserted> Side for InsertByHand<'_, T> {
    fn block(&mut self) -> Result<u64, Failure> {
        let mut by_shard: [Vec<T>; SHARDS.len()] = Default::default();
        for number in 1..=ROWS {
            let row = T::new(self.removal.above + number);
            by_shard[shard_of(*row.id())].push(row);
        }
        for (connection, rows) in self.set.by_hand.iter().zip(&by_shard) {
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let mut insert = connection.prepare_cached(T::INSERT)?;
            for row in rows {
                row.insert_by_hand(&mut insert)?;
            }
        }
        commit(self.set)?;
        Ok(ROWS as u64)
    }

    fn between(&mut self) -> Result<(), Failure> {
        self.removal.remove()
    }
}

fn commit(set: &Set) -> Result<(), Failure> {
    for connection in &set.by_hand {
        connection.prepare_cached("COMMIT")?.execute([])?;
    }
    Ok(())
}

fn insert<T: Inserted>(set: &Set, commit: Commit) -> Result<Pair<'_>, Failure> {
    let above = set.rows;
    let framework = InsertByFramework::<T> {
        cluster: &set.cluster,
        commit,
        removal: Removal::new::<T>(&set.folder, above)?,
        model: PhantomData,
    };
    let by_hand =
        InsertByHand::<T> { set, removal: Removal::new::<T>(&set.copies, above)?, model: PhantomData };
    Ok(Pair { per_block: ROWS as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

/// Inserts at the end of a table without an index: the database's share of the time is smallest.
pub fn insert_at_the_end(data: &Data) -> Result<Pair<'_>, Failure> {
    insert::<Account>(data.accounts()?, Commit::Atomic)
}

/// The same, committed as by hand: not all or nothing.
pub fn insert_at_the_end_by_best_effort(data: &Data) -> Result<Pair<'_>, Failure> {
    insert::<Account>(data.accounts()?, Commit::BestEffort)
}

/// Inserts into a table of a million rows with an index, all over which the new values are spread.
pub fn insert_with_an_index(data: &Data) -> Result<Pair<'_>, Failure> {
    insert::<Measurement>(data.measurements()?, Commit::Atomic)
}

/// The same, committed as by hand: not all or nothing.
pub fn insert_with_an_index_by_best_effort(data: &Data) -> Result<Pair<'_>, Failure> {
    insert::<Measurement>(data.measurements()?, Commit::BestEffort)
}

/// Rows that were read before: one column of each is changed, and written by its id.
pub fn update<const ROWS: usize>(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    let ids = &set.ids[..set.ids.len().min(ROWS)];
    let rows = set.cluster.session().all(Account::select().filter(Account::ID.is_in(ids.iter().copied())))?;
    let mut own: Vec<Account> = rows.iter().map(|row| Account::clone(row)).collect();
    let mut rows: Vec<Stored<Account>> = rows;
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
    let by_hand = move || {
        let mut statements = Vec::new();
        for connection in &set.by_hand {
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            statements.push(connection.prepare_cached("UPDATE accounts SET cents = ?1 WHERE id = ?2")?);
        }
        for account in &mut own {
            account.cents += 1;
            statements[shard_of(account.id)].execute([account.cents, account.id])?;
        }
        commit(set)?;
        Ok(own.iter().map(|account| account.cents as u64).sum())
    };
    Ok(Pair { per_block, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

/// Updates all rows with an id up to a number: a column is computed from its old value.
pub fn update_in_bulk(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    let rows = data.effort.rows(20_000);
    let framework = move || {
        let mut session = set.cluster.session();
        let more = Account::update().set(Account::CENTS, Account::CENTS + 1).filter(Account::ID.le(rows));
        let updated = session.execute(more.all_shards())?;
        session.commit()?;
        Ok(updated)
    };
    let by_hand = move || {
        let mut updated = 0;
        for connection in &set.by_hand {
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let sql = "UPDATE accounts SET cents = cents + ?1 WHERE id <= ?2";
            updated += connection.prepare_cached(sql)?.execute([1, rows])? as u64;
        }
        commit(set)?;
        Ok(updated)
    };
    Ok(Pair { per_block: rows as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

//! Begins a session's transactions: to read, to write, and in an order in which sessions do not wait for each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Transactions;
use super::database::{DatabaseTransaction, Waits};
use super::statements::locate;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{Shard, ShardSet, Table};

/// The longest wait of a session that gives up early. Longer than most transactions, much shorter than a busy timeout.
const SHORT_WAIT: Duration = Duration::from_millis(20);

impl Transactions {
    /// Begins to read a shard. Returns `false` if a partial result may leave it out.
    pub(crate) fn is_ready(&mut self, shard: usize, table: Option<&'static Table>) -> Result<bool> {
        let database = self.cluster.layout().location(shard)?.database;
        let waits = self.waits(database);
        let (Some(transaction), Some(handle)) =
            (self.databases.get_mut(database), self.cluster.layout().shards().by_index(shard))
        else {
            return Ok(false);
        };
        let begun = match self.context.deadline {
            None => transaction.read(&self.cluster, &self.owner, database, waits),
            Some(deadline) if deadline <= Instant::now() => {
                Err(Error::new(ErrorKind::TimedOut, "the session's timeout ended before the shard was read"))
            }
            Some(deadline) => transaction.read(&self.cluster, &self.owner, database, waits.until(deadline)),
        };
        let begun = begun.and_then(|()| self.context.begin_to_read(transaction.connection()));
        match begun {
            Ok(()) => {
                let expected = transaction.expect(&self.cluster, shard);
                expected.map(|()| true).map_err(|error| locate(error, handle, table))
            }
            Err(error) => self.context.tolerated(locate(error, handle, table)).map(|()| false),
        }
    }

    /// Returns whether a shard can be read without waiting for a server or for a connection. Takes an idle connection
    /// to its file.
    pub(crate) fn is_at_hand(&mut self, shard: usize) -> bool {
        let Ok(location) = self.cluster.layout().location(shard) else { return false };
        let transaction =
            self.databases.get_mut(location.database).filter(|_| !location.dialect.answers_later());
        transaction.is_some_and(|transaction| {
            transaction.reserve_idle(&self.cluster, &self.owner, location.database)
        })
    }

    /// Makes statements on these shards fail instead of waiting for a lock, until
    /// [`wait_for_locks`](Self::wait_for_locks).
    pub(crate) fn never_wait_for_locks(&self, shards: &ShardSet) -> Result<()> {
        self.connections_of(shards).try_for_each(Connection::never_wait_for_locks)
    }

    /// Makes statements on these shards wait for locks. A connection that cannot be changed keeps failing at once.
    pub(crate) fn wait_for_locks(&self, shards: &ShardSet) {
        self.connections_of(shards).for_each(|connection| {
            let _ = connection.wait_for_locks();
        });
    }

    fn connections_of(&self, shards: &ShardSet) -> impl Iterator<Item = &dyn Connection> {
        shards.indexes().iter().filter_map(|&shard| {
            let location = self.cluster.layout().location(shard).ok()?;
            self.databases.get(location.database)?.connection()
        })
    }

    /// Returns whether the session can end without waiting: it has written nothing, and has read files only.
    pub(crate) fn ends_at_once(&self) -> bool {
        self.databases.used().all(|(database, transaction)| {
            transaction.connection().is_none()
                || (!transaction.may_write() && !self.cluster.dialect(database).answers_later())
        })
    }

    pub(crate) fn ensure_write(&mut self, shard: usize) -> Result<()> {
        self.upgrade_to_write(shard)?;
        let database = self.cluster.layout().location(shard)?.database;
        if let Some(transaction) = self.databases.get_mut(database) {
            transaction.written.insert(shard);
        }
        Ok(())
    }

    /// Begins a transaction that may write, unless there is one.
    pub(crate) fn upgrade_to_write(&mut self, shard: usize) -> Result<()> {
        self.upgrade(shard, None)
    }

    /// Begins a transaction that may write, unless there is one, for a read that locks rows. The call's deadline or its
    /// cancellation ends the waits, and those of its statements until [`lift_deadlines`](Self::lift_deadlines).
    pub(crate) fn upgrade_to_lock(&mut self, shard: usize) -> Result<()> {
        self.upgrade(shard, self.context.deadline)?;
        let layout = self.cluster.layout();
        let transaction = self.databases.get(layout.location(shard)?.database);
        let begun = self.context.begin_to_read(transaction.and_then(DatabaseTransaction::connection));
        begun.map_err(|error| error.on_shard(layout.shards().by_index(shard).map_or("", Shard::name)))
    }

    fn upgrade(&mut self, shard: usize, deadline: Option<Instant>) -> Result<()> {
        self.check_usable()?;
        let layout = self.cluster.layout();
        let database = layout.location(shard)?.database;
        let begins = self.databases.get(database).is_some_and(|transaction| !transaction.may_write());
        let locked: Vec<usize> = if begins { self.writing().collect() } else { Vec::new() };
        let waits = Waits { deadline, ..self.waits(database) };
        if let Some(transaction) =
            self.databases.get_mut(database).filter(|transaction| !transaction.may_write())
        {
            let name = layout.shards().by_index(shard).map_or("", Shard::name);
            let age = *self.age.get_or_insert_with(|| self.cluster.age());
            self.wanted.entry(database).or_insert(shard);
            let begun = transaction
                .write(&self.cluster, &self.owner, database, &locked, age, waits)
                .map_err(|error| error.on_shard(name));
            // Other sessions may change the rows that were read, between the end of this snapshot and the next one.
            self.end_snapshot(database);
            self.note_conflict(begun)?;
            self.limit_lock_waits();
        }
        if let Some(transaction) = self.databases.get(database) {
            transaction.expect(&self.cluster, shard)?;
        }
        Ok(())
    }

    /// Keeps other sessions from writing these models on these shards: by the database's only write lock, or by table
    /// locks.
    pub(crate) fn lock(&mut self, shards: &ShardSet, models: &[usize]) -> Result<()> {
        for &shard in shards.indexes() {
            self.upgrade_to_write(shard)?;
            let locked = self.lock_tables(shard, models);
            self.note_conflict(locked)?;
        }
        Ok(())
    }

    pub(crate) fn lock_tables(&self, shard: usize, models: &[usize]) -> Result<()> {
        let layout = self.cluster.layout();
        let location = layout.location(shard)?;
        let transaction = self.databases.get(location.database);
        let Some(connection) = transaction.and_then(DatabaseTransaction::connection) else { return Ok(()) };
        let name = layout.shards().by_index(shard).map_or("", Shard::name);
        models.iter().try_for_each(|&model| {
            let Some(lock) = location.dialect.lock_table(&layout.sql(model, shard)?.name) else {
                return Ok(());
            };
            connection.lock(&lock).map_err(|error| error.on_shard(name))
        })
    }

    /// Returns the databases that this session may write to now.
    pub(crate) fn writing(&self) -> impl Iterator<Item = usize> {
        self.databases.used().filter(|(_, transaction)| transaction.may_write()).map(|(database, _)| database)
    }

    pub(crate) fn on_databases(
        &mut self,
        databases: &[usize],
        act: fn(&mut DatabaseTransaction) -> Result<()>,
    ) -> Result<()> {
        let mut transactions = self.databases.used_mut();
        transactions.try_for_each(
            |(database, transaction)| if databases.contains(&database) { act(transaction) } else { Ok(()) },
        )
    }

    /// Begins to write these databases in the cluster's order, before any other statement. On a server, whose locks are
    /// on rows, retries exclude each other, and other tries that block one give up early.
    pub(crate) fn lock_in_order(&mut self, databases: &BTreeMap<usize, usize>) -> Result<()> {
        // Connections before locks: a session that holds a lock could otherwise wait for a connection of a session that
        // waits for the lock.
        for &database in databases.keys() {
            let locks_rows = self.cluster.dialect(database).locks_rows();
            let Some(transaction) = self.databases.get_mut(database).filter(|_| locks_rows) else { continue };
            let reserved = transaction.reserve(&self.cluster, &self.owner, database);
            let reserved = reserved.map_err(|error| self.named(database, error));
            self.note_conflict(reserved)?;
        }
        for (&database, &shard) in databases {
            self.locked_first.insert(database);
            self.upgrade_to_write(shard)?;
            let key = format!("{}/{}", self.cluster.id(), self.cluster.database_name(database));
            let connection = self.databases.get(database).and_then(DatabaseTransaction::connection);
            let locked = connection.map_or(Ok(()), |connection| connection.lock_for_retry(&key));
            let locked = locked.map_err(|error| self.named(database, error));
            self.note_conflict(locked)?;
        }
        Ok(())
    }

    /// Makes servers end waits for locks early from now on. Applies if this session holds locks on several databases that
    /// it has not taken in the cluster's order. Its wait may be for a session that waits for this one on another server.
    /// Neither server can detect that.
    pub(crate) fn limit_lock_waits(&self) {
        if self.gives_up_early && self.writing().count() > 1 && !self.writes_in_order() {
            let writing = self.databases.used().filter(|(_, transaction)| transaction.may_write());
            let connections = writing.filter_map(|(_, transaction)| transaction.connection());
            connections.for_each(|connection| connection.limit_lock_waits(SHORT_WAIT));
        }
    }

    /// Returns how long this session waits for this database. If it has not taken its locks in order, it could wait for a
    /// session that waits for its rows or its connections. Deadlocks among files alone are detected.
    pub(crate) fn waits(&self, database: usize) -> Waits {
        let is_in_order = self.locked_first.contains(&database) && self.writes_in_order();
        if !self.gives_up_early || is_in_order || self.writing().next().is_none() {
            return Waits::default();
        }
        let writes_a_server = self.writing().any(|other| self.cluster.dialect(other).locks_rows());
        let for_a_file = writes_a_server.then_some(SHORT_WAIT);
        Waits { for_a_connection: Some(SHORT_WAIT), for_a_file, deadline: None }
    }

    pub(crate) fn writes_in_order(&self) -> bool {
        self.writing().all(|database| self.locked_first.contains(&database))
    }

    /// Ends the write transactions on all other databases: nothing was written in them.
    pub(crate) fn stop_writing_others(&mut self, before: &[usize]) {
        let others = self.databases.used_mut().filter(|(database, _)| !before.contains(database));
        others
            .filter(|(_, transaction)| transaction.may_write())
            .for_each(|(_, transaction)| transaction.rollback());
    }
}

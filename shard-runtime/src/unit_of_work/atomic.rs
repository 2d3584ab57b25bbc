//! Runs statements over several databases so that they take effect on all of them or on none.

use super::UnitOfWork;
use crate::error::Result;
use crate::schema::{ShardSet, Table};
use crate::tasks::unwind::caught;
use crate::transaction::{DatabaseTransaction, Transactions, bounded};

impl UnitOfWork {
    /// Runs a function that writes these shards, on all of them or on none. If it fails, a savepoint is undone on each
    /// database that this session had written before. On the others, whose transactions begin here, the transaction is
    /// rolled back. A savepoint there would be slow: below one, SQLite copies every page before it changes it.
    pub(crate) fn in_savepoint<O>(
        &mut self,
        shards: &ShardSet,
        run: impl FnOnce(&mut Self) -> Result<O>,
    ) -> Result<O> {
        self.in_savepoint_after(shards, Transactions::ensure_write, run)
    }

    /// Does the same, and begins each shard's transaction with `begin`.
    pub(crate) fn in_savepoint_after<O>(
        &mut self,
        shards: &ShardSet,
        begin: fn(&mut Transactions, usize) -> Result<()>,
        run: impl FnOnce(&mut Self) -> Result<O>,
    ) -> Result<O> {
        let (mut run, mut output) = (Some(run), None);
        self.all_or_none(shards, begin, &mut |work| {
            let run = run.take().expect("it runs once");
            output = Some(run(work)?);
            Ok(())
        })?;
        Ok(output.expect("it has run"))
    }

    /// Not generic: the compiler would make a copy for each closure of each model.
    fn all_or_none(
        &mut self,
        shards: &ShardSet,
        begin: fn(&mut Transactions, usize) -> Result<()>,
        run: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        if self.tx.in_batches {
            shards.indexes().iter().try_for_each(|&shard| begin(&mut self.tx, shard))?;
            return run(self);
        }
        let (mut begun, mut written): (Vec<usize>, Vec<usize>) = Default::default();
        for &shard in shards.indexes() {
            let database = self.tx.cluster.layout().location(shard)?.database;
            if !begun.contains(&database) && !written.contains(&database) {
                let may_write = self.tx.databases.get(database).is_some_and(DatabaseTransaction::may_write);
                if may_write { &mut written } else { &mut begun }.push(database);
            }
            begin(&mut self.tx, shard)?;
        }
        let savepoints = |session: &mut Self, act: fn(&mut DatabaseTransaction) -> Result<()>| {
            session.tx.on_databases(&written, act)
        };
        savepoints(self, DatabaseTransaction::savepoint)?;
        // On a server another transaction may hold only a row lock, which `run` meets later.
        let (done, panic) = caught(|| run(self));
        let done = self.tx.note_conflict(done);
        if let Err(error) = &done {
            let lost = self.tx.has_lost_a_transaction();
            if lost || self.tx.on_databases(&written, DatabaseTransaction::rollback_to_savepoint).is_err() {
                // A database has ended its transaction itself; no part of the global transaction may be committed.
                self.abort(error);
            } else {
                for database in begun {
                    self.tx.databases.get_mut(database).map(DatabaseTransaction::rollback);
                }
            }
        }
        panic.resume();
        done?;
        savepoints(self, DatabaseTransaction::release)
    }

    /// Reads with locks: every shard must be writable before the first read. If this fails, possibly during the read on a
    /// server, it releases the locks on databases that were not written before. All waits end at the session's timeout.
    pub(crate) fn for_update(
        &mut self,
        table: &'static Table,
        shards: &ShardSet,
        read: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        bounded(self, |session| {
            let before = session.tx.writing().collect::<Vec<_>>();
            let (done, panic) = caught(|| {
                let taken = shards.indexes().iter().try_for_each(|&shard| session.tx.upgrade_to_lock(shard));
                taken.map_err(|error| error.in_table(table.name)).and_then(|()| read(session))
            });
            session.tx.lift_deadlines();
            if done.is_err() {
                session.tx.stop_writing_others(&before);
            }
            panic.resume();
            done
        })
    }
}

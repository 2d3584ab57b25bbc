//! The driver's own connection, lent inside the session's transaction.

use super::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{Shard, ShardSet};
use crate::tasks::unwind::caught;
use crate::transaction::in_verb_span;

/// The SQL that the statement hook gets for a lent connection, whose statements are not observed.
const LOAN: &str = "-- with_connection";

impl Session {
    /// Lends the connection, as [`with_connection`](crate::sqlite::with_connection) promises.
    pub(crate) fn with_connection<O>(
        &mut self,
        shard: &str,
        run: impl FnOnce(&rusqlite::Connection) -> Result<O>,
    ) -> Result<O> {
        in_verb_span(self, "with_connection", None, |session| session.lend(shard, run))
    }

    fn lend<O>(&mut self, shard: &str, run: impl FnOnce(&rusqlite::Connection) -> Result<O>) -> Result<O> {
        self.work.tx.check_usable()?;
        let shard = self.work.tx.cluster.layout().shards().require(shard)?.clone();
        self.work.tx.refuse_elsewhere(shard.index(), "the connection")?;
        self.work.flush_shards(&ShardSet::one(shard.index()))?;
        self.work.tx.ensure_write(shard.index())?;
        self.work.forget_rows();
        let database = self.work.tx.cluster.layout().place(shard.index())?.database;
        let Some(transaction) = self.work.tx.databases.get_mut(database) else {
            return Err(Error::new(
                ErrorKind::UnknownShard,
                format!("shard `{shard}` has no database in this cluster"),
            ));
        };
        transaction.savepoint().map_err(|error| error.on_shard(shard.name()))?;
        let watch = self.work.tx.cluster.watch(&shard, None, LOAN);
        let connection = self.work.tx.connection_of(&shard)?.native().downcast_ref::<rusqlite::Connection>();
        let mut has_changed = true;
        let (result, panic) = caught(|| {
            let result = match connection {
                Some(connection) => {
                    let before = state(connection);
                    let result = run(connection);
                    has_changed = before.is_none() || before != state(connection);
                    result
                }
                None => Err(Error::new(ErrorKind::Configuration, "the shard is no SQLite database")),
            };
            let result = result.map_err(|error| error.on_shard(shard.name()));
            watch.end(self.work.tx.cluster.observer(), &shard, LOAN, 0, &result);
            result
        });
        if has_changed {
            self.work.tx.record(shard.index(), |redo| {
                redo.unrepeatable("what was written through `with_connection`")
            })?;
        }
        let ended = self.end_loan(database, &shard, result);
        panic.go_on();
        ended
    }

    /// Keeps what was done with a connection that was lent, or undoes it where the closure has failed.
    fn end_loan<O>(&mut self, database: usize, shard: &Shard, result: Result<O>) -> Result<O> {
        let Some(transaction) = self.work.tx.databases.get_mut(database) else { return result };
        // The savepoint is there only as long as the transaction is that it was made in.
        let kept = match &result {
            Ok(_) => transaction.release(),
            Err(_) => transaction.rollback_to_savepoint(),
        };
        if let Err(lost) = kept {
            let message = "the closure that the connection was lent to has ended the session's transaction";
            let error =
                Error::new(ErrorKind::TransactionAborted, message).with_source(lost).on_shard(shard.name());
            self.work.abort(&error);
            return Err(result.err().unwrap_or(error));
        }
        result
    }
}

/// How many rows a connection has changed, and the version of the schema: what moves when something is written.
fn state(connection: &rusqlite::Connection) -> Option<(u64, i64)> {
    let schema = connection.pragma_query_value(None, "schema_version", |row| row.get(0));
    Some((connection.total_changes(), schema.ok()?))
}

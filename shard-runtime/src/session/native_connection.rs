//! The driver's own connection, passed to a closure inside the session's transaction.

use super::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{Shard, ShardSet};
use crate::tasks::unwind::caught;
use crate::transaction::in_verb_span;

/// The SQL in the statement events of `with_connection`: statements of the closure are not observed.
const OBSERVED_SQL: &str = "-- with_connection";

impl Session {
    /// Runs a closure with the connection; see [`with_connection`](crate::sqlite::with_connection).
    pub(crate) fn with_connection<O>(
        &mut self,
        shard: &str,
        run: impl FnOnce(&rusqlite::Connection) -> Result<O>,
    ) -> Result<O> {
        in_verb_span(self, "with_connection", None, |session| session.run_with_connection(shard, run))
    }

    fn run_with_connection<O>(
        &mut self,
        shard: &str,
        run: impl FnOnce(&rusqlite::Connection) -> Result<O>,
    ) -> Result<O> {
        self.work.tx.check_usable()?;
        let shard = self.work.tx.cluster.layout().shards().require(shard)?.clone();
        self.work.tx.refuse_elsewhere(shard.index(), "the connection")?;
        self.work.flush_shards(&ShardSet::one(shard.index()))?;
        self.work.tx.ensure_write(shard.index())?;
        self.work.forget_rows();
        let database = self.work.tx.cluster.layout().location(shard.index())?.database;
        let Some(transaction) = self.work.tx.databases.get_mut(database) else {
            return Err(Error::new(
                ErrorKind::UnknownShard,
                format!("shard `{shard}` has no database in this cluster"),
            ));
        };
        transaction.savepoint().map_err(|error| error.on_shard(shard.name()))?;
        let watch = self.work.tx.cluster.watch(&shard, None, OBSERVED_SQL);
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
                None => Err(Error::new(ErrorKind::Configuration, "the shard is not a SQLite database")),
            };
            let result = result.map_err(|error| error.on_shard(shard.name()));
            watch.end(self.work.tx.cluster.observer(), &shard, OBSERVED_SQL, 0, &result);
            result
        });
        if has_changed {
            self.work
                .tx
                .record(shard.index(), |redo| redo.unrepeatable("a change through `with_connection`"))?;
        }
        let ended = self.end_savepoint(database, &shard, result);
        panic.resume();
        ended
    }

    /// Releases the savepoint around the closure, or rolls back to it if the closure has failed.
    fn end_savepoint<O>(&mut self, database: usize, shard: &Shard, result: Result<O>) -> Result<O> {
        let Some(transaction) = self.work.tx.databases.get_mut(database) else { return result };
        // The savepoint exists only in the transaction in which it was made.
        let ended = match &result {
            Ok(_) => transaction.release(),
            Err(_) => transaction.rollback_to_savepoint(),
        };
        if let Err(lost) = ended {
            let message = "the closure of `with_connection` has ended the session's transaction";
            let error =
                Error::new(ErrorKind::TransactionAborted, message).with_source(lost).on_shard(shard.name());
            self.work.abort(&error);
            return Err(result.err().unwrap_or(error));
        }
        result
    }
}

/// Returns the number of rows that the connection has changed, and the version of the schema. A write changes one of
/// them.
fn state(connection: &rusqlite::Connection) -> Option<(u64, i64)> {
    let schema = connection.pragma_query_value(None, "schema_version", |row| row.get(0));
    Some((connection.total_changes(), schema.ok()?))
}

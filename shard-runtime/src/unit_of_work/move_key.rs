//! Moves all rows of one key of a placement group to another shard, with their descendants. Uses `relocate`.

use std::sync::Arc;
use std::time::Duration;

use super::UnitOfWork;
use super::relocate::{Relocated, TOO_MANY, Way};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Param;
use crate::schema::{KeyColumns, Shard, ShardSet, Table};
use crate::transaction::change::{KeyMoveRecord, expected, lock_part};
use crate::transaction::{DatabaseTransaction, in_verb_span};
use crate::value::Value;

/// The number of rows that one statement copies.
const CHUNK: usize = 1_000;

/// How long the move waits for a lock of a server. Transactions that begin to write meanwhile wait for the move.
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// A key that moves.
pub(crate) struct KeyToMove<'k> {
    pub(crate) record: &'k KeyMoveRecord,
    /// The values of its columns.
    pub(crate) key: &'k [Value<'static>],
    /// The tables of its placement group whose rows contain the key themselves, parents first.
    pub(crate) roots: &'k [&'static Table],
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// The largest number of rows that move.
    pub(crate) max_rows: u64,
}

impl UnitOfWork {
    /// Moves the rows of a key, and marks the shard that they leave. The session's transaction contains nothing else.
    pub(crate) fn move_key(&mut self, moved: &KeyToMove<'_>) -> Result<Relocated> {
        let shards: ShardSet = [moved.from, moved.to].into_iter().collect();
        let relocated = in_verb_span(self, "move_key", moved.roots.first().copied(), |session| {
            session.tx.record_shards(moved.roots.first().copied(), &shards);
            let relocated = session.without_orphans(|session| {
                session.in_savepoint(&shards, |session| {
                    session.keep_writers_away(moved)?;
                    session.mark(moved)?;
                    session.move_rows(moved)
                })
            });
            session.abort_if_transaction_lost(relocated)
        });
        relocated.map_err(|error| self.too_many(moved, error))
    }

    fn too_many(&self, moved: &KeyToMove<'_>, error: Error) -> Error {
        if error.kind() != ErrorKind::TooManyValues || !error.to_string().contains(TOO_MANY) {
            return error;
        }
        let KeyMoveRecord { from, key, .. } = moved.record;
        let message = format!(
            "more than {} rows have the key {key}, {TOO_MANY}: raise `max_rows`, or split shard `{from}` into two spare shards, one \
             of which gets the line `key {key} => NAME` and the other one the other lines of `{from}`",
            moved.max_rows
        );
        let table = error.table().unwrap_or_default().to_owned();
        Error::new(ErrorKind::TooManyValues, message).in_table(&table).on_shard(from)
    }

    /// Waits for transactions that write on the old shard, and checks that the move was not cancelled.
    fn keep_writers_away(&mut self, moved: &KeyToMove<'_>) -> Result<()> {
        let layout = self.tx.cluster.shared_layout();
        let of = |shard: usize| {
            let location = layout.location(shard)?;
            let connection =
                self.tx.databases.get(location.database).and_then(DatabaseTransaction::connection);
            let lost = || Error::new(ErrorKind::ConnectionLost, "the connection of the session was lost");
            Ok::<_, Error>((location, connection.ok_or_else(lost)?))
        };
        for shard in [moved.to, moved.from] {
            let (location, connection) = of(shard)?;
            connection.limit_lock_waits(LOCK_WAIT);
            // The lines in control, which are on disk, must not name a shard that does not have the rows.
            location.dialect.durable_commit_sql().map_or(Ok(()), |sql| connection.run(sql))?;
        }
        let (location, connection) = of(moved.from)?;
        let tables: Vec<&str> = layout
            .tables()
            .filter(|table| moved.roots.iter().any(|root| root.is(crate::transaction::recorded::root(table))))
            .map(|table| table.name)
            .collect();
        let locked = match location.dialect.exclude_writers_sql(&location.names, &tables) {
            Some(sql) => connection.lock(&sql),
            None => Ok(()),
        };
        let locked = locked.and_then(|()| lock_part(connection, location));
        locked.map_err(|error| error.on_shard(&moved.record.from))?;
        // A process that records the lines waits until the rows have arrived.
        let (location, connection) = of(moved.to)?;
        lock_part(connection, location).map_err(|error| error.on_shard(&moved.record.to))?;
        // A process that cancels the move holds the same lock.
        if self.tx.cluster.0.control.has_key_move(moved.record)? {
            return Ok(());
        }
        let message = "another process has cancelled the move of the key, because it needed the layout; run the move again";
        Err(Error::new(ErrorKind::Busy, message).on_shard(&moved.record.from))
    }

    /// Records on the old shard that the key has left it, and on the new one that it has not.
    fn mark(&mut self, moved: &KeyToMove<'_>) -> Result<()> {
        let Some(&table) = moved.roots.first() else { return Ok(()) };
        let layout = self.tx.cluster.shared_layout();
        let (from, to) = (layout.location(moved.from)?, layout.location(moved.to)?);
        let text = |text: &str| Param::Value(Value::Text(text.to_owned().into()));
        let fact = moved.record.fact();
        let next = moved.record.epoch + 1;
        let epoch = i64::try_from(next).unwrap_or(i64::MAX);
        let (back, leave) = (to.dialect.come_back_sql(&to.names), from.dialect.leave_sql(&from.names));
        let mark = from.dialect.set_left_epoch_sql(&from.names);
        self.tx.execute_on(moved.to, table, &back, &[text(&fact)])?;
        self.tx.execute_on(moved.from, table, &leave, &[text(&fact), text(&moved.record.to)])?;
        self.tx.execute_on(moved.from, table, &mark, &[Param::Value(Value::Integer(epoch))])?;
        // A server compares the mark once more before the commit.
        let of_next = Arc::new(expected(from, self.tx.cluster.id(), &moved.record.from, next));
        let connection = self.tx.databases.get(from.database).and_then(DatabaseTransaction::connection);
        connection.map_or(Ok(()), |connection| connection.expect(&of_next))
    }

    fn move_rows(&mut self, moved: &KeyToMove<'_>) -> Result<Relocated> {
        let mut families = Vec::new();
        let mut left = moved.max_rows;
        for &table in moved.roots {
            let ids = self.ids_of_key(table, moved)?;
            for ids in ids.chunks(CHUNK) {
                let way = Way { from: moved.from, to: moved.to, max_rows: left };
                families.push(self.copy(table, table.id, ids, way, |_, _| None)?);
                left = left.saturating_sub(ids.len() as u64);
            }
        }
        // A child with `#[shard_parent(Model)]` contains the key, too, and is a root.
        let way = Way { from: moved.from, to: moved.to, max_rows: moved.max_rows };
        self.move_descendants(families, way, moved.roots)
    }

    fn ids_of_key(&self, table: &'static Table, moved: &KeyToMove<'_>) -> Result<Vec<Value<'static>>> {
        let KeyColumns::Columns(columns) = table.key else { return Ok(Vec::new()) };
        let layout = self.tx.cluster.layout();
        let sql = layout.sql(layout.model(table)?, moved.from)?.ids_of_key(table, columns);
        let params: Vec<Param<'_>> = moved.key.iter().map(|value| Param::Value(value.borrowed())).collect();
        let shard = layout.shards().by_index(moved.from).map_or("", Shard::name);
        let ids = self.tx.on(moved.from, table, &sql, |statement| {
            let mut rows = statement.query(&params)?;
            let mut ids = Vec::new();
            while rows.advance()? {
                ids.push(rows.value(0)?.into_owned());
            }
            let count = ids.len() as u64;
            Ok((ids, count))
        });
        ids.map_err(|error| error.on_shard(shard))
    }
}

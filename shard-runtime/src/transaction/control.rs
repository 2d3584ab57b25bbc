//! The control database: the cluster's id, the blocks of generated ids, and the decision log of global transactions over
//! files. Uses `driver` and `commit::decision`.

mod waiting;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::{facts, ids, schemas};
use crate::driver::{Connection, Driver, Durability, Mode, SqliteSettings, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Dialect, Namespace, Param};
use crate::schema::Table;
use crate::transaction::commit;
use crate::transaction::commit::{DecisionError, Decisions, Participant};
use crate::value::{ColumnType, Value};
use waiting::Waiting;

/// How many ids are reserved at once. The ids of a block that a process does not use are never generated.
const BLOCK: i64 = 1_000;

/// The table that holds the cluster's id.
pub(crate) const CLUSTER: &str = "sharded_cluster";
pub(crate) const SEQUENCE: &str = "sharded_sequence";

/// The SQL that makes the control database's tables and the cluster's id where they do not exist.
fn make(names: &Namespace, dialect: Dialect) -> String {
    let [cluster, sequence] = [CLUSTER, SEQUENCE].map(|name| names.table(name));
    let (strict, id) = (dialect.strict(), dialect.random_hex());
    let integer = dialect.column_type(ColumnType::Integer);
    format!(
        "CREATE TABLE IF NOT EXISTS {cluster} (id TEXT NOT NULL){strict}; \
         CREATE TABLE IF NOT EXISTS {sequence} (name TEXT NOT NULL PRIMARY KEY, next {integer} NOT NULL){strict}; \
         INSERT INTO {cluster} SELECT {id} WHERE NOT EXISTS (SELECT * FROM {cluster})"
    )
}

pub(crate) struct Control {
    open: Mutex<Open>,
    /// The cluster's id, made when the cluster was.
    pub(crate) cluster: String,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) names: Namespace,
    /// Whether the shards wait for the disk at every commit, and so the decisions.
    pub(crate) is_durable: bool,
    /// Whether there was no control database before.
    pub(crate) is_new: bool,
    /// How long a session waits for a lock on control.
    busy_timeout: Duration,
    /// The block of each model that uses a sequence.
    blocks: Vec<(&'static str, Mutex<Block>)>,
}

struct Open {
    connection: Box<dyn Connection>,
    decisions: Decisions,
}

#[derive(Clone, Default)]
struct Block {
    next: i64,
    end: i64,
    /// Ranges that the sequence has skipped, both ends included, if this process has seen them. They stay skipped.
    skipped: Vec<(i64, i64)>,
}

impl Control {
    pub(crate) fn open(
        driver: Box<dyn Driver>,
        names: Namespace,
        mode: Mode,
        settings: SqliteSettings,
        tables: impl Iterator<Item = &'static Table>,
    ) -> Result<Self> {
        let connection = driver.connect_waiting(mode, settings.busy_timeout)?;
        let is_new = !connection.exists(&names, CLUSTER)?;
        if mode == Mode::Create {
            connection.begin(Transaction::Write)?;
            let dialect = driver.dialect();
            schemas::make_schemas(&*connection, std::iter::once(&names))
                .and_then(|()| connection.run(&make(&names, dialect)))
                .and_then(|()| match dialect.keeps_redo_records() {
                    true => connection.run(commit::MAKE),
                    false => Ok(()),
                })
                .and_then(|()| connection.run(&facts::make(&names, dialect)))
                .and_then(|()| ids::make(&*connection, &names, dialect))
                .and_then(|()| connection.commit())
                .inspect_err(|_| {
                    let _ = connection.rollback();
                })?;
        } else if is_new {
            schemas::check_schema(&*connection, &names)?;
            let message = format!("{} is no control database", driver.describe());
            return Err(Error::new(ErrorKind::WrongDatabase, message));
        } else if !connection.exists(&names, facts::TABLE)? {
            // Made by an older release. If it cannot be written, there is nothing to record either.
            match connection.run(&facts::make(&names, driver.dialect())) {
                Err(error) if error.kind() == ErrorKind::Busy => return Err(error),
                _ => {}
            }
        }
        let cluster = read_text(&*connection, &format!("SELECT id FROM {}", names.table(CLUSTER)))?;
        let blocks = tables.map(|table| (table.name, Mutex::default())).collect();
        let is_durable = settings.synchronous == Durability::Full;
        let mut decisions = Decisions::default();
        decisions.records_versions = is_durable;
        let open = Mutex::new(Open { connection, decisions });
        let driver = driver.into();
        let busy_timeout = settings.busy_timeout;
        Ok(Control { open, cluster, driver, names, is_durable, is_new, busy_timeout, blocks })
    }

    /// Whether decisions are recorded here: a control database on a server only hands out ids.
    pub(crate) fn decides(&self) -> bool {
        self.driver.dialect().keeps_redo_records()
    }

    /// Runs a function over the decisions. It must not wait for a lock, neither a shard's nor control's own: other sessions
    /// wait for its end, also those that only begin to write.
    pub(crate) fn with_decisions<O>(&self, run: impl FnOnce(&mut Decisions, &dyn Connection) -> O) -> O {
        let mut open = self.lock();
        if self.driver.dialect().is_on_server() {
            // If that fails, the error of the lost connection names the server.
            let _ = self.reconnect(&mut open);
        }
        let Open { connection, decisions } = &mut *open;
        run(decisions, &**connection)
    }

    /// Connects again if the connection is lost.
    fn reconnect(&self, open: &mut Open) -> Result<()> {
        if !open.connection.is_usable() {
            open.connection = self.driver.connect(Mode::Open, None)?;
            open.connection.wait_for_locks()?;
            open.connection.set_deadline(None);
        }
        Ok(())
    }

    /// Does something with the decisions, again and again while control is locked by another connection, up to the busy
    /// timeout; other sessions go on in between. `run` must have had no effect if it fails for that reason.
    pub(crate) fn wait_with_decisions<O, E>(
        &self,
        is_busy: impl Fn(&E) -> bool,
        mut run: impl FnMut(&mut Decisions, &dyn Connection) -> Result<O, E>,
    ) -> Result<O, E> {
        let mut waiting = Waiting::new(self.busy_timeout);
        loop {
            match self.with_decisions(&mut run) {
                Err(error) if is_busy(&error) && waiting.pause() => {}
                done => return done,
            }
        }
    }

    /// Decides a global transaction. If its record could not be written, and another connection keeps this one from
    /// overwriting what is left of it in the log, it waits for that connection: only then the outcome is known.
    pub(crate) fn decide(
        &self,
        unit: &str,
        parts: &[Participant<'_>],
        prepared: &[&str],
    ) -> Result<(), DecisionError> {
        let decided = self.wait_with_decisions(DecisionError::is_busy, |decisions, control| {
            decisions.decide(control, unit, parts, prepared)
        });

        let Err(DecisionError::InDoubt(error)) = decided else { return decided };
        let settle = |decisions: &mut Decisions, control: &dyn Connection| decisions.settle(control);
        match self.wait_with_decisions(Error::is_busy, settle) {
            Ok(()) => Err(DecisionError::Aborted(error)),
            Err(_) => Err(DecisionError::InDoubt(error)),
        }
    }

    /// Does something with control's connection, unless another thread is using it.
    pub(crate) fn try_with<O>(&self, run: impl FnOnce(&dyn Connection) -> O) -> Option<O> {
        self.open.try_lock().ok().map(|open| run(&*open.connection))
    }

    /// Returns a new transaction id.
    pub(crate) fn new_transaction_id(&self) -> Result<String> {
        let open = self.lock();
        read_text(&*open.connection, "SELECT lower(hex(randomblob(16)))")
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an id that no session, no process and no earlier run of this cluster was given for this table.
    ///
    /// The block is reserved in a transaction of the control database's own, so that it never waits for a
    /// shard's lock (R39). While control is locked by another connection, each session waits by itself: it holds nothing
    /// that others wait for, and gives up after its own busy timeout.
    pub(crate) fn next_id(&self, table: &'static Table) -> Result<i64> {
        let block = self.block(table)?;
        let take = || {
            let mut block = block.lock().unwrap_or_else(PoisonError::into_inner);
            let id = block.next;
            (id < block.end).then(|| {
                block.next += 1;
                id
            })
        };
        let mut waiting = None;
        loop {
            if let Some(id) = take() {
                return Ok(id);
            }
            let reserved = self.reserve(table, block);
            let waiting = waiting.get_or_insert_with(|| Waiting::new(self.busy_timeout));
            match reserved {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Busy => {
                    if !waiting.pause() {
                        let message = format!(
                            "no ids could be reserved in {:.1?}: the control database is locked by another connection: \
                             {error}",
                            self.busy_timeout
                        );
                        return Err(Error::new(ErrorKind::Busy, message)
                            .with_source(error)
                            .in_table(table.name));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reserves a block, unless another session has done so meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`], soon, if control is locked by another connection.
    fn reserve(&self, table: &'static Table, block: &Mutex<Block>) -> Result<()> {
        let mut open = self.lock_for_ids()?;
        let is_used_up = |block: &Block| block.next >= block.end;
        if !is_used_up(&block.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let (next, end) = self.try_durably(&mut open, &|connection, dialect| {
            reserve(connection, &self.names, table, dialect)
        })?;
        let mut block = block.lock().unwrap_or_else(PoisonError::into_inner);
        (block.next, block.end) = (next, end);
        Ok(())
    }

    /// Has ids continue above this one. Ids that other processes have reserved before stay theirs.
    pub(crate) fn advance_ids(&self, table: &'static Table, above: i64) -> Result<()> {
        let block = self.block(table)?;
        self.durably(table, &|connection, dialect| {
            ids::advance(connection, &self.names, table, above, dialect)
        })?;
        let mut block = block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.next <= above {
            (block.next, block.end) = (0, 0);
        }
        Ok(())
    }

    /// Returns the last id of a sequence that was reserved; `None` if none was.
    pub(crate) fn last_id(&self, table: &'static Table) -> Result<Option<i64>> {
        let Open { connection, .. } = &*self.lock();
        let next = ids::next(&**connection, &self.names, table, self.driver.dialect(), false)?;
        Ok(next.map(|next| next - 1).filter(|last| *last > 0))
    }

    /// Makes sure that an id was not generated and never will be.
    pub(crate) fn claim_id(&self, table: &'static Table, id: i64) -> Result<()> {
        let block = self.block(table)?;
        let is_skipped = |(first, last): &(i64, i64)| (*first..=*last).contains(&id);
        let is_known = |block: &Block| block.skipped.iter().any(is_skipped);
        if id < 1 || is_known(&block.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(()); // sequences begin at 1
        }
        let range = self
            .durably(table, &|connection, dialect| ids::claim(connection, &self.names, table, id, dialect))?;
        let mut block = block.lock().unwrap_or_else(PoisonError::into_inner);
        // A range grows at its end.
        block.skipped.retain(|(first, _)| *first != range.0);
        block.skipped.push(range);
        Ok(())
    }

    /// Has ids start above what the tables hold: the highest id of each table on all shards.
    pub(crate) fn start_ids_above(&self, highest: &[(&'static Table, i64)]) -> Result<()> {
        for &(table, highest) in highest.iter().filter(|(_, highest)| *highest >= 1) {
            let next = {
                let Open { connection, .. } = &*self.lock();
                ids::next(&**connection, &self.names, table, self.driver.dialect(), false)
            };
            let next = match next {
                // A role that may not read the sequence generates no ids.
                Err(error) if error.kind() == ErrorKind::Denied => continue,
                next => next?,
            };
            // A sequence without a block left generates no ids.
            if next.is_none_or(|next| next <= highest && next <= i64::MAX - BLOCK) {
                match self.advance_ids(table, highest) {
                    Err(error) if error.kind() == ErrorKind::Denied && !self.may_generate_ids()? => {}
                    advanced => advanced?,
                }
            }
        }
        Ok(())
    }

    /// Whether the role may generate ids. If not, it is in order that it may not advance sequences.
    fn may_generate_ids(&self) -> Result<bool> {
        let Open { connection, .. } = &*self.lock();
        ids::may_generate(&**connection, &self.names, self.driver.dialect())
    }

    fn block(&self, table: &'static Table) -> Result<&Mutex<Block>> {
        let block = self.blocks.iter().find(|(name, _)| *name == table.name).map(|(_, block)| block);
        let unknown =
            || Error::new(ErrorKind::UnknownModel, "the table has no sequence").in_table(table.name);
        block.ok_or_else(unknown)
    }

    /// The connection, to change sequences.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if another session changes sequences on the server.
    fn lock_for_ids(&self) -> Result<MutexGuard<'_, Open>> {
        if !self.driver.dialect().locks_rows() {
            return Ok(self.lock());
        }
        // This connection only changes sequences, and the session that uses it may wait for a row lock.
        match self.open.try_lock() {
            Ok(open) => Ok(open),
            Err(TryLockError::Poisoned(open)) => Ok(open.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(ErrorKind::Busy, "another session is reserving ids"))
            }
        }
    }

    /// Changes sequences in a transaction, and waits by itself while control is locked by another connection.
    fn durably<O>(
        &self,
        table: &'static Table,
        run: &dyn Fn(&dyn Connection, Dialect) -> Result<O>,
    ) -> Result<O> {
        let mut waiting = Waiting::new(self.busy_timeout);
        loop {
            let done = self.lock_for_ids().and_then(|mut open| self.try_durably(&mut open, run));
            match done {
                Err(error) if error.kind() == ErrorKind::Busy && waiting.pause() => {}
                done => return done.map_err(|error| error.in_table(table.name)),
            }
        }
    }

    /// Changes sequences in a transaction that is on disk when this returns, also if the shards do not wait for the disk:
    /// rows with the ids may be on disk already.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`], soon, if control is locked by another connection.
    fn try_durably<O>(
        &self,
        open: &mut Open,
        run: &dyn Fn(&dyn Connection, Dialect) -> Result<O>,
    ) -> Result<O> {
        self.reconnect(open)?;
        let dialect = self.driver.dialect();
        in_durable_transaction(&*open.connection, |connection| run(connection, dialect))
    }
}

/// Runs statements in a transaction that is on disk when this returns, whatever the settings are.
///
/// # Errors
/// [`ErrorKind::Busy`], soon, if another connection holds a lock that is needed.
pub(crate) fn in_durable_transaction<O>(
    connection: &dyn Connection,
    run: impl FnOnce(&dyn Connection) -> Result<O>,
) -> Result<O> {
    let begun = connection.begin_durable();
    let done = begun.and_then(|()| run(connection)).and_then(|done| connection.commit().map(|()| done));
    let done = done.inspect_err(|_| {
        let _ = connection.rollback();
    });
    connection.restore_durability()?;
    done
}

/// Reserves a block of ids: the first, and the one after the last.
fn reserve(
    connection: &dyn Connection,
    names: &Namespace,
    table: &'static Table,
    dialect: Dialect,
) -> Result<(i64, i64)> {
    let (name, block, sequence) = (dialect.param(1), dialect.param(2), names.table(SEQUENCE));
    let mut statement = connection.prepare(&format!(
        "INSERT INTO {sequence} AS sequence (name, next) VALUES ({name}, 1 + CAST({block} AS bigint)) \
         ON CONFLICT (name) DO UPDATE SET next = sequence.next + CAST({block} AS bigint) \
         WHERE sequence.next <= {} RETURNING next",
        i64::MAX - BLOCK
    ))?;
    let params = [Param::Value(Value::Text(table.name.into())), Param::Value(Value::Integer(BLOCK))];
    let mut rows = statement.query(&params)?;
    let end = match rows.advance()?.then(|| rows.value(0)).transpose()? {
        Some(Value::Integer(end)) => end,
        _ => return Err(ids::exhausted(table)),
    };
    // The statement is finished, and with it its transaction, only when there is no row left.
    while rows.advance()? {}
    Ok((end - BLOCK, end))
}

/// The one text that a statement returns.
fn read_text(connection: &dyn Connection, sql: &str) -> Result<String> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(&[])?;
    match rows.advance()?.then(|| rows.value(0)).transpose()? {
        Some(Value::Text(text)) => Ok(text.into_owned()),
        _ => Err(Error::new(ErrorKind::WrongDatabase, "the control database does not know its cluster")),
    }
}

#[cfg(test)]
mod tests;

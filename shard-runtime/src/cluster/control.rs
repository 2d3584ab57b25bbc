//! The control database: a small database beside the shards that knows the cluster's id, hands out blocks of ids, and
//! holds the decisions of units of work over several shards.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::{facts, opening};
use crate::commit::{self, Decisions};
use crate::driver::{Connection, Driver, Mode, SqliteSettings, Synchronous, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Table;
use crate::sql::{Dialect, Namespace, Param};
use crate::value::Value;

/// How many ids are reserved at once. What a process does not use of its block is never handed out.
const BLOCK: i64 = 1_000;

/// The table that holds the cluster's id.
pub(super) const CLUSTER: &str = "sharded_cluster";
const SEQUENCE: &str = "sharded_sequence";

/// The SQL that makes the control database's tables and the cluster's id where they do not exist.
fn make(names: &Namespace, dialect: Dialect) -> String {
    let [cluster, sequence] = [CLUSTER, SEQUENCE].map(|name| names.table(name));
    let strict = dialect.strict();
    let (integer, id) = match dialect {
        Dialect::Sqlite => ("INTEGER", "lower(hex(randomblob(16)))"),
        Dialect::Postgres => ("bigint", "replace(gen_random_uuid()::text, '-', '')"),
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {cluster} (id TEXT NOT NULL){strict}; \
         CREATE TABLE IF NOT EXISTS {sequence} (name TEXT NOT NULL PRIMARY KEY, next {integer} NOT NULL){strict}; \
         INSERT INTO {cluster} SELECT {id} WHERE NOT EXISTS (SELECT * FROM {cluster})"
    )
}

pub(super) struct Control {
    open: Mutex<Open>,
    /// The cluster's id, made when the cluster was.
    pub(super) cluster: String,
    pub(super) driver: Box<dyn Driver>,
    pub(super) names: Namespace,
    /// Whether the shards wait for the disk at every commit, and so the decisions.
    pub(super) is_durable: bool,
    /// Whether there was no control database before.
    pub(super) is_new: bool,
    /// How long a session waits for a lock on control.
    busy_timeout: Duration,
    /// The block of each model that uses a sequence.
    blocks: Vec<(&'static str, Mutex<Block>)>,
}

/// The pauses of a session that waits for a lock without holding anything that other sessions wait for.
struct Waiting {
    until: Instant,
    pause: Duration,
}

impl Waiting {
    const LONGEST: Duration = Duration::from_millis(10);

    fn new(timeout: Duration) -> Self {
        Waiting { until: Instant::now() + timeout, pause: Duration::from_micros(500) }
    }

    /// Waits for a moment, or returns false: the time is over.
    fn pause(&mut self) -> bool {
        let rest = self.until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return false;
        }
        std::thread::sleep(self.pause.min(rest));
        self.pause = (self.pause * 2).min(Self::LONGEST);
        true
    }
}

struct Open {
    connection: Box<dyn Connection>,
    decisions: Decisions,
}

#[derive(Clone, Copy, Default)]
struct Block {
    next: i64,
    end: i64,
}

impl Control {
    pub(super) fn open(
        driver: Box<dyn Driver>,
        names: Namespace,
        mode: Mode,
        settings: SqliteSettings,
        tables: impl Iterator<Item = &'static Table>,
    ) -> Result<Self> {
        let connection = driver.connect_waiting(mode, settings.busy_timeout)?;
        let is_new = connection.columns(&names, CLUSTER)?.is_empty();
        if mode == Mode::Create {
            connection.begin(Transaction::Write)?;
            let made = match driver.dialect() {
                Dialect::Sqlite => {
                    connection.run(&make(&names, Dialect::Sqlite)).and_then(|()| connection.run(commit::MAKE))
                }
                Dialect::Postgres => opening::make_schemas(&*connection, std::iter::once(&names))
                    .and_then(|()| connection.run(&make(&names, Dialect::Postgres))),
            };
            made.and_then(|()| connection.run(&facts::make(&names, driver.dialect())))
                .and_then(|()| connection.commit())
                .inspect_err(|_| {
                    let _ = connection.rollback();
                })?;
        } else if is_new {
            opening::check_schema(&*connection, &names)?;
            let said = format!("{} is no control database", driver.describe());
            return Err(Error::new(ErrorKind::Identity, said));
        } else if connection.columns(&names, facts::TABLE)?.is_empty() {
            // Made by an older release. Where it cannot be written, there is nothing to record either.
            match connection.run(&facts::make(&names, driver.dialect())) {
                Err(error) if error.kind() == ErrorKind::Busy => return Err(error),
                _ => {}
            }
        }
        let cluster = read_text(&*connection, &format!("SELECT id FROM {}", names.table(CLUSTER)))?;
        let blocks = tables.map(|table| (table.name, Mutex::default())).collect();
        let is_durable = settings.synchronous == Synchronous::Full;
        let mut decisions = Decisions::default();
        decisions.records_versions = is_durable;
        let open = Mutex::new(Open { connection, decisions });
        let busy_timeout = settings.busy_timeout;
        Ok(Control { open, cluster, driver, names, is_durable, is_new, busy_timeout, blocks })
    }

    /// Whether decisions are recorded here: a control database on a server only hands out ids.
    pub(super) fn decides(&self) -> bool {
        self.driver.dialect() == Dialect::Sqlite
    }

    /// Does something with the decisions. It waits for no lock, neither a shard's nor control's own: other sessions wait for
    /// its end, also those that only begin to write.
    pub(super) fn with_decisions<O>(&self, run: impl FnOnce(&mut Decisions, &dyn Connection) -> O) -> O {
        let Open { connection, decisions } = &mut *self.lock();
        run(decisions, &**connection)
    }

    /// Does something with the decisions, again and again while control is locked by another connection, up to the busy
    /// timeout; other sessions go on in between. `run` must have had no effect if it fails for that reason.
    pub(super) fn wait_with_decisions<O, E>(
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

    /// Does something with control's connection, unless another thread is using it.
    pub(super) fn try_with<O>(&self, run: impl FnOnce(&dyn Connection) -> O) -> Option<O> {
        self.open.try_lock().ok().map(|open| run(&*open.connection))
    }

    /// A name for a unit of work that no other has.
    pub(super) fn name_unit(&self) -> Result<String> {
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
    pub(super) fn next_id(&self, table: &'static Table) -> Result<i64> {
        let Some((_, block)) = self.blocks.iter().find(|(name, _)| *name == table.name) else {
            return Err(Error::new(ErrorKind::UnknownModel, "the table has no sequence").in_table(table.name));
        };
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
                        let said = format!(
                            "no ids could be reserved in {:.1?}: the control database is locked by another connection: \
                             {error}",
                            self.busy_timeout
                        );
                        return Err(Error::new(ErrorKind::Busy, said)
                            .with_source(error)
                            .in_table(table.name));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reserves a block, unless another session has done so meanwhile. Ids that were reserved stay reserved, also if the
    /// shards do not wait for the disk: their rows may be on disk already.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`], soon, if control is locked by another connection.
    fn reserve(&self, table: &'static Table, block: &Mutex<Block>) -> Result<()> {
        let mut open = match self.driver.dialect() {
            Dialect::Sqlite => self.lock(),
            // On a server only ids are reserved with this connection, and whoever has it may wait for the sequence's row.
            Dialect::Postgres => match self.open.try_lock() {
                Ok(open) => open,
                Err(TryLockError::Poisoned(open)) => open.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(ErrorKind::Busy, "another session is reserving ids"));
                }
            },
        };
        let is_used_up = |block: &Block| block.next >= block.end;
        if !is_used_up(&block.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let connection = &mut open.connection;
        if !connection.is_usable() {
            *connection = self.driver.connect(Mode::Open, None)?;
            connection.wait_for_locks()?;
            connection.set_deadline(None);
        }
        let reserved = match self.driver.dialect() {
            Dialect::Postgres => reserve_on_server(&**connection, &self.names, table),
            Dialect::Sqlite if self.is_durable => reserve_in_file(&**connection, &self.names, table),
            Dialect::Sqlite => {
                connection.run("PRAGMA synchronous = FULL")?;
                let reserved = reserve_in_file(&**connection, &self.names, table);
                connection.run("PRAGMA synchronous = NORMAL")?;
                reserved
            }
        };
        *block.lock().unwrap_or_else(PoisonError::into_inner) = reserved?;
        Ok(())
    }
}

fn reserve_in_file(connection: &dyn Connection, names: &Namespace, table: &'static Table) -> Result<Block> {
    connection.begin_without_waiting()?;
    let reserved = reserve(connection, names, table, Dialect::Sqlite);
    let reserved = reserved.and_then(|block| connection.commit().map(|()| block));
    reserved.inspect_err(|_| {
        let _ = connection.rollback();
    })
}

fn reserve_on_server(connection: &dyn Connection, names: &Namespace, table: &'static Table) -> Result<Block> {
    connection.begin(Transaction::Write)?;
    let reserved = connection
        .run("SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '50ms'")
        .and_then(|()| reserve(connection, names, table, Dialect::Postgres));
    let reserved = reserved.and_then(|block| connection.commit().map(|()| block));
    reserved.inspect_err(|_| {
        let _ = connection.rollback();
    })
}

fn reserve(
    connection: &dyn Connection,
    names: &Namespace,
    table: &'static Table,
    dialect: Dialect,
) -> Result<Block> {
    let (name, block, sequence) = (dialect.param(1), dialect.param(2), names.table(SEQUENCE));
    let mut statement = connection.prepare(&format!(
        "INSERT INTO {sequence} AS sequence (name, next) VALUES ({name}, 1 + CAST({block} AS bigint)) \
         ON CONFLICT (name) DO UPDATE SET next = sequence.next + CAST({block} AS bigint) RETURNING next"
    ))?;
    let params = [Param::Value(Value::Text(table.name.into())), Param::Value(Value::Integer(BLOCK))];
    let mut rows = statement.query(&params)?;
    let end = match rows.advance()?.then(|| rows.value(0)).transpose()? {
        Some(Value::Integer(end)) => end,
        _ => {
            return Err(Error::new(ErrorKind::Database, "the sequence did not answer").in_table(table.name));
        }
    };
    // The statement is finished, and with it its transaction, only when there is no row left.
    while rows.advance()? {}
    Ok(Block { next: end - BLOCK, end })
}

/// The one text that a statement returns.
fn read_text(connection: &dyn Connection, sql: &str) -> Result<String> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(&[])?;
    match rows.advance()?.then(|| rows.value(0)).transpose()? {
        Some(Value::Text(text)) => Ok(text.into_owned()),
        _ => Err(Error::new(ErrorKind::Identity, "the control database does not know its cluster")),
    }
}

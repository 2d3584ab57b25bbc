//! A connection to a SQLite database: its transactions, statements, deadline and checks. Uses `sqlite_log`,
//! `sqlite_schema` and the other `sqlite_…` files.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::OptionalExtension as _;

use super::sqlite_deadline::Deadline;
use super::sqlite_errors::from_sqlite;
use super::sqlite_file::OpenFile;
use super::sqlite_log::Log;
use super::sqlite_schema::{columns_of_table, indexes_of_table, is_strict};
use super::sqlite_snapshot::Beginning;
use super::sqlite_statement::SqliteStatement;
use super::{
    ActualColumn, ActualIndex, Connection, Durability, Expected, Interrupter, KEYS_LEFT, Prepared,
    TransactionMode,
};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Namespace, Param};
use crate::row::{RowSource, Stream as _};

/// The number of pages from which a database counts as large: 2 MiB.
const LARGE: i64 = 512;

/// The error of a wait for another transaction on a database in memory, which has one lock for readers and writers.
const IN_USE_IN_MEMORY: &str = "another session uses this database in memory, where readers and writers exclude each other: \
     commit, roll back or drop that session first, or use a file";

pub(super) struct SqliteConnection {
    /// Closed before the connection, which may remove the file.
    pub(super) log: Option<Log>,
    pub(super) raw: rusqlite::Connection,
    pub(super) busy_timeout: Duration,
    pub(super) synchronous: Durability,
    pub(super) deadline: Arc<Deadline>,
    pub(super) file: Option<OpenFile>,
    /// The shards that were checked in this transaction.
    pub(super) expected: RefCell<Vec<Arc<Expected>>>,
    /// The shards that are checked at the transaction's first statement.
    pub(super) due: RefCell<Vec<Arc<Expected>>>,
    pub(super) beginning: RefCell<Beginning>,
}

impl SqliteConnection {
    /// Explains a lock on a database in memory.
    fn explain_lock(&self, error: Error) -> Error {
        match (error.kind(), &self.file) {
            (ErrorKind::Busy, None) => error.reworded(IN_USE_IN_MEMORY.to_owned()),
            _ => error,
        }
    }

    /// Checks that no key has left a shard since the layout was read.
    pub(super) fn check(&self, shard: &Arc<Expected>) -> Result<()> {
        let epoch = self.raw.prepare_cached(&shard.sql).and_then(|mut read| {
            let epoch = read.query_row([], |row| Ok(row.get_ref(0)?.as_str()?.parse::<u64>().ok()));
            epoch.optional()
        });
        let epoch = match epoch.map_err(from_sqlite) {
            // A release without that table made the shard.
            Err(error) if error.lacks_a_table() => None,
            epoch => epoch?.flatten(),
        };
        if epoch.is_some_and(|epoch| epoch > shard.epoch) {
            return Err(Error::new(ErrorKind::Moved, KEYS_LEFT).on_shard(&shard.shard));
        }
        self.expected.borrow_mut().push(Arc::clone(shard));
        Ok(())
    }

    fn begin_now(&self, transaction: TransactionMode) -> Result<()> {
        if transaction == TransactionMode::Read && !self.in_transaction() {
            self.want_snapshot();
            return Ok(());
        }
        self.complete_beginning()?;
        self.expected.borrow_mut().clear();
        let begun = self.raw.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.raw_execute());
        begun.map_err(from_sqlite).map_err(|error| self.explain_lock(error))?;
        match (transaction, &self.file) {
            (TransactionMode::Write, Some(file)) => file.check().inspect_err(|_| drop(self.rollback())),
            _ => Ok(()),
        }
    }
}

/// A foreign key that a row violates.
struct Violation {
    table: String,
    column: String,
    parent: String,
}

impl Violation {
    fn explain(&self, error: Error) -> Error {
        let message =
            format!("refers to a row of `{}`, which is not on this shard; add it first", self.parent);
        error.reworded(message).in_table(&self.table).at_column(&self.column)
    }
}

impl SqliteConnection {
    /// Searches all tables for a violated foreign key.
    fn violation(&self) -> Result<Option<Violation>> {
        let sql = "SELECT broken.\"table\", link.\"from\", broken.parent FROM pragma_foreign_key_check AS broken \
                   JOIN pragma_foreign_key_list(broken.\"table\") AS link ON link.id = broken.fkid LIMIT 1";
        let mut search = self.raw.prepare(sql).map_err(from_sqlite)?;
        let mut rows = search.query([]).map_err(from_sqlite)?;
        let names = |row: &rusqlite::Row<'_>| {
            Ok(Violation { table: row.get(0)?, column: row.get(1)?, parent: row.get(2)? })
        };
        rows.next().and_then(|row| row.map(names).transpose()).map_err(from_sqlite)
    }
}

impl Connection for SqliteConnection {
    fn wait_for_locks(&self) -> Result<()> {
        self.raw.busy_timeout(self.busy_timeout).map_err(from_sqlite)
    }

    fn never_wait_for_locks(&self) -> Result<()> {
        self.raw.busy_timeout(Duration::ZERO).map_err(from_sqlite)
    }

    fn prepare<'c>(&'c self, sql: &str) -> Result<Box<dyn Prepared + 'c>> {
        self.complete_beginning()?;
        Ok(Box::new(SqliteStatement::prepare(&self.raw, sql)?))
    }

    fn expect(&self, shard: &Arc<Expected>) -> Result<()> {
        let is_known = |known: &Arc<Expected>| {
            Arc::ptr_eq(known, shard) || (known.shard == shard.shard && known.epoch >= shard.epoch)
        };
        if self.expected.borrow().iter().any(is_known) {
            return Ok(());
        }
        if !self.has_begun_to_read() {
            return self.check(shard);
        }
        let mut due = self.due.borrow_mut();
        if !due.iter().any(is_known) {
            due.push(Arc::clone(shard));
        }
        Ok(())
    }

    fn look_up(
        &self,
        _: &Namespace,
        sql: &str,
        params: &[Param<'_>],
        is_expected: bool,
        visit: &mut dyn FnMut(&dyn RowSource) -> Result<()>,
    ) -> Result<bool> {
        if is_expected && matches!(*self.beginning.borrow(), Beginning::Wanted) {
            let found = self.look_up_first(sql, params, visit).map_err(|error| self.explain_lock(error))?;
            if found.is_some() {
                return Ok(true);
            }
        }
        self.complete_beginning()?;
        let mut statement = SqliteStatement::prepare(&self.raw, sql)?;
        statement.bind(params)?;
        let mut row = statement.cursor();
        if !row.advance()? {
            return Ok(false);
        }
        visit(&row).map(|()| true)
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.complete_beginning()?;
        self.raw.execute_batch(sql).map_err(from_sqlite)
    }

    fn attach(&self, uri: &str, schema: &str) -> bool {
        self.raw.execute("ATTACH DATABASE ?1 AS ?2", [uri, schema]).is_ok()
    }

    fn detach(&self, schema: &str) -> Result<()> {
        self.raw.execute("DETACH DATABASE ?1", [schema]).map(drop).map_err(from_sqlite)
    }

    fn begin(&self, transaction: TransactionMode) -> Result<()> {
        match self.deadline.rest().filter(|_| transaction == TransactionMode::Write) {
            None => self.begin_now(transaction),
            Some(rest) => {
                self.raw.busy_timeout(rest.min(self.busy_timeout)).map_err(from_sqlite)?;
                let begun = self.begin_now(transaction);
                self.wait_for_locks()?;
                begun.map_err(|error| match error.kind() {
                    ErrorKind::Busy if self.deadline.is_over() => {
                        let message =
                            "the session's timeout ended while another connection wrote the database";
                        Error::new(ErrorKind::TimedOut, message).with_source(error)
                    }
                    _ => error,
                })
            }
        }
    }

    fn begin_without_waiting(&self) -> Result<()> {
        self.never_wait_for_locks()?;
        let begun = self.begin_now(TransactionMode::Write);
        self.wait_for_locks()?;
        begun
    }

    fn begin_durable(&self) -> Result<()> {
        if self.synchronous == Durability::Normal {
            self.run("PRAGMA synchronous = FULL")?;
        }
        self.begin_without_waiting()
    }

    fn restore_durability(&self) -> Result<()> {
        match self.synchronous {
            Durability::Normal => self.run("PRAGMA synchronous = NORMAL"),
            Durability::Full => Ok(()),
        }
    }

    fn sync(&self) -> Result<()> {
        match (&self.file, self.synchronous) {
            (Some(file), Durability::Normal) => file.sync_log(),
            _ => Ok(()),
        }
    }

    fn unread_transaction(&self) -> Result<Option<u64>> {
        let Some(log) = &self.log else { return Ok(None) };
        // The columns are `busy` and the number of published frames. Before version 3.51 SQLite reads `NOOP` as
        // `PASSIVE`, which returns the same after a checkpoint.
        let look = self.raw.prepare_cached("PRAGMA wal_checkpoint = NOOP");
        let looked = look.and_then(|mut look| look.query_row([], |row| Ok((row.get(0)?, row.get(1)?))));
        let (is_busy, published): (bool, i64) = match looked.map_err(from_sqlite) {
            // This process can neither read nor overwrite the log.
            Err(error) if error.kind() == ErrorKind::ReadOnly => return Ok(None),
            looked => looked?,
        };
        if is_busy {
            let message = "the end of the WAL is unknown while another connection recovers or checkpoints it";
            return Err(Error::new(ErrorKind::Busy, message));
        }
        // The number is negative if SQLite uses no WAL: it reads the file without one.
        let Ok(published) = u64::try_from(published) else { return Ok(None) };
        let has_more = log.has_frames_after(published, self.synchronous == Durability::Full)?;
        Ok(has_more.then_some(published))
    }

    fn commit(&self) -> Result<()> {
        if self.end_beginning()? {
            return Ok(());
        }
        let committed = self.raw.prepare_cached("COMMIT").and_then(|mut commit| commit.raw_execute());
        committed.map(drop).map_err(from_sqlite).map_err(|error| match error.kind() {
            // A deferred constraint; the transaction is still open.
            ErrorKind::ForeignKey => match self.violation() {
                Ok(Some(violation)) => violation.explain(error),
                _ => error,
            },
            _ => self.explain_lock(error),
        })
    }

    fn prepare_commit(&self, _: &str) -> Result<()> {
        self.rollback()?;
        Err(Error::new(ErrorKind::Configuration, "SQLite has no prepared transactions"))
    }

    fn check_constraints(&self) -> Result<()> {
        let has_deferred = "SELECT (SELECT defer_foreign_keys FROM pragma_defer_foreign_keys) \
                            OR EXISTS (SELECT * FROM sqlite_schema WHERE sql LIKE '%deferr%')";
        let one = |sql: &str| self.raw.prepare_cached(sql)?.query_row([], |row| row.get::<_, bool>(0));
        if !one(has_deferred).map_err(from_sqlite)? {
            return Ok(());
        }
        let error = || Error::new(ErrorKind::ForeignKey, "FOREIGN KEY constraint failed");
        self.violation()?.map_or(Ok(()), |violation| Err(violation.explain(error())))
    }

    fn rollback(&self) -> Result<()> {
        // A full disk or an I/O error has already ended the transaction.
        if self.end_beginning()? || !self.in_transaction() {
            return Ok(());
        }
        let undone = self.raw.prepare_cached("ROLLBACK").and_then(|mut rollback| rollback.raw_execute());
        undone.map(drop).map_err(from_sqlite)
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
    }

    fn interrupter(&self) -> Interrupter {
        let (handle, deadline) = (self.raw.get_interrupt_handle(), Arc::clone(&self.deadline));
        Box::new(move || {
            // SQLite ignores an interrupt before a statement begins.
            deadline.pass();
            handle.interrupt();
        })
    }

    fn is_large(&self) -> bool {
        let pages = self
            .raw
            .prepare_cached("PRAGMA page_count")
            .and_then(|mut pages| pages.query_row([], |row| row.get(0)));
        pages.is_ok_and(|pages: i64| pages >= LARGE)
    }

    fn in_transaction(&self) -> bool {
        self.has_begun_to_read() || !self.raw.is_autocommit()
    }

    fn is_usable(&self) -> bool {
        !self.in_transaction() && !self.file.as_ref().is_some_and(OpenFile::is_gone)
    }

    fn columns_of(&self, names: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualColumn>>> {
        self.complete_beginning()?;
        tables.iter().map(|table| columns_of_table(&self.raw, &names.plain(table))).collect()
    }

    fn is_strict(&self, names: &Namespace, table: &str) -> Result<bool> {
        self.complete_beginning()?;
        is_strict(&self.raw, &names.plain(table))
    }

    fn indexes_of(&self, names: &Namespace, tables: &[&str]) -> Result<Vec<Vec<ActualIndex>>> {
        self.complete_beginning()?;
        tables.iter().map(|table| indexes_of_table(&self.raw, &names.plain(table))).collect()
    }

    fn native(&self) -> &dyn Any {
        &self.raw
    }
}

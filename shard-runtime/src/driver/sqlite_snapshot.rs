//! Begins SQLite transactions that read. Owns the state of their beginning; used by `sqlite_connection`.
//!
//! A session that looks up one row and ends needs no `BEGIN` and no `COMMIT`. The statement alone holds the snapshot, as
//! long as it has returned its row and is not reset. Any later statement runs `BEGIN` first, which takes over the
//! statement's snapshot. A look-up without a row holds no snapshot, so that it would have to run again after `BEGIN`. If
//! several shards may have the row, it therefore begins with `BEGIN`.

use super::sqlite_connection::SqliteConnection;
use super::sqlite_errors::from_sqlite;
use super::sqlite_statement::SqliteStatement;
use crate::error::Result;
use crate::planner::sql::Param;
use crate::row::{RowSource, Stream as _};

/// The progress of a transaction's beginning.
#[derive(Debug, Default)]
pub(super) enum Beginning {
    /// There is no transaction, or SQLite has begun it.
    #[default]
    Complete,
    /// Nothing was read yet.
    Wanted,
    /// A look-up by this statement holds the snapshot.
    Held(Box<str>),
}

impl SqliteConnection {
    /// Notes that the next statement begins a transaction that reads.
    pub(super) fn want_snapshot(&self) {
        self.expected.borrow_mut().clear();
        self.due.borrow_mut().clear();
        *self.beginning.borrow_mut() = Beginning::Wanted;
    }

    pub(super) fn has_begun_to_read(&self) -> bool {
        !matches!(*self.beginning.borrow(), Beginning::Complete)
    }

    /// Runs the pending `BEGIN`, so that later statements are part of the transaction, and the checks of its shards.
    pub(super) fn complete_beginning(&self) -> Result<()> {
        let beginning = self.beginning.take();
        if matches!(beginning, Beginning::Complete) {
            return self.check_due();
        }
        let begun = self.raw.prepare_cached("BEGIN DEFERRED").and_then(|mut begin| begin.raw_execute());
        if let Beginning::Held(look_up) = &beginning {
            self.reset(look_up)?;
        }
        begun.map_err(from_sqlite)?;
        self.check_due()
    }

    /// Ends a transaction that was not begun with `BEGIN`. Returns whether there was one.
    pub(super) fn end_beginning(&self) -> Result<bool> {
        let beginning = self.beginning.take();
        self.due.borrow_mut().clear();
        if let Beginning::Held(look_up) = &beginning {
            self.reset(look_up)?;
        }
        Ok(!matches!(beginning, Beginning::Complete))
    }

    /// Looks a row up as the first statement of a transaction. Returns `None` if the statement has no row.
    ///
    /// The check of its shard stays pending until the next statement: if the row exists in the snapshot, its key has not
    /// left the shard.
    pub(super) fn look_up_first(
        &self,
        sql: &str,
        params: &[Param<'_>],
        visit: &mut dyn FnMut(&dyn RowSource) -> Result<()>,
    ) -> Result<Option<()>> {
        if !SqliteStatement::prepare(&self.raw, sql)?.hold(params, visit)? {
            return Ok(None);
        }
        *self.beginning.borrow_mut() = Beginning::Held(sql.into());
        Ok(Some(()))
    }

    /// Checks the shards of the transaction that were not checked yet. A failed check stays pending, so that no later
    /// statement runs without it.
    fn check_due(&self) -> Result<()> {
        loop {
            let Some(shard) = self.due.borrow().last().cloned() else { return Ok(()) };
            self.check(&shard)?;
            self.due.borrow_mut().pop();
        }
    }

    /// Resets a statement that is held.
    fn reset(&self, sql: &str) -> Result<()> {
        let mut held = self.raw.prepare_cached(sql).map_err(from_sqlite)?;
        // Rows reset their statement when they are dropped.
        drop(held.raw_query());
        Ok(())
    }
}

impl SqliteStatement<'_> {
    /// Reads the first row, and does not reset the statement, so that its snapshot stays. Returns `false` if there is no
    /// row.
    fn hold(
        mut self,
        params: &[Param<'_>],
        visit: &mut dyn FnMut(&dyn RowSource) -> Result<()>,
    ) -> Result<bool> {
        self.bind(params)?;
        let mut cursor = self.cursor();
        if !cursor.advance()? {
            return Ok(false);
        }
        visit(&cursor)?;
        // Dropping the cursor would reset the statement.
        std::mem::forget(cursor);
        Ok(true)
    }
}

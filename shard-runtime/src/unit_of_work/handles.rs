//! Detects columns that were written through one handle of a row, and are out of date in another handle of it in the same
//! transaction.
//!
//! A handle holds the row as it was read, or as it was last written through this handle. The session notes which columns
//! of which rows it writes through handles. Before another handle writes one of these columns, or removes the row, its
//! own copy is compared with the written values. If they differ, the row on the shard decides, since a bulk update, SQL
//! or a trigger may have changed it later. If the handle's copy differs from that row, too, the write is
//! [`ErrorKind::Stale`].

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::UnitOfWork;
use super::entries::id_value;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::{AnyRow, SetColumns};
use crate::query::{Sharded, values_of};
use crate::query::{Stored, WriteOutcome};
use crate::schema::ShardSet;
use crate::schema::Table;
use crate::transaction::locate;
use crate::value::IdKey;

/// Above this number of noted writes of one row, writes that later ones cover are dropped.
const WRITES_PER_ROW: usize = 16;

/// A row by its model, its shard (0 for a reference table, whose rows are on every shard) and its id.
type RowKey = (usize, usize, IdKey);

/// The writes of this transaction that used handles.
#[derive(Default)]
pub(crate) struct HandleWrites {
    rows: HashMap<RowKey, SmallVec<[HandleWrite; 1]>>,
}

/// A write of some columns of one row.
struct HandleWrite {
    columns: SetColumns,
    /// The row with the values that were written.
    row: Arc<dyn AnyRow>,
    /// Whether the write was undone, by a rollback or because a flush failed.
    outcome: WriteOutcome,
}

impl HandleWrites {
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
    }

    fn note(&mut self, key: RowKey, write: HandleWrite) {
        let writes = self.rows.entry(key).or_default();
        writes.retain(|before| !before.outcome.is_undone());
        let is_covered =
            |before: &HandleWrite| before.columns.iter().all(|column| write.columns.contains(column));
        // One savepoint undoes all its writes together, so that the later write is enough. If a row is written
        // repeatedly, each time in another savepoint, not all writes are kept.
        let is_full = writes.len() >= WRITES_PER_ROW;
        writes.retain(|before| !(is_covered(before) && (is_full || before.outcome.is_same(&write.outcome))));
        writes.push(write);
    }

    /// Returns the first of these columns that was written with another value than the one in the handle's copy.
    fn unseen<T: Sharded>(&self, key: &RowKey, columns: &[usize], copy: &Arc<T>) -> Result<Option<usize>> {
        let Some(writes) = self.rows.get(key) else { return Ok(None) };
        let mut open: Vec<usize> = columns.to_vec();
        for write in writes.iter().rev().filter(|write| !write.outcome.is_undone()) {
            let (covered, rest): (Vec<usize>, Vec<usize>) =
                open.into_iter().partition(|column| write.columns.contains(column));
            open = rest;
            if covered.is_empty() || std::ptr::addr_eq(Arc::as_ptr(&write.row), Arc::as_ptr(copy)) {
                continue;
            }
            for column in covered {
                if write.row.value(T::TABLE, column)? != copy.value(T::TABLE, column)? {
                    return Ok(Some(column));
                }
            }
        }
        Ok(None)
    }
}

fn row_key<T: Sharded>(model: usize, shard: usize, row: &T) -> Result<RowKey> {
    let shard = if T::TABLE.is_reference() { 0 } else { shard };
    Ok((model, shard, IdKey::of(&id_value(row)?)))
}

fn stale<T: Sharded>(row: &Stored<T>, column: usize) -> Error {
    let table: &Table = T::TABLE;
    let name = table.columns.get(column).map_or("", |column| column.name);
    let message = format!(
        "row {:?} is stale: this session has changed its column `{name}` through another handle since this one was read; \
         call `reload` on this handle and apply the change again",
        row.id()
    );
    table.error_at(column, locate(Error::new(ErrorKind::Stale, message), row.shard(), Some(T::TABLE)))
}

impl UnitOfWork {
    /// Refuses a write of these columns of a row through a handle whose copy of them is out of date in this transaction.
    pub(crate) fn refuse_unseen<T: Sharded>(
        &mut self,
        shard: usize,
        row: &Stored<T>,
        copy: &Arc<T>,
        columns: &[usize],
    ) -> Result<()> {
        if self.handle_writes.rows.is_empty() {
            return Ok(());
        }
        let table = T::TABLE;
        let key = row_key(self.model(table)?, shard, &**copy)?;
        if self.handle_writes.unseen(&key, columns, copy)?.is_none() {
            return Ok(());
        }
        self.flush_shards(&ShardSet::one(shard))?;
        let stored = self.stored_values(table, shard, &id_value(&**copy)?)?;
        let own = values_of(&**copy)?;
        // A row that does not exist is not stale: the write itself fails with `NotFound`.
        let differs = |column: &usize| !stored.is_empty() && stored.get(*column) != own.get(*column);
        columns.iter().copied().find(differs).map_or(Ok(()), |column| Err(stale(row, column)))
    }

    /// Notes that these columns of a row were written through a handle, which has the row's current values.
    pub(crate) fn note_write<T: Sharded>(
        &mut self,
        shard: usize,
        row: &Stored<T>,
        columns: SetColumns,
        outcome: Option<WriteOutcome>,
    ) -> Result<()> {
        let Some(outcome) = outcome else { return Ok(()) };
        let key = row_key(self.model(T::TABLE)?, shard, &**row)?;
        let write = HandleWrite { columns, row: Arc::clone(row.row()) as _, outcome };
        self.handle_writes.note(key, write);
        Ok(())
    }

    /// Returns the outcome that is shared by the rows that are written on this shard now.
    pub(crate) fn outcome_on(&self, shard: usize) -> Result<Option<WriteOutcome>> {
        let database = self.tx.cluster.layout().location(shard)?.database;
        Ok(self
            .tx
            .databases
            .get(database)
            .and_then(crate::transaction::DatabaseTransaction::outcome)
            .cloned())
    }
}

//! Pending changes: inserts, updates and deletes of rows, until the shard's next read, `flush` or `commit`.
//!
//! They are sent in an order that breaks no foreign key: first inserts, parents before children; then updates; then
//! deletes, children before parents. The changes of a single row keep the order in which the session made them.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::planner::{AnyRow, RowChange};
use crate::query::WriteOutcome;
use crate::value::IdKey;

/// The largest number of batches of updates: a row that is changed repeatedly needs one each time.
const BATCHES: usize = 64;

/// The pending changes of one shard.
#[derive(Default)]
pub(crate) struct Pending {
    /// By model: parents before children.
    inserts: Vec<Batch>,
    updates: Vec<Batch>,
    /// By model: children before parents.
    deletes: Vec<Batch>,
    /// The outcome that the changed rows share.
    outcome: WriteOutcome,
}

/// The rows of one model with the same change on one shard.
pub(crate) struct Batch {
    pub(crate) model: usize,
    pub(crate) change: RowChange,
    pub(crate) rows: Vec<Arc<dyn AnyRow>>,
    /// The approximate size of their values in bytes.
    pub(crate) bytes: usize,
    /// The ids that the database has generated for the rows that were sent, if it generates ids.
    pub(crate) counted: Vec<i64>,
    /// A range of rows of which at least one does not exist, or has another version.
    pub(crate) missed: Range<usize>,
    /// The ids of rows that are updated or deleted, each once.
    ids: HashSet<IdKey>,
}

impl Batch {
    pub(crate) fn new(model: usize, change: RowChange) -> Self {
        let (rows, counted, ids) = Default::default();
        Batch { model, change, rows, bytes: 0, counted, missed: 0..0, ids }
    }

    pub(crate) fn push(&mut self, row: Arc<dyn AnyRow>, bytes: usize) {
        self.rows.push(row);
        self.bytes += bytes;
    }
}

/// The pending changes of one shard while they are sent.
pub(crate) struct ShardBatch {
    pub(crate) shard: usize,
    /// In the order in which they will be written.
    pub(crate) batches: Vec<Batch>,
    /// The outcome that the changed rows share.
    pub(crate) outcome: WriteOutcome,
}

impl Pending {
    pub(crate) fn insert(&mut self, model: usize, row: Arc<dyn AnyRow>, bytes: usize) {
        let position = match self.inserts.binary_search_by_key(&model, |batch| batch.model) {
            Ok(position) => position,
            Err(position) => {
                self.inserts.insert(position, Batch::new(model, RowChange::Insert));
                position
            }
        };
        if let Some(batch) = self.inserts.get_mut(position) {
            batch.push(row, bytes);
        }
    }

    /// Adds the update of a row. Returns the outcome that the row's handle shares.
    pub(crate) fn update(
        &mut self,
        model: usize,
        change: RowChange,
        id: IdKey,
        row: Arc<dyn AnyRow>,
        bytes: usize,
    ) -> &WriteOutcome {
        // Not before an earlier change of this row.
        let after = self.updates.iter().rposition(|batch| batch.model == model && batch.ids.contains(&id));
        let after = after.map_or(0, |position| position + 1);
        let fits = |batch: &Batch| batch.model == model && batch.change == change;
        let found = self.updates.iter().skip(after).position(fits).map(|position| after + position);
        let position = found.unwrap_or_else(|| {
            let end = self.updates.partition_point(|batch| batch.model <= model);
            self.updates.insert(end, Batch::new(model, change));
            end
        });
        if let Some(batch) = self.updates.get_mut(position) {
            batch.ids.insert(id);
            batch.push(row, bytes);
        }
        &self.outcome
    }

    pub(crate) fn delete(&mut self, model: usize, change: RowChange, id: IdKey, row: Arc<dyn AnyRow>) {
        let position = match self.deletes.binary_search_by(|batch| model.cmp(&batch.model)) {
            Ok(position) => position,
            Err(position) => {
                self.deletes.insert(position, Batch::new(model, change));
                position
            }
        };
        if let Some(batch) = self.deletes.get_mut(position) {
            batch.ids.insert(id);
            batch.push(row, 0);
        }
    }

    /// Returns whether a deletion of this row is pending.
    pub(crate) fn deletes(&self, model: usize, id: &IdKey) -> bool {
        self.deletes.iter().any(|batch| batch.model == model && batch.ids.contains(id))
    }

    /// Returns whether deletions of rows of this model are pending.
    pub(crate) fn deletes_any(&self, model: usize) -> bool {
        self.deletes.iter().any(|batch| batch.model == model)
    }

    pub(crate) fn holds(&self, model: usize) -> bool {
        self.inserts.binary_search_by_key(&model, |batch| batch.model).is_ok()
            || self.updates.iter().chain(&self.deletes).any(|batch| batch.model == model)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inserts.is_empty() && self.updates.is_empty() && self.deletes.is_empty()
    }

    /// Returns whether the limit of pending batches is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.updates.len() >= BATCHES
    }

    /// Puts changes back that could not be written.
    pub(crate) fn put_back(&mut self, shard_batch: ShardBatch) {
        self.outcome = shard_batch.outcome;
        for mut batch in shard_batch.batches {
            batch.missed = 0..0;
            match batch.change {
                RowChange::Insert => self.inserts.push(batch),
                RowChange::Update { .. } => self.updates.push(batch),
                RowChange::Delete { .. } => self.deletes.push(batch),
            }
        }
    }

    /// Takes all pending changes of this shard.
    pub(crate) fn take(&mut self, shard: usize) -> ShardBatch {
        let Pending { mut inserts, mut updates, mut deletes, outcome } = std::mem::take(self);
        inserts.append(&mut updates);
        inserts.append(&mut deletes);
        ShardBatch { shard, batches: inserts, outcome }
    }

    /// Drops all pending changes, and marks them as rolled back.
    pub(crate) fn forget(&mut self) {
        std::mem::take(self).outcome.roll_back();
    }
}

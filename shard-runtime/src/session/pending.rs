//! Rows that were added and wait for their shard's next read, `flush` or `commit`.

use std::sync::Arc;

use crate::commit::AnyRow;

/// The rows that wait for one shard, by model. Models are ordered parents before children, so that writing
/// them in order never breaks a foreign key.
#[derive(Default)]
pub(super) struct Pending {
    batches: Vec<Batch>,
}

/// The rows of one model that wait for one shard.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) model: usize,
    pub(super) rows: Vec<Arc<dyn AnyRow>>,
    /// How many bytes their values have, about.
    pub(super) bytes: usize,
    /// The ids that the database has counted for the rows that were sent, where it counts them.
    pub(super) counted: Vec<i64>,
}

/// What waits for one shard, on its way there.
pub(super) struct Load {
    pub(super) shard: usize,
    /// Parents before children.
    pub(super) batches: Vec<Batch>,
}

impl Pending {
    pub(super) fn push(&mut self, model: usize, row: Arc<dyn AnyRow>, bytes: usize) {
        let place = match self.batches.binary_search_by_key(&model, |batch| batch.model) {
            Ok(place) => place,
            Err(place) => {
                self.batches.insert(place, Batch { model, ..Batch::default() });
                place
            }
        };
        if let Some(batch) = self.batches.get_mut(place) {
            batch.rows.push(row);
            batch.bytes += bytes;
        }
    }

    pub(super) fn holds(&self, model: usize) -> bool {
        self.batches.binary_search_by_key(&model, |batch| batch.model).is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Batches that could not be written wait again.
    pub(super) fn put_back(&mut self, batches: Vec<Batch>) {
        self.batches = batches;
    }

    /// All batches, parents before children; nothing waits any more.
    pub(super) fn take(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.batches)
    }
}

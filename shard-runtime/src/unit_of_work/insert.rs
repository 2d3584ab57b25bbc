//! Adds many rows at once. Places them one after the other. If there are very many, it sends them in batches while the
//! next are placed. Rows whose ids the database generates are sent at once.

use std::sync::Arc;

use super::entries::Changes;
use super::pending::{Batch, ShardBatch};
use super::{UnitOfWork, savepoint};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::RowChange;
use crate::query::{Insert, SequenceId, Sharded, normalize};
use crate::query::{Stored, WriteOutcome};
use crate::schema::IdKind;
use crate::schema::ShardSet;
use crate::tasks::unwind::finally;
use crate::transaction::in_verb_span;
use crate::value::{Field, Value};

/// The largest number of rows in a batch, and of bytes of values.
const BATCH_LIMITS: (usize, usize) = (16_384, 8 << 20);

/// A row that will be added, and its shard.
pub(crate) struct PlacedRow<T: Sharded> {
    pub(crate) row: Stored<T>,
    pub(crate) model: usize,
    /// The size of its values in bytes.
    pub(crate) bytes: usize,
}

impl UnitOfWork {
    pub(crate) fn add<N: Insert>(&mut self, new: N) -> Result<Stored<N::Model>> {
        let PlacedRow { mut row, model, bytes } = self.place(new)?;
        if N::Model::TABLE.id_kind == IdKind::Auto {
            let added = std::slice::from_mut(&mut row);
            in_verb_span(self, "add", Some(N::Model::TABLE), |session| {
                session.insert_counted(added, &[bytes])
            })?;
        } else {
            self.enqueue(&row, model, bytes)?;
        }
        Ok(row)
    }

    pub(crate) fn add_with_id<N: Insert<Model: SequenceId>>(
        &mut self,
        id: <N::Model as Sharded>::Id,
        new: N,
    ) -> Result<Stored<N::Model>> {
        self.tx.check_usable()?;
        let table = N::Model::TABLE;
        let model = self.model(table)?;
        let mut row = new.into_model(&mut || Ok(id.clone()))?;
        let (shard, bytes) = self.home(&row)?;
        normalize(&mut row, &shard)?;
        match id.to_value().map_err(|error| table.error_at(table.id, error))? {
            Value::Integer(id) => self.tx.cluster.claim_id(table, id)?,
            other => return Err(table.error_at(table.id, crate::value::mismatch("an integer", &other))),
        }
        let row = Stored::new(Arc::new(row), shard);
        self.enqueue(&row, model, bytes)?;
        Ok(row)
    }

    /// Adds rows in batches. A single batch is enqueued like other rows. Of several batches, each is sent before the next
    /// is taken, and a savepoint encloses all of them.
    pub(crate) fn add_in_batches<N: Insert>(
        &mut self,
        mut rows: impl Iterator<Item = N>,
    ) -> Result<Vec<Stored<N::Model>>> {
        let table = N::Model::TABLE;
        let (mut added, mut sizes) = (Vec::with_capacity(rows.size_hint().0.min(BATCH_LIMITS.0)), Vec::new());
        let is_last = self.take_batch(&mut rows, &mut added, &mut sizes)?;
        if is_last {
            self.add_batch(&mut added, &sizes)?;
            return Ok(added);
        }
        in_verb_span(self, "add_all", Some(table), |session| {
            savepoint(session, |session| {
                session.tx.in_batches = true;
                finally(
                    session,
                    |session| session.send_batches(&mut rows, &mut added, &mut sizes),
                    |session| session.tx.in_batches = false,
                )
            })?;
            if session.tx.context.span.is_some() {
                session.tx.record_shards(Some(table), &shards_of(&added));
            }
            Ok(())
        })?;
        Ok(added)
    }

    /// Sends a batch and those after it.
    fn send_batches<N: Insert>(
        &mut self,
        rows: &mut impl Iterator<Item = N>,
        added: &mut Vec<Stored<N::Model>>,
        sizes: &mut Vec<usize>,
    ) -> Result<()> {
        let (mut sent, mut is_last) = (0, false);
        loop {
            self.add_batch(added.get_mut(sent..).unwrap_or_default(), sizes)?;
            self.flush()?;
            if is_last {
                return Ok(());
            }
            sent = added.len();
            is_last = self.take_batch(rows, added, sizes)?;
        }
    }

    /// Enqueues placed rows, or sends them if the database generates their ids.
    fn add_batch<T: Sharded>(&mut self, rows: &mut [Stored<T>], sizes: &[usize]) -> Result<()> {
        if T::TABLE.id_kind == IdKind::Auto {
            return in_verb_span(self, "add_all", Some(T::TABLE), |session| {
                session.insert_counted(rows, sizes)
            });
        }
        for (row, &bytes) in rows.iter().zip(sizes) {
            let model = self.model(T::TABLE)?;
            self.enqueue(row, model, bytes)?;
        }
        Ok(())
    }

    /// Places rows until the batch is full or no row is left. Returns whether no row is left. Replaces the contents of
    /// `sizes` by their sizes.
    fn take_batch<N: Insert>(
        &self,
        rows: &mut impl Iterator<Item = N>,
        added: &mut Vec<Stored<N::Model>>,
        sizes: &mut Vec<usize>,
    ) -> Result<bool> {
        sizes.clear();
        let mut all = 0;
        while sizes.len() < BATCH_LIMITS.0 && all < BATCH_LIMITS.1 {
            let Some(new) = rows.next() else { return Ok(true) };
            let PlacedRow { row, bytes, .. } = self.place(new)?;
            added.push(row);
            sizes.push(bytes);
            all += bytes;
        }
        Ok(false)
    }

    /// Inserts rows whose ids the database generates, in one batch per shard, and stores the ids in the rows.
    pub(crate) fn insert_counted<T: Sharded>(
        &mut self,
        rows: &mut [Stored<T>],
        sizes: &[usize],
    ) -> Result<()> {
        let model = self.model(T::TABLE)?;
        let batches_of = |rows: &[Stored<T>]| {
            let mut shard_batches: Vec<ShardBatch> = Vec::new();
            rows.iter().zip(sizes).for_each(|(row, &bytes)| push_row(&mut shard_batches, row, model, bytes));
            shard_batches
        };
        let shards: ShardSet = batches_of(rows).iter().map(|shard_batch| shard_batch.shard).collect();
        // Pending parents must be inserted first.
        self.flush_shards(&shards)?;
        let mut insert = |session: &mut Self| {
            let mut shard_batches = batches_of(rows);
            session.send(&mut shard_batches)?;
            put_ids(rows, model, &mut shard_batches)?;
            session.record_rows(shard_batches)?;
            let added = rows.iter().map(|row| (&**row, row.shard().index()));
            let entries = session.entries_of(added, Changes::add)?;
            session.write_entries(entries)
        };
        self.without_orphans(|session| session.in_savepoint(&shards, &mut insert))
    }
}

/// Returns the shards of rows.
fn shards_of<T: Sharded>(rows: &[Stored<T>]) -> ShardSet {
    let mut shards: Vec<usize> = Vec::new();
    for shard in rows.iter().map(|row| row.shard().index()) {
        if !shards.contains(&shard) {
            shards.push(shard);
        }
    }
    shards.into_iter().collect()
}

/// Adds a row to the batch of its shard. The list is in the shards' order, with one batch for each shard.
fn push_row<T: Sharded>(shard_batches: &mut Vec<ShardBatch>, row: &Stored<T>, model: usize, bytes: usize) {
    let shard = row.shard().index();
    let position = match shard_batches.binary_search_by_key(&shard, |shard_batch| shard_batch.shard) {
        Ok(position) => position,
        Err(position) => {
            let batches = vec![Batch::new(model, RowChange::Insert)];
            shard_batches.insert(position, ShardBatch { shard, batches, outcome: WriteOutcome::default() });
            position
        }
    };
    if let Some(batch) =
        shard_batches.get_mut(position).and_then(|shard_batch| shard_batch.batches.first_mut())
    {
        batch.push(Arc::clone(row.row()) as _, bytes);
    }
}

/// Stores the generated ids in the rows. The batches release the rows while that happens.
fn put_ids<T: Sharded>(
    rows: &mut [Stored<T>],
    model: usize,
    shard_batches: &mut Vec<ShardBatch>,
) -> Result<()> {
    let table = T::TABLE;
    let mut counted = Vec::with_capacity(shard_batches.len());
    for batch in shard_batches.iter_mut().flat_map(|shard_batch| &mut shard_batch.batches) {
        batch.rows.clear();
        counted.push(std::mem::take(&mut batch.counted).into_iter());
    }
    for row in &mut *rows {
        let position =
            shard_batches.binary_search_by_key(&row.shard().index(), |shard_batch| shard_batch.shard).ok();
        let id = position.and_then(|position| counted.get_mut(position)?.next());
        let (Some(id), Some(own)) = (id, row.alone()) else {
            let message = "the database did not return an id for every inserted row; check the table for triggers and rules";
            return Err(Error::new(ErrorKind::Database, message).in_table(table.name));
        };
        let id = Field::from_value(Value::Integer(id)).map_err(|error| table.error_at(table.id, error))?;
        own.set_id(id);
    }
    rows.iter().for_each(|row| push_row(shard_batches, row, model, 0));
    Ok(())
}

//! Many rows that are added at once: placed one after the other and, where there are very many, sent in portions while
//! the next are placed. And rows whose ids the database counts, which are sent at once.

use std::sync::Arc;

use super::entries::Changes;
use super::pending::{Batch, ShardBatch};
use super::{UnitOfWork, savepoint};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Change;
use crate::query::{Insert, SequenceId, Sharded, normalize};
use crate::query::{Stored, WriteOutcome};
use crate::schema::IdKind;
use crate::schema::ShardSet;
use crate::tasks::unwind::finally;
use crate::transaction::in_verb_span;
use crate::value::{Field, Value};

/// How many rows are placed before they are sent, and how many bytes of values.
const PORTION: (usize, usize) = (16_384, 8 << 20);

/// A row that is to be added, and its shard.
pub(crate) struct Placed<T: Sharded> {
    pub(crate) row: Stored<T>,
    pub(crate) model: usize,
    /// How long its values are.
    pub(crate) bytes: usize,
}

impl UnitOfWork {
    pub(crate) fn add<N: Insert>(&mut self, new: N) -> Result<Stored<N::Model>> {
        let Placed { mut row, model, bytes } = self.place(new)?;
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

    /// Adds rows in portions. One that is all there is waits, as rows do; of several each is sent before the next is
    /// taken, all of them within a savepoint.
    pub(crate) fn add_in_portions<N: Insert>(
        &mut self,
        mut rows: impl Iterator<Item = N>,
    ) -> Result<Vec<Stored<N::Model>>> {
        let table = N::Model::TABLE;
        let (mut added, mut sizes) = (Vec::with_capacity(rows.size_hint().0.min(PORTION.0)), Vec::new());
        let is_last = self.take_portion(&mut rows, &mut added, &mut sizes)?;
        if is_last {
            self.add_portion(&mut added, &sizes)?;
            return Ok(added);
        }
        in_verb_span(self, "add_all", Some(table), |session| {
            savepoint(session, |session| {
                session.tx.in_portions = true;
                finally(
                    session,
                    |session| session.send_portions(&mut rows, &mut added, &mut sizes),
                    |session| session.tx.in_portions = false,
                )
            })?;
            if session.tx.context.span.is_some() {
                session.tx.record_shards(Some(table), &shards_of(&added));
            }
            Ok(())
        })?;
        Ok(added)
    }

    /// Sends a portion, and those that come after it.
    fn send_portions<N: Insert>(
        &mut self,
        rows: &mut impl Iterator<Item = N>,
        added: &mut Vec<Stored<N::Model>>,
        sizes: &mut Vec<usize>,
    ) -> Result<()> {
        let (mut sent, mut is_last) = (0, false);
        loop {
            self.add_portion(added.get_mut(sent..).unwrap_or_default(), sizes)?;
            self.flush()?;
            if is_last {
                return Ok(());
            }
            sent = added.len();
            is_last = self.take_portion(rows, added, sizes)?;
        }
    }

    /// Enqueues placed rows, or sends them if the database counts their ids.
    fn add_portion<T: Sharded>(&mut self, rows: &mut [Stored<T>], sizes: &[usize]) -> Result<()> {
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

    /// Places rows until there are enough of them, or no more; whether these are the last. Their sizes take the place of
    /// those that are there.
    fn take_portion<N: Insert>(
        &self,
        rows: &mut impl Iterator<Item = N>,
        added: &mut Vec<Stored<N::Model>>,
        sizes: &mut Vec<usize>,
    ) -> Result<bool> {
        sizes.clear();
        let mut all = 0;
        while sizes.len() < PORTION.0 && all < PORTION.1 {
            let Some(new) = rows.next() else { return Ok(true) };
            let Placed { row, bytes, .. } = self.place(new)?;
            added.push(row);
            sizes.push(bytes);
            all += bytes;
        }
        Ok(false)
    }

    /// Inserts rows whose ids the database counts, in one batch per shard, and puts the ids into them.
    pub(crate) fn insert_counted<T: Sharded>(
        &mut self,
        rows: &mut [Stored<T>],
        sizes: &[usize],
    ) -> Result<()> {
        let model = self.model(T::TABLE)?;
        let loads = |rows: &[Stored<T>]| {
            let mut loads: Vec<ShardBatch> = Vec::new();
            rows.iter().zip(sizes).for_each(|(row, &bytes)| load(&mut loads, row, model, bytes));
            loads
        };
        let shards: ShardSet = loads(rows).iter().map(|load| load.shard).collect();
        // Parents that wait must be there first.
        self.flush_shards(&shards)?;
        let mut insert = |session: &mut Self| {
            let mut loads = loads(rows);
            session.send(&mut loads)?;
            put_ids(rows, model, &mut loads)?;
            session.record_rows(loads)?;
            let added = rows.iter().map(|row| (&**row, row.shard().index()));
            let entries = session.entries_of(added, Changes::add)?;
            session.write_entries(entries)
        };
        self.without_orphans(|session| session.in_savepoint(&shards, &mut insert))
    }
}

/// The shards of rows.
fn shards_of<T: Sharded>(rows: &[Stored<T>]) -> ShardSet {
    let mut shards: Vec<usize> = Vec::new();
    for shard in rows.iter().map(|row| row.shard().index()) {
        if !shards.contains(&shard) {
            shards.push(shard);
        }
    }
    shards.into_iter().collect()
}

/// Puts a row into the load of its shard; loads are in the shards' order, with one batch each.
fn load<T: Sharded>(loads: &mut Vec<ShardBatch>, row: &Stored<T>, model: usize, bytes: usize) {
    let shard = row.shard().index();
    let place = match loads.binary_search_by_key(&shard, |load| load.shard) {
        Ok(place) => place,
        Err(place) => {
            let batches = vec![Batch::new(model, Change::Insert)];
            loads.insert(place, ShardBatch { shard, batches, outcome: WriteOutcome::default() });
            place
        }
    };
    if let Some(batch) = loads.get_mut(place).and_then(|load| load.batches.first_mut()) {
        batch.push(Arc::clone(row.row()) as _, bytes);
    }
}

/// Puts the ids into the rows that the database has counted for them, which the loads let go of for that.
fn put_ids<T: Sharded>(rows: &mut [Stored<T>], model: usize, loads: &mut Vec<ShardBatch>) -> Result<()> {
    let table = T::TABLE;
    let mut counted = Vec::with_capacity(loads.len());
    for batch in loads.iter_mut().flat_map(|load| &mut load.batches) {
        batch.rows.clear();
        counted.push(std::mem::take(&mut batch.counted).into_iter());
    }
    for row in &mut *rows {
        let place = loads.binary_search_by_key(&row.shard().index(), |load| load.shard).ok();
        let id = place.and_then(|place| counted.get_mut(place)?.next());
        let (Some(id), Some(own)) = (id, row.alone()) else {
            let message = "the database did not return an id for every inserted row; check the table for triggers and rules";
            return Err(Error::new(ErrorKind::Database, message).in_table(table.name));
        };
        let id = Field::from_value(Value::Integer(id)).map_err(|error| table.error_at(table.id, error))?;
        own.set_id(id);
    }
    rows.iter().for_each(|row| load(loads, row, model, 0));
    Ok(())
}

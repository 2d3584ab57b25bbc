//! Many rows that are added at once: placed one after the other and, where there are very many, sent in portions while
//! the next are placed. And rows whose ids the database counts, which are sent at once.

use std::sync::Arc;

use super::Session;
use super::pending::{Batch, Load};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{IdKind, Insert, Sharded};
use crate::shards::ShardSet;
use crate::stored::Stored;
use crate::value::{Field, Value};

/// How many rows are placed before they are sent, and how many bytes of values.
const PORTION: (usize, usize) = (16_384, 8 << 20);

/// A row that is to be added, and its shard.
pub(super) struct Placed<T: Sharded> {
    pub(super) row: Stored<T>,
    pub(super) model: usize,
    /// How long its values are.
    pub(super) bytes: usize,
}

impl Session {
    /// Adds rows in portions. One that is all there is waits, as rows do; of several each is sent before the next is
    /// taken, all of them within a savepoint.
    pub(super) fn add_in_portions<N: Insert>(
        &mut self,
        mut rows: impl Iterator<Item = N>,
    ) -> Result<Vec<Stored<N::Model>>> {
        let table = N::Model::TABLE;
        let (mut added, mut sizes) = (Vec::with_capacity(rows.size_hint().0.min(PORTION.0)), Vec::new());
        let mut is_last = self.take_portion(&mut rows, &mut added, &mut sizes)?;
        if !is_last {
            self.within("add_all", Some(table), |session| {
                session.savepoint(|session| {
                    let mut sent = 0;
                    loop {
                        session.send_rows(added.get_mut(sent..).unwrap_or_default(), &sizes)?;
                        if is_last {
                            return Ok::<(), Error>(());
                        }
                        sent = added.len();
                        is_last = session.take_portion(&mut rows, &mut added, &mut sizes)?;
                    }
                })?;
                if session.span.is_some() {
                    session.asks(Some(table), &shards_of(&added));
                }
                Ok(())
            })?;
        } else if table.id_kind == IdKind::Auto {
            self.within("add_all", Some(table), |session| session.insert_counted(&mut added, &sizes))?;
        } else if !added.is_empty() {
            let model = self.cluster.layout().model(table)?;
            added.iter().zip(&sizes).try_for_each(|(row, &bytes)| self.wait(row, model, bytes))?;
        }
        Ok(added)
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
    pub(super) fn insert_counted<T: Sharded>(
        &mut self,
        rows: &mut [Stored<T>],
        sizes: &[usize],
    ) -> Result<()> {
        let shards = shards_of(rows);
        // Parents that wait must be there first.
        self.flush_shards(&shards)?;
        self.atomically(&shards, |session| session.send_rows(rows, sizes))
    }

    /// Sends rows of one model to their shards, in one batch for each.
    fn send_rows<T: Sharded>(&mut self, rows: &mut [Stored<T>], sizes: &[usize]) -> Result<()> {
        let table = T::TABLE;
        let model = self.cluster.layout().model(table)?;
        let mut loads: Vec<Load> = Vec::new();
        let everywhere =
            if table.is_reference() { ShardSet::all(self.cluster.shards()) } else { ShardSet::none() };
        for (row, bytes) in rows.iter().zip(sizes) {
            match table.is_reference() {
                true => {
                    everywhere.indexes().iter().for_each(|shard| load(&mut loads, row, *shard, model, *bytes))
                }
                false => load(&mut loads, row, row.shard().index(), model, *bytes),
            }
        }
        loads.iter().try_for_each(|load| self.begin_write(load.shard))?;
        self.send(&mut loads)?;
        if table.id_kind == IdKind::Auto {
            put_ids(rows, model, &mut loads)?;
        }
        self.record_rows(loads)?;
        let entries = self.entries_of(rows.iter().map(|row| (&**row, row.shard().index())))?;
        self.write_entries(entries)
    }
}

/// The shards that rows live on.
fn shards_of<T: Sharded>(rows: &[Stored<T>]) -> ShardSet {
    let mut shards: Vec<usize> = Vec::new();
    for shard in rows.iter().map(|row| row.shard().index()) {
        if !shards.contains(&shard) {
            shards.push(shard);
        }
    }
    shards.into_iter().collect()
}

/// Puts a row into the load of a shard; loads are in the shards' order, with one batch each.
fn load<T: Sharded>(loads: &mut Vec<Load>, row: &Stored<T>, shard: usize, model: usize, bytes: usize) {
    let place = match loads.binary_search_by_key(&shard, |load| load.shard) {
        Ok(place) => place,
        Err(place) => {
            loads.insert(place, Load { shard, batches: vec![Batch { model, ..Batch::default() }] });
            place
        }
    };
    if let Some(batch) = loads.get_mut(place).and_then(|load| load.batches.first_mut()) {
        batch.rows.push(Arc::clone(row.row()) as _);
        batch.bytes += bytes;
    }
}

/// Puts the ids into the rows that the database has counted for them, which the loads let go of for that.
fn put_ids<T: Sharded>(rows: &mut [Stored<T>], model: usize, loads: &mut Vec<Load>) -> Result<()> {
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
            let said = "the database has not counted an id for every row";
            return Err(Error::new(ErrorKind::Database, said).in_table(table.name));
        };
        let id = Field::from_value(Value::Integer(id)).map_err(|error| table.error_at(table.id, error))?;
        own.set_id(id);
    }
    rows.iter().for_each(|row| load(loads, row, row.shard().index(), model, 0));
    Ok(())
}

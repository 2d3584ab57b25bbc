//! Updates and deletes of single rows: pending until the next flush, or written at once.

use std::sync::Arc;

use super::UnitOfWork;
use super::entries::{RowWrite, id_value};
use super::pending::Pending;
use super::read::gone;
use super::version;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Param, TableSql};
use crate::planner::{AnyRow, RowChange, SetColumns};
use crate::query::{Sharded, normalize, values_of};
use crate::query::{Stored, WriteOutcome};
use crate::schema::PlacedLookup;
use crate::schema::ShardSet;
use crate::schema::{KeyColumns, Table};
use crate::tasks::unwind::caught;
use crate::value::IdKey;
use crate::value::Value;

impl UnitOfWork {
    pub(crate) fn update<T: Sharded + Clone>(&mut self, row: &mut Stored<T>) -> Result<()> {
        let table = T::TABLE;
        self.tx.refuse_row_elsewhere::<T>(row.shard())?;
        let shard = self.tx.cluster.layout().shards().index_of(row.shard())?;
        let Some(recorded) = row.recorded().cloned() else { return Ok(()) };
        let version = version::of(&*recorded)?;
        let version_column = version.as_ref().map(|version| version.column);
        let (mut columns, mut bytes) = (SetColumns::new(), 0);
        for column in (0..table.columns.len()).filter(|column| Some(*column) != version_column) {
            let (before, after) = (recorded.value(table, column)?, row.row().value(table, column)?);
            if before != after {
                columns.push(column);
                bytes += after.size();
            }
        }
        self.refuse_move(row, &columns)?;
        let home = row.shard().clone();
        normalize(row.correct(), &home)?;
        if columns.is_empty() {
            row.settle(None);
            return version.map_or(Ok(()), |version| version.put_back(row));
        }
        columns.extend(version_column);
        self.refuse_unseen(shard, row, &recorded, &columns)?;
        if let Some(version) = &version {
            version.put(row, version.next()?)?;
        }
        let change = RowChange::Update { columns: columns.clone(), version: version_column };
        let (changed, panic) = caught(|| match self.is_written_at_once(table, Some(&columns)) {
            true => self.update_at_once(shard, row, &recorded, change),
            false => self.update_later(shard, row, change, bytes),
        });
        let changed = match (changed, version) {
            (Ok(outcome), _) => self
                .note_write(shard, row, columns, outcome)
                .and_then(|()| self.identities.refresh(row, &recorded)),
            (Err(error), Some(version)) => version.put_back(row).and(Err(error)),
            (Err(error), None) => Err(error),
        };
        panic.resume();
        changed
    }

    fn update_later<T: Sharded>(
        &mut self,
        shard: usize,
        row: &mut Stored<T>,
        change: RowChange,
        bytes: usize,
    ) -> Result<Option<WriteOutcome>> {
        self.tx.check_usable()?;
        let (model, id) = (self.model(T::TABLE)?, IdKey::of(&id_value(&**row)?));
        if self.pending.get(shard).is_some_and(|pending| pending.deletes(model, &id)) {
            return Err(gone::<T>(row.id(), row.shard()));
        }
        if self.pending.get(shard).is_some_and(Pending::is_full) {
            self.flush_shards(&ShardSet::one(shard))?;
        }
        let Some(pending) = self.pending.get_mut(shard) else { return Ok(None) };
        let outcome = pending.update(model, change, id, Arc::clone(row.row()) as _, bytes);
        row.settle(Some(outcome));
        Ok(Some(outcome.clone()))
    }

    fn update_at_once<T: Sharded>(
        &mut self,
        shard: usize,
        row: &mut Stored<T>,
        before: &Arc<T>,
        change: RowChange,
    ) -> Result<Option<WriteOutcome>> {
        if self.write_at_once(shard, &**row, &values_of(&**before)?, &change)? == 0 {
            let error = self.missed(shard, row, version::of(&**before)?.as_ref());
            return self.tx.note_conflict(Err(error));
        }
        let outcome = self.outcome_on(shard)?;
        row.settle(outcome.as_ref());
        Ok(outcome)
    }

    /// Returns whether a change of these columns of one row (`None`: of the whole row) is written at once, because it
    /// affects several shards.
    fn is_written_at_once(&self, table: &'static Table, columns: Option<&[usize]>) -> bool {
        let is_written =
            |lookup: &PlacedLookup| columns.is_none_or(|columns| columns.contains(&lookup.column));
        table.is_reference() || self.tx.cluster.layout().lookups_of(table).any(is_written)
    }

    /// Updates or deletes a row; `before` are its stored values. Returns how many rows were written.
    fn write_at_once<T: Sharded>(
        &mut self,
        shard: usize,
        row: &T,
        before: &[Value<'_>],
        change: &RowChange,
    ) -> Result<u64> {
        let table = T::TABLE;
        let (columns, after) = match change {
            RowChange::Update { columns, .. } => (Some(columns.as_slice()), values_of(row)?),
            RowChange::Insert | RowChange::Delete { .. } => (None, Vec::new()),
        };
        let mut values = Vec::new();
        change.bind(table, row, &mut values)?;
        let params: Vec<Param<'_>> = values.into_iter().map(Param::Value).collect();
        let row_write =
            RowWrite { shard, id: id_value(row)?, before, after: &after, columns, inserts: false };
        self.write_with_entries(
            table,
            &row_write,
            |sql: &TableSql| sql.change(table, change).into_owned(),
            &params,
        )
    }

    /// Refuses a change of the key: it would be a move, which an update cannot do.
    fn refuse_move<T: Sharded>(&self, row: &Stored<T>, changed: &[usize]) -> Result<()> {
        let table = T::TABLE;
        let message = |what: &str| {
            format!(
                "{what} of a stored row cannot be changed by an update; call `relocate`, which moves the row with all its \
                 descendants"
            )
        };
        if changed.contains(&table.id) {
            return Err(table.error_at(
                table.id,
                Error::new(
                    ErrorKind::ShardKeyChanged,
                    "the id of a stored row cannot be changed; add another row",
                ),
            ));
        }
        if let KeyColumns::Columns(key) = table.key
            && let Some(&column) = key.iter().find(|column| changed.contains(column))
        {
            let error =
                Error::new(ErrorKind::ShardKeyChanged, message("the shard key")).on_shard(row.shard().name());
            return Err(table.error_at(column, error));
        }
        if let KeyColumns::Parent(column) = table.key {
            let shards = self.tx.cluster.layout().shards();
            let to = row.shard_chooser(shards)?;
            if to != row.shard().index() {
                let name = shards.by_index(to).map_or("another shard", |shard| shard.name());
                let what = format!("the parent (now on shard `{name}`)");
                let error =
                    Error::new(ErrorKind::ShardKeyChanged, message(&what)).on_shard(row.shard().name());
                return Err(table.error_at(column, error));
            }
        }
        Ok(())
    }

    pub(crate) fn delete<T: Sharded>(&mut self, row: &Stored<T>) -> Result<()> {
        let table = T::TABLE;
        self.tx.refuse_row_elsewhere::<T>(row.shard())?;
        let shard = self.tx.cluster.layout().shards().index_of(row.shard())?;
        let recorded = row.recorded().unwrap_or(row.row());
        let all: Vec<usize> = (0..table.columns.len()).collect();
        self.refuse_unseen(shard, row, recorded, &all)?;
        let before = values_of(&**recorded)?;
        let version = version::of(&**recorded)?;
        let change = RowChange::Delete { version: version.as_ref().map(|version| version.column) };
        self.identities.forget::<T>(row.id(), row.shard())?;
        if self.is_written_at_once(table, None) {
            return match self.write_at_once(shard, &**recorded, &before, &change)? {
                0 => {
                    let error = self.missed(shard, row, version.as_ref());
                    self.tx.note_conflict(Err(error))
                }
                _ => Ok(()),
            };
        }
        self.tx.check_usable()?;
        let (model, id) = (self.model(table)?, IdKey::of(&id_value(&**row)?));
        match self.pending.get_mut(shard) {
            Some(pending) if pending.deletes(model, &id) => Err(gone::<T>(row.id(), row.shard())),
            Some(pending) => {
                pending.delete(model, change, id, Arc::clone(recorded) as _);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Flushes the shard if a deletion of the row with the same id is pending.
    pub(crate) fn remove_before<T: Sharded>(&mut self, row: &Stored<T>, model: usize) -> Result<()> {
        let shard = row.shard().index();
        let waits = self.pending.get(shard).filter(|pending| pending.deletes_any(model));
        match waits {
            Some(pending) if pending.deletes(model, &IdKey::of(&id_value(&**row)?)) => {
                self.flush_shards(&ShardSet::one(shard))
            }
            _ => Ok(()),
        }
    }
}

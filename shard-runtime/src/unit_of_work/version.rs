//! Optimistic locking: the version of a row when it was read, and the error if the stored version has changed.

use std::collections::HashSet;

use super::UnitOfWork;
use super::pending::{Batch, ShardBatch};
use super::read::gone;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Param;
use crate::planner::{AnyRow, RowChange};
use crate::query::Holds;
use crate::query::Sharded;
use crate::query::Stored;
use crate::schema::Table;
use crate::transaction::{Transactions, Waits, locate};
use crate::value::IdKey;
use crate::value::{Field, Value};

/// The stored version of a row.
pub(crate) struct RowVersion {
    pub(crate) column: usize,
    pub(crate) number: i64,
    holds: Holds,
    table: &'static Table,
}

/// Returns the version of a row, if its model has one.
pub(crate) fn of<T: Sharded>(row: &T) -> Result<Option<RowVersion>> {
    let Some((column, holds)) = T::VERSION else { return Ok(None) };
    let table = T::TABLE;
    let number = i64::from_value(row.value(table, column)?).map_err(|error| table.error_at(column, error))?;
    Ok(Some(RowVersion { column, number, holds, table }))
}

impl RowVersion {
    /// Returns the version of the row after a change.
    pub(crate) fn next(&self) -> Result<i64> {
        let greatest = match self.holds {
            Holds::Between(_, greatest) => greatest,
            Holds::All | Holds::Single => i64::MAX,
        };
        match self.number.checked_add(1).filter(|next| *next <= greatest) {
            Some(next) => Ok(next),
            None => {
                let message = format!(
                    "cannot raise version {}: the column holds no greater number; use a wider integer",
                    self.number
                );
                Err(self.table.error_at(self.column, Error::new(ErrorKind::Value, message)))
            }
        }
    }

    /// Sets the version in the row.
    pub(crate) fn put<T: Sharded + Clone>(&self, row: &mut Stored<T>, number: i64) -> Result<()> {
        row.correct().set_version(number).map_err(|error| self.table.error_at(self.column, error))
    }

    /// Sets the stored version in the row again.
    pub(crate) fn put_back<T: Sharded + Clone>(&self, row: &mut Stored<T>) -> Result<()> {
        self.put(row, self.number)
    }
}

fn stale(id: &str, found: i64, had: i64) -> Error {
    let message = format!(
        "row {id} is stale: expected version {had}, found {found}; read it again and apply the change once more"
    );
    Error::new(ErrorKind::Stale, message)
}

impl UnitOfWork {
    /// Returns the error of a row that could not be written: it does not exist, or it has another version.
    pub(crate) fn missed<T: Sharded>(
        &self,
        shard: usize,
        row: &Stored<T>,
        version: Option<&RowVersion>,
    ) -> Error {
        let Some(version) = version else { return gone::<T>(row.id(), row.shard()) };
        match self.stored_version(shard, row) {
            Ok(Some(found)) => {
                let error = stale(&format!("{:?}", row.id()), found, version.number);
                locate(error, row.shard(), Some(T::TABLE))
            }
            Ok(None) => gone::<T>(row.id(), row.shard()),
            Err(error) => error,
        }
    }

    /// Finds out, after a row could not be updated or deleted and the flush was undone, which row and why. Returns that
    /// error.
    pub(crate) fn explained(&mut self, shard_batches: &[ShardBatch], error: Error) -> Error {
        for shard_batch in shard_batches {
            if let Some(missed) = shard_batch.batches.iter().position(|batch| !batch.missed.is_empty()) {
                return match self.first_missed(shard_batch.shard, &shard_batch.batches, missed) {
                    Ok(Some(found)) => found,
                    Ok(None) | Err(_) => error,
                };
            }
        }
        error
    }

    /// Returns the error of the first row of a batch that does not exist, or has another version. Skips rows that an
    /// earlier batch inserted or changed.
    fn first_missed(&mut self, shard: usize, batches: &[Batch], missed: usize) -> Result<Option<Error>> {
        let layout = self.tx.cluster.shared_layout();
        let database = layout.location(shard)?.database;
        let Transactions { cluster, databases, owner, .. } = &mut self.tx;
        let (Some(batch), Some(transaction), Some(handle)) =
            (batches.get(missed), databases.get_mut(database), layout.shards().by_index(shard))
        else {
            return Ok(None);
        };
        transaction.read(cluster, owner, database, Waits::default())?;
        transaction.expect(cluster, shard)?;
        let table = layout.table(batch.model)?;
        let mut own = HashSet::new();
        for before in batches.iter().take(missed).filter(|before| before.model == batch.model) {
            for row in &before.rows {
                own.insert(IdKey::of(&row.value(table, table.id)?));
            }
        }
        let column = match batch.change {
            RowChange::Update { version, .. } | RowChange::Delete { version } => version,
            RowChange::Insert => None,
        };
        for row in batch.rows.get(batch.missed.clone()).unwrap_or_default() {
            let mut values = Vec::new();
            batch.change.bind(table, &**row, &mut values)?;
            // The parameters end with the id, or with the id and the expected version.
            let (was, values) = match (column, values.as_slice()) {
                (Some(_), [values @ .., Value::Integer(was)]) => (Some(*was), values),
                (_, values) => (None, values),
            };
            let Some(id) = values.last().filter(|id| !own.contains(&IdKey::of(id))) else { continue };
            let stored = self.stored_values(table, shard, id)?;
            let found = match column.and_then(|column| stored.get(column)) {
                Some(Value::Integer(found)) => Some(*found),
                _ => None,
            };
            let error = match (stored.is_empty(), found, was) {
                (true, ..) => {
                    let message = format!(
                        "the row with id {id} does not exist; it was deleted, or moved to another shard"
                    );
                    Error::new(ErrorKind::NotFound, message)
                }
                (_, Some(found), Some(was)) if found != was => stale(&id.to_string(), found, was),
                _ => continue,
            };
            return Ok(Some(locate(error, handle, Some(table))));
        }
        Ok(None)
    }

    /// Returns the current version of a row on its shard.
    pub(crate) fn stored_version<T: Sharded>(&self, shard: usize, row: &Stored<T>) -> Result<Option<i64>> {
        let table = T::TABLE;
        let model = self.tx.cluster.layout().model(table)?;
        let id = row.id().stored_value().map_err(|error| table.error_at(table.id, error))?;
        let found = self.fetch_here::<T>(shard, model, &[Param::Value(id)], true)?;
        found.map_or(Ok(None), |found| Ok(of(&**found.row())?.map(|found| found.number)))
    }
}

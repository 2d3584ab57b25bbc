//! Upserts: rows that are inserted or, if their ids exist, updated. Uses `insert` and `update`.

use std::sync::Arc;

use super::entries::{RowWrite, id_value};
use super::version::RowVersion;
use super::{UnitOfWork, version};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Param, TableSql};
use crate::query::Stored;
use crate::query::{KnownId, normalize, values_of};
use crate::schema::KeyColumns;
use crate::value::{Field, Value};

impl UnitOfWork {
    pub(crate) fn save<T: KnownId + Clone>(&mut self, mut row: T) -> Result<Stored<T>> {
        let table = T::TABLE;
        let model = self.tx.cluster.layout().model(table)?;
        let (shard, _) = self.home(&row)?;
        normalize(&mut row, &shard)?;
        let mut row = Stored::new(Arc::new(row), shard);
        let shard = row.shard().index();
        let saved = Arc::clone(row.row());
        let values = values_of(&*saved)?;
        let version = version::of(&*saved)?;
        let next = version.as_ref().map(RowVersion::next).transpose()?.map(Value::Integer);
        let params: Vec<Param<'_>> =
            values.iter().chain(&next).map(|value| Param::Value(value.borrowed())).collect();
        let sql = |sql: &TableSql| sql.save(table, T::VERSION.map(|(column, _)| column));
        self.identities.forget::<T>(row.id(), row.shard())?;
        let row_write = RowWrite {
            shard,
            id: id_value(&*saved)?,
            before: &[],
            after: &values,
            columns: None,
            inserts: true,
        };
        if self.write_with_entries(table, &row_write, sql, &params)? == 0 {
            let error = self.refused(model, &row, &values, version.as_ref());
            return self.tx.note_conflict(Err(error));
        }
        if let Some(version) = version {
            // The row was inserted with its version, or the stored version was raised.
            let number = self.stored_version(shard, &row)?.unwrap_or(version.number);
            version.put(&mut row, number)?;
        }
        let outcome = self.outcome_on(shard)?;
        self.note_write(shard, &row, (0..table.columns.len()).collect(), outcome)?;
        self.identities.put(&row, self.tx.snapshot(row.shard().index()))?;
        Ok(row)
    }

    /// Returns the reason why the stored row was not changed.
    fn refused<T: KnownId>(
        &self,
        model: usize,
        row: &Stored<T>,
        values: &[Value<'_>],
        version: Option<&RowVersion>,
    ) -> Error {
        let table = T::TABLE;
        let find = || -> Result<Option<Error>> {
            let id = row.id().stored_value().map_err(|error| table.error_at(table.id, error))?;
            let found = self.fetch_here::<T>(row.shard().index(), model, &[Param::Value(id)], true)?;
            let (Some(found), KeyColumns::Columns(key)) = (found, table.key) else { return Ok(None) };
            let stored = values_of(&*found)?;
            let other = key.iter().find(|&&column| stored.get(column) != values.get(column));
            Ok(other.map(|&column| {
                let message = format!(
                    "the row with id {:?} is stored with another shard key, which saving does not change: the row would \
                     have to move with all its descendants, which is `relocate`",
                    row.id()
                );
                table.error_at(column, Error::new(ErrorKind::ShardKeyChanged, message)).on_shard(row.shard().name())
            }))
        };
        match find() {
            Ok(Some(error)) | Err(error) => error,
            Ok(None) => self.missed(row.shard().index(), row, version),
        }
    }
}

//! Optimistic locking: the version that a row was read with, and what it means when it has moved.

use super::Session;
use super::ask::locate;
use super::read::gone;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Sharded, Table, values_of};
use crate::query::Holds;
use crate::sql::{Dialect, Param, quoted};
use crate::stored::Stored;
use crate::value::{Field, Value};

/// The version of a row as it is stored.
pub(super) struct Version {
    pub(super) place: usize,
    pub(super) number: i64,
    holds: Holds,
    table: &'static Table,
}

/// The version among the values of a row, where its model has one.
pub(super) fn of<T: Sharded>(values: &[Value<'_>]) -> Result<Option<Version>> {
    let Some((place, holds)) = T::VERSION else { return Ok(None) };
    let table = T::TABLE;
    let value = values.get(place).map_or(Value::Null, Value::borrowed);
    let number = i64::from_value(value).map_err(|error| table.error_at(place, error))?;
    Ok(Some(Version { place, number, holds, table }))
}

impl Version {
    /// The version of the row when it is changed.
    pub(super) fn next(&self) -> Result<i64> {
        let greatest = match self.holds {
            Holds::Between(_, greatest) => greatest,
            Holds::All | Holds::Single => i64::MAX,
        };
        match self.number.checked_add(1).filter(|next| *next <= greatest) {
            Some(next) => Ok(next),
            None => {
                let said = format!("the version {} cannot be raised: it is the greatest", self.number);
                Err(self.table.error_at(self.place, Error::new(ErrorKind::Value, said)))
            }
        }
    }

    /// Puts a version into the row.
    pub(super) fn put<T: Sharded + Clone>(&self, row: &mut Stored<T>, number: i64) -> Result<()> {
        row.correct().set_version(number).map_err(|error| self.table.error_at(self.place, error))
    }

    /// Puts the version into the row that it is stored with.
    pub(super) fn put_back<T: Sharded + Clone>(&self, row: &mut Stored<T>) -> Result<()> {
        self.put(row, self.number)
    }

    /// What a statement about the row whose id is its first parameter says besides; the version is the second.
    pub(super) fn condition(&self, table: &Table, dialect: Dialect) -> String {
        let name = table.columns.get(self.place).map_or("", |column| column.name);
        format!(" AND {} = {}", quoted(name), dialect.param(2))
    }
}

impl Session {
    /// Why a row was not there to be written: it is gone, or it has another version.
    pub(super) fn missed<T: Sharded>(
        &self,
        shard: usize,
        row: &Stored<T>,
        version: Option<&Version>,
    ) -> Error {
        let Some(version) = version else { return gone::<T>(row.id(), row.shard()) };
        match self.stored_version(shard, row) {
            Ok(Some(found)) => {
                let said = format!(
                    "the row with id {:?} was changed by somebody else since it was read: it has version {found}, \
                     and had {}",
                    row.id(),
                    version.number
                );
                locate(Error::new(ErrorKind::Stale, said), row.shard(), Some(T::TABLE))
            }
            Ok(None) => gone::<T>(row.id(), row.shard()),
            Err(error) => error,
        }
    }

    /// The version that a row has on its shard now.
    pub(super) fn stored_version<T: Sharded>(&self, shard: usize, row: &Stored<T>) -> Result<Option<i64>> {
        let table = T::TABLE;
        let model = self.cluster.layout().model(table)?;
        let id = row.id().to_value().map_err(|error| table.error_at(table.id, error))?;
        let found = self.fetch_here::<T>(shard, model, &[Param::Value(id)])?;
        found.map_or(Ok(None), |found| Ok(of::<T>(&values_of(&*found)?)?.map(|found| found.number)))
    }
}

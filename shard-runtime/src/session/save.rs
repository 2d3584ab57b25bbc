//! Rows that are inserted or, where their ids are there, changed.

use std::sync::Arc;

use super::entries::{Stays, id_value};
use super::version::Version;
use super::{Session, version};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Param, TableSql};
use crate::query::Stored;
use crate::query::{KnownId, normalize, values_of};
use crate::schema::KeyColumns;
use crate::value::{Field, Value};

impl Session {
    /// Inserts a row or, where a row with its id is on its shard, sets all its columns but the shard key. It is sent at
    /// once, in one statement.
    ///
    /// A row with a `#[version]` is changed only where it is stored with the same one, and then gets the next. With a
    /// key beside the id, the same id on another shard is another row, as it is for [`Session::add`]. After a rollback a
    /// row has to be saved again.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// session.save(Account { id: 7, cents: 100 })?;
    /// session.save(Account { id: 7, cents: 150 })?;
    /// assert_eq!(session.one(Account::select().all_shards())?.cents, 150);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Moved`] where the row on the shard has another key; [`ErrorKind::Stale`] where it has another
    /// version; [`ErrorKind::Unique`] where another row has what is to be unique; those of placing the row, and the
    /// database's. Then nothing is written.
    pub fn save<T: KnownId + Clone>(&mut self, row: T) -> Result<Stored<T>> {
        self.check_usable()?;
        self.within("save", Some(T::TABLE), |session| session.save_row(row))
    }

    fn save_row<T: KnownId + Clone>(&mut self, mut row: T) -> Result<Stored<T>> {
        let table = T::TABLE;
        normalize(&mut row)?;
        let model = self.cluster.layout().model(table)?;
        let (shard, _) = self.home(&row)?;
        let mut row = Stored::new(Arc::new(row), shard);
        let shard = row.shard().index();
        let saved = Arc::clone(row.row());
        let values = values_of(&*saved)?;
        let version = version::of::<T>(&values)?;
        let next = version.as_ref().map(Version::next).transpose()?.map(Value::Integer);
        let params: Vec<Param<'_>> =
            values.iter().chain(&next).map(|value| Param::Value(value.borrowed())).collect();
        let sql = |sql: &TableSql| sql.save(table, T::VERSION.map(|(place, _)| place));
        self.identities.forget::<T>(row.id(), row.shard())?;
        let stays = Stays {
            shard,
            id: id_value(&*saved)?,
            before: &[],
            after: &values,
            columns: None,
            inserts: true,
        };
        if self.write_with_entries(table, &stays, sql, &params)? == 0 {
            let error = self.refused(model, &row, &values, version.as_ref());
            return self.in_the_way(Err(error));
        }
        if let Some(version) = version {
            // It was inserted as it is, or raised.
            let number = self.stored_version(shard, &row)?.unwrap_or(version.number);
            version.put(&mut row, number)?;
        }
        let outcome = self.outcome_on(shard)?;
        self.note_write(shard, &row, (0..table.columns.len()).collect(), outcome)?;
        self.identities.put(&row)?;
        Ok(row)
    }

    /// Why the row that is there was not changed.
    fn refused<T: KnownId>(
        &self,
        model: usize,
        row: &Stored<T>,
        values: &[Value<'_>],
        version: Option<&Version>,
    ) -> Error {
        let table = T::TABLE;
        let find = || -> Result<Option<Error>> {
            let id = row.id().stored_value().map_err(|error| table.error_at(table.id, error))?;
            let found = self.fetch_here::<T>(row.shard().index(), model, &[Param::Value(id)])?;
            let (Some(found), KeyColumns::Columns(key)) = (found, table.key) else { return Ok(None) };
            let stored = values_of(&*found)?;
            let other = key.iter().find(|&&column| stored.get(column) != values.get(column));
            Ok(other.map(|&column| {
                let said = format!(
                    "the row with id {:?} is stored with another shard key, which saving does not change: the row would \
                     have to move with all its descendants, which is `relocate`",
                    row.id()
                );
                table.error_at(column, Error::new(ErrorKind::Moved, said)).on_shard(row.shard().name())
            }))
        };
        match find() {
            Ok(Some(error)) | Err(error) => error,
            Ok(None) => self.missed(row.shard().index(), row, version),
        }
    }
}

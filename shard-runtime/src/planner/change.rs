//! Rows without their type, and the parameters of the statements that change them one by one.

use smallvec::SmallVec;

use crate::error::Result;
use crate::query::Sharded;
use crate::schema::{IdKind, Table};
use crate::value::{Value, mismatch};

/// A row without its type.
pub(crate) trait AnyRow: Send + Sync {
    /// Returns the value of a column of its table.
    ///
    /// # Errors
    /// [`ErrorKind::Value`](crate::ErrorKind::Value), with table and column, if no column holds the value.
    fn value(&self, table: &Table, column: usize) -> Result<Value<'_>>;
}

impl<T: Sharded> AnyRow for T {
    fn value(&self, table: &Table, column: usize) -> Result<Value<'_>> {
        self.value_of_column(column).map_err(|error| table.error_at(column, error))
    }
}

/// The columns that an update sets.
pub(crate) type SetColumns = SmallVec<[usize; 4]>;

/// The change of each of some rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowChange {
    Insert,
    /// Sets these columns to the values of the row. Its version, if it has one, was raised before.
    Update {
        columns: SetColumns,
        version: Option<usize>,
    },
    /// Deletes the row if it has this version.
    Delete {
        version: Option<usize>,
    },
}

impl RowChange {
    /// Replaces the values by the parameters of the statement for a row. An insert has all its values, without an id that
    /// the database generates. The others have the columns that are set, the id, and the expected version.
    pub(crate) fn bind<'a>(
        &self,
        table: &Table,
        row: &'a dyn AnyRow,
        values: &mut Vec<Value<'a>>,
    ) -> Result<()> {
        values.clear();
        match self {
            RowChange::Insert => {
                let is_generated = |column| table.id_kind == IdKind::Auto && column == table.id;
                for column in (0..table.columns.len()).filter(|column| !is_generated(*column)) {
                    values.push(row.value(table, column)?);
                }
            }
            RowChange::Update { columns, version } => {
                for &column in columns {
                    values.push(row.value(table, column)?);
                }
                values.push(row.value(table, table.id)?);
                if let Some(version) = *version {
                    values.push(before(table, version, &row.value(table, version)?)?);
                }
            }
            RowChange::Delete { version } => {
                values.push(row.value(table, table.id)?);
                if let Some(version) = *version {
                    values.push(row.value(table, version)?);
                }
            }
        }
        Ok(())
    }
}

/// Returns the version before this one.
fn before<'v>(table: &Table, column: usize, version: &Value<'_>) -> Result<Value<'v>> {
    match version {
        Value::Integer(version) => Ok(Value::Integer(version.wrapping_sub(1))),
        other => Err(table.error_at(column, mismatch("an integer", other))),
    }
}

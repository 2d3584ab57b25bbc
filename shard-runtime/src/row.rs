//! One row between a database and a model: reading its columns. Uses `value`, `schema`, `error`.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result, ValueError};
use crate::schema::{ColumnShape, Shard, Table};
use crate::sealed::Seal;
use crate::value::{ColumnType, Field, Value};

/// A sequence of rows with a current row.
pub(crate) trait Stream {
    /// Moves to the next row; returns `false` after the last one.
    fn advance(&mut self) -> Result<bool>;
}

/// A source of column values: the current row of a driver.
pub(crate) trait RowSource {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError>;

    /// Returns the column names; empty if the caller has them already.
    fn column_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the row's model if a worker has loaded it. From such a row only some values can be read.
    fn model(&self) -> Option<LoadedModel> {
        None
    }
}

/// A row that was loaded as its model, to be shared.
pub(crate) type LoadedModel = Arc<dyn Any + Send + Sync>;

/// A function that loads a row as its model.
pub(crate) type LoadModel = fn(&Row<'_>) -> Result<LoadedModel>;

/// One row that a database has returned.
pub struct Row<'r> {
    pub(crate) source: &'r dyn RowSource,
    pub(crate) shard: &'r Shard,
    pub(crate) table: &'static Table,
    /// The indexes of the columns that the row has; `None` if it has all.
    pub(crate) columns: Option<&'r [usize]>,
}

/// Prints the table and the shard, and no value.
impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, shard) = (self.table.name, self.shard.name());
        f.debug_struct("Row").field("table", &table).field("shard", &shard).finish_non_exhaustive()
    }
}

impl Row<'_> {
    /// Reads the value of a column. An error names shard, table and column.
    pub(crate) fn read<V>(
        &self,
        index: usize,
        read: impl FnOnce(Value<'_>) -> Result<V, ValueError>,
    ) -> Result<V> {
        self.source.value(index).and_then(read).map_err(|error| {
            let column = self.columns.map_or(Some(index), |columns| columns.get(index).copied());
            let error = match column {
                Some(column) => self.table.error_at(column, error),
                None => Error::from(error).in_table(self.table.name),
            };
            let error = match self.id().filter(|_| column != Some(self.table.id)) {
                Some(id) => error.with_row(&id),
                None => error,
            };
            error.on_shard(self.shard.name())
        })
    }

    /// Returns the id for an error message, if the row has it.
    fn id(&self) -> Option<String> {
        let index = match self.columns {
            None => Some(self.table.id),
            Some(columns) => columns.iter().position(|column| *column == self.table.id),
        };
        let value = self.source.value(index?).ok()?;
        Some(format!("{} {value}", self.table.columns.get(self.table.id)?.name))
    }
}

/// The types of struct fields: a [`Field`], an `Option` of one, or a [`Parent`](crate::Parent).
///
/// This trait is sealed: a column is a [`Field`] or an `Option` of one; implement [`Field`] for a type of your own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in a column",
    label = "not a column type",
    note = "a column stores an integer (`i8` to `i64`, `u8` to `u64`), a float, `bool`, `String`, `Vec<u8>`, `uuid::Uuid`, \
            `jiff::Timestamp`, `serde_json::Value`, or an `Option` of one of these",
    note = "for a newtype or an enum without data write `#[derive(Field)]`; for any other type of your own implement `Field`",
    note = "convert other types, or hold them in a newtype that implements `Field`: times of `chrono` and `time` as \
            `jiff::Timestamp`, dates as text, decimals as an integer of their smallest unit or as text"
)]
#[cfg_attr(
    not(feature = "uuid"),
    diagnostic::on_unimplemented(note = "`uuid::Uuid` needs the feature `uuid` of `shard-runtime`")
)]
#[cfg_attr(
    not(feature = "jiff"),
    diagnostic::on_unimplemented(note = "`jiff::Timestamp` needs the feature `jiff` of `shard-runtime`")
)]
#[cfg_attr(
    not(feature = "json"),
    diagnostic::on_unimplemented(note = "`serde_json::Value` needs the feature `json` of `shard-runtime`")
)]
pub trait Storable: Sized + Send + Sync + 'static {
    /// The type that the column is compared with; NULL is compared by `is_null`.
    type Compare;
    /// The kind of column.
    const TYPE: ColumnType;
    /// Whether the column may be NULL.
    const NULLABLE: bool = false;
    /// Whether a read of the column returns every value as it was written.
    #[doc(hidden)]
    const IS_EXACT: bool;
    #[doc(hidden)]
    const SEAL: Seal;
    #[doc(hidden)]
    const COLUMN: ColumnShape =
        (Self::TYPE, Self::NULLABLE, Self::IS_EXACT, |value, shard| Self::stored(value, shard).map(drop));
    #[doc(hidden)]
    fn column_value(&self) -> Result<Value<'_>, ValueError>;
    /// Returns the field of a value that is stored on this shard.
    #[doc(hidden)]
    fn stored(value: Value<'_>, shard: &Shard) -> Result<Self, ValueError>;
    #[doc(hidden)]
    fn load(row: &Row<'_>, index: usize) -> Result<Self> {
        row.read(index, |value| Self::stored(value, row.shard))
    }
}

impl<F: Field> Storable for F {
    type Compare = F;
    const TYPE: ColumnType = F::TYPE;
    const IS_EXACT: bool = F::IS_EXACT;
    const SEAL: Seal = Seal;

    fn column_value(&self) -> Result<Value<'_>, ValueError> {
        self.stored_value()
    }

    fn stored(value: Value<'_>, _: &Shard) -> Result<Self, ValueError> {
        F::from_value(value)
    }
}

impl<F: Field> Storable for Option<F> {
    type Compare = F;
    const TYPE: ColumnType = F::TYPE;
    const IS_EXACT: bool = F::IS_EXACT;
    const SEAL: Seal = Seal;
    const NULLABLE: bool = true;

    fn column_value(&self) -> Result<Value<'_>, ValueError> {
        self.as_ref().map_or(Ok(Value::Null), Field::stored_value)
    }

    fn stored(value: Value<'_>, _: &Shard) -> Result<Self, ValueError> {
        match value {
            Value::Null => Ok(None),
            value => F::from_value(value).map(Some),
        }
    }
}

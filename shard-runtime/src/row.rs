//! One row between a database and a model: reading its columns, and binding them to parameters.

use std::fmt;

use crate::error::{Error, Result, ValueError};
use crate::schema::{Shard, Table};
use crate::sealed::Seal;
use crate::value::{ColumnShape, ColumnType, Field, Value};

/// Rows that come one after the other; the stream stands on its current row.
pub(crate) trait Stream {
    /// Goes to the next row. Returns `false` after the last one.
    fn advance(&mut self) -> Result<bool>;
}

/// Where a driver's current row can be read, column by column.
pub(crate) trait RowSource {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError>;

    /// The names of the row's columns, as its statement has them; empty if the caller knows them.
    fn column_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One row on its way out of a database.
pub struct Row<'r> {
    pub(crate) source: &'r dyn RowSource,
    pub(crate) shard: &'r Shard,
    pub(crate) table: &'static Table,
    /// Which of the table's columns the row has, where it does not have them all.
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
    /// The value of the column at this place; an error about it names shard, table and column.
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

    /// The row's id for a person, if the row has it.
    fn id(&self) -> Option<String> {
        let index = match self.columns {
            None => Some(self.table.id),
            Some(columns) => columns.iter().position(|column| *column == self.table.id),
        };
        let value = self.source.value(index?).ok()?;
        Some(format!("{} {value}", self.table.columns.get(self.table.id)?.name))
    }
}

/// Takes a row's values on their way into a database.
pub struct Binder<'a> {
    pub(crate) values: Vec<Value<'a>>,
    table: &'static Table,
    /// How many columns have given their values.
    taken: usize,
    /// How long the values are; counted where they are not kept.
    bytes: usize,
    keeps: bool,
}

/// Prints the table, and no value.
impl fmt::Debug for Binder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut binder = f.debug_struct("Binder");
        binder.field("table", &self.table.name).field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl<'a> Binder<'a> {
    pub(crate) fn new(table: &'static Table) -> Self {
        Binder { values: Vec::with_capacity(table.columns.len()), table, taken: 0, bytes: 0, keeps: true }
    }

    /// A binder that only measures its values.
    pub(crate) fn measuring(table: &'static Table) -> Self {
        Binder { values: Vec::new(), table, taken: 0, bytes: 0, keeps: false }
    }

    /// The bytes of the measured values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets the values, to take another row's in the same memory.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.taken = 0;
    }

    /// Takes the next column's value.
    ///
    /// # Errors
    /// [`ErrorKind::Value`](crate::ErrorKind::Value), naming table and column, where no column holds it.
    pub fn push(&mut self, value: Result<Value<'a>, ValueError>) -> Result<&mut Self> {
        match value {
            Ok(value) if self.keeps => self.values.push(value),
            Ok(value) => self.bytes += value.size(),
            Err(error) => return Err(self.table.error_at(self.taken, error)),
        }
        self.taken += 1;
        Ok(self)
    }
}

/// What a struct's field may be: a [`Field`], an `Option` of one, or a [`Parent`](crate::Parent).
///
/// Not for implementing: implement [`Field`].
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
    /// What the column is compared with: never NULL, for that there is `is_null`.
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
    const COLUMN: ColumnShape = (Self::TYPE, Self::NULLABLE, Self::IS_EXACT);
    #[doc(hidden)]
    fn column_value(&self) -> Result<Value<'_>, ValueError>;
    /// The value that was stored on this shard.
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

//! The description of a table, which the derive writes. Uses `value`, `collation`, `placement` and `shards`.

use crate::collation::Collation;
use crate::error::{Error, Result, ValueError};
use crate::schema::{Placement, Shard, Shards};
use crate::value::{ColumnType, Value};

/// The table of a model. The derive writes it; generic code reads it.
#[derive(Debug)]
pub struct Table {
    /// The struct's name.
    pub model: &'static str,
    /// The table's name, without a shard's prefix.
    pub name: &'static str,
    /// The columns, in the struct's order.
    pub columns: &'static [ColumnDef],
    /// The index of the id among the columns.
    pub id: usize,
    /// The source of ids.
    pub id_kind: IdKind,
    /// The columns that determine the shard of a row.
    pub key: KeyColumns,
    /// The placement of the key; a child has its parent's.
    pub placement: Placement,
    /// The declared indexes.
    pub indexes: &'static [Index],
    /// The parent and the column that holds its id.
    pub parent: Option<ParentDef>,
    /// The rows of reference tables that a row refers to.
    pub references: &'static [ReferenceDef],
}

impl Table {
    /// The defaults of everything that the derive leaves out.
    #[doc(hidden)]
    pub const PLAIN: Table = Table {
        model: "",
        name: "",
        columns: &[],
        id: 0,
        id_kind: IdKind::Given,
        key: KeyColumns::Columns(&[]),
        placement: Placement::Everywhere,
        indexes: &[],
        parent: None,
        references: &[],
    };

    /// Returns the length of the longest chain of tables that must exist before this one: parents and reference
    /// tables.
    pub(crate) fn depth(&self) -> usize {
        let referred = self.references.iter().map(|reference| reference.table);
        let before = self.parent.map(|parent| parent.table).into_iter().chain(referred);
        before.map(|table| 1 + table.depth()).max().unwrap_or(0)
    }

    /// Returns the index of the shard that holds this key, by the rule that the cluster has recorded; see
    /// [`Placement::place`].
    pub(crate) fn place(&self, key: &[Value<'_>], shards: &Shards) -> Result<usize> {
        match shards.rule(self) {
            Some(rule) => rule.place(key, &self.placement),
            None => self.placement.place(key, shards),
        }
    }

    /// Returns whether every shard holds every row.
    pub(crate) fn is_reference(&self) -> bool {
        matches!(self.placement, Placement::Everywhere)
    }

    /// Returns whether both describe the same model. A constant can have several addresses.
    pub(crate) fn is(&self, other: &Table) -> bool {
        std::ptr::eq(self, other)
            || (self.name == other.name && self.model == other.model && self.columns == other.columns)
    }

    /// Returns the collation of a column.
    pub(crate) fn collation(&self, column: usize) -> Collation {
        self.columns.get(column).map_or(Collation::Binary, |column| column.collation)
    }

    /// Converts a value that a database has returned to the column's kind.
    pub(crate) fn value_of<'v>(
        &self,
        column: usize,
        value: Result<Value<'v>, ValueError>,
    ) -> Result<Value<'v>> {
        let value = value.and_then(|value| match self.columns.get(column) {
            Some(column) => value.into_kind(column.kind),
            None => Ok(value),
        });
        value.map_err(|error| self.error_at(column, error))
    }

    /// Adds the table and the column to an error about the value in this column.
    pub(crate) fn error_at(&self, column: usize, error: impl Into<Error>) -> Error {
        let error = error.into().in_table(self.name);
        match self.columns.get(column) {
            Some(column) => error.at_column(column.name),
            None => error,
        }
    }
}

/// A declared column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColumnDef {
    /// The column's name.
    pub name: &'static str,
    /// The kind of its values.
    pub kind: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// The collation of its texts.
    pub collation: Collation,
    /// Whether a read returns every value as it was written.
    pub(crate) is_exact: bool,
    /// The value of rows that are added without one.
    pub(crate) default: Option<DeclaredDefault>,
    pub(crate) check: ValueCheck,
}

/// The properties of a column that its field's type determines: kind, whether it may be NULL, whether it is exact, and the
/// check of stored values.
pub(crate) type ColumnShape = (ColumnType, bool, bool, CheckValue);

/// Checks that a value that is stored on a shard is one of a field's type.
pub(crate) type CheckValue = fn(Value<'_>, &Shard) -> Result<(), ValueError>;

/// Accepts every value: the check of a column that belongs to no field.
pub(crate) fn any_value(_: Value<'_>, _: &Shard) -> Result<(), ValueError> {
    Ok(())
}

/// The check of the values of a column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueCheck(CheckValue);

/// All checks are equal: the column's type determines the check, and a function can have several addresses.
impl PartialEq for ValueCheck {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The default value of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColumnDefault {
    /// `true` or `false`.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A finite float.
    Real(f64),
    /// Text without NUL.
    Text(&'static str),
}

impl ColumnDefault {
    pub(crate) fn value(self) -> Value<'static> {
        match self {
            ColumnDefault::Boolean(value) => Value::Boolean(value),
            ColumnDefault::Integer(value) => Value::Integer(value),
            ColumnDefault::Real(value) => Value::Real(value),
            ColumnDefault::Text(value) => Value::Text(value.into()),
        }
    }
}

/// Checks that a value is one of a field's type.
pub(crate) type CheckDefault = fn(Value<'_>) -> Result<(), ValueError>;

/// A default value, and the check that the field's type accepts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeclaredDefault {
    pub(crate) value: ColumnDefault,
    check: CheckDefault,
}

/// Compares the values: a function can have several addresses.
impl PartialEq for DeclaredDefault {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl DeclaredDefault {
    /// Checks that the field's type accepts the value.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) fn check(&self) -> Result<(), ValueError> {
        (self.check)(self.value.value())
    }
}

impl ColumnDef {
    /// Returns the column of this name with the properties of its field's type.
    #[doc(hidden)]
    pub const fn new(name: &'static str, (kind, nullable, is_exact, check): ColumnShape) -> Self {
        let check = ValueCheck(check);
        ColumnDef { name, kind, nullable, collation: Collation::Binary, is_exact, default: None, check }
    }

    /// Checks that a value that is stored on a shard is one of the field's type.
    pub(crate) fn check(&self, value: Value<'_>, shard: &Shard) -> Result<(), ValueError> {
        (self.check.0)(value, shard)
    }

    /// Returns the column with another collation.
    #[doc(hidden)]
    pub const fn collated(self, collation: Collation) -> Self {
        ColumnDef { collation, ..self }
    }

    /// Returns the column with a default value, and the check that the field's type accepts it.
    #[doc(hidden)]
    pub const fn with_default(self, value: ColumnDefault, check: CheckDefault) -> Self {
        ColumnDef { default: Some(DeclaredDefault { value, check }), ..self }
    }
}

/// The source of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// The caller sets them.
    Given,
    /// The database generates them: unique within one shard only.
    Auto,
    /// The cluster generates them in blocks: unique over the cluster.
    Sequence,
    /// UUIDs of version 7.
    Uuid,
}

/// The columns that determine the shard of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyColumns {
    /// The values of these columns, placed by [`Table::placement`].
    Columns(&'static [usize]),
    /// The shard of the [`Parent`](crate::Parent) in this column.
    Parent(usize),
}

/// A declared index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// The indexes of the columns, in order.
    pub columns: &'static [usize],
    /// Whether the values are unique; the columns include the key, so that this holds over the cluster.
    pub unique: bool,
}

/// A model's parent.
#[derive(Clone, Copy, Debug)]
pub struct ParentDef {
    /// The parent's table.
    pub table: &'static Table,
    /// The index of the column that holds the parent's id.
    pub column: usize,
}

/// A column that refers to a row of a reference table.
#[derive(Clone, Copy, Debug)]
pub struct ReferenceDef {
    /// The reference table.
    pub table: &'static Table,
    /// The index of the column that holds the id of its row.
    pub column: usize,
}

/// Compares the column and the table: a constant can have several addresses.
impl PartialEq for ReferenceDef {
    fn eq(&self, other: &Self) -> bool {
        self.column == other.column && self.table.is(other.table)
    }
}

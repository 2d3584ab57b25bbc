//! The description of a model's table, as the derive writes it.

use crate::collation::Collation;
use crate::error::{Error, Result, ValueError};
use crate::schema::Placement;
use crate::value::{ColumnShape, ColumnType, Value};

/// What a model's rows are stored in. The derive writes it; everything generic reads it.
#[derive(Debug)]
pub struct Table {
    /// The struct's name.
    pub model: &'static str,
    /// The table's name, without a shard's prefix.
    pub name: &'static str,
    /// The columns, in the struct's order.
    pub columns: &'static [ColumnDef],
    /// The place of the id among the columns.
    pub id: usize,
    /// Where ids come from.
    pub id_kind: IdKind,
    /// The columns that say where a row lives.
    pub key: KeyColumns,
    /// How a key is placed; a child has its parent's.
    pub placement: Placement,
    /// The declared indexes.
    pub indexes: &'static [Index],
    /// The parent and the column that holds its id.
    pub parent: Option<ParentDef>,
    /// The rows of reference tables that a row refers to.
    pub references: &'static [ReferenceDef],
}

impl Table {
    /// What the derive does not say of a model that has none of it.
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

    /// How many tables come before this one, along the longest way: its parent or what it refers to, what that one
    /// hangs on, and so on.
    pub(crate) fn depth(&self) -> usize {
        let referred = self.references.iter().map(|reference| reference.table);
        let before = self.parent.map(|parent| parent.table).into_iter().chain(referred);
        before.map(|table| 1 + table.depth()).max().unwrap_or(0)
    }

    /// Whether every shard holds every row.
    pub(crate) fn is_reference(&self) -> bool {
        matches!(self.placement, Placement::Everywhere)
    }

    /// Whether this describes the same model: a constant may stand at several addresses.
    pub(crate) fn is(&self, other: &Table) -> bool {
        std::ptr::eq(self, other)
            || (self.name == other.name && self.model == other.model && self.columns == other.columns)
    }

    /// How values of this column are compared.
    pub(crate) fn collation(&self, column: usize) -> Collation {
        self.columns.get(column).map_or(Collation::Binary, |column| column.collation)
    }

    /// Returns a value that a database has given back for a column as one of the column's kind.
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

/// A column as the model declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnDef {
    /// The column's name.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// How its texts are compared.
    pub collation: Collation,
    /// Whether a read returns every value as it was written.
    pub(crate) is_exact: bool,
}

impl ColumnDef {
    /// Returns the column of this name: its kind, whether it may be NULL, and whether it is exact.
    #[doc(hidden)]
    pub const fn new(name: &'static str, (kind, nullable, is_exact): ColumnShape) -> Self {
        ColumnDef { name, kind, nullable, collation: Collation::Binary, is_exact }
    }

    /// The same column, with its texts compared so.
    #[doc(hidden)]
    pub const fn collated(self, collation: Collation) -> Self {
        ColumnDef { collation, ..self }
    }
}

/// Where ids come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// The caller gives them.
    Given,
    /// The database counts: unique within one shard only.
    Auto,
    /// Handed out in blocks by the cluster: unique over the cluster.
    Sequence,
    /// UUIDs of version 7.
    Uuid,
}

/// Which columns say where a row lives.
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
    /// The places of the indexed columns, in order.
    pub columns: &'static [usize],
    /// Whether the columns' values are unique; they contain the key, so that this holds over the cluster.
    pub unique: bool,
}

/// A model's parent.
#[derive(Clone, Copy, Debug)]
pub struct ParentDef {
    /// The parent's table.
    pub table: &'static Table,
    /// The place of the child's column that holds the parent's id.
    pub column: usize,
}

/// A column that refers to a row of a reference table.
#[derive(Clone, Copy, Debug)]
pub struct ReferenceDef {
    /// The reference table.
    pub table: &'static Table,
    /// The place of the column that holds the id of its row.
    pub column: usize,
}

/// The same column, and the same table: a constant may stand at several addresses.
impl PartialEq for ReferenceDef {
    fn eq(&self, other: &Self) -> bool {
        self.column == other.column && self.table.is(other.table)
    }
}

//! Lookups: unique columns whose entries name the shard of a row. Uses `table` and `shards`.
//!
//! A lookup is a table of entries: a value and the name of the shard that holds its row. The entries are placed by
//! the hash of their values. The value is the primary key of the table, so that it is unique over the cluster.

use crate::collation::Collation;
use crate::error::Result;
use crate::schema::Shards;
use crate::schema::{ColumnDef, Table, any_value};
use crate::value::{ColumnType, Value};

/// A column with `#[lookup]`.
#[derive(Clone, Copy, Debug)]
pub struct LookupDef {
    /// The index of the column in its model's table.
    pub column: usize,
    /// The table of the entries.
    pub entries: &'static Table,
}

impl LookupDef {
    /// The column with the name of the row's shard.
    #[doc(hidden)]
    pub const SHARD: ColumnDef = ColumnDef::new("shard", (ColumnType::Text, false, true, any_value));

    /// Returns the column with the value, of this kind.
    #[doc(hidden)]
    pub const fn value(kind: ColumnType) -> ColumnDef {
        ColumnDef::new("value", (kind, false, true, any_value))
    }
}

/// The indexes of an entry's columns.
pub(crate) const VALUE: usize = 0;
pub(crate) const SHARD: usize = 1;

/// A lookup of one of a cluster's models.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedLookup {
    /// The table of the rows, and the column that has the lookup.
    pub(crate) table: &'static Table,
    pub(crate) column: usize,
    pub(crate) entries: &'static Table,
    /// The index of the entries' table among the cluster's tables.
    pub(crate) model: usize,
}

impl PlacedLookup {
    /// Returns the value of the entry for a row's value: one value for all spellings that the column's collation
    /// makes equal. `None` for NULL, which has no entry.
    pub(crate) fn entry(&self, value: &Value<'_>) -> Option<Value<'static>> {
        let kind = self.entries.columns.first().map_or(ColumnType::Text, |column| column.kind);
        Some(match (value, self.table.collation(self.column)) {
            (Value::Null, _) => return None,
            (Value::Text(text), Collation::NoCase) => Value::Text(text.to_ascii_lowercase().into()),
            // A value of another kind stays as it is; the search finds an entry without a row.
            (value, _) => value.clone().into_kind(kind).unwrap_or_else(|_| value.clone()).into_owned(),
        })
    }

    /// Returns the shard of the entry with this value.
    pub(crate) fn home(&self, entry: &Value<'_>, shards: &Shards) -> Result<usize> {
        self.entries.place(std::slice::from_ref(entry), shards)
    }

    /// Returns the column's name.
    pub(crate) fn name(&self) -> &'static str {
        self.table.columns.get(self.column).map_or("", |column| column.name)
    }
}

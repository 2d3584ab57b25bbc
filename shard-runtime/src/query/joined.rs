//! The joined rows of a result: a row that several others refer to is decoded once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::model::Sharded;
use super::stored::Stored;
use crate::error::{Result, ValueError};
use crate::row::{Row, RowSource};
use crate::schema::Table;
use crate::value::{IdKey, Value};

/// The parents or referenced rows of a join. Each is decoded once and shared.
pub(crate) struct JoinedModels<P: Sharded> {
    rows: HashMap<(usize, IdKey), Stored<P>>,
}

impl<P: Sharded> Default for JoinedModels<P> {
    fn default() -> Self {
        JoinedModels { rows: HashMap::new() }
    }
}

impl<P: Sharded> JoinedModels<P> {
    /// Returns the parent of a row of `table` in a joined row. The row's columns begin at index `first`; the parent's follow
    /// them.
    pub(crate) fn of(&mut self, row: &Row<'_>, table: &Table, first: usize) -> Result<Stored<P>> {
        let link = table.parent.map_or(table.id, |parent| parent.column);
        self.at(row, first + link, first + table.columns.len())
    }

    /// Returns the row whose id is at index `link` of a joined row, and whose columns begin at index `first`. A row of a
    /// reference table is the same on every shard.
    pub(crate) fn at(&mut self, row: &Row<'_>, link: usize, first: usize) -> Result<Stored<P>> {
        let id = row.read(link, |value| Ok(IdKey::of(&value)))?;
        let shard = if P::TABLE.is_reference() { 0 } else { row.shard.index() };
        match self.rows.entry((shard, id)) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(new) => {
                let source = ColumnsFrom { source: row.source, columns: first };
                let columns = Row { source: &source, shard: row.shard, table: P::TABLE, columns: None };
                Ok(new.insert(Stored::new(Arc::new(P::load(&columns)?), row.shard.clone())).clone())
            }
        }
    }
}

/// The columns of a row from an index on.
struct ColumnsFrom<'r> {
    source: &'r dyn RowSource,
    columns: usize,
}

impl RowSource for ColumnsFrom<'_> {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        self.source.value(self.columns + index)
    }
}

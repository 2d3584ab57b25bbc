//! The coordinates that determine the shard of a row: the columns of its own key and of the keys of all its ancestors. A row
//! has one parent, so a condition on the key of an ancestor is a condition on the row.

use crate::schema::{KeyColumns, Table};

/// A model and its ancestors, and the coordinates of their keys. The link of a child and the id of its parent are one
/// value, and so one coordinate.
pub(super) struct Chain {
    /// The model, its parent, its parent's parent, ….
    tables: Vec<&'static Table>,
    /// The columns that have a coordinate: level, column, coordinate.
    columns: Vec<(usize, usize, usize)>,
    count: usize,
}

impl Chain {
    pub(super) fn of(table: &'static Table) -> Self {
        let mut chain = Chain { tables: Vec::new(), columns: Vec::new(), count: 0 };
        let mut next = Some(table);
        while let Some(table) = next {
            let level = chain.tables.len();
            for &column in key_columns(table) {
                if chain.coordinate(level, column).is_none() {
                    chain.columns.push((level, column, chain.count));
                    chain.count += 1;
                }
            }
            if let Some(parent) = table.parent
                && let Some(link) = chain.coordinate(level, parent.column)
            {
                chain.columns.push((level + 1, parent.table.id, link));
            }
            chain.tables.push(table);
            next = table.parent.map(|parent| parent.table);
        }
        chain
    }

    /// Returns the number of coordinates.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Returns the table so many levels up.
    pub(super) fn table(&self, level: usize) -> Option<&'static Table> {
        self.tables.get(level).copied()
    }

    /// Returns the coordinate of a column of the table so many levels up.
    pub(super) fn coordinate(&self, level: usize, column: usize) -> Option<usize> {
        let same = |(at, of, _): &&(usize, usize, usize)| (*at, *of) == (level, column);
        self.columns.iter().find(same).map(|(.., coordinate)| *coordinate)
    }

    /// Returns the table whose key is placed: the last one, which has no parent.
    pub(super) fn root(&self) -> Option<(&'static Table, Vec<usize>)> {
        let level = self.tables.len().checked_sub(1)?;
        let table = self.table(level)?;
        let key = key_columns(table).iter().filter_map(|&column| self.coordinate(level, column));
        Some((table, key.collect()))
    }

    /// Returns the name of a coordinate for people: the column, and for an ancestor also its table.
    pub(super) fn name(&self, coordinate: usize) -> String {
        let found = self.columns.iter().find(|(.., other)| *other == coordinate);
        let named = found.and_then(|(level, column, _)| {
            let table = self.table(*level)?;
            Some((*level, table, table.columns.get(*column)?.name))
        });
        match named {
            Some((0, _, column)) => column.to_owned(),
            Some((_, table, column)) => format!("{}.{column}", table.name),
            None => "key".to_owned(),
        }
    }

    /// Returns, for each coordinate here from `level` up, the coordinate of the same column in the chain of a child of that
    /// level's table.
    pub(super) fn in_chain_of_child(&self, child: &Chain, level: usize) -> Vec<Option<usize>> {
        let mut same = vec![None; self.count];
        for &(at, column, coordinate) in self.columns.iter().filter(|(at, ..)| *at >= level) {
            if let Some(known) = same.get_mut(coordinate) {
                *known = known.or_else(|| child.coordinate(at - level + 1, column));
            }
        }
        same
    }
}

fn key_columns(table: &Table) -> &[usize] {
    match &table.key {
        KeyColumns::Columns(columns) => columns,
        KeyColumns::Parent(column) => std::slice::from_ref(column),
    }
}

//! The statements that compare rows with lookup entries, and with the shards of their keys.

use super::{Dialect, TableSql, quoted};
use crate::schema::Table;
use crate::schema::lookup::{SHARD, VALUE};

/// The values of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EntryValues {
    /// This many, from the least one.
    First(usize),
    /// This many that are greater than the first parameter.
    After(usize),
    /// The values of the list in the first parameter.
    Listed,
}

impl EntryValues {
    /// Returns the condition on a column, and the end of the statement.
    fn of(self, column: &str, dialect: Dialect) -> (String, String) {
        let bounds = |most: usize| format!("ORDER BY {column} LIMIT {most}");
        match self {
            EntryValues::First(most) => (format!("{column} IS NOT NULL"), bounds(most)),
            EntryValues::After(most) => (format!("{column} > {}", dialect.param(1)), bounds(most)),
            EntryValues::Listed => (format!("{column}{}", dialect.is_in(1)), format!("ORDER BY {column}")),
        }
    }
}

impl TableSql {
    /// Deletes the entries with one of a list of values that name this shard.
    pub(crate) fn remove_entries(&self, entries: &Table, is_named_once: bool) -> String {
        let (value, shard) = (name(entries, VALUE), name(entries, SHARD));
        let is_in = self.dialect.is_in(1);
        let named = match is_named_once {
            true => format!(" = {}", self.dialect.param(2)),
            false => self.dialect.is_in(2),
        };
        format!("DELETE FROM {} WHERE {value}{is_in} AND {shard}{named}", self.name)
    }

    /// Changes the shard of the entries with one of a list of values, from one name to another.
    pub(crate) fn rename_entries(&self, entries: &Table) -> String {
        let (value, shard) = (name(entries, VALUE), name(entries, SHARD));
        let [is_in, from, to] = [self.dialect.is_in(1), self.dialect.param(2), self.dialect.param(3)];
        format!("UPDATE {} SET {shard} = {to} WHERE {value}{is_in} AND {shard} = {from}", self.name)
    }

    /// Inserts missing entries, from an array of values and one of shards. Waits for transactions that insert or delete them.
    pub(crate) fn add_missing_entries(&self, entries: &Table) -> Option<String> {
        let insert = self.insert_lists.as_deref()?;
        Some(format!("{insert} ON CONFLICT ({}) DO NOTHING", name(entries, VALUE)))
    }

    /// Selects the distinct values of a column in their order, with the number of rows of each.
    pub(crate) fn counted_values(&self, table: &Table, column: usize, which: EntryValues) -> String {
        let column = name(table, column);
        let (condition, end) = which.of(&column, self.dialect);
        format!("SELECT {column}, count(*) FROM {} WHERE {condition} GROUP BY {column} {end}", self.name)
    }

    /// Selects the ids of rows with the given values, at most this many.
    pub(crate) fn ids_with(&self, table: &Table, column: usize, limit: usize) -> String {
        let (condition, _) = EntryValues::Listed.of(&name(table, column), self.dialect);
        let id = name(table, table.id);
        format!("SELECT {id} FROM {} WHERE {condition} ORDER BY {id} LIMIT {limit}", self.name)
    }

    /// Selects entries in the order of their values: value and shard.
    pub(crate) fn entries(&self, entries: &Table, which: EntryValues) -> String {
        let (value, shard) = (name(entries, VALUE), name(entries, SHARD));
        let (condition, end) = which.of(&value, self.dialect);
        format!("SELECT {value}, {shard} FROM {} WHERE {condition} {end}", self.name)
    }
}

impl TableSql {
    /// Selects the values that determine the shard of rows: their ids, whether the parent exists (1 or 0), and the
    /// columns of the key.
    pub(crate) fn keys(
        &self,
        table: &Table,
        key: &[usize],
        parent: Option<&str>,
        which: EntryValues,
    ) -> String {
        let id = name(table, table.id);
        let has_parent = match (parent, table.parent) {
            (Some(name_of_parent), Some(parent)) => {
                let (parent_id, column) = (name(parent.table, parent.table.id), name(table, parent.column));
                format!(
                    "CASE WHEN EXISTS (SELECT 1 FROM {name_of_parent} AS parent WHERE parent.{parent_id} = child.{column}) \
                     THEN 1 ELSE 0 END"
                )
            }
            _ => "1".to_owned(),
        };
        let key: String = key.iter().map(|&column| format!(", {}", name(table, column))).collect();
        let (condition, end) = which.of(&id, self.dialect);
        format!(
            "SELECT {id}, CAST({has_parent} AS bigint){key} FROM {} AS child WHERE {condition} {end}",
            self.name
        )
    }
}

fn name(table: &Table, column: usize) -> String {
    quoted(table.columns.get(column).map_or("", |column| column.name))
}

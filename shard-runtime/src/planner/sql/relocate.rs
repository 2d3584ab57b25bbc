//! The statements that move rows from one shard to another.

use super::{Dialect, TableSql, quoted};
use crate::schema::Table;
use crate::value::ColumnType;

impl TableSql {
    /// Selects these columns of the rows with one of a list of values in a column, ordered by id, and locks the rows.
    /// The lock of a parent also prevents new children: their foreign key needs a lock of the parent.
    pub(crate) fn copy_from(&self, table: &Table, columns: &[String], by: usize) -> String {
        let name = |column: usize| quoted(table.columns.get(column).map_or("", |column| column.name));
        let list = list(columns.iter());
        let (by, id) = (name(by), name(table.id));
        let (is_in, lock) = (self.dialect.is_in(1), self.dialect.for_update());
        format!("SELECT {list} FROM {} WHERE {by}{is_in} ORDER BY {id}{lock}", self.name)
    }

    /// Selects the ids of the rows with a key, whose columns are the parameters. Texts are compared byte by byte.
    pub(crate) fn ids_of_key(&self, table: &Table, columns: &[usize]) -> String {
        let name = |column: usize| quoted(table.columns.get(column).map_or("", |column| column.name));
        let is_text =
            |column: usize| table.columns.get(column).is_some_and(|column| column.kind == ColumnType::Text);
        let compared = (1..).zip(columns).map(|(at, &column)| {
            let bytes = match self.dialect {
                Dialect::Sqlite if is_text(column) => " COLLATE BINARY",
                _ => "",
            };
            format!("{} = {}{bytes}", name(column), self.dialect.param(at))
        });
        let compared = compared.collect::<Vec<_>>().join(" AND ");
        let id = name(table.id);
        format!("SELECT {id} FROM {} WHERE {compared} ORDER BY {id}", self.name)
    }

    /// Inserts a row with these columns. `left_out` is the index of an id that the database generates and returns.
    pub(crate) fn copy_to(&self, columns: &[String], left_out: Option<usize>) -> String {
        let given =
            || columns.iter().enumerate().filter(|(at, _)| Some(*at) != left_out).map(|(_, name)| name);
        let params = self.dialect.params(given().count());
        let mut sql = match params.is_empty() {
            true => format!("INSERT INTO {} DEFAULT VALUES", self.name),
            false => format!("INSERT INTO {} ({}) VALUES ({params})", self.name, list(given())),
        };
        if let (Dialect::Postgres, Some(id)) = (self.dialect, left_out.and_then(|at| columns.get(at))) {
            sql.push_str(&format!(" RETURNING {}", quoted(id)));
        }
        sql
    }

    /// Deletes the rows whose ids are in a list.
    pub(crate) fn remove(&self, table: &Table) -> String {
        let id = quoted(table.columns.get(table.id).map_or("id", |column| column.name));
        format!("DELETE FROM {} WHERE {id}{}", self.name, self.dialect.is_in(1))
    }
}

fn list<'n>(names: impl Iterator<Item = &'n String>) -> String {
    names.map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

//! The columns of a table whose rows move to another database. Pure; uses `planner::sql` and `value`.

use crate::driver::ActualColumn;
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::planner::sql::Dialect;
use crate::schema::Table;
use crate::value::{ColumnType, Value};

/// A column of a table whose rows move to another database.
pub(crate) struct Copied {
    name: String,
    /// The kind of its values: the model's or, for a column that the model lacks, a server's. SQLite has no column types:
    /// a value that moves between two files is unchanged.
    kind: Option<ColumnType>,
    /// The server's type, if no kind of column has it.
    foreign: Option<String>,
}

impl Copied {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn kind(&self) -> Option<ColumnType> {
        self.kind
    }

    /// Converts a value that was read on the old shard to the type that both databases use.
    pub(crate) fn carried<'v>(&self, value: Result<Value<'v>, ValueError>) -> Result<Value<'v>, ValueError> {
        let value = value?;
        match (self.kind, &self.foreign) {
            (Some(kind), _) => value.into_kind(kind),
            (None, Some(foreign)) if value != Value::Null => Err(ValueError::new(format!(
                "a value of the type {foreign}, which no field has, cannot be moved to another shard; set it to NULL first"
            ))),
            (None, _) => Ok(value),
        }
    }
}

/// Returns all columns that a table has on the old shard, the model's and others.
///
/// # Errors
/// [`ErrorKind::Schema`] if the table lacks one of them on the new shard.
pub(crate) fn copied_columns(
    table: &'static Table,
    (here, columns): (Dialect, &[ActualColumn]),
    (there, others): (Dialect, &[ActualColumn]),
    shard: &str,
) -> Result<Vec<Copied>> {
    let copied = |column: &ActualColumn| {
        let Some(other) = others.iter().find(|other| other.name.eq_ignore_ascii_case(&column.name)) else {
            let message = "the table lacks a column that the rows have on their shard; add the column before moving rows here";
            let error = Error::new(ErrorKind::Schema, message).on_shard(shard).in_table(table.name);
            return Err(error.at_column(&column.name));
        };
        let declared = column_index(table, &column.name).and_then(|position| table.columns.get(position));
        let typed = [(here, column), (there, other)].into_iter().find(|(on, _)| on.has_column_types());
        let kind = match (declared, typed) {
            (Some(declared), _) => Some(declared.kind),
            (None, Some((on, column))) => on.kind_of(&column.sql_type),
            (None, None) => None,
        };
        let foreign = typed.filter(|_| kind.is_none()).map(|(_, column)| column.sql_type.clone());
        Ok(Copied { name: column.name.clone(), kind, foreign })
    };
    columns.iter().map(copied).collect()
}

/// Returns the index of the model's column with this name.
pub(crate) fn column_index(table: &Table, name: &str) -> Option<usize> {
    table.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
}

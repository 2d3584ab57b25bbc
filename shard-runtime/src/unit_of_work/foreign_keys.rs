//! Errors of foreign keys: which column refers to a row that does not exist, or which table still refers to a row. Uses
//! `planner` and `batches`.
//!
//! SQLite reports only that some foreign key was violated, so that the rows are read after the failure, on the same
//! connection. A server names the columns and the tables, and runs no further statement in the transaction.

use super::UnitOfWork;
use super::batches::RunPrepared;
use crate::error::{Error, ErrorKind};
use crate::planner::Layout;
use crate::planner::sql::Param;
use crate::schema::Table;
use crate::value::Value;

/// A change that a database has refused.
pub(crate) struct RefusedWrite<'r> {
    pub(crate) layout: &'r Layout,
    pub(crate) shard: usize,
    pub(crate) table: &'static Table,
    pub(crate) change: RefusedChange<'r>,
}

pub(crate) enum RefusedChange<'r> {
    /// These columns were written, with these values if they are known.
    Written(Vec<(usize, Option<Value<'r>>)>),
    /// The row with this id was removed; or many rows were.
    Removed(Option<Value<'r>>),
}

impl<'r> RefusedChange<'r> {
    /// Returns the change that writes all columns of a row.
    pub(crate) fn row(values: &'r [Value<'r>]) -> Self {
        RefusedChange::Written(values.iter().map(|value| Some(value.borrowed())).enumerate().collect())
    }
}

impl UnitOfWork {
    /// Explains the error of a statement on a shard; see [`RefusedWrite::explain`].
    pub(super) fn explain_refusal(
        &self,
        error: Error,
        shard: usize,
        table: &'static Table,
        change: RefusedChange<'_>,
    ) -> Error {
        let refused = RefusedWrite { layout: self.tx.cluster.layout(), shard, table, change };
        refused.explain(error, &mut |sql, send| {
            self.tx.on(shard, table, sql, |statement| send(statement).map(|rows| (rows, rows)))
        })
    }
}

impl RefusedWrite<'_> {
    /// Adds detail to the error of a foreign key: the column and the missing row, or the table that still refers to a
    /// row. Returns other errors unchanged.
    pub(crate) fn explain(&self, error: Error, run: &mut RunPrepared<'_>) -> Error {
        match (error.kind(), &self.change) {
            (ErrorKind::ForeignKey, RefusedChange::Written(columns)) => self.missing(error, columns, run),
            (ErrorKind::ForeignKey, RefusedChange::Removed(id)) => self.referring(error, id.as_ref(), run),
            _ => error,
        }
    }

    fn missing(
        &self,
        error: Error,
        columns: &[(usize, Option<Value<'_>>)],
        run: &mut RunPrepared<'_>,
    ) -> Error {
        let text = error.to_string();
        let parent = self.table.parent.map(|parent| (parent.column, parent.table));
        let referred = self.table.references.iter().map(|reference| (reference.column, reference.table));
        let is_null = |value: &Option<Value<'_>>| value.as_ref().is_some_and(|value| *value == Value::Null);
        let links = parent.into_iter().chain(referred).filter_map(|(column, other)| {
            let (_, value) = columns.iter().find(|(written, value)| *written == column && !is_null(value))?;
            Some((self.table.columns.get(column)?.name, other, value.as_ref()))
        });
        let links: Vec<(&str, &'static Table, Option<&Value<'_>>)> = links.collect();
        let found = match (self.names_keys(), &links[..]) {
            // `Key (city_id)=(5) is not present …`, in the server's language.
            (true, links) => links.iter().find(|(column, ..)| text.contains(&format!("({column})=("))),
            (false, [only @ (.., None)]) => Some(only),
            (false, links) => links.iter().find(|(_, other, value)| {
                value.is_some_and(|value| self.has_row(other, other.id, value, run) == Some(false))
            }),
        };
        let Some((column, other, value)) = found else { return error };
        let row = match value {
            Some(Value::Text(text)) => format!("row `{text}`"),
            Some(value) => format!("row {value}"),
            None => "a row".to_owned(),
        };
        let message =
            format!("refers to {row} of `{}`, which is not on this shard; add it first", other.name);
        error.reworded(message).at_column(column)
    }

    fn referring(&self, error: Error, id: Option<&Value<'_>>, run: &mut RunPrepared<'_>) -> Error {
        let text = error.to_string();
        let mut links: Vec<(&'static Table, usize)> = Vec::new();
        for other in self.layout.tables() {
            let parent = other.parent.filter(|parent| parent.table.is(self.table));
            let referring = other.references.iter().filter(|reference| reference.table.is(self.table));
            links.extend(parent.map(|parent| (other, parent.column)));
            links.extend(referring.map(|reference| (other, reference.column)));
        }
        match (self.names_keys(), id) {
            (true, _) => links.retain(|(other, _)| {
                let location = self.layout.location(self.shard);
                location
                    .is_ok_and(|location| text.contains(&format!("\"{}\"", location.names.plain(other.name))))
            }),
            (false, Some(id)) => {
                links.retain(|(other, column)| self.has_row(other, *column, id, run) == Some(true))
            }
            (false, None) => {}
        }
        let names = links.iter().filter_map(|(other, column)| {
            other.columns.get(*column).map(|column| format!("`{}.{}`", other.name, column.name))
        });
        let names = names.collect::<Vec<_>>().join(" or ");
        if names.is_empty() {
            return error;
        }
        let row = if id.is_some() { "this row" } else { "a row of this table" };
        error.reworded(format!("rows still refer to {row} by {names}; delete those rows first"))
    }

    /// Returns whether the text of a foreign key's error names columns and tables.
    fn names_keys(&self) -> bool {
        self.layout.location(self.shard).is_ok_and(|location| location.dialect.is_on_server())
    }

    /// Returns whether a table has a row with a value in a column; `None` if that cannot be read.
    fn has_row(
        &self,
        table: &'static Table,
        column: usize,
        value: &Value<'_>,
        run: &mut RunPrepared<'_>,
    ) -> Option<bool> {
        let sql = self.layout.sql(self.layout.model(table).ok()?, self.shard).ok()?;
        let found = run(&sql.find(column), &mut |statement| {
            let mut rows = statement.query(&[Param::Value(value.borrowed())])?;
            Ok(u64::from(rows.advance()?))
        });
        found.ok().map(|rows| rows > 0)
    }
}

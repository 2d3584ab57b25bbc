//! The statements that copy rows from one database to another.

use super::{Dialect, literal};
use crate::value::Value;

/// The schema under which the file of a source is attached to the connection of a target.
pub(crate) const ATTACHED: &str = "sharded_source";

impl Dialect {
    /// Returns whether a column of floats keeps NaN.
    pub(crate) fn stores_nan(self) -> bool {
        self == Dialect::Postgres
    }

    /// Returns whether one statement inserts many rows, with a list for each column.
    pub(crate) fn inserts_lists(self) -> bool {
        self == Dialect::Postgres
    }

    /// Returns the statement that inserts one row, or rows as lists if [`inserts_lists`](Dialect::inserts_lists). It has the
    /// names and the types of the columns.
    pub(crate) fn insert_copies_sql(self, table: &str, columns: &[String], types: &[String]) -> String {
        let names = columns.join(", ");
        match self {
            Dialect::Sqlite => {
                format!("INSERT INTO {table} ({names}) VALUES ({})", self.params(columns.len()))
            }
            Dialect::Postgres => {
                let lists =
                    (1..).zip(types).map(|(at, sql_type)| format!("{}::{sql_type}[]", self.param(at)));
                let lists: Vec<String> = lists.collect();
                format!(
                    "INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT * FROM unnest({})",
                    lists.join(", ")
                )
            }
        }
    }

    /// Returns the statement that sends the rows of a query as they are stored, from the one after an id; `None` if the
    /// database has no such statement. It takes no parameters.
    pub(crate) fn copy_out_sql(
        self,
        select: &str,
        id: &str,
        (after, limit): (Option<&Value<'_>>, u32),
    ) -> Option<String> {
        if self == Dialect::Sqlite {
            return None;
        }
        let condition = match after {
            Some(after) => format!(" WHERE {id} > {}", literal_of_id(after)?),
            None => String::new(),
        };
        Some(format!("COPY ({select}{condition} ORDER BY {id} LIMIT {limit}) TO STDOUT (FORMAT binary)"))
    }

    /// Returns the statement that inserts rows in the form of [`copy_out_sql`](Dialect::copy_out_sql).
    pub(crate) fn copy_in_sql(self, table: &str, columns: &[String]) -> Option<String> {
        match self {
            Dialect::Sqlite => None,
            Dialect::Postgres => {
                Some(format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", columns.join(", ")))
            }
        }
    }

    /// Returns the beginning of the statement that inserts rows of another table of the connection; a condition has to
    /// follow. `None` if a connection has one database. The other table has the alias `moved` and is in this schema.
    pub(crate) fn insert_from_sql(
        self,
        table: &str,
        columns: &[String],
        (schema, from): (&str, &str),
    ) -> Option<String> {
        let others: Vec<String> = columns.iter().map(|column| format!("moved.{column}")).collect();
        match self {
            Dialect::Sqlite => Some(format!(
                "INSERT INTO main.{table} ({}) SELECT {} FROM {schema}.{from} AS moved",
                columns.join(", "),
                others.join(", ")
            )),
            Dialect::Postgres => None,
        }
    }
}

/// Returns an id as SQL; `None` for a kind that is no literal.
fn literal_of_id(id: &Value<'_>) -> Option<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match id {
        Value::Integer(id) => Some(format!("'{id}'::bigint")),
        Value::Text(id) => Some(literal(id)),
        Value::Uuid(id) => Some(format!("'{}'::uuid", hex(id))),
        Value::Bytes(id) => Some(format!("decode('{}', 'hex')", hex(id))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_literals() {
        let sql = |id: Value<'_>| Dialect::Postgres.copy_out_sql("SELECT 1", "id", (Some(&id), 5));
        let copy = |id: &str| {
            Some(format!("COPY (SELECT 1 WHERE id > {id} ORDER BY id LIMIT 5) TO STDOUT (FORMAT binary)"))
        };
        assert_eq!(sql(Value::Integer(i64::MIN)), copy("'-9223372036854775808'::bigint"));
        assert_eq!(sql(Value::Text("a'\\\t".into())), copy("E'a''\\\\\t'"));
        assert_eq!(sql(Value::Uuid([255; 16])), copy(&format!("'{}'::uuid", "ff".repeat(16))));
        assert_eq!(sql(Value::Bytes(vec![0, 39].into())), copy("decode('0027', 'hex')"));
        assert_eq!(sql(Value::Timestamp(5)), None);
        assert_eq!(Dialect::Sqlite.copy_out_sql("SELECT 1", "id", (None, 5)), None);
    }
}

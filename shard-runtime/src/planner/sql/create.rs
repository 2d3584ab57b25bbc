//! The statements that create a table and its indexes.

use std::fmt::Write as _;

use super::{Dialect, Namespace, collation_name, quoted};
use crate::collation::Collation;
use crate::schema::hash::hash_bytes;
use crate::schema::{ColumnDef, IdKind, Table};
use crate::value::ColumnType;

/// Returns a column of an index. On PostgreSQL its NULLs come first, as in an order without a `NULLS` clause. An index is
/// read only in its own order and in the reverse.
fn indexed(table: &Table, column: &str, dialect: Dialect) -> String {
    let has_nulls = table.columns.iter().any(|other| other.name == column && other.nullable);
    let nulls = if dialect == Dialect::Postgres && has_nulls { " NULLS FIRST" } else { "" };
    format!("{}{nulls}", quoted(column))
}

pub(crate) struct DeclaredIndex<'c> {
    pub(crate) name: String,
    pub(crate) columns: Vec<&'c str>,
    pub(crate) unique: bool,
}

impl<'c> DeclaredIndex<'c> {
    /// Returns an index over these columns. Its name is made of them, as `reports(location_id)`, so that two indexes never
    /// share a name.
    pub(crate) fn over(
        names: &Namespace,
        table: &Table,
        columns: Vec<&'c str>,
        unique: bool,
        dialect: Dialect,
    ) -> Self {
        let suffix = if unique { " unique" } else { "" };
        let name = names.plain(&format!("{}({}){suffix}", table.name, columns.join(", ")));
        DeclaredIndex { name: shortened(name, dialect), columns, unique }
    }

    /// Returns whether one of these indexes serves in place of this one. Names do not matter, and a unique index also finds
    /// rows.
    pub(crate) fn is_among<'i>(&self, actual: impl IntoIterator<Item = (&'i [String], bool)>) -> bool {
        actual.into_iter().any(|(columns, is_unique)| {
            (is_unique || !self.unique)
                && columns.len() == self.columns.len()
                && columns.iter().zip(&self.columns).all(|(a, b)| a.eq_ignore_ascii_case(b))
        })
    }

    pub(crate) fn create_sql(&self, names: &Namespace, table: &Table, dialect: Dialect) -> String {
        let unique = if self.unique { "UNIQUE " } else { "" };
        let list: Vec<String> = self.columns.iter().map(|column| indexed(table, column, dialect)).collect();
        let (name, on, list) = (quoted(&self.name), names.table(table.name), list.join(", "));
        format!("CREATE {unique}INDEX IF NOT EXISTS {name} ON {on} ({list})")
    }
}

/// Returns the declared indexes, and the index on the link to the parent.
pub(crate) fn indexes(names: &Namespace, table: &Table, dialect: Dialect) -> Vec<DeclaredIndex<'static>> {
    let declared = table.indexes.iter().map(|index| (index.columns.to_vec(), index.unique));
    let parent = table.parent.map(|parent| (vec![parent.column], false));
    let columns = |indexes: Vec<usize>| {
        indexes.into_iter().filter_map(|index| table.columns.get(index)).map(|column| column.name).collect()
    };
    declared
        .chain(parent)
        .map(|(indexes, unique)| DeclaredIndex::over(names, table, columns(indexes), unique, dialect))
        .collect()
}

/// Returns a name that the database does not truncate. A longer name becomes its beginning and a hash of the whole.
pub(crate) fn shortened(name: String, dialect: Dialect) -> String {
    match dialect.longest_name() {
        Some(longest) if name.len() > longest => {
            let hash = format!(" {:016x}", hash_bytes(name.as_bytes(), 0));
            let end = (0..=longest - hash.len()).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
            format!("{}{hash}", name.get(..end).unwrap_or_default())
        }
        _ => name,
    }
}

/// Returns the statement that creates a model's table if it does not exist.
pub(crate) fn create_table_sql(names: &Namespace, table: &Table, dialect: Dialect) -> String {
    let sql = create_sql(&names.table(table.name), names, table, dialect, &[]);
    sql.replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)
}

/// Returns the `CREATE TABLE` of a model under a quoted name, with additional column definitions at its end.
///
/// SQLite's tables are STRICT, so that a column holds only values of its type. They are WITHOUT ROWID unless the id is an
/// integer, and AUTOINCREMENT if the database generates ids, so that it never generates one twice. PostgreSQL's text columns
/// have the collation `C`, which compares byte by byte.
pub(crate) fn create_sql(
    name: &str,
    names: &Namespace,
    table: &Table,
    dialect: Dialect,
    others: &[String],
) -> String {
    let mut sql = format!("CREATE TABLE {name} (");
    let mut integer_id = false;
    for (index, column) in table.columns.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let _ = write!(sql, "{separator}{} {}", quoted(column.name), type_sql(column, dialect));
        if index == table.id {
            integer_id = column.kind == ColumnType::Integer;
            sql.push_str(match (dialect, table.id_kind) {
                (Dialect::Postgres, IdKind::Auto) => " GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
                (Dialect::Sqlite, IdKind::Auto) => " PRIMARY KEY AUTOINCREMENT",
                (Dialect::Sqlite, _) if integer_id => " PRIMARY KEY",
                _ => " NOT NULL PRIMARY KEY",
            });
        } else {
            sql.push_str(&rest_sql(column, dialect));
        }
        let parent = table.parent.map(|parent| (parent.column, parent.table));
        let referred = table.references.iter().map(|reference| (reference.column, reference.table));
        for (_, other) in parent.into_iter().chain(referred).filter(|(column, _)| *column == index) {
            let id = other.columns.get(other.id).map_or("id", |column| column.name);
            let name = names.table(other.name);
            let _ = write!(sql, " REFERENCES {name} ({})", quoted(id));
        }
    }
    for other in others {
        let _ = write!(sql, ", {other}");
    }
    sql.push(')');
    sql.push_str(match integer_id {
        true => dialect.strict(),
        false => dialect.strict_without_rowid(),
    });
    sql
}

/// Returns the SQL after a column's type: NOT NULL, and the default that the model declares.
pub(crate) fn rest_sql(column: &ColumnDef, dialect: Dialect) -> String {
    let mut sql = if column.nullable { String::new() } else { " NOT NULL".to_owned() };
    if let Some(default) = &column.default {
        let _ = write!(sql, " DEFAULT {}", dialect.literal_of(default.value));
    }
    sql
}

/// Returns a column's type, with its collation if it is not the database's default.
pub(crate) fn type_sql(column: &ColumnDef, dialect: Dialect) -> String {
    let mut sql = dialect.column_type(column.kind).to_owned();
    let has_collation = match dialect {
        Dialect::Sqlite => column.collation != Collation::Binary,
        Dialect::Postgres => column.kind == ColumnType::Text,
    };
    if has_collation {
        let _ = write!(sql, " COLLATE {}", quoted(collation_name(column.collation, dialect)));
    }
    sql
}

//! The namespace that separates the tables of the shards in one database.

use super::quoted;

/// A schema (PostgreSQL), a prefix (SQLite), or neither. Shards of one database differ in it.
///
/// Every statement of the runtime writes the schema: nothing depends on a connection's `search_path`, which a connection
/// pooler can carry from one client to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Namespace {
    pub(crate) schema: Option<String>,
    /// The first characters of the name of each table and index.
    pub(crate) prefix: String,
}

impl Namespace {
    #[cfg(feature = "postgres")]
    pub(crate) fn of_schema(schema: impl Into<String>) -> Self {
        Namespace { schema: Some(schema.into()), prefix: String::new() }
    }

    pub(crate) fn of_prefix(prefix: impl Into<String>) -> Self {
        Namespace { schema: None, prefix: prefix.into() }
    }

    /// Returns the name that a table or index has in the database, without its schema.
    pub(crate) fn plain(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns a table's name as every statement writes it: quoted, with its schema.
    pub(crate) fn table(&self, name: &str) -> String {
        let table = quoted(&self.plain(name));
        match &self.schema {
            Some(schema) => format!("{}.{table}", quoted(schema)),
            None => table,
        }
    }
}

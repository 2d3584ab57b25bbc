//! A statement's text, and what a server says about it.

use std::sync::Arc;

use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use crate::planner::sql::Namespace;

/// The description of a statement that the server has prepared.
#[derive(Default)]
pub(super) struct Described {
    /// The statement under its name; none where its text is sent with every execution.
    pub(super) statement: Option<Statement>,
    pub(super) params: Vec<Type>,
    /// The names of the columns of its rows.
    pub(super) columns: Vec<String>,
}

impl Described {
    pub(super) fn named(statement: Statement) -> Self {
        Described {
            params: statement.params().to_vec(),
            columns: statement.columns().iter().map(|column| column.name().to_owned()).collect(),
            statement: Some(statement),
        }
    }
}

/// A statement's text, and where its table names without a schema are looked up.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Text {
    pub(super) sql: Arc<str>,
    /// The schema of the shard that it is for; none where it is for no shard.
    schema: Option<Arc<str>>,
}

impl Text {
    /// A text for no shard.
    pub(super) fn own(sql: &str) -> Self {
        Text { sql: sql.into(), schema: None }
    }

    /// A text for a shard.
    pub(super) fn in_schema(sql: &str, names: &Namespace) -> Self {
        Text { sql: sql.into(), schema: names.schema.as_deref().map(Arc::from) }
    }

    /// Another text for the same shard.
    pub(super) fn with_sql(&self, sql: &str) -> Self {
        Text { sql: sql.into(), schema: self.schema.clone() }
    }

    pub(super) fn schema(&self) -> Option<&Arc<str>> {
        self.schema.as_ref()
    }
}

//! The text of a statement, and its description by a server.

use std::sync::Arc;

use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use crate::planner::sql::Namespace;

/// The description of a statement that the server has prepared.
#[derive(Default)]
pub(super) struct DescribedStatement {
    /// The named statement; `None` if its text is sent with every execution.
    pub(super) statement: Option<Statement>,
    pub(super) params: Vec<Type>,
    /// The names of the columns of its rows.
    pub(super) columns: Vec<String>,
}

impl DescribedStatement {
    pub(super) fn named(statement: Statement) -> Self {
        DescribedStatement {
            params: statement.params().to_vec(),
            columns: statement.columns().iter().map(|column| column.name().to_owned()).collect(),
            statement: Some(statement),
        }
    }
}

/// The text of a statement, and the schema of its table names without one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Text {
    pub(super) sql: Arc<str>,
    /// The schema of its shard; `None` if the statement belongs to no shard.
    schema: Option<Arc<str>>,
}

impl Text {
    /// Returns a text that belongs to no shard.
    pub(super) fn own(sql: &str) -> Self {
        Text { sql: sql.into(), schema: None }
    }

    /// Returns a text for a shard.
    pub(super) fn in_schema(sql: &str, names: &Namespace) -> Self {
        Text { sql: sql.into(), schema: names.schema.as_deref().map(Arc::from) }
    }

    /// Returns another text for the same shard.
    pub(super) fn with_sql(&self, sql: &str) -> Self {
        Text { sql: sql.into(), schema: self.schema.clone() }
    }

    pub(super) fn schema(&self) -> Option<&Arc<str>> {
        self.schema.as_ref()
    }
}

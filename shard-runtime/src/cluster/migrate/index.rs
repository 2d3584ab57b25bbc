//! Indexes that the models declare and a shard lacks.

use super::expand::{How, SchemaWork};
use crate::driver::{ActualIndex, Connection};
use crate::error::Result;
use crate::planner::sql::{indexes, quoted};
use crate::planner::{Layout, Location};

/// Returns the SQL that makes the missing indexes of existing tables. On PostgreSQL the table can be written meanwhile. An
/// invalid index, which an interrupted migration has left, is dropped before.
pub(super) fn pending(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
) -> Result<Vec<SchemaWork>> {
    let Location { names, dialect, .. } = location;
    let mut works = Vec::new();
    for table in layout.tables() {
        // A new table is made with its indexes.
        if !connection.exists(names, table.name)? {
            continue;
        }
        let actual = connection.indexes(names, table.name)?;
        for index in indexes(names, table, *dialect) {
            if index.is_among(actual.iter().map(ActualIndex::key)) {
                continue;
            }
            let create = index.create_sql(names, table, *dialect);
            works.push(match dialect.is_on_server() {
                true => {
                    let schema = names
                        .schema
                        .as_ref()
                        .map_or_else(String::new, |schema| format!("{}.", quoted(schema)));
                    let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {schema}{}", quoted(&index.name));
                    let create =
                        create.replacen("INDEX IF NOT EXISTS", "INDEX CONCURRENTLY IF NOT EXISTS", 1);
                    SchemaWork { sql: vec![drop, create], how: How::Alone }
                }
                false => SchemaWork::together(vec![create]),
            });
        }
    }
    Ok(works)
}

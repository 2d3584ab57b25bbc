//! One SQLite connection over all shards: every database is attached, and a view for each model reads all of them.

use crate::driver::{Attached, attach};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::own_tables;
use crate::planner::sql::quoted;
use crate::schema::Table;
use crate::schema::{Shard, ShardRole};
use crate::transaction::Cluster;

/// The column of the views with the shard's name.
const SHARD: &str = "shard";

impl Cluster {
    /// Opens the connection of [`attached`](crate::sqlite::attached).
    pub(crate) fn attached(&self) -> Result<rusqlite::Connection> {
        let layout = self.layout();
        let mut databases = Vec::with_capacity(self.databases());
        // The schema of each shard's attached database.
        let mut schemas: Vec<&str> = vec![""; layout.shards().len()];
        for (index, database) in self.0.databases.iter().enumerate() {
            let mut shards = layout.shards_in(index).filter(|shard| shard.role() == ShardRole::Serving);
            let Some(first) = shards.next() else { continue };
            let Some(uri) = database.driver.sqlite_uri() else {
                let message = "only SQLite databases can be attached, and the shard is on a server; use `foreign_tables_sql`";
                return Err(Error::new(ErrorKind::Configuration, message).on_shard(first.name()));
            };
            let schema = first.name();
            check_schema(schema, databases.iter().map(|other: &Attached<'_>| other.schema))?;
            for shard in std::iter::once(first).chain(shards) {
                if let Some(entry) = schemas.get_mut(shard.index()) {
                    *entry = schema;
                }
            }
            databases.push(Attached { schema, uri });
        }
        let (raw, most_parts) = attach(&databases, self.0.timeout)?;
        for shard in layout.shards().serving() {
            let schema = schemas.get(shard.index()).copied().unwrap_or_default();
            self.check_attached(&raw, shard, schema).map_err(|error| error.on_shard(shard.name()))?;
        }
        let is_entries = |table: &Table| layout.lookups().iter().any(|lookup| lookup.entries.is(table));
        for table in layout.tables().filter(|table| !is_entries(table)) {
            raw.execute_batch(&view(table, layout, &schemas, most_parts)?)
                .map_err(|error| Error::from(error).in_table(table.name))?;
        }
        raw.pragma_update(None, "query_only", true)?;
        Ok(raw)
    }

    /// Checks the identity of an attached shard.
    fn check_attached(&self, raw: &rusqlite::Connection, shard: &Shard, schema: &str) -> Result<()> {
        let own = self.layout().location(shard.index())?.names.table(own_tables::SHARD);
        let sql = format!("SELECT cluster, shard FROM {}.{own}", quoted(schema));
        let found: (String, String) = raw.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        match found.0 == self.0.control.cluster && found.1 == shard.name() {
            true => Ok(()),
            false => {
                let message = format!(
                    "expected shard `{}` of cluster {}, found shard `{}` of cluster {}",
                    shard.name(),
                    self.0.control.cluster,
                    found.1,
                    found.0
                );
                Err(Error::new(ErrorKind::WrongDatabase, message))
            }
        }
    }
}

/// Refuses a schema name that SQLite uses itself, or that differs from another one only in case.
fn check_schema<'a>(name: &str, mut others: impl Iterator<Item = &'a str>) -> Result<()> {
    let message = if ["main", "temp"].iter().any(|own| own.eq_ignore_ascii_case(name)) {
        "a shard with this name cannot be attached: SQLite has a schema of this name".to_owned()
    } else if let Some(other) = others.find(|other| other.eq_ignore_ascii_case(name)) {
        format!("shards `{name}` and `{other}` cannot both be attached: SQLite ignores case in names")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Configuration, message).on_shard(name))
}

/// Returns the SQL of a view over the rows of a model on all shards.
fn view(table: &'static Table, layout: &Layout, schemas: &[&str], most_parts: usize) -> Result<String> {
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column.name)).collect();
    let columns = columns.join(", ");
    let has_shard = table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(SHARD));
    let model = layout.model(table)?;
    let mut parts = Vec::with_capacity(schemas.len());
    // A reference table is the same on all of them.
    let shards = if table.is_reference() { 1 } else { schemas.len() };
    for shard in layout.shards().serving().take(shards) {
        let schema = schemas.get(shard.index()).copied().unwrap_or_default();
        let shard_column = match has_shard {
            true => String::new(),
            false => format!(", '{}' AS {}", shard.name().replace('\'', "''"), quoted(SHARD)),
        };
        let from = &layout.sql(model, shard.index())?.name;
        parts.push(format!("SELECT {columns}{shard_column} FROM {}.{from}", quoted(schema)));
    }
    Ok(format!("CREATE TEMP VIEW {} AS {}", quoted(table.name), union_all(parts, most_parts)))
}

/// Joins selects by `UNION ALL`. SQLite limits the parts of one compound select: more than `most` are nested.
fn union_all(mut parts: Vec<String>, most: usize) -> String {
    let most = most.max(2);
    while parts.len() > most {
        let nested = |parts: &[String]| format!("SELECT * FROM ({})", parts.join(" UNION ALL "));
        parts = parts.chunks(most).map(nested).collect();
    }
    parts.join(" UNION ALL ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_parts_are_nested() {
        let raw = rusqlite::Connection::open_in_memory().unwrap();
        for count in [1, 2, 3, 4, 5, 9, 10, 1_100] {
            for most in [3, 400] {
                let parts = (0..count).map(|part| format!("SELECT {part} AS part")).collect();
                let sql = union_all(parts, most);
                let side_by_side =
                    sql.split("SELECT * FROM").map(|parts| parts.matches("SELECT").count()).max();
                assert!(side_by_side <= Some(most));
                let sum = format!("SELECT count(*), sum(part) FROM ({sql})");
                let found: (i64, i64) =
                    raw.query_row(&sum, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
                assert_eq!(found, (count, count * (count - 1) / 2));
            }
        }
    }

    #[test]
    fn schema_names_are_compared_without_case() {
        assert!(check_schema("asia", ["europe"].into_iter()).is_ok());
        for name in ["Main", "temp", "EUROPE"] {
            let error = check_schema(name, ["europe"].into_iter()).unwrap_err();
            assert_eq!((error.kind(), error.shard()), (ErrorKind::Configuration, Some(name)));
        }
    }
}

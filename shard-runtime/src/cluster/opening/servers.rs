//! Checks of servers: their settings, and clusters in other schemas.

use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::own_tables;
use crate::planner::sql::Namespace;

use super::layout::read_texts;

/// Refuses a default schema without a shard if another schema of the role's `search_path` holds one. The schemas in `named`
/// belong to the cluster's other shards.
pub(in super::super) fn refuse_elsewhere(
    connection: &dyn Connection,
    default: &Namespace,
    named: &[&str],
) -> Result<()> {
    let sql = format!(
        "SELECT name::text, '' FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, position) \
         WHERE to_regclass(quote_ident(name::text) || '.{}') IS NOT NULL ORDER BY position",
        own_tables::SHARD
    );
    let found = read_texts(connection, &sql)?;
    let Some((schema, _)) = found.iter().find(|(schema, _)| !named.contains(&schema.as_str())) else {
        return Ok(());
    };
    if connection.exists(default, own_tables::SHARD)? {
        return Ok(());
    }
    let message = format!(
        "the URL has no schema, which means `public`, but the schema `{schema}` of the role's `search_path` holds a cluster; add \
         `?schema={schema}` to the URL to open it, or `?schema=public` to make another cluster"
    );
    Err(Error::new(ErrorKind::WrongDatabase, message))
}

/// Checks that a server can take part in transactions over several databases.
pub(in super::super) fn check_prepares(connection: &dyn Connection) -> Result<()> {
    let most = read_texts(connection, "SELECT current_setting('max_prepared_transactions'), ''")?;
    match most.first() {
        Some((most, _)) if most != "0" => Ok(()),
        _ => {
            let message = "the server has `max_prepared_transactions = 0` and cannot take part in transactions over several databases; \
                        set it to about `max_connections` and restart the server, or open the cluster with \
                        `without_prepared_transactions`";
            Err(Error::new(ErrorKind::Configuration, message))
        }
    }
}

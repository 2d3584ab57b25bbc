//! The PostgreSQL schemas that hold a cluster's tables.

use std::collections::BTreeSet;

use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Namespace, Param, literal, quoted};
use crate::value::Value;

/// Creates missing schemas on PostgreSQL. Other processes that create tables in them wait until the transaction ends:
/// without that, their `CREATE … IF NOT EXISTS` would fail.
pub(crate) fn make_schemas<'n>(
    connection: &dyn Connection,
    names: impl Iterator<Item = &'n Namespace>,
) -> Result<()> {
    // All processes take the locks in the same order.
    let schemas: BTreeSet<&str> = names.filter_map(|names| names.schema.as_deref()).collect();
    for schema in schemas {
        let lock = literal(&format!("sharded {schema}"));
        connection.run(&format!("SELECT pg_advisory_xact_lock(hashtextextended({lock}, 0))"))?;
        // `CREATE SCHEMA IF NOT EXISTS` would need the privilege even if the schema exists.
        if !has_schema(connection, schema)? {
            connection.run(&format!("CREATE SCHEMA {}", quoted(schema)))?;
        }
    }
    Ok(())
}

/// Checks that the schema exists.
///
/// # Errors
/// [`ErrorKind::Missing`] if it does not.
pub(crate) fn check_schema(connection: &dyn Connection, names: &Namespace) -> Result<()> {
    let Some(schema) = &names.schema else { return Ok(()) };
    match has_schema(connection, schema)? {
        true => Ok(()),
        false => {
            let message = format!("there is no schema `{schema}` in the database");
            Err(Error::new(ErrorKind::Missing, message))
        }
    }
}

fn has_schema(connection: &dyn Connection, schema: &str) -> Result<bool> {
    let mut statement = connection.prepare("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1")?;
    let mut rows = statement.query(&[Param::Value(Value::Text(schema.into()))])?;
    let found = rows.advance()?;
    while rows.advance()? {}
    Ok(found)
}

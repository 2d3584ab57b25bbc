//! The PostgreSQL schemas that hold a cluster's tables.

use std::collections::BTreeSet;

use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Namespace, Param, literal, quoted};
use crate::value::Value;

/// Makes schemas where they do not exist, on PostgreSQL, and has other processes that make tables in them wait until the
/// transaction ends: `CREATE … IF NOT EXISTS` does not wait for them, it fails.
pub(crate) fn make_schemas<'n>(
    connection: &dyn Connection,
    names: impl Iterator<Item = &'n Namespace>,
) -> Result<()> {
    // All processes take the locks in one order.
    let schemas: BTreeSet<&str> = names.filter_map(|names| names.schema.as_deref()).collect();
    for schema in schemas {
        let lock = literal(&format!("sharded {schema}"));
        connection.run(&format!("SELECT pg_advisory_xact_lock(hashtextextended({lock}, 0))"))?;
        // Only if it does not exist: `CREATE SCHEMA IF NOT EXISTS` needs the right to make schemas in any case.
        if !has_schema(connection, schema)? {
            connection.run(&format!("CREATE SCHEMA {}", quoted(schema)))?;
        }
    }
    Ok(())
}

/// # Errors
/// [`ErrorKind::Missing`] if there is no such schema.
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

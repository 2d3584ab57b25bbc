//! Applying decided transactions to a database, and its version. Uses `driver` and `decision`.

use super::decision::{Decisions, integer};
use crate::driver::Connection;
use crate::error::Result;
use crate::planner::sql::Param;

/// Applies decided transactions that a database misses. The connection holds its write lock; `own` is the table with its
/// version. Returns whether there was anything to apply.
///
/// # Errors
/// - [`ErrorKind::WrongDatabase`](crate::ErrorKind::WrongDatabase) if the database is older than its cluster.
/// - The databases' errors. The caller then rolls back.
pub(crate) fn apply_decided(
    decisions: &Decisions,
    control: &dyn Connection,
    database: &str,
    own: &str,
    connection: &dyn Connection,
) -> Result<bool> {
    let found = version(connection, own)?;
    let run = |sql: &str, params: &[Param<'_>]| connection.prepare(sql)?.execute(params).map(|_| ());
    let reached = decisions.redo(control, database, found, run)?;
    (found..reached).try_for_each(|_| bump_version(connection, own))?;
    Ok(reached > found)
}

/// Returns the version of a database: how many global transactions were applied to it.
pub(crate) fn version(connection: &dyn Connection, own: &str) -> Result<i64> {
    integer(connection, &format!("SELECT version FROM {own}"), &[])
}

/// Raises the version of a database by one.
pub(crate) fn bump_version(connection: &dyn Connection, own: &str) -> Result<()> {
    connection.prepare(&format!("UPDATE {own} SET version = version + 1"))?.execute(&[]).map(|_| ())
}

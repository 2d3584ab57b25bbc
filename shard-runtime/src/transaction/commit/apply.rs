//! Bringing a database to where the decided units have it.

use super::decision::{Decisions, integer};
use crate::driver::Connection;
use crate::error::Result;
use crate::planner::sql::Param;

/// Does what decided units have left undone on a database whose write lock the connection holds; `own` is the table
/// that holds its version. Whether there was anything to do.
///
/// # Errors
/// [`ErrorKind::WrongDatabase`](crate::ErrorKind::WrongDatabase) where the database is older than its cluster; the databases'.
/// The transaction is then to be rolled back.
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

/// The version of a database: how many units over several databases were applied to it.
pub(crate) fn version(connection: &dyn Connection, own: &str) -> Result<i64> {
    integer(connection, &format!("SELECT version FROM {own}"), &[])
}

/// Raises the version of a database by one.
pub(crate) fn bump_version(connection: &dyn Connection, own: &str) -> Result<()> {
    connection.prepare(&format!("UPDATE {own} SET version = version + 1"))?.execute(&[]).map(|_| ())
}

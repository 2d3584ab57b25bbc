//! The SQL and the remedy of a migration that has stopped, as parts of its error.

use crate::driver::Connection;
use crate::error::{Error, ErrorKind};
use crate::planner::Location;
use crate::planner::sql::literal;
use crate::transaction::facts::texts;

const SQL: &str = "the SQL was: ";

/// Names the SQL that failed, unless the error names it.
pub(super) fn of_sql(error: Error, sql: &str) -> Error {
    if error.to_string().contains(SQL) { error } else { error.with_remedy(&format!("{SQL}{sql}")) }
}

/// Appends what an operator has to do before the migration is run again.
pub(super) fn added(error: Error, connection: &dyn Connection, location: &Location) -> Error {
    match error.kind() {
        ErrorKind::Full => error.with_remedy("run the migration again when there is space"),
        ErrorKind::Io => error.with_remedy("free disk space, or mend the disk, and run the migration again"),
        ErrorKind::Denied if location.dialect.is_on_server() && !error.to_string().contains("; run ") => {
            match owner(connection, location) {
                Some(remedy) => error.with_remedy(&remedy),
                None => error,
            }
        }
        _ => error,
    }
}

/// Returns how a role that is not the owner gets the rights to migrate.
fn owner(connection: &dyn Connection, location: &Location) -> Option<String> {
    let schema = literal(location.names.schema.as_deref().unwrap_or("public"));
    let sql = format!(
        "SELECT quote_ident(pg_get_userbyid(o.owner)), quote_ident(current_user) FROM (SELECT relowner AS owner FROM pg_class \
         WHERE relnamespace = to_regnamespace({schema}) AND relkind IN ('r', 'p') UNION ALL SELECT nspowner FROM pg_namespace \
         WHERE oid = to_regnamespace({schema})) AS o WHERE NOT pg_has_role(o.owner, 'USAGE') GROUP BY 1, 2 ORDER BY count(*) DESC LIMIT 1"
    );
    let found = texts(connection, &sql, &[]).ok()?;
    let [owner, role] = <[String; 2]>::try_from(found.into_iter().next()?).ok()?;
    Some(for_role(&role, &owner))
}

/// The remedy for a role that is not the owner.
pub(super) fn for_role(role: &str, owner: &str) -> String {
    format!(
        "the role is `{role}`, and the tables belong to `{owner}`; run the migration as `{owner}`, or run GRANT {owner} TO {role}"
    )
}

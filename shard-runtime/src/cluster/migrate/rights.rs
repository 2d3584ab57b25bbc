//! Whether the role may change the tables that a migration changes. A server has roles; a file has none.

use super::arrivals::Arrivals;
use super::step::{Action, Migrations};
use super::{plan, remedy, state};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::literal;
use crate::planner::{Layout, Location};
use crate::transaction::facts::texts;

/// Refuses to begin on a shard with tables of another role that are to be changed. Otherwise the role might own what it has made
/// until a statement is refused, and the owner could not continue.
///
/// # Errors
/// [`ErrorKind::Denied`], with the first such table, its SQL and its owner.
pub(super) fn check(
    connection: &dyn Connection,
    location: &Location,
    layout: &Layout,
    migrations: &Migrations,
    contracts: bool,
) -> Result<()> {
    if !location.dialect.is_on_server() {
        return Ok(());
    }
    let schema = literal(location.names.schema.as_deref().unwrap_or("public"));
    let sql = format!(
        "SELECT relname::text, quote_ident(pg_get_userbyid(relowner)), quote_ident(current_user) FROM pg_class \
         WHERE relnamespace = to_regnamespace({schema}) AND relkind IN ('r', 'p') AND NOT pg_has_role(relowner, 'USAGE')"
    );
    let of_others = texts(connection, &sql, &[])?;
    if of_others.is_empty() {
        return Ok(());
    }
    let mut changes = plan::statements(connection, location, layout, migrations, contracts)?;
    let states = state::read(connection, location)?;
    for step in migrations.steps().iter().filter(|step| plan::is_to_be_run(&states, step)) {
        for (index, action) in step.actions.iter().enumerate() {
            if let Action::Backfill(rows) = action {
                changes.extend(Arrivals::new(location, rows.table(), (step.number, index)).begin().sql);
            }
        }
    }
    for table in layout.tables() {
        let plain = location.names.plain(table.name);
        let Some([_, owner, role]) =
            of_others.iter().map(Vec::as_slice).find(|row| row.first() == Some(&plain))
        else {
            continue;
        };
        let on = location.names.table(table.name);
        let (alters, made_on) = (format!("ALTER TABLE {on} "), format!(" ON {on} "));
        let Some(sql) = changes.iter().find(|sql| sql.contains(&alters) || sql.contains(&made_on)) else {
            continue;
        };
        let denied = Error::new(ErrorKind::Denied, "the role may not change the table");
        let denied = remedy::of_sql(denied.in_table(table.name), sql);
        return Err(denied.with_remedy(&remedy::for_role(role, owner)));
    }
    Ok(())
}

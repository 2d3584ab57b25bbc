//! The SQL that makes a PostgreSQL server read all shards through `postgres_fdw`.
//!
//! Hash, list and range placement have the semantics of PostgreSQL's partitions. A placement becomes the bounds of partitions,
//! each of which is a shard's table. If it cannot be expressed in bounds, the shards' tables inherit from one table, and every
//! query reads all of them.

use std::fmt::{self, Write as _};

use std::path::Path;
use std::time::Duration;

use super::url::{ParsedUrl, Source};
use crate::driver::{Address, Driver, Durability, Mode, PostgresDriver, PostgresSource};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::sql::{self, literal, quoted};
use crate::schema::Shard;
use crate::schema::{Constant, Placement};
use crate::schema::{KeyColumns, Table};
use crate::transaction::Cluster;
use crate::value::ColumnType;

/// The SQL that lets a PostgreSQL server read all shards; made by [`Cluster::foreign_tables_sql`]. Its printed text has no
/// passwords.
#[derive(Clone)]
pub struct ForeignTablesSql {
    statements: Vec<ForeignTableStatement>,
    timeout: Duration,
}

#[derive(Clone)]
enum ForeignTableStatement {
    Plain(String),
    /// The user mapping of a shard's server.
    Login {
        server: String,
        user: String,
        password: Option<String>,
    },
}

impl Cluster {
    /// Returns the SQL that lets any PostgreSQL server read this cluster's shards through `postgres_fdw`: for joins over shards,
    /// window functions, and reporting tools.
    ///
    /// For each model it makes a table of the same name, in the current schema:
    ///
    /// - If the row holds its key (its own shard key, or a parent's bare id), the table is partitioned by that key. The
    ///   partitions are the shards' tables. A condition on the key prunes shards, and tables that are partitioned by the same key
    ///   are joined shard by shard.
    /// - Otherwise the shards' tables inherit from the table, and a query reads all shards. This is so for a child that holds
    ///   only its parent's id, a chooser of the application, and a shard with several ranges.
    ///
    /// A reference table is read on the first shard.
    ///
    /// If a shard's URL has `sslmode=require` or `verify-full`, the server reads the shard with `verify-full`. The authorities
    /// that it trusts are configured on its machine (`~/.postgresql/root.crt` of the server's user).
    ///
    /// The shards are read at the same time (`async_capable`). Existing tables and servers are not changed.
    ///
    /// Use it for reading only: writes through it bypass the commit over several shards, lookups and versions. Each shard is read
    /// in its own snapshot.
    ///
    /// ```no_run
    /// # fn set_up(cluster: &shard_runtime::Cluster) -> shard_runtime::Result<()> {
    /// let sql = cluster.foreign_tables_sql()?;
    /// println!("{sql}"); // without passwords
    /// sql.run_on("postgres://admin@reports.example/warehouse?schema=weather")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if a shard is not on a PostgreSQL server.
    pub fn foreign_tables_sql(&self) -> Result<ForeignTablesSql> {
        let cluster = self.latest();
        let layout = cluster.layout();
        let mut statements =
            vec![ForeignTableStatement::Plain("CREATE EXTENSION IF NOT EXISTS postgres_fdw".to_owned())];
        let mut schemas = Vec::with_capacity(layout.shards().len());
        for shard in layout.shards().iter() {
            let location = layout.location(shard.index())?;
            let database = location.database;
            let address = cluster.0.databases.get(database).and_then(|database| database.driver.address());
            let Some(address) = address else {
                let message = "foreign tables need every shard on a PostgreSQL server, and this one is not; use `attached` for SQLite files";
                return Err(Error::new(ErrorKind::Configuration, message).on_shard(shard.name()));
            };
            let Address { hosts, attributes, database, user, password, is_encrypted } = address;
            let encrypted = if is_encrypted { ", sslmode 'verify-full'" } else { "" };
            let attributes = attributes.map_or_else(String::new, |attributes| {
                format!(", target_session_attrs {}", literal(attributes))
            });
            // The form of `libpq` for several hosts: both lists have one entry for each.
            let (hosts, ports): (Vec<String>, Vec<String>) =
                hosts.into_iter().map(|(host, port)| (host, port.to_string())).unzip();
            let (host, port) = (hosts.join(","), ports.join(","));
            statements.push(ForeignTableStatement::Plain(format!(
                "CREATE SERVER IF NOT EXISTS {} FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host {}, port '{port}', \
                 dbname {}, async_capable 'true', use_remote_estimate 'true', fetch_size '10000'{encrypted}{attributes})",
                quoted(shard.name()),
                literal(&host),
                literal(&database),
            )));
            let server = quoted(shard.name());
            statements.push(ForeignTableStatement::Login { server, user, password });
            schemas.push(location.names.schema.clone().unwrap_or_default());
        }
        for setting in ["enable_partitionwise_join", "enable_partitionwise_aggregate"] {
            statements.push(ForeignTableStatement::Plain(format!(
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting} = on', current_database()); END $$"
            )));
        }
        for table in layout.tables() {
            statements.extend(tables(table, layout, &schemas).into_iter().map(ForeignTableStatement::Plain));
        }
        Ok(ForeignTablesSql { statements, timeout: cluster.0.timeout })
    }
}

impl ForeignTablesSql {
    /// Runs the SQL on a server in one transaction. With `?schema=` the tables are made in that schema, which is created if it
    /// does not exist. The shards' passwords are taken from the cluster's URLs.
    ///
    /// PostgreSQL takes a password for a foreign server as text in a statement. The server's log does not show it if the role
    /// may change `log_statement` and `log_min_duration_statement`, as a superuser may; otherwise the server's settings decide.
    /// A role that may read `pg_stat_activity` of other roles sees the statement while it runs.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the URL is not that of a PostgreSQL server; those of the server.
    pub fn run_on(&self, url: &str) -> Result<()> {
        let ParsedUrl { source: Source::Postgres(source), names, .. } =
            ParsedUrl::parse(url, &super::sources::absolute(Path::new(""))?)?
        else {
            let message = "foreign tables can be made only on a PostgreSQL server; give a URL that begins with `postgres://`";
            return Err(Error::new(ErrorKind::Configuration, message));
        };
        let driver = PostgresDriver::new(*source, self.timeout, Durability::Full);
        let connection = driver.connect(Mode::Create, None)?;
        // Sent before the passwords: a server logs a message by the settings in force before it.
        connection.run(&format!("BEGIN; {WITHOUT_LOG}"))?;
        let mut sql = String::from("SELECT");
        if let Some(schema) = names.schema.as_deref().map(quoted) {
            let _ = write!(sql, "; CREATE SCHEMA IF NOT EXISTS {schema}; SET LOCAL search_path = {schema}");
        }
        for statement in &self.statements {
            let _ = write!(sql, "; {}", statement.text(true));
        }
        connection.run(&sql)?;
        // Sent alone: after the end of a transaction, a server logs the duration of the whole message by its own settings.
        connection.run("COMMIT")
    }
}

/// Turns the statement log off until the transaction ends, if the role may do so.
const WITHOUT_LOG: &str = "DO $$ BEGIN \
    PERFORM set_config('log_statement', 'none', true), set_config('log_min_duration_statement', '-1', true), \
        set_config('log_min_duration_sample', '-1', true), set_config('log_min_error_statement', 'panic', true); \
    EXCEPTION WHEN insufficient_privilege THEN NULL; END $$";

impl ForeignTableStatement {
    fn text(&self, with_password: bool) -> String {
        match self {
            ForeignTableStatement::Plain(sql) => sql.clone(),
            ForeignTableStatement::Login { server, user, password } => {
                let password = match password {
                    Some(password) if with_password => format!(", password {}", literal(password)),
                    _ => String::new(),
                };
                let user = literal(user);
                format!(
                    "CREATE USER MAPPING IF NOT EXISTS FOR CURRENT_USER SERVER {server} OPTIONS (user {user}{password})"
                )
            }
        }
    }
}

/// Prints a script without passwords; a comment marks each line that needs one.
impl fmt::Display for ForeignTablesSql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for statement in &self.statements {
            write!(f, "{};", statement.text(false))?;
            let has_password = matches!(statement, ForeignTableStatement::Login { password: Some(_), .. });
            writeln!(f, "{}", if has_password { " -- add: password '...'" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for ForeignTablesSql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The bounds of the keys in the shards' tables.
enum Parts {
    /// `PARTITION BY …`, and `FOR VALUES …` for the index of each shard that has rows.
    Bounded(String, Vec<(usize, String)>),
    /// No bounds.
    Unbounded,
}

/// Returns the SQL of a model's table, and of a foreign table for each shard.
fn tables(table: &Table, layout: &Layout, schemas: &[String]) -> Vec<String> {
    let dialect = PostgresSource::DIALECT;
    let column = |column: &crate::schema::ColumnDef| {
        let collation = if column.kind == ColumnType::Text { " COLLATE \"C\"" } else { "" };
        let null = if column.nullable { "" } else { " NOT NULL" };
        format!("{} {}{collation}{null}", quoted(column.name), dialect.column_type(column.kind))
    };
    let columns: Vec<String> = table.columns.iter().map(column).collect();
    let (name, columns) = (quoted(table.name), columns.join(", "));
    let foreign = |shard: &Shard, how: String| {
        let own = sql::shortened(format!("{} {}", table.name, shard.name()), dialect);
        let schema = schemas.get(shard.index()).map_or("public", String::as_str);
        format!(
            "CREATE FOREIGN TABLE IF NOT EXISTS {} {how} SERVER {} OPTIONS (schema_name {}, table_name {})",
            quoted(&own),
            quoted(shard.name()),
            literal(schema),
            literal(table.name),
        )
    };
    if table.is_reference() {
        // Every shard has the same rows, so that the first is enough.
        let first = layout.shards().serving().next();
        let own = |shard: &Shard| {
            let schema = schemas.get(shard.index()).map_or("public", String::as_str);
            format!(
                "CREATE FOREIGN TABLE IF NOT EXISTS {name} ({columns}) SERVER {} OPTIONS (schema_name {}, table_name {})",
                quoted(shard.name()),
                literal(schema),
                literal(table.name),
            )
        };
        return first.map(own).into_iter().collect();
    }
    match parts(table, layout) {
        Parts::Bounded(by, bounds) => {
            let mut all = vec![format!("CREATE TABLE IF NOT EXISTS {name} ({columns}) PARTITION BY {by}")];
            for (shard, bound) in bounds {
                let Some(shard) = layout.shards().by_index(shard) else { continue };
                all.push(foreign(shard, format!("PARTITION OF {name} {bound}")));
            }
            all
        }
        Parts::Unbounded => {
            let mut all = vec![format!("CREATE TABLE IF NOT EXISTS {name} ({columns})")];
            all.extend(
                layout.shards().serving().map(|shard| foreign(shard, format!("() INHERITS ({name})"))),
            );
            all
        }
    }
}

fn parts(table: &Table, layout: &Layout) -> Parts {
    let KeyColumns::Columns(key) = table.key else { return Parts::Unbounded };
    if layout.shards().rule(table).is_some() {
        // A shard may have several lines, but a partition has one bound.
        return Parts::Unbounded;
    }
    let names: Vec<String> = key
        .iter()
        .filter_map(|&column| table.columns.get(column))
        .map(|column| quoted(column.name))
        .collect();
    let names = names.join(", ");
    let shards = layout.shards();
    let bounds: Option<Vec<(usize, String)>> = match table.placement {
        Placement::Hash => Some(
            shards.iter().map(|shard| (shard.index(), hash_bound(shard.index(), shards.len()))).collect(),
        ),
        Placement::List { entries, otherwise } => Some(
            shards
                .iter()
                .filter_map(|shard| Some((shard.index(), list_bound(entries, otherwise, shard.name())?)))
                .collect(),
        ),
        Placement::Range(ranges) => {
            let bound = |shard: &Shard| range_bound(ranges, shard.name()).map(|bound| (shard.index(), bound));
            let mentioned = |shard: &&Shard| ranges.iter().any(|range| range.shard == shard.name());
            shards.iter().filter(mentioned).map(bound).collect()
        }
        Placement::Custom(_) | Placement::Everywhere => None,
    };
    let by = match table.placement {
        Placement::Hash => "HASH",
        Placement::List { .. } => "LIST",
        Placement::Range(_) | Placement::Custom(_) | Placement::Everywhere => "RANGE",
    };
    match bounds {
        Some(bounds) => Parts::Bounded(format!("{by} ({names})"), bounds),
        None => Parts::Unbounded,
    }
}

fn hash_bound(remainder: usize, modulus: usize) -> String {
    format!("FOR VALUES WITH (MODULUS {modulus}, REMAINDER {remainder})")
}

/// Returns the list of values on a shard, or `DEFAULT` for the shard of all other values, which includes its own list.
fn list_bound(
    entries: &[(Constant, &'static str)],
    otherwise: Option<&'static str>,
    shard: &str,
) -> Option<String> {
    if otherwise == Some(shard) {
        return Some("DEFAULT".to_owned());
    }
    let own: Vec<String> = entries
        .iter()
        .filter(|(_, of)| *of == shard)
        .map(|(constant, _)| constant_literal(*constant))
        .collect();
    (!own.is_empty()).then(|| format!("FOR VALUES IN ({})", own.join(", ")))
}

/// Returns the range of a shard. `None` if it has several separate ranges: its table can be one partition only.
fn range_bound(ranges: &[crate::schema::Range], shard: &str) -> Option<String> {
    let mut own = ranges.iter().filter(|range| range.shard == shard);
    let first = own.next()?;
    let mut to = first.to;
    for next in own {
        if next.from != to || to.is_none() {
            return None;
        }
        to = next.to;
    }
    let bound = |bound: Option<Constant>, none: &str| bound.map_or_else(|| none.to_owned(), constant_literal);
    Some(format!("FOR VALUES FROM ({}) TO ({})", bound(first.from, "MINVALUE"), bound(to, "MAXVALUE")))
}

fn constant_literal(constant: Constant) -> String {
    match constant {
        Constant::Integer(integer) => integer.to_string(),
        Constant::Text(text) => literal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Range;

    #[test]
    fn bounds_are_written_as_partitions() {
        let entries = [(Constant::Text("it's"), "a"), (Constant::Text("x"), "b"), (Constant::Text("y"), "a")];
        assert_eq!(list_bound(&entries, None, "a").as_deref(), Some("FOR VALUES IN ('it''s', 'y')"));
        assert_eq!(list_bound(&entries, Some("a"), "a").as_deref(), Some("DEFAULT"));
        assert_eq!(list_bound(&entries, None, "c"), None);
        let range = |from, to, shard| Range {
            from: Option::map(from, Constant::Integer),
            to: Option::map(to, Constant::Integer),
            shard,
        };
        let ranges = [
            range(None, Some(5), "a"),
            range(Some(5), Some(9), "a"),
            range(Some(9), Some(20), "b"),
            range(Some(20), None, "a"),
        ];
        assert_eq!(range_bound(&ranges, "b").as_deref(), Some("FOR VALUES FROM (9) TO (20)"));
        assert_eq!(range_bound(&ranges, "a"), None, "its table would be two partitions");
        assert_eq!(range_bound(&ranges[..2], "a").as_deref(), Some("FOR VALUES FROM (MINVALUE) TO (9)"));
    }
}

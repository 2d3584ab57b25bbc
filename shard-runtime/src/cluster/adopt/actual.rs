//! The properties of tables in a database, beside their columns and indexes.

use crate::cluster::migrate::has_word;
use crate::driver::Connection;
use crate::error::Result;
use crate::planner::Location;
use crate::planner::sql::Param;
use crate::transaction::facts::texts;
use crate::value::Value;

fn text(text: &str) -> Param<'static> {
    Param::Value(Value::Text(text.to_owned().into()))
}

/// Returns the first row of texts.
fn row(connection: &dyn Connection, sql: &str, params: &[Param<'_>]) -> Result<Option<Vec<String>>> {
    Ok(texts(connection, sql, params)?.into_iter().next())
}

/// The object that has a table's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Table {
        /// Whether its rows are stored by the primary key.
        is_without_rowid: bool,
    },
    /// Something else, by its name.
    Other(String),
}

/// Returns the object with the name of a table; `None` if there is none.
pub(super) fn form(connection: &dyn Connection, location: &Location, table: &str) -> Result<Option<Form>> {
    let names = &location.names;
    if !location.dialect.is_on_server() {
        let sql = "SELECT type, CAST(wr AS TEXT) FROM pragma_table_list(?1) WHERE schema = 'main'";
        let found = row(connection, sql, &[text(&names.plain(table))])?;
        return Ok(found.map(|found| match found.as_slice() {
            [kind, wr] if kind == "table" => Form::Table { is_without_rowid: wr != "0" },
            [kind, ..] if kind == "view" => Form::Other("a view".to_owned()),
            [kind, ..] => Form::Other(format!("a {kind} table")),
            [] => Form::Other("nothing".to_owned()),
        }));
    }
    let sql = "SELECT CASE WHEN relispartition THEN 'a partition' WHEN relkind = 'r' THEN '' \
               WHEN relkind = 'p' THEN 'a partitioned table' WHEN relkind = 'v' THEN 'a view' \
               WHEN relkind = 'm' THEN 'a materialized view' WHEN relkind = 'f' THEN 'a foreign table' \
               ELSE 'something that is not a table' END FROM pg_class WHERE oid = to_regclass($1)";
    let found = row(connection, sql, &[text(&names.table(table))])?.and_then(|mut row| row.pop());
    Ok(found.map(|other| match other.is_empty() {
        true => Form::Table { is_without_rowid: false },
        false => Form::Other(other),
    }))
}

/// The rights that a role lacks.
pub(super) struct Lacking {
    pub(super) rights: String,
    pub(super) role: String,
}

/// Returns the rights that the role lacks on the schema of a server.
pub(super) fn lacking_on_schema(connection: &dyn Connection, location: &Location) -> Result<Option<Lacking>> {
    let Some(schema) = &location.names.schema else { return Ok(None) };
    lacking(connection, "has_schema_privilege", schema, &["USAGE", "CREATE"])
}

/// Returns the rights that the role lacks on a table of a server.
pub(super) fn lacking_on_table(
    connection: &dyn Connection,
    location: &Location,
    table: &str,
) -> Result<Option<Lacking>> {
    if !location.dialect.is_on_server() {
        return Ok(None);
    }
    let rights = ["SELECT", "INSERT", "UPDATE", "DELETE"];
    lacking(connection, "has_table_privilege", &location.names.table(table), &rights)
}

fn lacking(
    connection: &dyn Connection,
    function: &str,
    on: &str,
    rights: &[&str],
) -> Result<Option<Lacking>> {
    let each =
        rights.iter().map(|right| format!("CASE WHEN NOT {function}($1, '{right}') THEN '{right}' END"));
    let sql = format!("SELECT concat_ws(', ', {}), current_user::text", each.collect::<Vec<_>>().join(", "));
    let found = row(connection, &sql, &[text(on)])?;
    Ok(found.and_then(|found| match <[String; 2]>::try_from(found) {
        Ok([rights, role]) if !rights.is_empty() => Some(Lacking { rights, role }),
        _ => None,
    }))
}

/// Returns the columns of a table that refer to others, each with the other table's name.
pub(super) fn foreign_keys(
    connection: &dyn Connection,
    location: &Location,
    table: &str,
) -> Result<Vec<(String, String)>> {
    let names = &location.names;
    let (sql, table) = match location.dialect.is_on_server() {
        true => (
            "SELECT a.attname::text, o.relname::text FROM pg_constraint c \
             JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) \
             JOIN pg_class o ON o.oid = c.confrelid WHERE c.contype = 'f' AND c.conrelid = to_regclass($1)",
            names.table(table),
        ),
        false => ("SELECT \"from\", \"table\" FROM pragma_foreign_key_list(?1)", names.plain(table)),
    };
    let found = texts(connection, sql, &[text(&table)])?.into_iter();
    Ok(found.filter_map(|row| <[String; 2]>::try_from(row).ok()).map(|[from, to]| (from, to)).collect())
}

/// A column to which a program cannot give every value.
pub(super) struct Fixed {
    pub(super) column: String,
    /// Whether it is an identity. Otherwise it is computed from other columns.
    pub(super) is_identity: bool,
}

/// Returns the columns that the database computes, and identities that are GENERATED ALWAYS.
pub(super) fn fixed(connection: &dyn Connection, location: &Location, table: &str) -> Result<Vec<Fixed>> {
    let names = &location.names;
    let (sql, table) = match location.dialect.is_on_server() {
        true => (
            "SELECT attname::text, attidentity::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 \
             AND NOT attisdropped AND (attgenerated <> '' OR attidentity = 'a') ORDER BY attnum",
            names.table(table),
        ),
        // `table_info` does not list them.
        false => (
            "SELECT name, '' FROM pragma_table_xinfo(?1) WHERE hidden IN (2, 3) ORDER BY cid",
            names.plain(table),
        ),
    };
    let found = texts(connection, sql, &[text(&table)])?.into_iter();
    let found = found.filter_map(|row| <[String; 2]>::try_from(row).ok());
    Ok(found.map(|[column, identity]| Fixed { column, is_identity: !identity.is_empty() }).collect())
}

/// Returns the role, if row-level security can hide rows of a table on a server from it.
pub(super) fn hidden_from(
    connection: &dyn Connection,
    location: &Location,
    table: &str,
) -> Result<Option<String>> {
    if !location.dialect.is_on_server() {
        return Ok(None);
    }
    let sql = "SELECT current_user::text WHERE row_security_active(to_regclass($1))";
    Ok(row(connection, sql, &[text(&location.names.table(table))])?.and_then(|mut row| row.pop()))
}

/// Returns the SQL that detaches each table that inherits from a table on a server.
pub(super) fn heirs(connection: &dyn Connection, location: &Location, table: &str) -> Result<Vec<String>> {
    if !location.dialect.is_on_server() {
        return Ok(Vec::new());
    }
    let sql = "SELECT format('ALTER TABLE %s NO INHERIT %s', inhrelid::regclass, inhparent::regclass) FROM pg_inherits \
               WHERE inhparent = to_regclass($1) ORDER BY 1";
    Ok(texts(connection, sql, &[text(&location.names.table(table))])?.into_iter().flatten().collect())
}

/// The generator of the ids of a table.
pub(super) enum Generated {
    /// None.
    No,
    /// A SQLite table; whether it never generates an id twice.
    ByRowId { is_monotonic: bool },
    /// By a sequence on a server.
    BySequence {
        name: String,
        /// The role of the connection.
        role: String,
        /// The last id that it has generated, or 0; `None` if the role may not use it.
        last: Option<i64>,
    },
}

/// Returns the generator of an id that is a primary key.
pub(super) fn generated(
    connection: &dyn Connection,
    location: &Location,
    table: &str,
    id: &str,
) -> Result<Generated> {
    let names = &location.names;
    if !location.dialect.is_on_server() {
        // A column that is the alias of the rowid has no index of its own.
        let sql = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower(?1) AND NOT EXISTS \
                   (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk') AND EXISTS \
                   (SELECT 1 FROM pragma_table_info(?1) WHERE pk = 1 AND lower(type) = 'integer')";
        let found = row(connection, sql, &[text(&names.plain(table))])?.and_then(|mut row| row.pop());
        return Ok(match found {
            None => Generated::No,
            Some(sql) => Generated::ByRowId { is_monotonic: has_word(&sql, "AUTOINCREMENT") },
        });
    }
    let sql = "SELECT sequence, current_user::text, CASE WHEN has_sequence_privilege(sequence, 'USAGE') \
               THEN coalesce(pg_sequence_last_value(sequence::regclass), 0)::text ELSE '' END \
               FROM (SELECT pg_get_serial_sequence($1, attname) FROM pg_attribute WHERE attrelid = to_regclass($1) \
               AND lower(attname) = lower($2) AND NOT attisdropped) AS found (sequence) WHERE sequence IS NOT NULL LIMIT 1";
    let found = row(connection, sql, &[text(&names.table(table)), text(id)])?;
    Ok(match found.map(<[String; 3]>::try_from) {
        Some(Ok([name, role, last])) => Generated::BySequence { name, role, last: last.parse().ok() },
        _ => Generated::No,
    })
}

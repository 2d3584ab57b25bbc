//! The rows of a source that change while they are copied: triggers write their ids to a table of dirty rows. An entry means
//! that the row was inserted, changed or deleted; what it is now is read when it is copied.
//!
//! The table has no unique constraint: with one, `INSERT OR REPLACE` of the application would replace entries, because the
//! conflict clause of the outer statement counts also in triggers. Entries are removed one by one, by their number, after
//! the targets have the rows: transactions commit in another order than they write, so that "everything up to the last one"
//! would lose rows.

use super::links::Site;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Dialect, Param, literal, quoted};
use crate::schema::{KeyColumns, Table};
use crate::transaction::change::drop_triggers;
use crate::value::{ColumnType, Value};

/// The table of dirty rows.
const DIRTY: &str = "sharded_dirty";

/// The beginning of the names of the triggers and functions.
const CAPTURE: &str = "sharded_capture_";

/// An entry of the table of dirty rows.
pub(super) struct Dirty {
    pub(super) number: i64,
    pub(super) table: String,
    pub(super) id: Value<'static>,
    /// Whether its descendants may belong elsewhere than before: it is new, gone, or has another key or parent.
    pub(super) is_moved: bool,
}

/// The column of the table of dirty rows for ids of this kind.
fn column_of(table: &Table) -> Result<&'static str> {
    let kind = table.columns.get(table.id).map_or(ColumnType::Integer, |column| column.kind);
    match kind {
        ColumnType::Integer | ColumnType::Boolean => Ok("i"),
        ColumnType::Text => Ok("t"),
        ColumnType::Bytes => Ok("b"),
        ColumnType::Uuid => Ok("u"),
        ColumnType::Real | ColumnType::Timestamp | ColumnType::Json => {
            let message = "rows whose id is of this type cannot be moved by a change";
            Err(table.error_at(table.id, Error::new(ErrorKind::Configuration, message)))
        }
    }
}

/// Begins to note changed rows. In a transaction; from its end on every change is noted.
pub(super) fn make(connection: &dyn Connection, site: Site<'_>, tables: &[&'static Table]) -> Result<()> {
    let place = site.place;
    let (dirty, dialect) = (place.names.table(DIRTY), place.dialect);
    let bytes = dialect.column_type(ColumnType::Bytes);
    match dialect {
        Dialect::Sqlite => connection.run(&format!(
            "CREATE TABLE IF NOT EXISTS {dirty} (entry INTEGER PRIMARY KEY, tbl TEXT NOT NULL, i INTEGER, t TEXT, b {bytes}, u {bytes}, moved INTEGER NOT NULL) STRICT"
        ))?,
        Dialect::Postgres => connection.lock(&format!(
            "CREATE TABLE IF NOT EXISTS {dirty} (entry bigint GENERATED ALWAYS AS IDENTITY, tbl text NOT NULL, i bigint, t text, \
             b {bytes}, u uuid, moved integer NOT NULL)"
        ))?,
    }
    drop_triggers(connection, place, CAPTURE)?;
    for (at, table) in tables.iter().enumerate() {
        let sql = match dialect {
            Dialect::Sqlite => sqlite_triggers(connection, site, table, at)?,
            Dialect::Postgres => postgres_triggers(site, table, at)?,
        };
        sql.iter().try_for_each(|sql| connection.lock(sql)).map_err(|error| error.in_table(table.name))?;
    }
    Ok(())
}

/// Refuses tables that a change cannot move: what depends on them would go around the fence, or be left behind.
///
/// # Errors
/// [`ErrorKind::Configuration`]
pub(super) fn check(connection: &dyn Connection, site: Site<'_>, tables: &[&'static Table]) -> Result<()> {
    let names = &site.place.names;
    for table in tables {
        let plain = literal(&names.plain(table.name));
        let sql = match site.place.dialect {
            Dialect::Sqlite => format!(
                "SELECT 'the trigger `' || name || '`' FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = {plain} \
                 AND name NOT LIKE {}",
                literal(&format!("{}%", names.plain("sharded_")))
            ),
            Dialect::Postgres => {
                let schema = literal(names.schema.as_deref().unwrap_or("public"));
                let of = format!(
                    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = {schema} AND c.relname = {plain}"
                );
                format!(
                    "SELECT 'its partitions, or its being one' {of} WHERE c.relkind = 'p' OR c.relispartition \
                     UNION ALL SELECT 'its inheritance' {of} JOIN pg_inherits i ON c.oid IN (i.inhrelid, i.inhparent) \
                     UNION ALL SELECT 'the trigger `' || t.tgname || '`' {of} JOIN pg_trigger t ON t.tgrelid = c.oid \
                     WHERE NOT t.tgisinternal AND t.tgname NOT LIKE 'sharded\\_%' \
                     UNION ALL SELECT 'the rule or view `' || r.ev_class::regclass || '`' {of} JOIN pg_depend d ON d.refobjid = c.oid \
                     AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass \
                     JOIN pg_rewrite r ON r.oid = d.objid"
                )
            }
        };
        if let Some(what) =
            crate::transaction::facts::texts(connection, &sql, &[])?.into_iter().flatten().next()
        {
            let message = format!(
                "{what} prevents the table from being moved: drop it on this shard, and make it on the targets"
            );
            return Err(Error::new(ErrorKind::Configuration, message).in_table(table.name));
        }
    }
    Ok(())
}

fn sqlite_triggers(
    connection: &dyn Connection,
    site: Site<'_>,
    table: &'static Table,
    at: usize,
) -> Result<Vec<String>> {
    let names = &site.place.names;
    let (on, dirty, column) = (names.table(table.name), names.table(DIRTY), column_of(table)?);
    let id = quoted(table.columns.get(table.id).map_or("id", |column| column.name));
    let note = |what: &str, moved: &str, rest: &str| {
        format!("INSERT INTO {dirty} (tbl, {column}, moved) SELECT {}, {what}, {moved}{rest};", literal(table.name))
    };
    let trigger = |name: &str, event: &str, body: &str| {
        let name = quoted(&names.plain(&format!("{CAPTURE}{at}_{name}")));
        format!("CREATE TRIGGER {name} {event} ON {on} BEGIN {body} END")
    };
    let has_moved: Vec<String> =
        key_columns(table).map(|column| format!("OLD.{0} IS NOT NEW.{0}", quoted(column))).collect();
    let has_moved = if has_moved.is_empty() { "0".to_owned() } else { has_moved.join(" OR ") };
    let (old, new) = (format!("OLD.{id}"), format!("NEW.{id}"));
    let both = [
        note(&new, &format!("({has_moved} OR {old} IS NOT {new})"), ""),
        note(&old, "1", &format!(" WHERE {old} IS NOT {new}")),
    ];
    let mut triggers = vec![
        trigger("insert", "AFTER INSERT", &note(&new, "1", "")),
        trigger("update", "AFTER UPDATE", &both.join(" ")),
        trigger("delete", "AFTER DELETE", &note(&old, "1", "")),
    ];
    // A row that `OR REPLACE` removes because of a unique value fires no trigger.
    let unique = unique_indexes(connection, site, table.name)?;
    let replaced = |but: &str| -> Vec<String> {
        let others = unique.iter().map(|columns| {
            let same: Vec<String> =
                columns.iter().map(|column| format!("{0} = NEW.{0}", quoted(column))).collect();
            note(&id, "1", &format!(" FROM {on} WHERE {}{but}", same.join(" AND ")))
        });
        others.collect()
    };
    if !unique.is_empty() {
        triggers.push(trigger("replace", "BEFORE INSERT", &replaced("").join(" ")));
        let others = replaced(&format!(" AND {id} IS NOT OLD.{id}"));
        triggers.push(trigger("replace_by_update", "BEFORE UPDATE", &others.join(" ")));
    }
    Ok(triggers)
}

/// The columns that decide where a row belongs: its key, or its parent.
fn key_columns(table: &'static Table) -> impl Iterator<Item = &'static str> {
    let columns: Vec<usize> = match table.key {
        KeyColumns::Columns(keys) => keys.to_vec(),
        _ => table.parent.iter().map(|parent| parent.column).collect(),
    };
    columns.into_iter().filter_map(|column| table.columns.get(column)).map(|column| column.name)
}

/// The columns of the unique indexes of a SQLite table, without the primary key.
fn unique_indexes(connection: &dyn Connection, site: Site<'_>, table: &str) -> Result<Vec<Vec<String>>> {
    let plain = literal(&site.place.names.plain(table));
    let sql = format!(
        "SELECT l.name, i.name FROM pragma_index_list({plain}) AS l JOIN pragma_index_info(l.name) AS i \
         WHERE l.\"unique\" = 1 AND l.origin <> 'pk' AND i.name IS NOT NULL ORDER BY l.name, i.seqno"
    );
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for row in crate::transaction::facts::texts(connection, &sql, &[])? {
        let Ok([index, column]) = <[String; 2]>::try_from(row) else { continue };
        match found.last_mut() {
            Some((last, columns)) if *last == index => columns.push(column),
            _ => found.push((index, vec![column])),
        }
    }
    Ok(found.into_iter().map(|(_, columns)| columns).collect())
}

fn postgres_triggers(site: Site<'_>, table: &'static Table, at: usize) -> Result<Vec<String>> {
    let names = &site.place.names;
    let (on, dirty, column) = (names.table(table.name), names.table(DIRTY), column_of(table)?);
    let id = quoted(table.columns.get(table.id).map_or("id", |column| column.name));
    let mut sql = Vec::new();
    let all = format!("SELECT {id}, 1 FROM {on}");
    let has_moved: Vec<String> = key_columns(table)
        .map(|column| format!("OR n.{0} IS DISTINCT FROM o.{0}", quoted(column)))
        .collect();
    let events = [
        ("insert", "AFTER INSERT", "REFERENCING NEW TABLE AS new_rows", format!("SELECT {id}, 1 FROM new_rows")),
        (
            "update",
            "AFTER UPDATE",
            "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
            format!(
                "SELECT coalesce(n.{id}, o.{id}), (n.{id} IS NULL OR o.{id} IS NULL {})::integer \
                 FROM old_rows o FULL JOIN new_rows n ON n.{id} = o.{id}",
                has_moved.join(" ")
            ),
        ),
        ("delete", "AFTER DELETE", "REFERENCING OLD TABLE AS old_rows", format!("SELECT {id}, 1 FROM old_rows")),
        ("truncate", "BEFORE TRUNCATE", "", all),
    ];
    for (name, event, rows, ids) in events {
        let function = names.table(&format!("{CAPTURE}{at}_{name}"));
        let trigger = quoted(&format!("{CAPTURE}{at}_{name}"));
        // Roles that write the table need no right on the table of dirty rows.
        sql.push(format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $capture$ BEGIN \
             INSERT INTO {dirty} (tbl, {column}, moved) SELECT {}, changed.id, changed.moved FROM ({ids}) AS changed (id, moved); RETURN NULL; END $capture$",
            literal(table.name)
        ));
        sql.push(format!(
            "CREATE TRIGGER {trigger} {event} ON {on} {rows} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        ));
        sql.push(format!("ALTER TABLE {on} ENABLE ALWAYS TRIGGER {trigger}"));
    }
    Ok(sql)
}

/// Stops noting changed rows.
pub(super) fn remove(connection: &dyn Connection, site: Site<'_>) -> Result<()> {
    drop_triggers(connection, site.place, CAPTURE)?;
    connection.lock(&format!("DROP TABLE IF EXISTS {}", site.place.names.table(DIRTY)))
}

/// Returns up to so many entries.
pub(super) fn entries(connection: &dyn Connection, site: Site<'_>, limit: Option<u64>) -> Result<Vec<Dirty>> {
    let limit = limit.map_or_else(String::new, |limit| format!(" ORDER BY entry LIMIT {limit}"));
    let sql = format!("SELECT entry, tbl, i, t, b, u, moved FROM {}{limit}", site.place.names.table(DIRTY));
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(&[])?;
    let mut found = Vec::new();
    while rows.advance()? {
        let (Value::Integer(number), Value::Text(table)) = (rows.value(0)?, rows.value(1)?) else { continue };
        let table = table.into_owned();
        let is_moved = rows.value(6)? != Value::Integer(0);
        for column in 2..6 {
            let value = rows.value(column)?;
            if value != Value::Null {
                let kind = if column == 5 { ColumnType::Uuid } else { ColumnType::Integer };
                let id = if column == 5 { value.into_kind(kind)? } else { value };
                found.push(Dirty { number, table: table.clone(), id: id.into_owned(), is_moved });
            }
        }
    }
    Ok(found)
}

/// Returns how many entries there are.
pub(super) fn count(connection: &dyn Connection, site: Site<'_>) -> Result<u64> {
    let mut statement =
        connection.prepare(&format!("SELECT count(*) FROM {}", site.place.names.table(DIRTY)))?;
    let mut rows = statement.query(&[])?;
    let mut count = 0;
    while rows.advance()? {
        if let Value::Integer(found) = rows.value(0)? {
            count = u64::try_from(found).unwrap_or_default();
        }
    }
    Ok(count)
}

/// Removes exactly these entries. In a transaction.
pub(super) fn forget(connection: &dyn Connection, site: Site<'_>, entries: &[Dirty]) -> Result<()> {
    let sql =
        format!("DELETE FROM {} WHERE entry{}", site.place.names.table(DIRTY), site.place.dialect.is_in(1));
    for entries in entries.chunks(10_000) {
        let numbers = entries.iter().map(|entry| Value::Integer(entry.number)).collect();
        connection.prepare(&sql)?.execute(&[Param::List(numbers)])?;
    }
    Ok(())
}

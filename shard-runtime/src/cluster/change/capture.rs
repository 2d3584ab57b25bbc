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
use crate::transaction::facts;
use crate::value::{ColumnType, Value};

/// The table of dirty rows.
const DIRTY: &str = "sharded_dirty";

/// The beginning of the names of the triggers and functions.
const CAPTURE: &str = "sharded_capture_";

/// An entry of the table of dirty rows.
pub(super) struct Dirty {
    pub(super) number: i64,
    pub(super) table: String,
    /// The row; `None` for all rows of the table, which were there when it was emptied.
    pub(super) id: Option<Value<'static>>,
    /// Whether the row may belong to another target than before: it was inserted, deleted, or its key or its parent has
    /// changed. Its descendants are copied again with it.
    pub(super) has_moved: bool,
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
            "CREATE TABLE IF NOT EXISTS {dirty} (entry INTEGER PRIMARY KEY, tbl TEXT NOT NULL, moved INTEGER NOT NULL, i INTEGER, \
             t TEXT, b {bytes}, u {bytes}) STRICT"
        ))?,
        Dialect::Postgres => connection.lock(&format!(
            "CREATE TABLE IF NOT EXISTS {dirty} (entry bigint GENERATED ALWAYS AS IDENTITY, tbl text NOT NULL, moved bigint NOT NULL, \
             i bigint, t text, b {bytes}, u uuid)"
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
                 AND name NOT LIKE {} \
                 UNION ALL SELECT 'the view `' || name || '`' FROM sqlite_schema WHERE type = 'view' \
                 AND instr(lower(sql), lower({plain})) > 0 \
                 UNION ALL SELECT 'the unique index `' || l.name || '` of an expression' FROM pragma_index_list({plain}) AS l \
                 JOIN pragma_index_info(l.name) AS i WHERE l.\"unique\" = 1 AND i.name IS NULL",
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
        if let Some(what) = facts::texts(connection, &sql, &[])?.into_iter().flatten().next() {
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
    let note = |what: &str, moved: u8| {
        let table = literal(table.name);
        format!("INSERT INTO {dirty} (tbl, moved, {column}) SELECT {table}, {moved}, {what};")
    };
    let trigger = |name: &str, event: &str, on_which: &str, body: &str| {
        let name = quoted(&names.plain(&format!("{CAPTURE}{at}_{name}")));
        format!("CREATE TRIGGER {name} {event} ON {on}{on_which} BEGIN {body} END")
    };
    // What `OR REPLACE` removes because of a unique value fires no trigger.
    let unique = unique_indexes(connection, site, table.name)?;
    let replaced = unique.iter().map(|columns| {
        let same: Vec<String> =
            columns.iter().map(|column| format!("{0} = NEW.{0}", quoted(column))).collect();
        note(&format!("{id} FROM {on} WHERE {}", same.join(" AND ")), 1)
    });
    let replaced: String = replaced.collect::<Vec<String>>().join(" ");
    let (old, new) = (format!("OLD.{id}"), format!("NEW.{id}"));
    let routes = route_columns(table);
    let (list, differ): (Vec<String>, Vec<String>) =
        routes.iter().map(|name| (quoted(name), format!("OLD.{0} IS NOT NEW.{0}", quoted(name)))).unzip();
    let mut triggers = vec![
        trigger("insert", "AFTER INSERT", "", &note(&new, 1)),
        trigger("update", "AFTER UPDATE", "", &note(&new, 0)),
        trigger(
            "move",
            &format!("AFTER UPDATE OF {}", list.join(", ")),
            &format!(" WHEN {}", differ.join(" OR ")),
            &format!("{} {}", note(&old, 1), note(&new, 1)),
        ),
        trigger("delete", "AFTER DELETE", "", &note(&old, 1)),
    ];
    if !replaced.is_empty() {
        triggers.push(trigger("replace", "BEFORE INSERT", "", &replaced));
        triggers.push(trigger("replace_by_update", "BEFORE UPDATE", "", &replaced));
    }
    Ok(triggers)
}

/// The columns of a row that say where it belongs: the id, and those of the key, or the link to the parent.
fn route_columns(table: &'static Table) -> Vec<&'static str> {
    let key: &[usize] = match table.key {
        KeyColumns::Columns(columns) => columns,
        KeyColumns::Parent(_) => &[],
    };
    let parent = table.parent.map(|parent| parent.column);
    let mut columns: Vec<usize> = key.iter().copied().chain(parent).chain([table.id]).collect();
    columns.sort_unstable();
    columns.dedup();
    columns.into_iter().filter_map(|column| table.columns.get(column)).map(|column| column.name).collect()
}

/// The columns of the unique indexes of a SQLite table, without the primary key.
fn unique_indexes(connection: &dyn Connection, site: Site<'_>, table: &str) -> Result<Vec<Vec<String>>> {
    let plain = literal(&site.place.names.plain(table));
    let sql = format!(
        "SELECT l.name, i.name FROM pragma_index_list({plain}) AS l JOIN pragma_index_info(l.name) AS i \
         WHERE l.\"unique\" = 1 AND l.origin <> 'pk' ORDER BY l.name, i.seqno"
    );
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for row in facts::texts(connection, &sql, &[])? {
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
    let routes = route_columns(table).into_iter().map(quoted).filter(|name| *name != id);
    let differ: Vec<String> =
        routes.map(|name| format!("(o.r).{name} IS DISTINCT FROM (n.r).{name}")).collect();
    let ids_differ = "o.id IS DISTINCT FROM n.id".to_owned();
    let has_moved = std::iter::once(ids_differ).chain(differ).collect::<Vec<String>>().join(" OR ");
    let events = [
        (
            "insert",
            "AFTER INSERT",
            "REFERENCING NEW TABLE AS new_rows",
            format!("SELECT {id}, 1 FROM new_rows"),
        ),
        (
            "update",
            "AFTER UPDATE",
            "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
            format!(
                "SELECT coalesce(o.id, n.id), CASE WHEN {has_moved} THEN 1 ELSE 0 END \
                 FROM (SELECT {id} AS id, old_rows AS r FROM old_rows) AS o \
                 FULL JOIN (SELECT {id} AS id, new_rows AS r FROM new_rows) AS n ON n.id = o.id"
            ),
        ),
        (
            "delete",
            "AFTER DELETE",
            "REFERENCING OLD TABLE AS old_rows",
            format!("SELECT {id}, 1 FROM old_rows"),
        ),
        // All rows, also those that the transaction does not see.
        ("truncate", "BEFORE TRUNCATE", "", "SELECT NULL, 1".to_owned()),
    ];
    for (name, event, rows, ids) in events {
        let function = names.table(&format!("{CAPTURE}{at}_{name}"));
        let trigger = quoted(&format!("{CAPTURE}{at}_{name}"));
        let (columns, values) = match name {
            "truncate" => ("tbl, moved".to_owned(), "changed.moved"),
            _ => (format!("tbl, moved, {column}"), "changed.moved, changed.id"),
        };
        // Roles that write the table need no right on the table of dirty rows.
        sql.push(format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
             SET search_path = pg_catalog, pg_temp AS $capture$ BEGIN \
             INSERT INTO {dirty} ({columns}) SELECT {}, {values} FROM ({ids}) AS changed (id, moved); RETURN NULL; END $capture$",
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

/// Returns all entries, by number.
pub(super) fn entries(connection: &dyn Connection, site: Site<'_>) -> Result<Vec<Dirty>> {
    let dirty = site.place.names.table(DIRTY);
    let mut statement =
        connection.prepare(&format!("SELECT entry, tbl, moved, i, t, b, u FROM {dirty} ORDER BY entry"))?;
    let mut rows = statement.query(&[])?;
    let mut found = Vec::new();
    while rows.advance()? {
        let (Value::Integer(number), Value::Text(table)) = (rows.value(0)?, rows.value(1)?) else { continue };
        let (table, has_moved) = (table.into_owned(), rows.value(2)? != Value::Integer(0));
        let mut id = None;
        for column in 3..7 {
            let value = rows.value(column)?;
            if value != Value::Null {
                let value = if column == 6 { value.into_kind(ColumnType::Uuid)? } else { value };
                id = Some(value.into_owned());
            }
        }
        found.push(Dirty { number, table, id, has_moved });
    }
    Ok(found)
}

/// Whether there are no entries.
pub(super) fn is_clean(connection: &dyn Connection, site: Site<'_>) -> Result<bool> {
    let sql = format!("SELECT 'one' FROM {} LIMIT 1", site.place.names.table(DIRTY));
    Ok(facts::texts(connection, &sql, &[])?.is_empty())
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

//! The rows that arrive in a table after a backfill has passed their ids. Programs of the earlier release add them, or move them
//! from a shard on which the backfill has not run yet. A trigger records their ids before the first batch. Once every shard has
//! run the backfill, it changes the recorded rows.

use super::expand::SchemaWork;
use crate::driver::Connection;
use crate::error::Result;
use crate::planner::Location;
use crate::planner::own_tables;
use crate::planner::sql::{Param, literal, quoted, shortened, type_sql};
use crate::schema::Table;
use crate::transaction::facts::texts;
use crate::value::{ColumnType, Value};

/// The record of the rows that have arrived in the table of one backfill on one shard.
pub(super) struct Arrivals<'a> {
    location: &'a Location,
    table: &'static Table,
    /// The step's number, and the index of the backfill among its actions.
    backfill: (u32, usize),
}

/// Recorded arrivals: the numbers of the records, and the distinct ids of the rows.
#[derive(Default)]
pub(super) struct Arrived {
    records: Vec<Value<'static>>,
    pub(super) ids: Vec<Value<'static>>,
}

impl Arrived {
    pub(super) fn records(&self) -> usize {
        self.records.len()
    }
}

/// Returns the backfills whose arrivals a shard records.
pub(super) fn recorded(connection: &dyn Connection, location: &Location) -> Result<Vec<(u32, usize)>> {
    let beginning = location.names.plain(own_tables::ARRIVED);
    let sql = match &location.names.schema {
        _ if !location.dialect.is_on_server() => {
            "SELECT name FROM sqlite_schema WHERE type = 'table'".to_owned()
        }
        // An index scan over the names: the catalog may have many tables.
        schema => format!(
            "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relname BETWEEN '{beginning}_' AND '{beginning}_~' AND c.relkind = 'r' AND n.nspname = {}",
            literal(schema.as_deref().unwrap_or("public"))
        ),
    };
    let parse = |name: &String| {
        let (step, action) = name.strip_prefix(&beginning)?.strip_prefix('_')?.split_once('_')?;
        Some((step.parse().ok()?, action.parse().ok()?))
    };
    let mut found: Vec<(u32, usize)> =
        texts(connection, &sql, &[])?.iter().flatten().filter_map(parse).collect();
    found.sort_unstable();
    Ok(found)
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(location: &'a Location, table: &'static Table, backfill: (u32, usize)) -> Self {
        Arrivals { location, table, backfill }
    }

    fn name(&self) -> String {
        let (step, action) = self.backfill;
        format!("{}_{step}_{action}", own_tables::ARRIVED)
    }

    /// Returns the record's table as SQL.
    fn records(&self) -> String {
        self.location.names.table(&self.name())
    }

    fn trigger(&self) -> String {
        let (step, action) = self.backfill;
        let name = format!("sharded arrived {}({step}.{action})", self.table.name);
        quoted(&shortened(self.location.names.plain(&name), self.location.dialect))
    }

    fn function(&self) -> String {
        let (step, action) = self.backfill;
        let name =
            shortened(format!("sharded arrived {}({step}.{action})", self.table.name), self.location.dialect);
        let schema = self.location.names.schema.as_ref();
        schema.map_or_else(String::new, |schema| format!("{}.", quoted(schema))) + &quoted(&name)
    }

    /// Returns the SQL that begins the record.
    pub(super) fn begin(&self) -> SchemaWork {
        let (on, records, trigger) =
            (self.location.names.table(self.table.name), self.records(), self.trigger());
        let Some(id) = self.table.columns.get(self.table.id) else { return SchemaWork::together(Vec::new()) };
        let (column, kind) = (quoted(id.name), type_sql(id, self.location.dialect));
        let index = |name: &str| format!("CREATE INDEX {name} ON {records} (id)");
        let insert = format!("INSERT INTO {records} (id) VALUES (NEW.{column})");
        // The records have no unique id: on SQLite, an OR IGNORE of the statement that fires the trigger would apply in it, too.
        if !self.location.dialect.is_on_server() {
            let strict = self.location.dialect.strict();
            return SchemaWork::together(vec![
                format!("CREATE TABLE {records} (record INTEGER PRIMARY KEY, id {kind} NOT NULL){strict}"),
                index(&quoted(&self.location.names.plain(&format!("{} id", self.name())))),
                format!("CREATE TRIGGER {trigger} AFTER INSERT ON {on} BEGIN {insert}; END"),
            ]);
        }
        let function = self.function();
        let integer = self.location.dialect.column_type(ColumnType::Integer);
        SchemaWork::together(vec![
            format!(
                "CREATE TABLE {records} (record {integer} GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id {kind} NOT NULL)"
            ),
            index(&quoted(&format!("{} id", self.name()))),
            // It runs with the rights of the role that migrates: the roles that add rows have no right to the records.
            format!(
                "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
                 SET search_path = pg_catalog, pg_temp AS $sharded$ BEGIN {insert}; RETURN NULL; END $sharded$"
            ),
            format!(
                "CREATE TRIGGER {trigger} AFTER INSERT ON {on} FOR EACH ROW EXECUTE FUNCTION {function}()"
            ),
            format!("ALTER TABLE {on} ENABLE ALWAYS TRIGGER {trigger}"),
        ])
    }

    /// Returns the SQL that ends the record.
    pub(super) fn end(&self) -> SchemaWork {
        let (on, records, trigger) =
            (self.location.names.table(self.table.name), self.records(), self.trigger());
        SchemaWork::together(match self.location.dialect.is_on_server() {
            true => vec![
                format!("DROP TRIGGER IF EXISTS {trigger} ON {on}"),
                format!("DROP FUNCTION IF EXISTS {}()", self.function()),
                format!("DROP TABLE IF EXISTS {records}"),
            ],
            false => {
                vec![format!("DROP TRIGGER IF EXISTS {trigger}"), format!("DROP TABLE IF EXISTS {records}")]
            }
        })
    }

    /// Returns the description of this work for a plan.
    pub(super) fn describe(&self) -> String {
        let on = self.location.names.table(self.table.name);
        format!("-- rows of {on} that have arrived since the backfill has begun are changed by the program")
    }

    /// Blocks other writers of the table, and waits until no other transaction writes to it, prepared ones included. A row that
    /// moves between two servers may be visible on neither for a moment: on the new one its participant is prepared then. A
    /// SQLite transaction that writes locks the whole database.
    pub(super) fn lock(&self, connection: &dyn Connection) -> Result<()> {
        if !self.location.dialect.is_on_server() {
            return Ok(());
        }
        let on = self.location.names.table(self.table.name);
        connection.lock(&format!("LOCK TABLE {on} IN SHARE ROW EXCLUSIVE MODE"))
    }

    /// Returns the next records.
    pub(super) fn next(&self, connection: &dyn Connection, limit: u32) -> Result<Arrived> {
        let sql = format!("SELECT record, id FROM {} ORDER BY record LIMIT {limit}", self.records());
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query(&[])?;
        let mut arrived = Arrived::default();
        while rows.advance()? {
            arrived.records.push(rows.value(0)?.into_owned());
            let id = self.table.value_of(self.table.id, rows.value(1))?.into_owned();
            if !arrived.ids.contains(&id) {
                arrived.ids.push(id);
            }
        }
        Ok(arrived)
    }

    /// Removes exactly these records: a row that arrives meanwhile has its own record.
    pub(super) fn remove(&self, connection: &dyn Connection, arrived: &Arrived) -> Result<()> {
        self.delete(connection, "record", &arrived.records)
    }

    /// Removes the records of rows that the transaction has changed: its row locks prevent new records of them.
    pub(super) fn remove_changed(&self, connection: &dyn Connection, ids: &[Value<'static>]) -> Result<()> {
        self.delete(connection, "id", ids)
    }

    fn delete(&self, connection: &dyn Connection, column: &str, values: &[Value<'static>]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let sql = format!("DELETE FROM {} WHERE {column}{}", self.records(), self.location.dialect.is_in(1));
        let values = values.iter().map(Value::borrowed).collect();
        connection.prepare(&sql)?.execute(&[Param::List(values)]).map(drop)
    }
}

//! Changes the rows of a table in batches by id.

use std::fmt;
use std::marker::PhantomData;

use super::remedy;
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::planner::Location;
use crate::planner::sql::{Param, quoted};
use crate::query::{Sharded, values_of};
use crate::row::{Row, RowSource};
use crate::schema::{ColumnDef, Shard, Table};
use crate::transaction::facts::texts;
use crate::value::{Value, codec};

/// A change of all rows of a table.
pub(super) trait BackfillRows: fmt::Debug + Send + Sync {
    fn table(&self) -> &'static Table;

    /// Returns the description of the change for a plan.
    fn describe(&self, location: &Location) -> String;

    /// Changes the next rows after an id.
    fn portion(
        &self,
        connection: &dyn Connection,
        location: &Location,
        shard: &Shard,
        next: Next<'_>,
    ) -> Result<Portion>;
}

/// The rows of a batch.
#[derive(Clone, Copy)]
pub(super) struct Next<'n> {
    /// The last id of the previous batch.
    pub(super) after: Option<&'n Value<'static>>,
    /// The largest number of rows to read.
    pub(super) limit: u32,
    /// Only rows that have NULL in this column.
    pub(super) null: Option<&'n ColumnDef>,
    /// Only rows with these ids; `after` is `None` then.
    pub(super) among: Option<&'n [Value<'static>]>,
}

/// The result of a batch.
pub(super) struct Portion {
    /// The ids of the rows, ascending.
    pub(super) ids: Vec<Value<'static>>,
}

/// Counts the rows of a table after a cursor.
pub(super) fn rows_after(
    connection: &dyn Connection,
    location: &Location,
    table: &Table,
    cursor: &str,
) -> Result<u64> {
    let after = cursor_id(cursor)?;
    let id = quoted(table.columns.get(table.id).map_or("id", |id| id.name));
    let condition = after.as_ref().map(|_| format!(" WHERE {id} > {}", location.dialect.param(1)));
    let sql = format!(
        "SELECT CAST(count(*) AS TEXT) FROM {}{}",
        location.names.table(table.name),
        condition.unwrap_or_default()
    );
    let params: Vec<Param<'_>> = after.into_iter().map(Param::Value).collect();
    let counted = texts(connection, &sql, &params)?;
    Ok(counted.into_iter().flatten().next().and_then(|count| count.parse().ok()).unwrap_or_default())
}

/// Writes an id as the text of a cursor.
pub(in crate::cluster) fn cursor_text(id: &Value<'_>) -> String {
    let mut bytes = Vec::new();
    codec::put_value(id, &mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads an id from the text of a cursor; `None` at the beginning.
pub(in crate::cluster) fn cursor_id(text: &str) -> Result<Option<Value<'static>>> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits: Vec<char> = text.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    let id = bytes.and_then(|bytes| codec::Reader::new(&bytes).value().map(Value::into_owned));
    match id {
        Some(id) => Ok(Some(id)),
        None => {
            let message = "the cursor of the backfill cannot be read; set it to '' in `sharded_migration` to begin anew";
            Err(Error::new(ErrorKind::Corrupt, message))
        }
    }
}

/// The values of a row that is being changed.
struct RowValues(Vec<Value<'static>>);

impl RowSource for RowValues {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        let value = self.0.get(index).map(Value::borrowed);
        value.ok_or_else(|| ValueError::new(format!("the row has no column {index}")))
    }
}

/// Reads rows, with their values in the kinds of the given columns.
fn read(
    connection: &dyn Connection,
    table: &Table,
    columns: &[usize],
    sql: &str,
    next: Next<'_>,
) -> Result<Vec<RowValues>> {
    let mut statement = connection.prepare(sql).map_err(|error| remedy::of_sql(error, sql))?;
    let after = next.after.map(|id| Param::Value(id.borrowed()));
    let among = next.among.map(|ids| Param::List(ids.iter().map(Value::borrowed).collect()));
    let params: Vec<Param<'_>> = after.or(among).into_iter().collect();
    let mut rows = statement.query(&params)?;
    let mut found = Vec::new();
    while rows.advance()? {
        let values = columns
            .iter()
            .enumerate()
            .map(|(position, &column)| table.value_of(column, rows.value(position)).map(Value::into_owned));
        found.push(RowValues(values.collect::<Result<_>>()?));
    }
    Ok(found)
}

impl Next<'_> {
    /// Returns the end of the SELECT: condition, order, limit and lock.
    fn sql(&self, location: &Location, table: &Table) -> String {
        let id = quoted(table.columns.get(table.id).map_or("id", |id| id.name));
        let after = self.after.map(|_| format!("{id} > {}", location.dialect.param(1)));
        let among = self.among.map(|_| format!("{id}{}", location.dialect.is_in(1)));
        let null = self.null.map(|column| format!("{} IS NULL", quoted(column.name)));
        let conditions: Vec<String> = after.or(among).into_iter().chain(null).collect();
        let filter = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        format!("{filter} ORDER BY {id} LIMIT {}{}", self.limit, location.dialect.for_update())
    }
}

/// A closure that changes rows of a model.
pub(super) struct Backfill<T, F> {
    change: F,
    model: PhantomData<fn() -> T>,
}

impl<T: Sharded, F: Fn(&mut T)> Backfill<T, F> {
    pub(super) fn new(change: F) -> Self {
        Backfill { change, model: PhantomData }
    }

    /// Returns the indexes of the columns whose values differ.
    fn changed(before: &[Value<'_>], after: &[Value<'_>]) -> Result<Vec<usize>> {
        let table = T::TABLE;
        let differing = before.iter().zip(after).enumerate().filter(|(_, (before, after))| before != after);
        let changed: Vec<usize> = differing.map(|(index, _)| index).collect();
        let key = match table.key {
            crate::schema::KeyColumns::Columns(columns) => columns.to_vec(),
            crate::schema::KeyColumns::Parent(column) => vec![column],
        };
        let lookups = T::LOOKUPS.iter().map(|lookup| lookup.column);
        let fixed: Vec<usize> = key.into_iter().chain(lookups).chain([table.id]).collect();
        match changed.iter().find(|column| fixed.contains(column)) {
            None => Ok(changed),
            Some(&column) => {
                let message = "the backfill changes the id, the shard key, the parent or a lookup of a row; change it through a session";
                Err(table.error_at(column, Error::new(ErrorKind::ShardKeyChanged, message)))
            }
        }
    }
}

impl<T: Sharded, F> fmt::Debug for Backfill<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backfill").field("table", &T::TABLE.name).finish_non_exhaustive()
    }
}

impl<T: Sharded, F: Fn(&mut T) + Send + Sync> BackfillRows for Backfill<T, F> {
    fn table(&self) -> &'static Table {
        T::TABLE
    }

    fn describe(&self, location: &Location) -> String {
        format!(
            "-- each row of {} is changed by the program, in portions by id",
            location.names.table(T::TABLE.name)
        )
    }

    fn portion(
        &self,
        connection: &dyn Connection,
        location: &Location,
        shard: &Shard,
        next: Next<'_>,
    ) -> Result<Portion> {
        let table = T::TABLE;
        let on = location.names.table(table.name);
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let names: Vec<String> = table.columns.iter().map(|column| quoted(column.name)).collect();
        let rest = next.sql(location, table);
        let found =
            read(connection, table, &all, &format!("SELECT {} FROM {on}{rest}", names.join(", ")), next)?;
        let id_of = |row: &RowValues| row.0.get(table.id).cloned();
        for row in &found {
            let mut model = T::load(&Row { source: row, shard, table, columns: None })?;
            let before: Vec<Value<'static>> = values_of(&model)?.into_iter().map(Value::into_owned).collect();
            (self.change)(&mut model);
            let after = values_of(&model)?;
            let changed = Self::changed(&before, &after)?;
            if changed.is_empty() {
                continue;
            }
            let set = changed.iter().enumerate().map(|(position, column)| {
                format!(
                    "{} = {}",
                    names.get(*column).map_or("", String::as_str),
                    location.dialect.param(position + 1)
                )
            });
            let set: Vec<String> = set.collect();
            let id = names.get(table.id).map_or("", String::as_str);
            let sql = format!(
                "UPDATE {on} SET {} WHERE {id} = {}",
                set.join(", "),
                location.dialect.param(set.len() + 1)
            );
            let values = changed.iter().filter_map(|column| after.get(*column)).map(Value::borrowed);
            let params: Vec<Param<'_>> = values.chain(id_of(row)).map(Param::Value).collect();
            let run = connection.prepare(&sql).and_then(|mut statement| statement.execute(&params));
            run.map_err(|error| remedy::of_sql(error.in_table(table.name), &sql))?;
        }
        Ok(Portion { ids: found.iter().filter_map(id_of).collect() })
    }
}

/// Copies one column to another.
#[derive(Debug)]
pub(super) struct CopyColumn {
    pub(super) table: &'static Table,
    pub(super) from: String,
    pub(super) to: String,
}

impl BackfillRows for CopyColumn {
    fn table(&self) -> &'static Table {
        self.table
    }

    fn describe(&self, location: &Location) -> String {
        let (on, from, to) = (location.names.table(self.table.name), quoted(&self.from), quoted(&self.to));
        format!("-- in portions by id: UPDATE {on} SET {to} = {from}")
    }

    fn portion(
        &self,
        connection: &dyn Connection,
        location: &Location,
        _: &Shard,
        next: Next<'_>,
    ) -> Result<Portion> {
        let table = self.table;
        let on = location.names.table(table.name);
        let id = quoted(table.columns.get(table.id).map_or("id", |id| id.name));
        let rest = next.sql(location, table);
        let found = read(connection, table, &[table.id], &format!("SELECT {id} FROM {on}{rest}"), next)?;
        let ids: Vec<Value<'static>> = found.into_iter().filter_map(|row| row.0.into_iter().next()).collect();
        if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
            let (from, to) = (quoted(&self.from), quoted(&self.to));
            let (low, high) = (location.dialect.param(1), location.dialect.param(2));
            let sql = format!("UPDATE {on} SET {to} = {from} WHERE {id} >= {low} AND {id} <= {high}");
            let params = [first, last].map(|id| Param::Value(id.borrowed()));
            let run = connection.prepare(&sql).and_then(|mut statement| statement.execute(&params));
            run.map_err(|error| remedy::of_sql(error, &sql))?;
        }
        Ok(Portion { ids })
    }
}

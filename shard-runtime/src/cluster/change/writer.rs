//! Writes rows as values to the targets that they belong on. Uses `rows`.

use super::links::Endpoint;
use super::rows::{INSERT_ROWS, Tables};
use crate::driver::{Connection, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Param;
use crate::schema::Table;
use crate::value::Value;

/// Writes rows of one table to the targets that they belong on.
pub(super) struct TargetWriter<'w> {
    tables: &'w Tables<'w>,
    source: usize,
    table: &'static Table,
    columns: usize,
    parts: Vec<WriterOfTarget<'w>>,
}

struct WriterOfTarget<'w> {
    endpoint: Endpoint<'w>,
    statement: Box<dyn Prepared + 'w>,
    /// Rows that are sent together.
    waiting: Vec<Vec<Value<'static>>>,
}

impl<'w> TargetWriter<'w> {
    pub(super) fn new(
        tables: &'w Tables<'w>,
        targets: impl Iterator<Item = (Endpoint<'w>, &'w dyn Connection)>,
        source: usize,
        table: &'static Table,
    ) -> Result<Self> {
        let shape = tables.shape(source, table)?;
        let parts = targets.zip(&shape.inserts).map(|((endpoint, connection), sql)| {
            let statement = connection.prepare(sql).map_err(|error| error.on_shard(endpoint.name))?;
            Ok(WriterOfTarget { endpoint, statement, waiting: Vec::new() })
        });
        Ok(TargetWriter {
            tables,
            source,
            table,
            columns: shape.columns.len(),
            parts: parts.collect::<Result<_>>()?,
        })
    }

    /// Writes a row that was read from the source.
    pub(super) fn add(&mut self, row: &[Value<'_>]) -> Result<()> {
        let target = self.tables.target_of(self.source, self.table, row)?;
        let values = row.get(..self.columns).unwrap_or_default();
        for (at, part) in self.parts.iter_mut().enumerate() {
            // `None` is every target.
            if target.is_none_or(|target| target == at) {
                let added = part.add(values, self.columns);
                added.map_err(|error| error.in_table(self.table.name).on_shard(part.endpoint.name))?;
            }
        }
        Ok(())
    }

    /// Writes the pending rows.
    pub(super) fn end(mut self) -> Result<()> {
        let (table, columns) = (self.table, self.columns);
        self.parts.iter_mut().try_for_each(|part| {
            part.send(columns).map_err(|error| error.in_table(table.name).on_shard(part.endpoint.name))
        })
    }
}

impl WriterOfTarget<'_> {
    fn add(&mut self, row: &[Value<'_>], columns: usize) -> Result<()> {
        let is_nan = |value: &Value<'_>| matches!(value, Value::Real(real) if real.is_nan());
        if !self.endpoint.location.dialect.stores_nan() && row.iter().any(is_nan) {
            let message =
                "SQLite would store NaN as NULL; set the value to another one before the row is copied";
            return Err(Error::new(ErrorKind::Value, message));
        }
        if !self.endpoint.location.dialect.inserts_lists() {
            return self.statement.insert(row).map(drop);
        }
        self.waiting.push(row.iter().map(|value| value.borrowed().into_owned()).collect());
        if self.waiting.len() == INSERT_ROWS { self.send(columns) } else { Ok(()) }
    }

    fn send(&mut self, columns: usize) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let column = |at: usize| {
            Param::List(self.waiting.iter().filter_map(|row| row.get(at)).map(Value::borrowed).collect())
        };
        let lists: Vec<Param<'_>> = (0..columns).map(column).collect();
        self.statement.execute(&lists)?;
        self.waiting.clear();
        Ok(())
    }
}

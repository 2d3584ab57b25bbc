//! How a session reads: plans run on the shards' connections, rows loaded and merged.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Session, Watch};
use crate::driver::{Cursor, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::merge;
use crate::model::{Child, IdKind, Row, RowSource, Sharded, Table};
use crate::plan::{Plan, Projection, Step};
use crate::query::{OrderBy, SelectCore};
use crate::shards::{Shard, ShardSet};
use crate::sql::Param;
use crate::stored::Stored;
use crate::value::{Field, Value};

/// The rows of one shard's statement, counted.
struct Rows<'s> {
    cursor: Box<dyn Cursor + 's>,
    shard: &'s Shard,
    table: &'static Table,
    read: u64,
}

impl merge::Stream for Rows<'_> {
    fn advance(&mut self) -> Result<bool> {
        let found = self.cursor.advance().map_err(|error| locate(error, self.shard, self.table))?;
        self.read += u64::from(found);
        Ok(found)
    }
}

impl Rows<'_> {
    /// The current row's value in a column that the answer is ordered by.
    fn ordered_by(&self, column: usize) -> Result<Value<'_>> {
        let located = |error| self.table.error_at(column, error).on_shard(self.shard.name());
        self.cursor.value(column).map_err(located)
    }
}

impl RowSource for Rows<'_> {
    fn value(&self, index: usize) -> Result<Value<'_>, crate::error::ValueError> {
        self.cursor.value(index)
    }
}

fn locate(error: Error, shard: &Shard, table: &'static Table) -> Error {
    error.on_shard(shard.name()).in_table(table.name)
}

/// The order of two rows by the columns that a query is ordered by.
fn compare(order: &[OrderBy], a: &Rows<'_>, b: &Rows<'_>) -> Result<Ordering> {
    for by in order {
        let (left, right) = (a.ordered_by(by.column)?, b.ordered_by(by.column)?);
        let ordering = match (&left, &right) {
            (Value::Null, Value::Null) => Ordering::Equal,
            (Value::Null, _) if by.nulls_first => Ordering::Less,
            (Value::Null, _) => Ordering::Greater,
            (_, Value::Null) if by.nulls_first => Ordering::Greater,
            (_, Value::Null) => Ordering::Less,
            (left, right) if by.descending => right.order(left),
            (left, right) => left.order(right),
        };
        if ordering != Ordering::Equal {
            return Ok(ordering);
        }
    }
    Ok(Ordering::Equal)
}

impl Session {
    /// Gets ready to read these models on these shards: what waits for them is written, and every database is in
    /// a transaction. Errors are about the first of them.
    pub(super) fn ready(&mut self, tables: &[&'static Table], shards: &ShardSet) -> Result<()> {
        self.check_usable()?;
        let layout = self.cluster.layout();
        let models = tables.iter().map(|table| layout.model(table)).collect::<Result<Vec<usize>>>()?;
        let waits = |shard: &usize| {
            let pending = self.pending.get(*shard);
            pending.is_some_and(|pending| models.iter().any(|&model| pending.holds(model)))
        };
        let waiting: ShardSet = shards.indexes().iter().copied().filter(waits).collect();
        self.flush_shards(&waiting)?;
        for &shard in shards.indexes() {
            let database = self.cluster.layout().place(shard)?.database;
            if let (Some(link), Some(shard)) = (self.links.get_mut(database), self.cluster.shards().at(shard))
            {
                link.read(&self.cluster, database).map_err(|error| match tables.first() {
                    Some(table) => locate(error, shard, table),
                    None => error.on_shard(shard.name()),
                })?;
            }
        }
        Ok(())
    }

    /// Runs a plan and visits the rows of its answer, each with its shard.
    fn run(&mut self, plan: &Plan<'_>, mut visit: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        let table = plan.target.table;
        self.ready(&plan.tables, &plan.shards())?;
        let cluster = &self.cluster;
        let mut prepared = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            prepared.push(self.prepare(step.shard, &step.statement.sql, table)?);
        }
        let mut watches = Vec::with_capacity(plan.steps.len());
        let mut streams = Vec::with_capacity(plan.steps.len());
        for (step, (shard, statement)) in plan.steps.iter().zip(&mut prepared) {
            watches.push(Watch::begin(cluster, shard));
            let cursor =
                statement.query(&step.statement.params).map_err(|error| locate(error, shard, table))?;
            streams.push(Rows { cursor, shard, table, read: 0 });
        }
        let each = |_: usize, rows: &Rows<'_>| visit(&Row { source: rows, shard: rows.shard, table });
        let result = match plan.order.is_empty() || streams.len() < 2 {
            true => merge::chain(&mut streams, plan.skip, plan.take, each),
            false => merge::merge(&mut streams, |a, b| compare(plan.order, a, b), plan.skip, plan.take, each),
        };
        for ((step, watch), rows) in plan.steps.iter().zip(watches).zip(&streams) {
            watch.end(cluster, rows.shard, &step.statement.sql, rows.read, &result);
        }
        result
    }

    /// A statement on a shard's connection, which `ready` has made.
    pub(super) fn prepare<'s>(
        &'s self,
        shard: usize,
        sql: &str,
        table: &'static Table,
    ) -> Result<(&'s Shard, Box<dyn Prepared + 's>)> {
        let database = self.cluster.layout().place(shard)?.database;
        let link = self.links.get(database).and_then(|link| link.connection());
        let (Some(connection), Some(shard)) = (link, self.cluster.shards().at(shard)) else {
            return Err(Error::new(ErrorKind::UnknownShard, "there is no such shard in this cluster"));
        };
        let statement = connection.prepare(sql).map_err(|error| locate(error, shard, table))?;
        Ok((shard, statement))
    }

    pub(crate) fn select<T: Sharded>(&mut self, core: &SelectCore) -> Result<Vec<Stored<T>>> {
        let mut found = Vec::new();
        self.visit(core, Projection::Rows, |row| {
            found.push(Stored::new(Arc::new(T::load(row)?), row.shard.clone()));
            Ok(())
        })?;
        Ok(found)
    }

    /// Visits the rows of a select, or each shard's partial value of an aggregate.
    pub(crate) fn visit(
        &mut self,
        core: &SelectCore,
        projection: Projection,
        visit: impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        let cluster = self.cluster.clone();
        let visited = self.run(&Plan::read(core, projection, cluster.layout())?, visit);
        self.noticed(visited)
    }

    /// The row of this id on one of these shards, from what the session knows or from the shards.
    pub(super) fn look_up<T: Sharded>(&mut self, id: &T::Id, shards: &ShardSet) -> Result<Option<Stored<T>>> {
        if let Some(known) = self.identities.get(id, shards)? {
            return Ok(Some(known));
        }
        let found = self.fetch(id, shards);
        let found = self.noticed(found)?;
        if let Some(row) = &found {
            self.identities.put(row)?;
        }
        Ok(found)
    }

    /// The row of this id on one of these shards, from the shards, which are asked in turn. Where the cluster
    /// itself hands the ids out, the first that has the row is the last that is asked.
    fn fetch<T: Sharded>(&mut self, id: &T::Id, shards: &ShardSet) -> Result<Option<Stored<T>>> {
        let table = T::TABLE;
        let first_is_enough = matches!(table.id_kind, IdKind::Sequence | IdKind::Uuid);
        let value = id.to_value().map_err(|error| table.error_at(table.id, error))?;
        let params = [Param::Value(value)];
        let mut found: Option<Stored<T>> = None;
        for &shard in shards.indexes() {
            let Some(row) = self.fetch_from::<T>(shard, &params)? else { continue };
            if let Some(other) = &found {
                let (a, b) = (other.shard().name(), row.shard().name());
                let said = format!("the id {id:?} is on shard `{a}` and on shard `{b}`");
                return Err(Error::new(ErrorKind::Ambiguous, said).in_table(table.name));
            }
            found = Some(row);
            if first_is_enough {
                break;
            }
        }
        Ok(found)
    }

    fn fetch_from<T: Sharded>(&mut self, shard: usize, params: &[Param<'_>]) -> Result<Option<Stored<T>>> {
        let table = T::TABLE;
        self.ready(&[table], &ShardSet::one(shard))?;
        let model = self.cluster.layout().model(table)?;
        let sql = &self.cluster.layout().sql(model, shard)?.get;
        let (shard, mut statement) = self.prepare(shard, sql, table)?;
        let watch = Watch::begin(&self.cluster, shard);
        let read = || -> Result<Option<Stored<T>>> {
            let mut cursor = statement.query(params)?;
            if !cursor.advance()? {
                return Ok(None);
            }
            let rows = Rows { cursor, shard, table, read: 1 };
            Ok(Some(Stored::new(Arc::new(T::load(&Row { source: &rows, shard, table })?), shard.clone())))
        };
        let found = { read }().map_err(|error| locate(error, shard, table));
        let rows = matches!(found, Ok(Some(_)));
        watch.end(&self.cluster, shard, sql, u64::from(rows), &found);
        found
    }

    /// The parent of a row, from the row's own shard.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it is gone.
    pub fn parent<C: Child>(&mut self, child: &Stored<C>) -> Result<Stored<C::Parent>> {
        let shards =
            C::Parent::identity_chooser(child.parent_id(), Some(child.shard()), self.cluster.shards())?;
        self.look_up(child.parent_id(), &shards)?
            .ok_or_else(|| gone::<C::Parent>(child.parent_id(), child.shard()))
    }

    /// Reads a row again from its own shard. What was changed in it and not updated is lost.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it is gone.
    pub fn reload<T: Sharded>(&mut self, row: &mut Stored<T>) -> Result<()> {
        let shards = T::identity_chooser(row.id(), Some(row.shard()), self.cluster.shards())?;
        self.identities.forget::<T>(row.id(), row.shard())?;
        match self.look_up(row.id(), &shards)? {
            Some(fresh) => *row = fresh,
            None => return Err(gone::<T>(row.id(), row.shard())),
        }
        Ok(())
    }

    /// Runs one statement on one shard, which is ready.
    pub(super) fn run_one(
        &self,
        step: &Step<'_>,
        table: &'static Table,
        mut visit: impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        let (shard, mut statement) = self.prepare(step.shard, &step.statement.sql, table)?;
        let watch = Watch::begin(&self.cluster, shard);
        let mut read = 0;
        let result = (|| {
            let mut rows = Rows { cursor: statement.query(&step.statement.params)?, shard, table, read: 0 };
            while merge::Stream::advance(&mut rows)? {
                visit(&Row { source: &rows, shard, table })?;
                read = rows.read;
            }
            Ok(())
        })()
        .map_err(|error| locate(error, shard, table));
        watch.end(&self.cluster, shard, &step.statement.sql, read, &result);
        result
    }
}

pub(super) fn gone<T: Sharded>(id: &T::Id, shard: &Shard) -> Error {
    let said = format!("there is no row with id {id:?} any more");
    locate(Error::new(ErrorKind::NotFound, said), shard, T::TABLE)
}

//! How a session reads: plans run on the shards' connections, rows loaded and merged.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::fan_out::Remote;
use super::{Session, Watch};
use crate::driver::{Answer, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::merge;
use crate::model::{Child, IdKind, Row, RowSource, Sharded, Table};
use crate::plan::{MergeBy, Plan, Projection, Step};
use crate::query::SelectCore;
use crate::shards::{Shard, ShardSet};
use crate::sql::Param;
use crate::stored::Stored;
use crate::value::{Field, Value};

/// The rows of one shard's statement, counted.
struct Rows<'s> {
    cursor: Box<dyn Answer + 's>,
    session: &'s Session,
    shard: &'s Shard,
    table: &'static Table,
    read: u64,
}

impl merge::Stream for Rows<'_> {
    fn advance(&mut self) -> Result<bool> {
        match self.cursor.advance() {
            Ok(found) => {
                self.read += u64::from(found);
                Ok(found)
            }
            // What a shard fails to give is the end of what it gives, where a partial answer is wanted.
            Err(error) => self.session.tolerated(locate(error, self.shard, self.table)).map(|()| false),
        }
    }
}

impl Rows<'_> {
    /// The current row's values in the columns that the answer is ordered by.
    fn read_key(&self, order: &[MergeBy], key: &mut Vec<Value<'static>>) -> Result<()> {
        key.clear();
        for MergeBy { place, by } in order {
            let located = |error| self.table.error_at(by.column, error).on_shard(self.shard.name());
            key.push(self.cursor.value(*place).map_err(located)?.into_owned());
        }
        Ok(())
    }
}

impl RowSource for Rows<'_> {
    fn value(&self, index: usize) -> Result<Value<'_>, crate::error::ValueError> {
        self.cursor.value(index)
    }
}

/// A step of a plan that is about to be read.
enum Begun<'s> {
    Here(Box<dyn Prepared + 's>),
    There(Option<Remote>),
    /// Its shard is missing from a partial answer.
    Not,
}

fn locate(error: Error, shard: &Shard, table: &'static Table) -> Error {
    error.on_shard(shard.name()).in_table(table.name)
}

/// The order of two rows by the columns that a query is ordered by.
fn compare(order: &[MergeBy], a: &[Value<'_>], b: &[Value<'_>]) -> Ordering {
    let mut orderings = order.iter().zip(a.iter().zip(b)).map(|(MergeBy { by, .. }, (a, b))| by.order(a, b));
    orderings.find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
}

impl Session {
    /// Gets ready to read these models on these shards: what waits for them is written, and every database is in
    /// a transaction. The shards that are ready; without those that a partial answer may do without. Errors are
    /// about the first of the models.
    pub(super) fn ready(&mut self, tables: &[&'static Table], shards: &ShardSet) -> Result<ShardSet> {
        self.check_usable()?;
        let layout = self.cluster.layout();
        let models = tables.iter().map(|table| layout.model(table)).collect::<Result<Vec<usize>>>()?;
        let waits = |shard: &usize| {
            let pending = self.pending.get(*shard);
            pending.is_some_and(|pending| models.iter().any(|&model| pending.holds(model)))
        };
        let waiting: ShardSet = shards.indexes().iter().copied().filter(waits).collect();
        self.flush_shards(&waiting)?;
        let mut ready = ShardSet::none();
        for &shard in shards.indexes() {
            let database = self.cluster.layout().place(shard)?.database;
            if let (Some(link), Some(handle)) =
                (self.links.get_mut(database), self.cluster.shards().at(shard))
            {
                match link.read(&self.cluster, database) {
                    Ok(()) => ready.insert(shard),
                    Err(error) => {
                        let error = match tables.first() {
                            Some(table) => locate(error, handle, table),
                            None => error.on_shard(handle.name()),
                        };
                        self.tolerated(error)?;
                    }
                }
            }
        }
        Ok(ready)
    }

    /// Runs a plan and visits the rows of its answer, each with its shard: on workers where that is worth it,
    /// otherwise here.
    fn run(&mut self, plan: &Plan<'_>, visit: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>>) -> Result<()> {
        let ready = self.ready(&plan.tables, &plan.shards())?;
        let steps: Vec<&Step<'_>> = plan.steps.iter().filter(|step| ready.contains(step.shard)).collect();
        self.in_time(&ready, |session| {
            let (remotes, loans) = session.fan_out(&steps);
            let (all_here, began) = (loans.is_empty(), (steps.len() > 1).then(Instant::now));
            let visited = session.merged(plan, &steps, remotes, visit);
            let here = began.map(|began| began.elapsed());
            let there = session.take_back(loans);
            if let (Ok(()), Some(here)) = (&visited, here) {
                session.remember_time(&steps, if all_here { None } else { Some(there) }, here);
            }
            visited
        })
    }

    /// Visits the merged rows of a plan's steps, of which some run on workers.
    fn merged(
        &self,
        plan: &Plan<'_>,
        steps: &[&Step<'_>],
        remotes: Vec<Option<Remote>>,
        mut visit: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let (cluster, table) = (&self.cluster, plan.target.table);
        let mut prepared = Vec::with_capacity(steps.len());
        for (step, remote) in steps.iter().zip(remotes) {
            prepared.push(match remote {
                Some(remote) => Begun::There(Some(remote)),
                None => match self.prepare(step.shard, &step.statement.sql, table) {
                    Ok((_, statement)) => Begun::Here(statement),
                    Err(error) => {
                        self.tolerated(error)?;
                        Begun::Not
                    }
                },
            });
        }
        let mut watches = Vec::with_capacity(steps.len());
        let mut streams = Vec::with_capacity(steps.len());
        for (step, begun) in steps.iter().zip(&mut prepared) {
            let Some(shard) = cluster.shards().at(step.shard) else { continue };
            let watch = Watch::begin(cluster, shard);
            let answer: Box<dyn Answer + '_> = match begun {
                Begun::There(remote) => match remote.take() {
                    Some(remote) => Box::new(remote),
                    None => continue,
                },
                Begun::Here(statement) => {
                    statement.query(&step.statement.params).map_err(|error| locate(error, shard, table))?
                }
                Begun::Not => continue,
            };
            watches.push((watch, step.statement.sql.as_str()));
            streams.push(Rows { cursor: answer, session: self, shard, table, read: 0 });
        }
        let columns = plan.columns.as_deref();
        let each =
            |_: usize, rows: &Rows<'_>| visit(&Row { source: rows, shard: rows.shard, table, columns });
        let result = match plan.order.is_empty() || streams.len() < 2 {
            true => merge::chain(&mut streams, plan.bounds, each),
            false => {
                let read_key = |rows: &Rows<'_>, key: &mut Vec<_>| rows.read_key(&plan.order, key);
                let by_order = |a: &Vec<_>, b: &Vec<_>| compare(&plan.order, a, b);
                merge::merge(&mut streams, read_key, by_order, plan.distinct, plan.bounds, each)
            }
        };
        for ((watch, sql), rows) in watches.into_iter().zip(&streams) {
            watch.end(cluster, rows.shard, sql, rows.read, &result);
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
        self.refuse_elsewhere(shard, "the statement")?;
        let database = self.cluster.layout().place(shard)?.database;
        let link = self.links.get(database).and_then(|link| link.connection());
        let (Some(connection), Some(shard)) = (link, self.cluster.shards().at(shard)) else {
            return Err(Error::new(ErrorKind::UnknownShard, "there is no such shard in this cluster"));
        };
        let statement = connection.prepare(sql).map_err(|error| locate(error, shard, table))?;
        Ok((shard, statement))
    }

    /// Visits the rows of a select.
    pub(crate) fn visit(
        &mut self,
        core: &SelectCore,
        projection: Projection<'_>,
        visit: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let cluster = self.cluster.clone();
        let core = self.pinned_query(core, |core| &mut core.target)?;
        self.visit_plan(&Plan::read(&core, projection, cluster.layout())?, visit)
    }

    /// Visits the rows of a plan's merged answer.
    pub(crate) fn visit_plan(
        &mut self,
        plan: &Plan<'_>,
        visit: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let visited = self.run(plan, visit);
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
            let rows = Rows { cursor, session: self, shard, table, read: 1 };
            Ok(Some(Stored::new(
                Arc::new(T::load(&Row { source: &rows, shard, table, columns: None })?),
                shard.clone(),
            )))
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
        self.refuse_row_elsewhere(child.shard(), C::TABLE.name)?;
        let shards =
            C::Parent::identity_chooser(child.parent_id(), Some(child.shard()), self.cluster.shards())?;
        self.look_up(child.parent_id(), &self.narrowed(shards))?
            .ok_or_else(|| gone::<C::Parent>(child.parent_id(), child.shard()))
    }

    /// Reads a row again from its own shard. What was changed in it and not updated is lost.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it is gone.
    pub fn reload<T: Sharded>(&mut self, row: &mut Stored<T>) -> Result<()> {
        self.refuse_row_elsewhere(row.shard(), T::TABLE.name)?;
        let shards = T::identity_chooser(row.id(), Some(row.shard()), self.cluster.shards())?;
        self.identities.forget::<T>(row.id(), row.shard())?;
        match self.look_up(row.id(), &self.narrowed(shards))? {
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
            let cursor = statement.query(&step.statement.params)?;
            let mut rows = Rows { cursor, session: self, shard, table, read: 0 };
            while merge::Stream::advance(&mut rows)? {
                visit(&Row { source: &rows, shard, table, columns: None })?;
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

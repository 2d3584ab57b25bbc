//! Reads of a session: runs plans on the shards' connections, and looks up rows by their ids.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::UnitOfWork;
use super::located::EntriesRead;
use super::write::PLANS;
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::executor::{GroupMerge, VisitRow};
use crate::executor::{ReadOptions, ShardRows};
use crate::planner::sql::{Param, Statement};
use crate::planner::{Plan, PlanStep};
use crate::query::{GroupCore, Read, Request, SelectCore, SelectList, Sharded, Stored, Target, Targeted};
use crate::row::{LoadModel, Row, RowSource, Storable};
use crate::schema::{IdKind, Table};
use crate::schema::{Shard, ShardSet};
use crate::tasks::Work;
use crate::tasks::unwind::finally;
use crate::transaction::Gate;
use crate::transaction::bounded;
use crate::transaction::locate;
use crate::value::Field;
use crate::value::Value;

/// The largest number of shards on which this thread looks up a row itself.
const AT_ONCE: usize = 4;

impl UnitOfWork {
    /// Writes the pending changes of these tables on these shards.
    pub(crate) fn flush_tables(&mut self, tables: &[&'static Table], shards: &ShardSet) -> Result<()> {
        self.tx.check_usable()?;
        if !self.has_pending_changes() {
            return Ok(());
        }
        let layout = self.tx.cluster.layout();
        let models = tables.iter().map(|table| layout.model(table)).collect::<Result<Vec<usize>>>()?;
        let waits = |shard: &usize| {
            let pending = self.pending.get(*shard);
            pending.is_some_and(|pending| models.iter().any(|&model| pending.holds(model)))
        };
        let waiting: ShardSet = shards.indexes().iter().copied().filter(waits).collect();
        self.flush_shards(&waiting)
    }

    /// Runs a plan, which may depend on entries, and visits the rows of its result, each with its shard. Returns false,
    /// without having visited any row, if the entries have changed before the rows could be locked.
    fn run_located(
        &mut self,
        plan: &Plan<'_>,
        entries: Option<&mut EntriesRead>,
        visit: &mut VisitRow<'_>,
    ) -> Result<bool> {
        let (table, columns) = (plan.target.table, plan.columns.as_deref());
        let shards = plan.shards();
        self.tx.record_shards(Some(table), &shards);
        self.flush_tables(&plan.tables, &shards)?;
        let Plan { distinct, bounds, load, .. } = *plan;
        let reading = ReadOptions { order: &plan.order, distinct, bounds, load, ..ReadOptions::whole(table) };
        let visit = |rows: &ShardRows<'_>| visit(&Row { source: rows, shard: rows.shard, table, columns });
        if !plan.target.for_update {
            return self.tx.execute(&plan.steps, reading, visit).map(|()| true);
        }
        let reading = ReadOptions { sequential: plan.locks.is_empty(), ..reading };
        // A reference table is written on every shard.
        let mut locked = if table.is_reference() { self.tx.every_shard(table)? } else { shards.clone() };
        if let Some(read) = &entries {
            locked = self.homes(read)?.indexes().iter().chain(locked.indexes()).copied().collect();
        }
        let mut as_read = true;
        self.for_update(table, &locked, |session| {
            let gates = match entries {
                Some(_) => session.tx.lock_gates(&shards, &plan.tables, Gate::Shared),
                None => session.tx.keep_rows_in_place(&shards, &plan.tables),
            };
            gates.map_err(|error| error.in_table(table.name))?;
            if let Some(read) = entries {
                as_read = session.entries_are_unchanged(read)?;
            }
            if !as_read {
                return Ok(());
            }
            session.keep_on_first(plan)?;
            session.lock_rows(table, &plan.locks)?;
            session.tx.execute(&plan.steps, reading, visit)
        })?;
        Ok(as_read)
    }

    /// Locks rows before they are read, one shard after the other.
    fn lock_rows(&mut self, table: &'static Table, locks: &[PlanStep<'_>]) -> Result<()> {
        let lock = |lock: &PlanStep<'_>| {
            self.tx.execute(std::slice::from_ref(lock), ReadOptions::whole(table), |_| {
                Ok(ControlFlow::Continue(()))
            })
        };
        locks.iter().try_for_each(lock)
    }

    /// Refuses `for_update` in a partial result. Rows of missing shards would not be locked. Locks are taken one shard
    /// after the other. A shard that does not answer would use up the timeout of those after it.
    fn refuse_partial_locks(&self, target: &Target) -> Result<()> {
        if !target.for_update || self.tx.context.missing.is_none() {
            return Ok(());
        }
        let message = "`all_available` cannot read `for_update`: rows of a shard that does not answer are not locked; \
                    read with `all`, or without `for_update`";
        Err(Error::new(ErrorKind::Query, message).in_table(target.table.name))
    }

    /// Runs the read of a request, and visits the rows of its result.
    pub(crate) fn read(&mut self, request: Request<'_>, visit: &mut VisitRow<'_>) -> Result<()> {
        match request.0 {
            Read::Models(core, load) => self.visit(core, SelectList::Rows, Some(load), visit),
            Read::Select(core, list) => self.visit(core, list, None, visit),
            Read::Count(core) => self.count(core, visit),
            Read::Exists(core) => self.exists(core, visit),
            Read::Groups(core) => self.visit_groups(core, visit),
            Read::Sql(core) => self.select_sql(core, visit),
        }
    }

    fn count(&mut self, core: &SelectCore, visit: &mut VisitRow<'_>) -> Result<()> {
        let mut total: u64 = 0;
        self.visit(core, SelectList::Count, None, &mut |row| {
            total = total.saturating_add(u64::load(row, 0)?);
            Ok(ControlFlow::Continue(()))
        })?;
        let rest = total.saturating_sub(core.offset);
        let rows = core.limit.map_or(rest, |limit| rest.min(limit));
        self.visit_value(core, Value::Integer(i64::try_from(rows).unwrap_or(i64::MAX)), visit)
    }

    fn exists(&mut self, core: &SelectCore, visit: &mut VisitRow<'_>) -> Result<()> {
        let mut found = false;
        self.visit(core, SelectList::Existence, None, &mut |_| {
            found = true;
            Ok(ControlFlow::Break(()))
        })?;
        self.visit_value(core, Value::Boolean(found), visit)
    }

    /// Visits a result of one value.
    fn visit_value(&self, core: &SelectCore, value: Value<'_>, visit: &mut VisitRow<'_>) -> Result<()> {
        match self.tx.cluster.layout().shards().serving().next() {
            Some(shard) => {
                let (source, table) = (OneValue(value), core.target.table);
                visit(&Row { source: &source, shard, table, columns: Some(&[]) }).map(drop)
            }
            None => Ok(()),
        }
    }

    fn visit_groups(&mut self, core: &GroupCore, visit: &mut VisitRow<'_>) -> Result<()> {
        let layout = self.tx.cluster.shared_layout();
        self.planned(core, |session, core, entries| {
            let plan = Plan::groups(core, &layout)?;
            let Some(first) = layout.shards().serving().next().filter(|_| core.limit != Some(0)) else {
                return Ok(true);
            };
            let mut groups = GroupMerge::new(core, &plan.grouping);
            let as_read = session.visit_located(&plan, entries, &mut |row| groups.take(row, visit))?;
            if as_read {
                groups.end(first, visit)?;
            }
            Ok(as_read)
        })
    }

    /// Visits the rows of a select.
    fn visit(
        &mut self,
        core: &SelectCore,
        projection: SelectList<'_>,
        load: Option<LoadModel>,
        visit: &mut VisitRow<'_>,
    ) -> Result<()> {
        let layout = self.tx.cluster.shared_layout();
        self.planned(core, |session, core, entries| {
            let mut plan = Plan::read(core, projection, &layout)?;
            plan.load = load;
            session.visit_located(&plan, entries, visit)
        })
    }

    /// Runs a function with a plan of a query. Plans again if the entries that the plan depends on have changed before
    /// the rows could be locked. In that case `run` returns false, and has visited no row.
    fn planned<C: Clone + Targeted>(
        &mut self,
        core: &C,
        mut run: impl FnMut(&mut Self, &C, Option<&mut EntriesRead>) -> Result<bool>,
    ) -> Result<()> {
        self.refuse_partial_locks(core.target())?;
        let table = core.target().table;
        let mut run = |session: &mut Self| {
            for _ in 0..PLANS {
                let (core, mut entries) = session.located_to_write(core)?;
                if run(session, &core, entries.as_mut())? {
                    return Ok(());
                }
            }
            let message = "other transactions moved the rows between shards before they could be locked; run the query again";
            session.tx.note_conflict(Err(Error::new(ErrorKind::Busy, message).in_table(table.name)))
        };
        match self.tx.cluster.layout().lookups().is_empty() {
            true => run(self),
            // Lookups and rows share one timeout.
            false => bounded(self, run),
        }
    }

    /// Visits the rows of a plan's merged result. Returns false, without having visited any row, if the entries that the
    /// plan depends on have changed before the rows could be locked.
    pub(crate) fn visit_located(
        &mut self,
        plan: &Plan<'_>,
        entries: Option<&mut EntriesRead>,
        visit: &mut VisitRow<'_>,
    ) -> Result<bool> {
        let visited = self.run_located(plan, entries, visit);
        self.abort_if_transaction_lost(visited)
    }

    /// Returns the row of this id on one of these shards, from the identity map or from the shards.
    pub(crate) fn look_up<T: Sharded>(&mut self, id: &T::Id, shards: &ShardSet) -> Result<Option<Stored<T>>> {
        if let Some(known) = self.identities.get(id, shards, |shard| self.tx.snapshot(shard.index()))? {
            return Ok(Some(known));
        }
        let found = bounded(self, |session| session.fetch::<T>(id, shards));
        let found = self.abort_if_transaction_lost(found)?;
        if let Some(row) = &found {
            self.identities.put(row, self.tx.snapshot(row.shard().index()))?;
        }
        Ok(found)
    }

    /// Looks a row up as [`look_up`](Self::look_up) does, if that needs no wait. The row is in the identity map, or on
    /// files with idle connections, no pending changes and no held locks. Looking up rows of this model must have been
    /// fast the last time. Returns `None` otherwise.
    pub(crate) fn look_up_at_once<T: Sharded>(
        &mut self,
        id: &T::Id,
        shards: &ShardSet,
    ) -> Option<Option<Stored<T>>> {
        let known = self.identities.get(id, shards, |shard| self.tx.snapshot(shard.index())).ok()?;
        if known.is_some() {
            return Some(known);
        }
        let model = self.model(T::TABLE).ok()?;
        if shards.indexes().len() > AT_ONCE || self.tx.cluster.workers().slow_look_ups(model) > 0 {
            return None;
        }
        for &shard in shards.indexes() {
            let is_pending = self.pending.get(shard).is_some_and(|pending| pending.holds(model));
            if is_pending || !self.tx.is_at_hand(shard) {
                return None;
            }
        }
        self.tx.never_wait_for_locks(shards).ok()?;
        let began = Instant::now();
        let found = finally(self, |work| work.look_up(id, shards), |work| work.tx.wait_for_locks(shards));
        self.tx.cluster.workers().looked_up(model, began.elapsed());
        found.ok()
    }

    /// Returns the row of this id from one of these shards. If the cluster generates the ids, it stops at the first shard
    /// that has the row.
    ///
    /// The shards are read one after the other, on this thread. Looking a row up by its id in an embedded database is
    /// faster than waking a thread. If that was slow several times in a row, all shards are read at once.
    fn fetch<T: Sharded>(&mut self, id: &T::Id, shards: &ShardSet) -> Result<Option<Stored<T>>> {
        let table = T::TABLE;
        let model = self.model(table)?;
        let value = id.stored_value().map_err(|error| table.error_at(table.id, error))?;
        let params = [Param::Value(value)];
        self.tx.record_shards(Some(table), shards);
        // The time matters to async sessions, whose reads can be cancelled.
        let is_timed = self.tx.context.cancellation.is_some();
        if let [shard] = shards.indexes()
            && !is_timed
        {
            return self.fetch_from::<T>(*shard, model, &params, true);
        }
        let mut found =
            Found { row: None, first_is_enough: matches!(table.id_kind, IdKind::Sequence | IdKind::Uuid) };
        let began = Instant::now();
        let mut asked = 1;
        let slow_in_a_row = self.tx.cluster.workers().slow_look_ups(model);
        let several = shards.indexes().len() > 1;
        if several && self.tx.cluster.parallelism().uses_threads(Work::LookUp { slow_in_a_row }) {
            self.fetch_at_once::<T>(id, model, shards, &params, &mut found)?;
        } else {
            for (before, &shard) in shards.indexes().iter().enumerate() {
                asked = before + 1;
                if let Some(row) = self.fetch_from::<T>(shard, model, &params, !several)?
                    && found.take(id, row)?.is_break()
                {
                    break;
                }
            }
        }
        self.tx
            .cluster
            .workers()
            .looked_up(model, began.elapsed() / u32::try_from(asked).unwrap_or(u32::MAX));
        Ok(found.row)
    }

    fn fetch_at_once<T: Sharded>(
        &mut self,
        id: &T::Id,
        model: usize,
        shards: &ShardSet,
        params: &[Param<'_>],
        found: &mut Found<T>,
    ) -> Result<()> {
        self.flush_tables(&[T::TABLE], shards)?;
        let step = |&shard: &usize| -> Result<PlanStep<'_>> {
            let sql = self.tx.cluster.layout().sql(model, shard)?.get.clone();
            Ok(PlanStep { shard, statement: Statement { sql, params: params.to_vec() } })
        };
        let steps = shards.indexes().iter().map(step).collect::<Result<Vec<_>>>()?;
        let reading = ReadOptions { is_slow: true, ..ReadOptions::whole(T::TABLE) };
        self.tx.execute(&steps, reading, |rows| {
            let row = T::load(&Row { source: rows, shard: rows.shard, table: T::TABLE, columns: None })?;
            found.take(id, Stored::new(Arc::new(row), rows.shard.clone()))
        })
    }

    fn fetch_from<T: Sharded>(
        &mut self,
        shard: usize,
        model: usize,
        params: &[Param<'_>],
        is_expected: bool,
    ) -> Result<Option<Stored<T>>> {
        let table = T::TABLE;
        self.flush_tables(&[table], &ShardSet::one(shard))?;
        if !self.tx.is_ready(shard, Some(table))? {
            return Ok(None);
        }
        let found = self.fetch_here(shard, model, params, is_expected);
        self.tx.lift_deadlines();
        found
    }

    pub(crate) fn fetch_here<T: Sharded>(
        &self,
        shard: usize,
        model: usize,
        params: &[Param<'_>],
        is_expected: bool,
    ) -> Result<Option<Stored<T>>> {
        let table = T::TABLE;
        let layout = self.tx.cluster.layout();
        let (sql, names) = (&layout.sql(model, shard)?.get, &layout.location(shard)?.names);
        let (shard, connection) = self.tx.ready(shard)?;
        let watch = self.tx.cluster.watch(shard, Some(table.name), sql);
        let mut row = None;
        let mut visit = |source: &dyn RowSource| {
            row = Some(T::load(&Row { source, shard, table, columns: None })?);
            Ok(())
        };
        let found = connection.look_up(names, sql, params, is_expected, &mut visit);
        let found = found.map_err(|error| locate(error, shard, Some(table)));
        watch.end(self.tx.cluster.observer(), shard, sql, u64::from(row.is_some()), &found);
        found?;
        Ok(row.map(|row| Stored::new(Arc::new(row), shard.clone())))
    }
}

/// An answer of one value.
struct OneValue<'v>(Value<'v>);

impl RowSource for OneValue<'_> {
    fn value(&self, _: usize) -> Result<Value<'_>, ValueError> {
        Ok(self.0.borrowed())
    }
}

/// The rows of an id that were found so far.
struct Found<T: Sharded> {
    row: Option<Stored<T>>,
    /// Whether no other shard can have the row once one shard has it.
    first_is_enough: bool,
}

impl<T: Sharded> Found<T> {
    fn take(&mut self, id: &T::Id, row: Stored<T>) -> Result<ControlFlow<()>> {
        if let Some(other) = &self.row {
            let (a, b) = (other.shard().name(), row.shard().name());
            let message =
                format!("id {id:?} exists on shard `{a}` and on shard `{b}`; run `Cluster::verify`");
            return Err(Error::new(ErrorKind::Ambiguous, message).in_table(T::TABLE.name));
        }
        self.row = Some(row);
        Ok(if self.first_is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

pub(crate) fn gone<T: Sharded>(id: &T::Id, shard: &Shard) -> Error {
    let message = format!("the row with id {id:?} does not exist; it was deleted, or moved to another shard");
    locate(Error::new(ErrorKind::NotFound, message), shard, Some(T::TABLE))
}

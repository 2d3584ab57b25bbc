//! How a session reads: plans run on the shards' connections, rows looked up by their ids.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::ask::{Reading, Rows, locate};
use super::gate::Gate;
use super::located::EntriesRead;
use super::write::PLANS;
use super::{Session, Watch};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Param, Statement};
use crate::planner::{Plan, Projection, Step};
use crate::query::Stored;
use crate::query::{Child, Sharded};
use crate::query::{SelectCore, Target, Targeted};
use crate::row::Row;
use crate::schema::{IdKind, Table};
use crate::schema::{Shard, ShardSet};
use crate::value::Field;

impl Session {
    /// Runs a plan, which may depend on entries, and visits the rows of its answer, each with its shard. Returns false, and
    /// has visited nothing, if the entries have changed before the rows could be locked.
    fn run_located(
        &mut self,
        plan: &Plan<'_>,
        entries: Option<&mut EntriesRead>,
        visit: &mut impl FnMut(&Row<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<bool> {
        let (table, columns) = (plan.target.table, plan.columns.as_deref());
        let shards = plan.shards();
        self.asks(Some(table), &shards);
        self.flush_tables(&plan.tables, &shards)?;
        let Plan { distinct, bounds, .. } = *plan;
        let reading = Reading { order: &plan.order, distinct, bounds, ..Reading::whole(table) };
        let visit = |rows: &Rows<'_>| visit(&Row { source: rows, shard: rows.shard, table, columns });
        if !plan.target.for_update {
            return self.ask(&plan.steps, reading, visit).map(|()| true);
        }
        let reading = Reading { in_turn: plan.locks.is_empty(), ..reading };
        // A reference table is written on every shard.
        let mut locked = if table.is_reference() { self.every_shard(table)? } else { shards.clone() };
        if let Some(read) = &entries {
            locked = self.homes(read)?.indexes().iter().chain(locked.indexes()).copied().collect();
        }
        let mut as_read = true;
        self.locked(table, &locked, |session| {
            match entries {
                Some(read) => {
                    session.lock_gates(&shards, &plan.tables, Gate::Shared)?;
                    as_read = session.entries_have_settled(read)?;
                }
                None => session.keep_rows_in_place(&shards, &plan.tables)?,
            }
            if !as_read {
                return Ok(());
            }
            session.keep_on_first(plan)?;
            session.bounded(|session| {
                session.lock_rows(table, &plan.locks)?;
                session.ask(&plan.steps, reading, visit)
            })
        })?;
        Ok(as_read)
    }

    /// Locks rows before they are read, one shard after the other.
    fn lock_rows(&mut self, table: &'static Table, locks: &[Step<'_>]) -> Result<()> {
        let lock = |lock: &Step<'_>| {
            self.ask(std::slice::from_ref(lock), Reading::whole(table), |_| Ok(ControlFlow::Continue(())))
        };
        locks.iter().try_for_each(lock)
    }

    /// Refuses `for_update` in a partial answer. Rows of the shards that are missing would not be locked, and locks are
    /// taken one shard after the other, so that a shard that does not answer would use up the time of those after it.
    fn refuse_partial_locks(&self, target: &Target) -> Result<()> {
        if !target.for_update || self.missing.is_none() {
            return Ok(());
        }
        let said = "`all_that_answer` cannot read `for_update`: rows of a shard that does not answer are not locked; \
                    read with `all`, or without `for_update`";
        Err(Error::new(ErrorKind::Query, said).in_table(target.table.name))
    }

    /// Visits the rows of a select.
    pub(crate) fn visit(
        &mut self,
        core: &SelectCore,
        projection: Projection<'_>,
        mut visit: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let cluster = self.cluster.clone();
        self.planned(core, |session, core, entries| {
            let plan = Plan::read(core, projection, cluster.layout())?;
            session.visit_located(&plan, entries, &mut visit)
        })
    }

    /// Runs something with a plan of a query, again while the entries that the plan depends on have changed before the rows
    /// could be locked. `run` returns false in that case, and has visited nothing.
    pub(crate) fn planned<C: Clone + Targeted>(
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
            let said = "the rows were moved from shard to shard while they were to be locked; try again";
            session.in_the_way(Err(Error::new(ErrorKind::Busy, said).in_table(table.name)))
        };
        match self.cluster.layout().lookups().is_empty() {
            true => run(self),
            // Lookups and rows have one time together.
            false => self.bounded(run),
        }
    }

    /// Visits the rows of a plan's merged answer. Returns false, and has visited nothing, if the entries that the plan
    /// depends on have changed before the rows could be locked.
    pub(crate) fn visit_located(
        &mut self,
        plan: &Plan<'_>,
        entries: Option<&mut EntriesRead>,
        mut visit: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<bool> {
        let visited = self.run_located(plan, entries, &mut visit);
        self.noticed(visited)
    }

    /// Whether a select finds a row.
    pub(crate) fn finds_a_row(&mut self, core: &SelectCore) -> Result<bool> {
        let mut found = false;
        self.visit(core, Projection::Existence, |_| {
            found = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// The row of this id on one of these shards, from what the session knows or from the shards.
    pub(super) fn look_up<T: Sharded>(&mut self, id: &T::Id, shards: &ShardSet) -> Result<Option<Stored<T>>> {
        if let Some(known) = self.identities.get(id, shards)? {
            return Ok(Some(known));
        }
        let found = self.bounded(|session| session.fetch(id, shards));
        let found = self.noticed(found)?;
        if let Some(row) = &found {
            self.identities.put(row)?;
        }
        Ok(found)
    }

    /// The row of this id on one of these shards, from the shards. Where the cluster itself hands the ids out, the
    /// first that has the row is the last that is asked.
    ///
    /// They are asked in turn, here: looking a row up by its id takes an embedded database less time than waking a
    /// thread takes. Only where that was slow again and again are all of them asked at once.
    fn fetch<T: Sharded>(&mut self, id: &T::Id, shards: &ShardSet) -> Result<Option<Stored<T>>> {
        let table = T::TABLE;
        let model = self.cluster.layout().model(table)?;
        let value = id.stored_value().map_err(|error| table.error_at(table.id, error))?;
        let params = [Param::Value(value)];
        self.asks(Some(table), shards);
        if let [shard] = shards.indexes() {
            return self.fetch_from::<T>(*shard, model, &params);
        }
        let mut found =
            Found { row: None, first_is_enough: matches!(table.id_kind, IdKind::Sequence | IdKind::Uuid) };
        let began = Instant::now();
        let mut asked = 1;
        if self.cluster.workers().are_look_ups_slow(model) {
            self.fetch_at_once::<T>(id, model, shards, &params, &mut found)?;
        } else {
            for (before, &shard) in shards.indexes().iter().enumerate() {
                asked = before + 1;
                if let Some(row) = self.fetch_from::<T>(shard, model, &params)?
                    && found.take(id, row)?.is_break()
                {
                    break;
                }
            }
        }
        self.cluster.workers().looked_up(model, began.elapsed() / u32::try_from(asked).unwrap_or(u32::MAX));
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
        let step = |&shard: &usize| -> Result<Step<'_>> {
            let sql = self.cluster.layout().sql(model, shard)?.get.clone();
            Ok(Step { shard, statement: Statement { sql, params: params.to_vec() } })
        };
        let steps = shards.indexes().iter().map(step).collect::<Result<Vec<_>>>()?;
        let reading = Reading { is_slow: true, ..Reading::whole(T::TABLE) };
        self.ask(&steps, reading, |rows| {
            let row = T::load(&Row { source: rows, shard: rows.shard, table: T::TABLE, columns: None })?;
            found.take(id, Stored::new(Arc::new(row), rows.shard.clone()))
        })
    }

    fn fetch_from<T: Sharded>(
        &mut self,
        shard: usize,
        model: usize,
        params: &[Param<'_>],
    ) -> Result<Option<Stored<T>>> {
        let table = T::TABLE;
        self.flush_tables(&[table], &ShardSet::one(shard))?;
        if !self.is_ready(shard, Some(table))? {
            return Ok(None);
        }
        let found = self.fetch_here(shard, model, params);
        self.lift_deadlines();
        found
    }

    pub(super) fn fetch_here<T: Sharded>(
        &self,
        shard: usize,
        model: usize,
        params: &[Param<'_>],
    ) -> Result<Option<Stored<T>>> {
        let table = T::TABLE;
        let sql = &self.cluster.layout().sql(model, shard)?.get;
        let (shard, mut statement) = self.prepare(shard, sql, Some(table))?;
        let watch = Watch::begin(&self.cluster, shard, Some(table.name), sql);
        let read = || -> Result<Option<Stored<T>>> {
            let mut cursor = statement.query(params)?;
            if !cursor.advance()? {
                return Ok(None);
            }
            let rows = Rows::new(self, shard, Some(table), cursor);
            Ok(Some(Stored::new(
                Arc::new(T::load(&Row { source: &rows, shard, table, columns: None })?),
                shard.clone(),
            )))
        };
        let found = { read }().map_err(|error| locate(error, shard, Some(table)));
        let rows = matches!(found, Ok(Some(_)));
        watch.end(&self.cluster, shard, sql, u64::from(rows), &found);
        found
    }

    /// The parent of a row, from the row's own shard.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it is gone.
    pub fn parent<C: Child>(&mut self, child: &Stored<C>) -> Result<Stored<C::Parent>> {
        self.within("parent", Some(C::Parent::TABLE), |session| {
            session.refuse_row_elsewhere::<C>(child.shard())?;
            let shards = session.cluster.shards();
            let shards = C::Parent::identity_chooser(child.parent_id(), Some(child.shard()), shards)?;
            let parent = session.look_up(child.parent_id(), &session.narrowed(shards))?;
            parent.ok_or_else(|| gone::<C::Parent>(child.parent_id(), child.shard()))
        })
    }

    /// Reads a row again from its own shard. What was changed in it and not updated is lost.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it is gone.
    pub fn reload<T: Sharded>(&mut self, row: &mut Stored<T>) -> Result<()> {
        self.within("reload", Some(T::TABLE), |session| {
            session.refuse_row_elsewhere::<T>(row.shard())?;
            let shards = T::identity_chooser(row.id(), Some(row.shard()), session.cluster.shards())?;
            session.identities.forget::<T>(row.id(), row.shard())?;
            let fresh = session.look_up(row.id(), &session.narrowed(shards))?;
            *row = fresh.ok_or_else(|| gone::<T>(row.id(), row.shard()))?;
            Ok(())
        })
    }
}

/// What was found of an id so far.
struct Found<T: Sharded> {
    row: Option<Stored<T>>,
    /// Whether nobody else can have the row once one shard has it.
    first_is_enough: bool,
}

impl<T: Sharded> Found<T> {
    fn take(&mut self, id: &T::Id, row: Stored<T>) -> Result<ControlFlow<()>> {
        if let Some(other) = &self.row {
            let (a, b) = (other.shard().name(), row.shard().name());
            let said = format!("the id {id:?} is on shard `{a}` and on shard `{b}`");
            return Err(Error::new(ErrorKind::Ambiguous, said).in_table(T::TABLE.name));
        }
        self.row = Some(row);
        Ok(if self.first_is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

pub(super) fn gone<T: Sharded>(id: &T::Id, shard: &Shard) -> Error {
    let said = format!("there is no row with id {id:?} any more");
    locate(Error::new(ErrorKind::NotFound, said), shard, Some(T::TABLE))
}

//! Writes of a session: the flush of pending changes, statements about many rows, and the savepoints that make them
//! atomic.

use std::borrow::Cow;

use super::UnitOfWork;
use super::entries::{Changes, RowWrite};
use super::foreign_keys::RefusedChange;
use super::located::EntriesRead;
use super::pending::{Batch, ShardBatch};
use super::reference::affected;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql;
use crate::planner::sql::{Param, TableSql};
use crate::planner::{Layout, Plan, PlanStep};
use crate::query::{Assigned, BulkWrite, Collect, Returned, WriteCore, WriteRequest};
use crate::row::Row;
use crate::schema::Table;
use crate::schema::{ShardSet, Shards};
use crate::tasks::unwind::caught;
use crate::transaction::Gate;
use crate::value::Value;

/// How often a statement is planned if other transactions move its rows before they are locked.
pub(crate) const PLANS: usize = 4;

impl UnitOfWork {
    /// Executes a statement for one row on its shard, after that shard's pending changes. For a row of a reference table,
    /// executes it on every shard.
    pub(crate) fn write_row(
        &mut self,
        row: &RowWrite<'_>,
        table: &'static Table,
        sql: impl Fn(&TableSql) -> String,
        params: &[Param<'_>],
    ) -> Result<u64> {
        if table.is_reference() {
            return self.write_everywhere(row, table, sql, params);
        }
        let (layout, shard) = (self.tx.cluster.layout(), row.shard);
        let sql = sql(layout.sql(layout.model(table)?, shard)?);
        self.flush_shards(&ShardSet::one(shard))?;
        self.tx.ensure_write(shard)?;
        let written = self.execute_row(shard, table, row, &sql, params);
        self.abort_if_transaction_lost(written)
    }

    /// Runs a statement that writes. Returns the number of rows that it wrote.
    pub(crate) fn write(&mut self, request: WriteRequest<'_>, returned: &mut impl Collect) -> Result<u64> {
        match request.0 {
            BulkWrite::Rows(core, returns) => self.write_rows(core, returns, returned),
            BulkWrite::Sql(core) => self.execute_sql(core),
        }
    }

    fn write_rows(
        &mut self,
        core: &WriteCore,
        returns: Returned,
        returned: &mut impl Collect,
    ) -> Result<u64> {
        let layout = self.tx.cluster.shared_layout();
        self.write_planned(core, |session, plan, mut entries| {
            let (table, mut found) = (plan.target.table, Vec::with_capacity(plan.steps.len()));
            returned.clear();
            for (position, step) in plan.steps.iter().enumerate() {
                // The rows of a reference table are the same on every shard.
                let is_wanted = returns == Returned::Rows && (position == 0 || !table.is_reference());
                let written = match (is_wanted, &mut entries) {
                    (false, None) => {
                        let PlanStep { shard, statement } = step;
                        session.tx.execute_on(*shard, table, &statement.sql, &statement.params)
                    }
                    (_, entries) => {
                        let lookups = layout.lookups_of(table).map(|lookup| lookup.column);
                        let columns: Vec<usize> =
                            if is_wanted { (0..table.columns.len()).collect() } else { lookups.collect() };
                        let mut read = |row: &Row<'_>| {
                            entries.as_mut().map_or(Ok(()), |entries| {
                                remove_entries(entries, row, &columns, &layout, layout.shards())
                            })?;
                            if is_wanted { returned.push(row) } else { Ok(()) }
                        };
                        session.execute_and_read(step, table, &columns, &mut read)
                    }
                };
                let rows = written.map_err(|error| {
                    session.explain_refusal(error, step.shard, table, refused_change(core))
                })?;
                found.push((step.shard, rows));
            }
            affected(&layout, table, &found)
        })
    }

    fn write_planned<O>(
        &mut self,
        core: &WriteCore,
        mut run: impl FnMut(&mut Self, &Plan<'_>, Option<&mut Changes>) -> Result<O>,
    ) -> Result<O> {
        let layout = self.tx.cluster.shared_layout();
        let table = core.target.table;
        for _ in 0..PLANS {
            let (located, answers) = match table.is_reference() {
                true => self.tx.every_shard(table).map(|_| (Cow::Borrowed(core), None))?,
                false => self.located_to_write(core)?,
            };
            let plan = Plan::write(&located, &layout)?;
            let shards = plan.shards();
            self.tx.record_shards(Some(table), &shards);
            let has_lookups = layout.lookups_of(table).next().is_some();
            match has_lookups {
                true => self.flush_before_entries(&shards)?,
                false => self.flush_shards(&shards)?,
            }
            self.identities.clear();
            let is_located = answers.is_some();
            let deletes = has_lookups && core.set.is_none();
            let written = self.in_savepoint_located(&shards, answers, |session| {
                match table.is_reference() {
                    true => session.tx.lock(&shards, &[layout.model(table)?])?,
                    // An entry may lead to a row whose move to that shard is not finished.
                    false if is_located => session.tx.lock_gates(&shards, &plan.tables, Gate::Shared)?,
                    false => session.tx.keep_rows_in_place(&shards, &plan.tables)?,
                }
                let mut entries = deletes.then(Changes::default);
                let done = run(session, &plan, entries.as_mut())?;
                Ok((done, entries.unwrap_or_default()))
            });
            if let Some(done) = written? {
                return Ok(done);
            }
        }
        let message =
            "other transactions moved the rows between shards while the statement ran; run it again";
        self.tx.note_conflict(Err(Error::new(ErrorKind::Busy, message).in_table(table.name)))
    }

    /// Writes rows and then their entries, in a savepoint. Returns `None`, with nothing written, if the entries on which
    /// the plan was based have changed.
    fn in_savepoint_located<O>(
        &mut self,
        shards: &ShardSet,
        mut read: Option<EntriesRead>,
        run: impl FnOnce(&mut Self) -> Result<(O, Changes)>,
    ) -> Result<Option<O>> {
        let before = self.tx.writing().collect::<Vec<_>>();
        if let Some(read) = &read {
            let files = self.homes(read)?.indexes().iter().chain(shards.indexes()).copied().collect();
            self.lock_files(&files).inspect_err(|_| self.tx.stop_writing_others(&before))?;
        }
        let mut has_moved = false;
        let written = self.in_savepoint(shards, |session| {
            let (done, entries) = run(session)?;
            // Rows are locked before entries, as in sessions that write single rows.
            if let Some(read) = &mut read
                && !session.locked_entries_are_unchanged(read)?
            {
                has_moved = true;
                return Err(Error::new(ErrorKind::Query, "the rows were moved by another transaction"));
            }
            session.write_entries(entries)?;
            Ok(done)
        });
        match written {
            Ok(done) => Ok(Some(done)),
            Err(error) => {
                if self.tx.aborted.is_none() && read.is_some() {
                    self.tx.stop_writing_others(&before);
                }
                if has_moved && self.tx.aborted.is_none() { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Writes the rows of a step, and reads these columns of the written rows.
    fn execute_and_read(
        &mut self,
        step: &PlanStep<'_>,
        table: &'static Table,
        columns: &[usize],
        read: &mut dyn FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<u64> {
        let Some(shard) = self.tx.cluster.layout().shards().by_index(step.shard).cloned() else {
            return Ok(0);
        };
        let statement = &step.statement;
        let sql = format!("{}{}", statement.sql, sql::returning(table, columns));
        let rows = self.tx.on(step.shard, table, &sql, |prepared| {
            let (mut cursor, mut rows) = (prepared.query(&statement.params)?, 0);
            while cursor.advance()? {
                read(&Row { source: &*cursor, shard: &shard, table, columns: Some(columns) })?;
                rows += 1;
            }
            Ok((rows, rows))
        })?;
        if rows > 0 {
            // Recovery runs the statement again, and reads no rows.
            self.tx.record(step.shard, |redo| redo.statement(&statement.sql, &statement.params))?;
        }
        Ok(rows)
    }

    /// Writes the pending changes of these shards: all of them or, if a row fails, none.
    pub(crate) fn flush_shards(&mut self, shards: &ShardSet) -> Result<()> {
        let linked = self.with_entries(shards);
        let shards = self.written_together(linked.as_ref().unwrap_or(shards));
        let mut shard_batches = self.take_pending(&shards);
        if shard_batches.is_empty() {
            return Ok(());
        }
        let shards: ShardSet = shard_batches.iter().map(|shard_batch| shard_batch.shard).collect();
        let (written, panic) = caught(|| {
            self.without_orphans(|session| {
                session.in_savepoint(&shards, |session| session.send(&mut shard_batches))
            })
        });
        let written = written.map_err(|error| self.explained(&shard_batches, error));
        let written = self.tx.note_conflict(written);
        match &written {
            Ok(()) => self.record_rows(shard_batches)?,
            Err(error) if !error.is_about_a_row() && self.tx.aborted.is_none() => {
                for shard_batch in shard_batches {
                    if let Some(pending) = self.pending.get_mut(shard_batch.shard) {
                        pending.put_back(shard_batch);
                    }
                }
            }
            Err(_) => {
                shard_batches.iter().for_each(|shard_batch| shard_batch.outcome.roll_back());
                // The identity map may contain rows with changes that were not stored.
                self.identities.clear();
            }
        }
        panic.resume();
        written
    }

    /// Takes the pending changes of these shards, in the shards' order.
    pub(crate) fn take_pending(&mut self, shards: &ShardSet) -> Vec<ShardBatch> {
        let mut shard_batches = Vec::new();
        for &shard in shards.indexes() {
            if let Some(pending) = self.pending.get_mut(shard).filter(|pending| !pending.is_empty()) {
                shard_batches.push(pending.take(shard));
            }
        }
        shard_batches
    }

    /// Records the written rows for recovery, and ties their outcome to their transaction's.
    pub(crate) fn record_rows(&mut self, shard_batches: Vec<ShardBatch>) -> Result<()> {
        let layout = self.tx.cluster.shared_layout();
        for ShardBatch { shard, batches, outcome } in shard_batches {
            for Batch { model, change, rows, .. } in batches {
                let table = layout.table(model)?;
                let sql = layout.sql(model, shard)?.change(table, &change);
                self.tx.record(shard, |redo| redo.rows(&sql, table, change.clone(), rows))?;
            }
            let database = layout.location(shard)?.database;
            if let Some(transaction) = self.tx.databases.get_mut(database) {
                transaction.track_writes(outcome);
            }
        }
        Ok(())
    }
}

/// Returns the change of many rows, for the error of a foreign key.
fn refused_change(core: &WriteCore) -> RefusedChange<'_> {
    let Some(set) = &core.set else { return RefusedChange::Removed(None) };
    let columns = set.iter().map(|(column, assigned)| match assigned {
        Assigned::Value(operand) => (*column, operand.known().map(Value::borrowed)),
        Assigned::Computed(..) => (*column, None),
    });
    RefusedChange::Written(columns.collect())
}

/// Notes that the entries of a deleted row are deleted, too. The locked row determines the entry: another transaction may
/// have changed it before.
fn remove_entries(
    entries: &mut Changes,
    row: &Row<'_>,
    columns: &[usize],
    layout: &Layout,
    shards: &Shards,
) -> Result<()> {
    for lookup in layout.lookups_of(row.table) {
        let Some(position) = columns.iter().position(|column| *column == lookup.column) else { continue };
        let value: Value<'_> = row.table.value_of(lookup.column, row.source.value(position))?;
        entries.remove(lookup, &value, row.shard.index(), shards)?;
    }
    Ok(())
}

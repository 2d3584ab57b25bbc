//! Reads and writes of reference tables, which are complete on every shard: read on one, written on all.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::UnitOfWork;
use super::entries::RowWrite;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::ReadOptions;
use crate::planner::Layout;
use crate::planner::Plan;
use crate::planner::sql::{Param, TableSql};
use crate::schema::Table;
use crate::schema::{Shard, ShardSet};

impl UnitOfWork {
    /// Locks the rows of a reference table on the first shard if a pin reads them `for_update` on another one. If one of
    /// the shards is a file, the whole file is locked already.
    pub(crate) fn keep_on_first(&mut self, plan: &Plan<'_>) -> Result<()> {
        let layout = self.tx.cluster.layout();
        let locks_rows =
            |shard: usize| layout.location(shard).is_ok_and(|location| location.dialect.locks_rows());
        let Some(first) = plan.on_first.as_ref().filter(|first| locks_rows(first.shard)) else {
            return Ok(());
        };
        if !plan.steps.iter().any(|step| locks_rows(step.shard)) {
            return Ok(());
        }
        let first = std::slice::from_ref(first);
        self.tx.execute(first, ReadOptions::whole(plan.target.table), |_| Ok(ControlFlow::Continue(())))
    }

    /// Returns the shards whose pending changes are written together with those of `shards`. If these include rows of
    /// reference tables, it returns all shards, since such a row is written on every shard or on none.
    pub(crate) fn written_together<'s>(&self, shards: &'s ShardSet) -> Cow<'s, ShardSet> {
        let references = self.tx.cluster.layout().references();
        let has_references = |shard: &usize| {
            let pending = self.pending.get(*shard);
            pending.is_some_and(|pending| references.iter().any(|&model| pending.holds(model)))
        };
        match shards.indexes().iter().any(has_references) {
            true => Cow::Owned(ShardSet::all(self.tx.cluster.layout().shards())),
            false => Cow::Borrowed(shards),
        }
    }

    /// Executes a statement for one row of a reference table on every shard, or on none. Returns how many rows it found
    /// on each shard.
    pub(crate) fn write_everywhere(
        &mut self,
        row: &RowWrite<'_>,
        table: &'static Table,
        sql: impl Fn(&TableSql) -> String,
        params: &[Param<'_>],
    ) -> Result<u64> {
        let shards = self.tx.every_shard(table)?;
        self.flush_shards(&shards)?;
        let layout = self.tx.cluster.shared_layout();
        let model = layout.model(table)?;
        let execute = |session: &mut Self| {
            let mut found = Vec::with_capacity(shards.len());
            for &shard in shards.indexes() {
                let sql = sql(layout.sql(model, shard)?);
                found.push((shard, session.execute_row(shard, table, row, &sql, params)?));
            }
            affected(&layout, table, &found)
        };
        let mut written = self.in_savepoint(&shards, execute);
        // Another transaction may be decided but not finished on every server, so that only some have the row. The
        // table's lock waits for it.
        if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::ReferenceDiverged)
            && self.tx.aborted.is_none()
        {
            written = self.in_savepoint(&shards, |session| {
                session.tx.lock(&shards, &[model])?;
                execute(session)
            });
        }
        self.abort_if_transaction_lost(written)
    }
}

/// Returns the number of rows that a statement affected: the sum of the numbers on each shard or, for a reference table,
/// their common value.
///
/// # Errors
/// [`ErrorKind::ReferenceDiverged`] if the shards of a reference table have found different numbers of rows.
pub(crate) fn affected(layout: &Layout, table: &Table, found: &[(usize, u64)]) -> Result<u64> {
    if !table.is_reference() {
        return Ok(found.iter().fold(0, |total: u64, (_, rows)| total.saturating_add(*rows)));
    }
    let first = found.first().map_or(0, |(_, rows)| *rows);
    if found.iter().all(|(_, rows)| *rows == first) {
        return Ok(first);
    }
    let name = |shard: usize| layout.shards().by_index(shard).map_or("", Shard::name);
    let each: Vec<String> = found.iter().map(|(shard, rows)| format!("{rows} on {}", name(*shard))).collect();
    let message = format!(
        "the shards do not hold the same rows of this reference table: the statement found {}; run \
         `Cluster::compare_references`",
        each.join(", ")
    );
    Err(Error::new(ErrorKind::ReferenceDiverged, message).in_table(table.name))
}

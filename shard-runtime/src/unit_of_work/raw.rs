//! Hand-written SQL, on a session's own connections and in its transactions.

use super::UnitOfWork;
use crate::driver::StatementProperties;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::ReadOptions;
use crate::executor::VisitRow;
use crate::planner::Layout;
use crate::planner::LimitOffset;
use crate::planner::PlanStep;
use crate::planner::raw_sql;
use crate::planner::sql::Statement;
use crate::query::SqlCore;
use crate::row::Row;
use crate::schema::{ShardSet, Table};

/// The use of the SQL.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

impl UnitOfWork {
    pub(crate) fn select_sql(&mut self, core: &SqlCore, visit: &mut VisitRow<'_>) -> Result<()> {
        let layout = self.tx.cluster.shared_layout();
        let shards = self.sql_shards(core)?;
        let steps = steps(core, &shards, &layout)?;
        self.tx.record_shards(None, &shards);
        self.flush_shards(&shards)?;
        // A wrong statement is an error before any shard is read.
        let mut ready = Vec::with_capacity(steps.len());
        for step in steps {
            if self.tx.is_ready(step.shard, None)? {
                self.check_sql(&step, Use::Read)?;
                ready.push(step);
            }
        }
        let bounds = LimitOffset { skip: 0, take: core.limit };
        let (order, named) = (&[], true);
        let (distinct, is_slow, sequential) = (false, false, false);
        let reading =
            ReadOptions { table: None, order, distinct, bounds, load: None, named, is_slow, sequential };
        let read = self.tx.execute(&ready, reading, |rows| {
            visit(&Row { source: rows, shard: rows.shard, table: &Table::PLAIN, columns: None })
        });
        self.abort_if_transaction_lost(read)
    }

    pub(crate) fn execute_sql(&mut self, core: &SqlCore) -> Result<u64> {
        let layout = self.tx.cluster.shared_layout();
        let shards = self.sql_shards(core)?;
        let steps = steps(core, &shards, &layout)?;
        self.tx.record_shards(None, &shards);
        self.flush_shards(&shards)?;
        self.identities.clear();
        let tables = core.tables(&layout);
        self.in_savepoint(&shards, |session| {
            for step in &steps {
                session.check_sql(step, Use::Write)?;
            }
            session.tx.keep_rows_in_place(&shards, &tables)?;
            if shards.len() > 1 {
                let references = layout.references().iter().copied();
                let is_named = |model: &usize| {
                    tables.iter().any(|table| layout.model(table).is_ok_and(|named| named == *model))
                };
                session.tx.lock(&shards, &references.filter(is_named).collect::<Vec<_>>())?;
            }
            let mut total: u64 = 0;
            for step in &steps {
                let (shard, mut statement) = session.tx.prepare(step.shard, &step.statement.sql, None)?;
                let watch = session.tx.watch(step, shard, None);
                let rows = statement.execute(&step.statement.params);
                let rows = rows.map_err(|error| error.on_shard(shard.name()));
                let sql = &step.statement.sql;
                watch.end(session.tx.cluster.observer(), shard, sql, *rows.as_ref().unwrap_or(&0), &rows);
                drop(statement);
                total = total.saturating_add(rows?);
                session.tx.record(step.shard, |redo| match raw_sql::unrepeatable(sql) {
                    Some(word) => redo.unrepeatable(format!("SQL with `{word}`")),
                    None => redo.statement(sql, &step.statement.params),
                })?;
            }
            Ok(total)
        })
    }

    /// Returns the shards that the SQL names; in a pinned session only its own.
    fn sql_shards(&self, core: &SqlCore) -> Result<ShardSet> {
        self.tx.check_usable()?;
        let named = core.shards(self.tx.cluster.layout().shards())?;
        if !core.pins.is_empty() {
            named.indexes().iter().try_for_each(|&shard| self.tx.refuse_elsewhere(shard, "the SQL"))?;
        }
        Ok(self.tx.narrowed(named))
    }

    /// Checks that a statement may be used in this way, on a shard with a transaction.
    fn check_sql(&self, step: &PlanStep<'_>, wanted: Use) -> Result<()> {
        if let Some(shard) = self.tx.cluster.layout().shards().by_index(step.shard) {
            self.tx.connection_of(shard)?.restore_settings_at_end();
        }
        let (shard, statement) = self.tx.prepare(step.shard, &step.statement.sql, None)?;
        check_properties(statement.properties(), step.statement.params.len(), wanted)
            .map_err(|error| error.on_shard(shard.name()))
    }
}

/// Returns the SQL for each shard.
fn steps<'c>(core: &'c SqlCore, shards: &ShardSet, layout: &Layout) -> Result<Vec<PlanStep<'c>>> {
    let params = core.params()?;
    let step = |&shard: &usize| -> Result<PlanStep<'c>> {
        let sql = core.text_on(shard, layout)?;
        Ok(PlanStep { shard, statement: Statement { sql, params: params.clone() } })
    };
    shards.indexes().iter().map(step).collect()
}

fn check_properties(properties: StatementProperties, given: usize, wanted: Use) -> Result<()> {
    let message = match (wanted, properties) {
        (_, StatementProperties { parameters, .. }) if parameters != given => {
            format!(
                "parameters in the SQL: {parameters}, bound values: {given}; bind one value for each parameter"
            )
        }
        (Use::Read, StatementProperties { only_reads: false, .. }) => {
            "the SQL writes; run it with `execute` instead of `all`, `first` or `one`".to_owned()
        }
        (Use::Read, StatementProperties { returns_rows: false, .. }) => {
            "the SQL returns no rows; read with a statement that returns some".to_owned()
        }
        (Use::Write, StatementProperties { only_reads: true, .. }) => {
            "the SQL only reads; run it with `all`, `first` or `one` instead of `execute`".to_owned()
        }
        (Use::Write, StatementProperties { returns_rows: true, .. }) => {
            "the SQL writes and returns rows, which `execute` does not read; remove `RETURNING`".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Query, message))
}

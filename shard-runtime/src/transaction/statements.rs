//! Statements on the connections of a session's transactions: prepared, executed, observed, recorded for recovery.

use super::Transactions;
use super::commit::Redo;
use crate::driver::{Connection, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::PlanStep;
use crate::planner::sql::Param;
use crate::schema::{Shard, Table};
use crate::tasks::Watch;

/// Names the shard and the table of an error.
pub(crate) fn locate(error: Error, shard: &Shard, table: Option<&Table>) -> Error {
    let error = error.on_shard(shard.name());
    match table {
        Some(table) => error.in_table(table.name),
        None => error,
    }
}

impl Transactions {
    /// Prepares a statement on a shard's connection, on which a transaction has begun.
    pub(crate) fn prepare<'s>(
        &'s self,
        shard: usize,
        sql: &str,
        table: Option<&'static Table>,
    ) -> Result<(&'s Shard, Box<dyn Prepared + 's>)> {
        let location = self.cluster.layout().location(shard)?;
        let (shard, connection) = self.ready(shard)?;
        let statement =
            connection.prepare_in(&location.names, sql).map_err(|error| locate(error, shard, table))?;
        Ok((shard, statement))
    }

    /// Returns a shard's connection, on which a transaction has begun.
    pub(crate) fn ready(&self, shard: usize) -> Result<(&Shard, &dyn Connection)> {
        self.refuse_elsewhere(shard, "the statement")?;
        let database = self.cluster.layout().location(shard)?.database;
        let connection = self.databases.get(database).and_then(|transaction| transaction.connection());
        let (Some(connection), Some(shard)) = (connection, self.cluster.layout().shards().by_index(shard))
        else {
            return Err(Error::new(ErrorKind::UnknownShard, "there is no such shard in this cluster"));
        };
        Ok((shard, connection))
    }

    pub(crate) fn watch(&self, step: &PlanStep<'_>, shard: &Shard, table: Option<&Table>) -> Watch {
        self.cluster.watch(shard, table.map(|table| table.name), &step.statement.sql)
    }

    pub(crate) fn execute_on(
        &mut self,
        shard: usize,
        table: &'static Table,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<u64> {
        let rows =
            self.on(shard, table, sql, |statement| statement.execute(params).map(|rows| (rows, rows)))?;
        if rows > 0 {
            self.record(shard, |redo| redo.statement(sql, params))?;
        }
        Ok(rows)
    }

    /// Records statements of a shard, if recovery may have to run them again.
    pub(crate) fn record(&mut self, shard: usize, note: impl FnOnce(&mut Redo)) -> Result<()> {
        let database = self.cluster.layout().location(shard)?.database;
        if let Some(redo) = self.databases.get_mut(database).and_then(|transaction| transaction.redo.as_mut())
        {
            note(redo);
        }
        Ok(())
    }

    /// Runs a statement on a shard's connection, and reports it. `run` returns its result and the number of rows.
    pub(crate) fn on<O>(
        &self,
        shard: usize,
        table: &'static Table,
        sql: &str,
        run: impl FnOnce(&mut dyn crate::driver::Prepared) -> Result<(O, u64)>,
    ) -> Result<O> {
        let (shard, mut statement) = self.prepare(shard, sql, Some(table))?;
        let watch = self.cluster.watch(shard, Some(table.name), sql);
        let result = run(&mut *statement).map_err(|error| error.on_shard(shard.name()).in_table(table.name));
        let rows = result.as_ref().map_or(0, |(_, rows)| *rows);
        watch.end(self.cluster.observer(), shard, sql, rows, &result);
        result.map(|(result, _)| result)
    }

    /// Returns the connection that the session has to a shard's database.
    pub(crate) fn connection_of(&self, shard: &Shard) -> Result<&dyn Connection> {
        let database = self.cluster.layout().location(shard.index())?.database;
        self.databases.get(database).and_then(|transaction| transaction.connection()).ok_or_else(|| {
            Error::new(ErrorKind::UnknownShard, "the session is not connected to the shard")
                .on_shard(shard.name())
        })
    }
}

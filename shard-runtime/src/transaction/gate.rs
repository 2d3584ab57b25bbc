//! Gates: advisory locks on servers that keep relocations apart from statements that read or write several shards.
//!
//! A bulk write over several servers runs on one shard after the other. Row locks alone would miss a row that another
//! transaction moves from a shard that follows to one that is done. The condition cannot wait for a row whose insert is
//! not committed. Therefore `relocate` locks the gates of the moved tables on both shards exclusively. Statements over
//! several shards lock those of their tables on all of their shards shared.
//!
//! A gate is a transaction lock (`pg_advisory_xact_lock`), which `PREPARE TRANSACTION` keeps until `COMMIT PREPARED`. Its
//! key is the table's oid, so that shards in the same database have different gates. Gates are locked before rows, shard
//! by shard in the cluster's order. SQLite needs none: only one transaction writes a database.

use super::Transactions;
use super::database::DatabaseTransaction;
use crate::error::Result;
use crate::planner::sql::TableSql;
use crate::schema::Table;
use crate::schema::{Shard, ShardSet};

/// Distinguishes gates from other advisory locks with two keys.
const GATES: i32 = 0x5348_4744;

/// Whether several transactions may hold a gate at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Shared,
    Exclusive,
}

impl Gate {
    fn lock(self, sql: &TableSql) -> String {
        let function = match self {
            Gate::Shared => "pg_advisory_xact_lock_shared",
            Gate::Exclusive => "pg_advisory_xact_lock",
        };
        format!("SELECT {function}({GATES}, '{}'::regclass::oid::integer)", sql.name.replace('\'', "''"))
    }
}

impl Transactions {
    /// Locks the gates of these tables on these shards, on which the session may write.
    pub(crate) fn lock_gates(
        &mut self,
        shards: &ShardSet,
        tables: &[&'static Table],
        gate: Gate,
    ) -> Result<()> {
        let layout = self.cluster.shared_layout();
        let mut models = tables.iter().map(|table| layout.model(table)).collect::<Result<Vec<_>>>()?;
        models.sort_unstable();
        models.dedup();
        for &shard in shards.indexes() {
            let location = layout.location(shard)?;
            if !location.dialect.locks_rows() {
                continue;
            }
            let locks = models.iter().map(|&model| Ok(gate.lock(layout.sql(model, shard)?)));
            let locks = locks.collect::<Result<Vec<_>>>()?.join("; ");
            let connection = self.databases.get(location.database).and_then(DatabaseTransaction::connection);
            let locked = connection.map_or(Ok(()), |connection| connection.lock(&locks));
            let name = layout.shards().by_index(shard).map_or("", Shard::name);
            let locked = locked.map_err(|error| error.on_shard(name));
            self.note_conflict(locked)?;
        }
        Ok(())
    }

    /// Keeps relocations out while a statement reads or writes rows of these tables on several shards.
    pub(crate) fn keep_rows_in_place(&mut self, shards: &ShardSet, tables: &[&'static Table]) -> Result<()> {
        match shards.len() {
            0 | 1 => Ok(()),
            _ => self.lock_gates(shards, tables, Gate::Shared),
        }
    }
}

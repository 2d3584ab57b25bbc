//! Lists global transactions that are not finished on a database, for an operator. It only reads; `recovery` and `search`
//! finish them.

use super::{is_recorded, prepared, version};
use crate::driver::{Connection, LeaseOwner};
use crate::error::Result;
use crate::schema::Shard;
use crate::transaction::Cluster;

/// A part of a global transaction that is not finished on one database.
pub(crate) struct PendingPart {
    pub(crate) transaction: String,
    /// Whether it is decided that the transaction is committed.
    pub(crate) is_decided: bool,
}

impl Cluster {
    /// Returns the parts that are not finished on a database. A transaction that is being committed may be among them.
    pub(crate) fn pending_on(
        &self,
        database: usize,
        connection: &dyn Connection,
    ) -> Result<Vec<PendingPart>> {
        match self.dialect(database).prepares_transactions() {
            true => self.pending_on_server(database, connection),
            false => self.pending_on_file(database, connection),
        }
    }

    /// Returns the id of the transaction of this process whose decision may or may not be recorded.
    pub(crate) fn in_doubt(&self) -> Option<String> {
        self.0.control.with_decisions(|decisions, _| decisions.in_doubt().map(str::to_owned))
    }

    fn pending_on_file(&self, database: usize, connection: &dyn Connection) -> Result<Vec<PendingPart>> {
        if !self.is_recorded(database) {
            return Ok(Vec::new());
        }
        let name = self.database_name(database);
        let records = self
            .0
            .control
            .with_decisions(|decisions, control| decisions.records(control).map(<[_]>::to_vec))?;
        let own = records.into_iter().filter(|record| record.database == name);
        // Read after the records: a record stays for a while after its part was applied.
        let applied = version(connection, &self.own_table(database)?)?;
        let missed = own.filter(|record| applied <= record.base);
        Ok(missed.map(|record| PendingPart { transaction: record.transaction, is_decided: true }).collect())
    }

    fn pending_on_server(&self, database: usize, connection: &dyn Connection) -> Result<Vec<PendingPart>> {
        let participants: Vec<usize> = self.layout().shards_in(database).map(Shard::place).collect();
        let parts = prepared(connection, self.id(), &participants)?;
        let decided = parts.into_iter().map(|part| {
            let decider = self.layout().shards().at_place(part.decider)?.index();
            let decider = self.layout().location(decider)?.database;
            let is_decided = match self.dialect(decider).prepares_transactions() {
                false => self
                    .0
                    .control
                    .with_decisions(|decisions, control| decisions.is_recorded(control, &part.transaction)),
                true => self.on_connection(&LeaseOwner::default(), decider, |connection| {
                    is_recorded(connection, self.decision_log_names(decider)?, &part.transaction)
                }),
            };
            // If the deciding database does not answer, the outcome is unknown.
            Ok(PendingPart { transaction: part.transaction, is_decided: is_decided.unwrap_or(false) })
        });
        decided.collect()
    }
}

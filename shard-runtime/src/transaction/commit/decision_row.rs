//! The row of a deciding server's log, written along with the last changes of its transaction, which saves a round trip.
//! Owns the choice of the server before the coordinator runs; uses `prepared`.
//!
//! The row is sent behind the deciding server's own changes, or alone while other servers receive theirs. The session waits
//! for all of these answers before the coordinator prepares any participant.

use super::Commit;
use crate::transaction::Transactions;

/// A row that the deciding server has in its transaction, with its context.
pub(crate) struct DecisionRow {
    /// The database that decides.
    pub(crate) server: usize,
    /// The transaction's id.
    pub(crate) id: String,
    /// Rows of its log that the same statement removes.
    pub(crate) removable: Vec<String>,
    /// How often rows of the log were collected before.
    pub(crate) collected: i64,
}

impl Transactions {
    /// Returns the row to be written along with the last changes of a transaction that a server decides. `None` if other
    /// statements follow, or if no row is needed. All databases of the transaction have begun to write.
    pub(crate) fn new_decision_row(&mut self) -> Option<DecisionRow> {
        self.forget_decision_row();
        let server = self.deciding_server()?;
        let id = self.cluster.new_transaction_id().ok()?;
        let removable = self.cluster.take_removable(server);
        Some(DecisionRow { server, id, removable, collected: 0 })
    }

    /// Notes that a row is not written, or was undone.
    pub(crate) fn put_back_decision_row(&self, row: DecisionRow) {
        self.cluster.put_back_removable(Some(row.server), row.removable);
    }

    /// Notes that the row of this transaction was undone, if there is one.
    pub(crate) fn forget_decision_row(&mut self) {
        if let Some(row) = self.decision_row.take() {
            self.put_back_decision_row(row);
        }
    }

    /// Returns the server that will decide: the one that the coordinator will choose.
    fn deciding_server(&self) -> Option<usize> {
        if !self.is_committing || self.commit != Commit::Atomic || self.cluster.is_for_single_shards() {
            return None;
        }
        let changed = self.databases.used().filter(|(_, transaction)| transaction.has_changed());
        let changed = changed.map(|(database, _)| database);
        let durable: Vec<usize> =
            changed.filter(|database| self.cluster.outlives_the_process(*database)).collect();
        let on_servers = durable.iter().all(|database| !self.cluster.dialect(*database).keeps_redo_records());
        match durable[..] {
            [first, _, ..] if on_servers => Some(first),
            _ => None,
        }
    }
}

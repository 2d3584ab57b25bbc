//! The unit of work: pending changes, the identity map, and everything that writes rows. Uses `executor`, `transaction` and
//! the layers below them.

mod atomic;
mod batches;
mod copied;
mod entries;
mod flush;
mod foreign_keys;
mod handles;
mod identity;
mod insert;
mod located;
mod lookup_repair;
mod move_key;
mod orphans;
mod pending;
mod pipelines;
mod raw;
mod read;
mod reference;
mod relocate;
mod report;
mod save;
mod savepoint;
mod update;
mod version;
mod write;

use std::cell::Cell;
use std::sync::Arc;

pub(crate) use copied::{Copied, copied_columns};
pub(crate) use lookup_repair::problems_of;
pub(crate) use move_key::KeyToMove;
pub(crate) use read::gone;
pub use relocate::{ChangedId, Relocated};
pub use report::{LookupProblem, LookupProblemKind, RowProblem, RowProblemKind, VerifyReport};
pub(crate) use savepoint::savepoint;

use handles::HandleWrites;
use identity::IdentityMap;
use insert::PlacedRow;
use pending::Pending;

use crate::error::{Error, ErrorKind, Result};
use crate::query::{Insert, Sharded, Stored, normalize, size_of, values_of};
use crate::schema::{IdKind, Shard, Table};
use crate::sparse::Sparse;
use crate::tasks::unwind::finally;
use crate::transaction::commit::Committed;
use crate::transaction::{Cluster, HasTransactions, Transactions, in_verb_span};
use crate::value::{Field, Value};

/// The rows that a session reads and writes between two commits.
pub(crate) struct UnitOfWork {
    pub(crate) tx: Transactions,
    /// One for each shard.
    pending: Sparse<Pending>,
    identities: IdentityMap,
    handle_writes: HandleWrites,
    /// The model of the last row: usually also that of the next.
    last_model: Cell<Option<(&'static Table, usize)>>,
}

/// A type that contains a unit of work: the unit of work itself, the session.
pub(crate) trait HasUnitOfWork: HasTransactions {
    fn work(&mut self) -> &mut UnitOfWork;
}

impl HasTransactions for UnitOfWork {
    fn tx(&mut self) -> &mut Transactions {
        &mut self.tx
    }
}

impl HasUnitOfWork for UnitOfWork {
    fn work(&mut self) -> &mut UnitOfWork {
        self
    }
}

impl UnitOfWork {
    pub(crate) fn new(cluster: Cluster, pinned: Option<usize>) -> Self {
        UnitOfWork {
            pending: Sparse::new(cluster.layout().shards().len()),
            identities: IdentityMap::default(),
            handle_writes: HandleWrites::default(),
            last_model: Cell::default(),
            tx: Transactions::new(cluster, pinned),
        }
    }

    /// Rolls back and forgets everything since the session began, or since its last commit.
    pub(crate) fn rollback(&mut self) {
        self.forget();
        self.tx.rollback();
        self.take_latest_layout();
    }

    /// Returns whether nothing in the session depends on its current layout.
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.tx.is_connected() && !self.has_pending_changes() && self.tx.aborted.is_none()
    }

    /// Loads the newest layout that this process has read. The session is not in a transaction.
    fn take_latest_layout(&mut self) {
        let latest = self.tx.cluster.latest();
        if Arc::ptr_eq(&latest.0, &self.tx.cluster.0) {
            return;
        }
        let pinned =
            self.tx.pinned_to().map(|shard| latest.layout().shards().get(shard.name()).map(Shard::index));
        // A session that is pinned to a retired shard keeps its layout, and fails.
        if pinned == Some(None) {
            return;
        }
        let mut fresh = UnitOfWork::new(latest.clone(), pinned.flatten());
        self.tx.hand_over(&mut fresh.tx);
        *self = fresh;
    }

    /// Ends the global transaction because of an error.
    pub(crate) fn abort(&mut self, error: &Error) {
        self.forget();
        self.tx.abort(error);
    }

    /// Forgets the pending changes and the rows that were read.
    fn forget(&mut self) {
        self.pending.used_mut().for_each(|(_, pending)| pending.forget());
        self.identities.clear();
        self.handle_writes.clear();
    }

    /// Aborts after an error if a database has ended its transaction itself, because its disk is full or fails. The
    /// writes of that transaction are lost, and the global transaction is over.
    pub(crate) fn abort_if_transaction_lost<O>(&mut self, result: Result<O>) -> Result<O> {
        let result = self.tx.abort_if_transaction_lost(result);
        // A partial result may have lost a transaction and still contain rows.
        if self.tx.aborted.is_some() {
            self.forget();
        }
        result
    }

    /// Forgets a row that was looked up.
    pub(crate) fn forget_row<T: Sharded>(&mut self, id: &T::Id, shard: &Shard) -> Result<()> {
        self.identities.forget::<T>(id, shard)
    }

    /// Forgets all rows that were looked up.
    pub(crate) fn forget_rows(&mut self) {
        self.identities.clear();
    }

    /// Returns whether changes are pending.
    pub(crate) fn has_pending_changes(&self) -> bool {
        self.pending.used().any(|(_, pending)| !pending.is_empty())
    }

    /// Writes all pending changes.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.tx.check_usable()?;
        let pending = self.pending.used().filter(|(_, pending)| !pending.is_empty());
        let shards = pending.map(|(shard, _)| shard).collect();
        in_verb_span(self, "flush", None, |work| {
            work.tx.record_shards(None, &shards);
            work.flush_shards(&shards)
        })
    }

    /// Writes all pending changes, and commits.
    pub(crate) fn commit(&mut self) -> Result<Committed> {
        self.tx.is_committing = true;
        let flushed = finally(self, UnitOfWork::flush, |work| work.tx.is_committing = false);
        flushed.inspect_err(|_| self.tx.forget_decision_row())?;
        self.identities.clear();
        self.handle_writes.clear();
        let committed = self.tx.commit_databases();
        if committed.is_ok() && self.is_at_rest() {
            self.take_latest_layout();
        }
        committed
    }

    /// Builds the row and finds its shard.
    pub(crate) fn place<N: Insert>(&self, new: N) -> Result<PlacedRow<N::Model>> {
        self.tx.check_usable()?;
        let table = N::Model::TABLE;
        let model = self.model(table)?;
        let cluster = &self.tx.cluster;
        let mut next_id = || -> Result<<N::Model as Sharded>::Id> {
            let value = match table.id_kind {
                IdKind::Sequence => Value::Integer(cluster.next_id(table)?),
                #[cfg(feature = "uuid")]
                IdKind::Uuid => Value::Uuid(uuid::Uuid::now_v7().into_bytes()),
                #[cfg(not(feature = "uuid"))]
                IdKind::Uuid => {
                    return Err(Error::new(
                        ErrorKind::Configuration,
                        "`#[id(uuid)]` needs the feature `uuid`",
                    ));
                }
                // Replaced by the id that the database generates.
                IdKind::Auto | IdKind::Given => Value::Integer(0),
            };
            Field::from_value(value).map_err(|error| table.error_at(table.id, error))
        };
        let mut row = new.into_model(&mut next_id)?;
        let (shard, bytes) = self.home(&row)?;
        normalize(&mut row, &shard)?;
        Ok(PlacedRow { row: Stored::new(Arc::new(row), shard), model, bytes })
    }

    /// Returns the model's index in the layout.
    pub(crate) fn model(&self, table: &'static Table) -> Result<usize> {
        match self.last_model.get() {
            Some((last, model)) if std::ptr::eq(last, table) => Ok(model),
            _ => {
                let model = self.tx.cluster.layout().model(table)?;
                self.last_model.set(Some((table, model)));
                Ok(model)
            }
        }
    }

    /// Returns the shard of a new row, and the size of its values in bytes.
    pub(crate) fn home<T: Sharded>(&self, row: &T) -> Result<(Shard, usize)> {
        let table = T::TABLE;
        let bytes = size_of(row)?; // what cannot be stored is an error here, at the caller's line
        if self.tx.pinned.is_some() {
            self.refuse_entries_elsewhere(table, &values_of(row)?)?;
        }
        let shard = row.shard_chooser(self.tx.cluster.layout().shards())?;
        if table.is_reference() {
            self.tx.every_shard(table)?;
        } else {
            self.tx.refuse_elsewhere(shard, "the row").map_err(|error| error.in_table(table.name))?;
        }
        let home = self.tx.cluster.layout().shards().by_index(shard).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::UnknownShard,
                format!("the chooser returned shard {shard}, which is not configured"),
            )
            .in_table(table.name)
        })?;
        Ok((home, bytes))
    }

    pub(crate) fn enqueue<T: Sharded>(&mut self, row: &Stored<T>, model: usize, bytes: usize) -> Result<()> {
        if T::TABLE.is_reference() {
            for shard in 0..self.pending.len() {
                let Some(pending) = self.pending.get_mut(shard) else { continue };
                pending.insert(model, Arc::clone(row.row()) as _, bytes);
            }
            return Ok(());
        }
        let shard = row.shard().index();
        self.remove_before(row, model)?;
        self.enqueue_entries(&**row.row(), shard)?;
        if let Some(pending) = self.pending.get_mut(shard) {
            pending.insert(model, Arc::clone(row.row()) as _, bytes);
        }
        Ok(())
    }
}

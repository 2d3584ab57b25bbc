//! Savepoints: parts of a global transaction that can be undone alone.

use super::{HasUnitOfWork, UnitOfWork};
use crate::error::{Error, ErrorKind, Result};
use crate::tasks::unwind::caught;
use crate::transaction::DatabaseTransaction;

/// Runs a function, and undoes its effects if it fails.
pub(crate) fn savepoint<S: HasUnitOfWork, O, E: From<Error>>(
    state: &mut S,
    run: impl FnOnce(&mut S) -> Result<O, E>,
) -> Result<O, E> {
    let work = state.work();
    work.flush()?;
    let around: Vec<usize> = work.tx.writing().collect();
    work.tx.on_databases(&around, DatabaseTransaction::savepoint)?;
    work.tx.depth += 1;
    let depth = work.tx.depth;
    let (result, panic) = caught(|| {
        let result = run(state).and_then(|done| state.work().flush().map(|()| done).map_err(E::from));
        Ok(result)
    });
    let work = state.work();
    // A rollback of the whole transaction has also ended the savepoint.
    let is_open = work.tx.depth == depth;
    if is_open {
        work.tx.depth -= 1;
        if !matches!(result, Ok(Ok(_))) {
            work.undo_after(&around);
        }
    }
    panic.resume();
    let done = result??;
    if is_open {
        work.tx.on_databases(&around, DatabaseTransaction::release)?;
    }
    Ok(done)
}

impl UnitOfWork {
    /// Undoes the changes after a savepoint on these databases, and all changes on databases that were not written before
    /// it.
    fn undo_after(&mut self, around: &[usize]) {
        self.pending.used_mut().for_each(|(_, pending)| pending.forget());
        self.identities.clear();
        let lost = self.tx.has_lost_a_transaction();
        if lost || self.tx.on_databases(around, DatabaseTransaction::rollback_to_savepoint).is_err() {
            let message = "a database has ended its transaction, so that the changes before the savepoint are lost, too";
            self.abort(&Error::new(ErrorKind::TransactionAborted, message));
            return;
        }
        let begun: Vec<usize> = self.tx.writing().filter(|database| !around.contains(database)).collect();
        for database in begun {
            self.tx.databases.get_mut(database).map(DatabaseTransaction::rollback);
        }
    }
}

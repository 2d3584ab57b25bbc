//! The global transactions of this process after their decision: participants that it could not finish, and rows of
//! decision logs that it may remove. Pure.
//!
//! The next session that begins to write on a server finishes the participants that are listed for it, without reading
//! the decision.
//!
//! A row may be removed once its owner has the outcome and every participant is finished. After that the owner reads it
//! no more, and recovery reads rows only for participants that it found prepared. Rows are removed in the transaction of
//! the next decision on the same server. The log therefore holds about as many rows as there are commits in progress.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::prepared::PreparedPart;

/// The largest number of rows that one decision removes.
const AT_ONCE: usize = 1_000;

/// The database that holds the decision.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decider {
    Server(usize),
    /// The control database, with whether every file is committed.
    Files {
        are_committed: bool,
    },
}

/// A global transaction with participants that are still prepared.
struct UnfinishedTransaction {
    id: String,
    decider: Decider,
    commits: bool,
    /// The prepared participants, each with its database.
    parts: Vec<(usize, PreparedPart)>,
}

#[derive(Default)]
struct State {
    transactions: Vec<UnfinishedTransaction>,
    /// The rows that may be removed, each with the database whose decision log has it.
    removable: Vec<(usize, String)>,
}

#[derive(Default)]
pub(crate) struct Unfinished {
    state: Mutex<State>,
    /// The number of transactions in the list, to be read without its lock.
    transactions: AtomicUsize,
}

impl Unfinished {
    /// Adds a transaction whose outcome is known, with the participants that could not be finished. Returns its id if it
    /// is decided by files and completely finished.
    pub(crate) fn add(
        &self,
        id: &str,
        decider: Decider,
        commits: bool,
        left: Vec<(usize, PreparedPart)>,
    ) -> Option<String> {
        let mut state = self.lock();
        let transaction = UnfinishedTransaction { id: id.to_owned(), decider, commits, parts: left };
        if transaction.parts.is_empty() {
            return state.finished(transaction);
        }
        state.transactions.push(transaction);
        self.transactions.store(state.transactions.len(), Ordering::Release);
        None
    }

    /// Returns the participants on a database that are to be finished, each with whether it is committed.
    pub(crate) fn on(&self, database: usize) -> Vec<(PreparedPart, bool)> {
        if self.transactions.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let state = self.lock();
        let parts = state.transactions.iter().flat_map(|transaction| {
            let here = transaction.parts.iter().filter(|(other, _)| *other == database);
            here.map(|(_, part)| (part.clone(), transaction.commits))
        });
        parts.collect()
    }

    /// Notes that a participant is finished. Returns the transaction's id if it is decided by files and completely
    /// finished.
    pub(crate) fn finished(&self, part: &PreparedPart) -> Option<String> {
        let mut state = self.lock();
        let has_part =
            |transaction: &UnfinishedTransaction| transaction.parts.iter().any(|(_, other)| other == part);
        let position = state.transactions.iter().position(has_part)?;
        let transaction = state.transactions.get_mut(position)?;
        transaction.parts.retain(|(_, other)| other != part);
        if !transaction.parts.is_empty() {
            return None;
        }
        let transaction = state.transactions.swap_remove(position);
        self.transactions.store(state.transactions.len(), Ordering::Release);
        state.finished(transaction)
    }

    /// Takes rows that the next decision on this database removes.
    pub(crate) fn take_removable(&self, database: usize) -> Vec<String> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        state.removable.retain(|(other, id)| {
            let is_taken = *other == database && taken.len() < AT_ONCE;
            if is_taken {
                taken.push(id.clone());
            }
            !is_taken
        });
        taken
    }

    /// Puts rows back that were not removed, or possibly not.
    pub(crate) fn put_back(&self, database: usize, removable: Vec<String>) {
        self.lock().removable.extend(removable.into_iter().map(|id| (database, id)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn finished(&mut self, transaction: UnfinishedTransaction) -> Option<String> {
        match transaction.decider {
            Decider::Server(database) if transaction.commits => {
                self.removable.push((database, transaction.id));
                None
            }
            Decider::Files { are_committed: true } if transaction.commits => Some(transaction.id),
            Decider::Server(_) | Decider::Files { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(transaction: &str, participant: usize) -> (usize, PreparedPart) {
        let (cluster, transaction) = ("c".to_owned(), transaction.to_owned());
        (participant, PreparedPart { cluster, transaction, decider: 0, participant })
    }

    #[test]
    fn a_row_is_removable_once_every_participant_is_finished() {
        let unfinished = Unfinished::default();
        unfinished.add("x", Decider::Server(0), true, vec![part("x", 1), part("x", 2)]);
        assert_eq!(unfinished.on(1), [(part("x", 1).1, true)]);
        unfinished.finished(&part("x", 1).1);
        assert!(unfinished.take_removable(0).is_empty());
        assert!(unfinished.on(1).is_empty());
        unfinished.finished(&part("x", 2).1);
        assert!(unfinished.take_removable(1).is_empty(), "the row is in another log");
        assert_eq!(unfinished.take_removable(0), ["x"]);
        assert!(unfinished.take_removable(0).is_empty());
        unfinished.put_back(0, vec!["x".to_owned()]);
        assert_eq!(unfinished.take_removable(0), ["x"]);
    }

    #[test]
    fn an_aborted_transaction_has_no_row() {
        let unfinished = Unfinished::default();
        unfinished.add("x", Decider::Server(0), false, vec![part("x", 1)]);
        assert_eq!(unfinished.on(1), [(part("x", 1).1, false)]);
        unfinished.finished(&part("x", 1).1);
        assert!(unfinished.take_removable(0).is_empty());
    }

    #[test]
    fn files_keep_their_record_until_all_of_them_are_committed() {
        let unfinished = Unfinished::default();
        let whole = Decider::Files { are_committed: true };
        assert_eq!(unfinished.add("x", whole, true, Vec::new()).as_deref(), Some("x"));
        assert_eq!(unfinished.add("y", whole, true, vec![part("y", 1)]), None);
        assert_eq!(unfinished.finished(&part("y", 1).1).as_deref(), Some("y"));
        assert_eq!(unfinished.add("z", Decider::Files { are_committed: false }, true, Vec::new()), None);
    }
}

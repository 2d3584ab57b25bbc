//! Handles the failure of a statement: undoes the transaction up to it, or marks the connection as broken, and translates
//! the error of the server.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::PostgresConnection;
use crate::driver::postgres::errors::{ANOTHER_PROCESS, demoted};
use crate::driver::postgres::settings::{GUARD, ServerTransaction};
use crate::driver::{GUARDED, KEYS_LEFT, TransactionMode};
use crate::error::{Error, ErrorKind, Result};

impl PostgresConnection {
    /// Undoes the transaction up to the statement that failed, and returns its error. A connection whose server is
    /// gone or has become a standby is broken.
    pub(in super::super) fn failed(&self, error: Error) -> Error {
        let is_ours = self.deadline.get().is_some_and(|deadline| deadline <= Instant::now());
        let error = self.undo_after(error);
        if is_ours { error } else { self.unless_cancelled(error) }
    }

    /// Turns the error of a statement that another program has cancelled into `Busy`: a retry may succeed. A cancel
    /// request of this connection never outlives its statement.
    pub(super) fn unless_cancelled(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::TimedOut || self.is_over_server_limit(&error) {
            return error;
        }
        Error::new(ErrorKind::Busy, "the statement was cancelled on its server").with_source(error)
    }

    /// Undoes the transaction as [`failed`](Self::failed) does, and returns the error unchanged.
    pub(super) fn undo_after(&self, error: Error) -> Error {
        self.undone.set(self.undone.get() + 1);
        self.forget_searched();
        let refused = self.refused.swap(false, Ordering::Relaxed);
        if refused {
            // The statements of the other shards continue.
            self.expected.borrow_mut().truncate(self.checked_before.get());
            self.checked_shards.set(self.checked_before.get());
        }
        match self.state.get() {
            ServerTransaction::First(_) => self.checked_shards.set(0),
            // A lock that was taken after the savepoint ends with it.
            ServerTransaction::Open(..) => self.checked_shards.set(self.checked_before.get()),
            ServerTransaction::Idle | ServerTransaction::Wanted(_) | ServerTransaction::Broken => {}
        }
        let error = self.broken_if_lost(error);
        let done = match self.state.get() {
            ServerTransaction::Broken => return error,
            _ if self.client.is_closed() => Err(()),
            ServerTransaction::Idle | ServerTransaction::Wanted(_) => Ok(()),
            ServerTransaction::First(transaction) => {
                self.lock_limit.set(self.lock_limit.get().map(|(limit, _)| (limit, false)));
                self.run_promptly("ROLLBACK")
                    .inspect(|()| self.state.set(ServerTransaction::Wanted(transaction)))
            }
            ServerTransaction::Open(_, true) => self.run_promptly(&format!("ROLLBACK TO SAVEPOINT {GUARD}")),
            ServerTransaction::Open(_, false) => Err(()),
        };
        if done.is_err() {
            self.state.set(ServerTransaction::Broken);
        }
        if refused { Self::refusal(error) } else { error }
    }

    /// Notes that a pipeline begins, and whether the transaction begins with it.
    pub(in super::super) fn pipeline_begins(&self) {
        self.pipeline.set(matches!(self.state.get(), ServerTransaction::Wanted(_)).then_some(true));
    }

    /// Notes that the savepoint of the guard belongs to the last pipeline.
    pub(in super::super) fn pipeline_is_sent(&self) {
        self.pipeline.set(Some(self.pipeline.get().is_some()));
    }

    /// Notes that the last pipeline has failed: it is undone, except for a transaction that it has begun.
    pub(in super::super) fn pipeline_has_failed(&self) {
        self.pipeline.set(self.pipeline.get().filter(|has_begun| *has_begun));
    }

    /// Undoes the last pipeline. If it has begun the transaction, the transaction begins again, which also releases the
    /// locks of its checks.
    pub(in super::super) fn undo_last_pipeline(&self) -> Result<()> {
        let lost = "the connection was lost while statements were undone";
        let has_begun = self.pipeline.take();
        if self.state.get() == ServerTransaction::Broken {
            return Err(Error::new(ErrorKind::ConnectionLost, lost));
        }
        let Some(has_begun) = has_begun else { return Ok(()) };
        let transaction = match self.state.get() {
            ServerTransaction::First(transaction) | ServerTransaction::Open(transaction, _) => transaction,
            // The pipeline has failed, and is undone.
            ServerTransaction::Idle | ServerTransaction::Wanted(_) | ServerTransaction::Broken => {
                return Ok(());
            }
        };
        self.undone.set(self.undone.get() + 1);
        self.forget_searched();
        let undone = match has_begun {
            true => {
                self.checked_shards.set(0);
                self.lock_limit.set(self.lock_limit.get().map(|(limit, _)| (limit, false)));
                self.run_promptly("ROLLBACK")
                    .inspect(|()| self.state.set(ServerTransaction::Wanted(transaction)))
            }
            false => {
                self.checked_shards.set(self.checked_before.get());
                self.run_promptly(&format!("ROLLBACK TO SAVEPOINT {GUARD}"))
            }
        };
        undone.map_err(|()| {
            self.state.set(ServerTransaction::Broken);
            Error::new(ErrorKind::ConnectionLost, lost)
        })
    }

    /// Returns whether the server ended a statement because of its `statement_timeout`. PostgreSQL has one code for
    /// this and for a cancel request of another program, and the message depends on the language of the server.
    fn is_over_server_limit(&self, error: &Error) -> bool {
        let answer = error.driver_error().and_then(|answer| answer.downcast_ref::<tokio_postgres::Error>());
        let message = answer.and_then(|answer| answer.as_db_error()).map_or("", |answer| answer.message());
        match (message.contains("statement timeout"), message.contains("user request")) {
            (true, _) => true,
            (_, true) => false,
            _ if self.state.get() == ServerTransaction::Broken => true,
            _ => !matches!(self.text("SHOW statement_timeout"), Ok(Some(limit)) if limit == "0"),
        }
    }

    /// Returns the error of a refused transaction: the database does not contain the expected shard.
    pub(super) fn refusal(error: Error) -> Error {
        if error.to_string().contains(ANOTHER_PROCESS) {
            let message = "the connection changed to another server process, as a pooler in transaction mode does; \
                        add `pooler=transaction` to the shard's URL";
            return Error::new(ErrorKind::Configuration, message).with_source(error);
        }
        if error.to_string().contains(KEYS_LEFT) {
            return Error::new(ErrorKind::Moved, KEYS_LEFT).with_source(error);
        }
        let message = "the database does not hold this shard any more: its schema was replaced, or the connection leads to \
                    another database; nothing was read or written. Restore the schema, or correct the shard's URL";
        Error::new(ErrorKind::WrongDatabase, message).with_source(error)
    }

    /// Marks the connection as broken if an error shows that its server is gone or has become read-only. Returns the
    /// error.
    pub(super) fn broken_if_lost(&self, error: Error) -> Error {
        let only_reads = matches!(
            self.state.get(),
            ServerTransaction::First(TransactionMode::Read)
                | ServerTransaction::Open(TransactionMode::Read, _)
        );
        let error = match error.kind() {
            _ if self.is_demoted.swap(false, Ordering::Relaxed) => demoted(error),
            // In a transaction that only reads, the statement is wrong. The target of a copy refuses writes itself.
            ErrorKind::ReadOnly if !only_reads && !error.to_string().contains(GUARDED) => demoted(error),
            ErrorKind::ConnectionLost => error,
            _ => return error,
        };
        self.state.set(ServerTransaction::Broken);
        error
    }
}

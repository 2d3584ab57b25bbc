//! Reads that end early: after a time, or with what can be had.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Session;
use super::unwind::finally;
use crate::driver::{Connection, Interrupter};
use crate::error::{Error, Result};
use crate::query::Query;

/// The rows that could be had, and why others could not; made by [`Session::all_that_answer`].
#[derive(Debug)]
pub struct Partial<O> {
    /// The rows of the shards that answered, in the query's order. Of a shard that failed on the way, those that
    /// came before.
    pub rows: Vec<O>,
    /// One error for each shard that did not answer, or not to the end; each names its shard.
    pub missing: Vec<Error>,
}

/// Who waits for what a session reads, on another thread, and may go away meanwhile.
#[derive(Default)]
pub(crate) struct Leaving(Mutex<Readers>);

#[derive(Default)]
struct Readers {
    is_gone: bool,
    /// What stops the connections that are being read.
    reading: Vec<Interrupter>,
}

impl Leaving {
    /// Stops what is read for nobody, and what would be read next.
    pub(crate) fn leave(&self) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.is_gone = true;
        readers.reading.iter().for_each(|interrupt| interrupt());
    }

    /// Whether a connection is worth being read: then it can be stopped from now on.
    pub(super) fn begin(&self, connection: &dyn Connection) -> bool {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !readers.is_gone {
            readers.reading.push(connection.interrupter());
        }
        !readers.is_gone
    }

    /// From now on nothing is stopped: what follows may write.
    fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reading.clear();
    }
}

impl Session {
    /// Says who waits for what is read from now on, and may go away. Who did before stops nothing any more.
    pub(crate) fn let_leave(&mut self, leaving: Option<Arc<Leaving>>) {
        self.lift_deadlines();
        self.leaving = leaving;
    }

    /// LimitOffset every verb that reads (`all`, `first`, `one`, `for_each`, `all_with`, `get`, `parent`, `reload`). The time is
    /// for the whole verb: waiting for a connection, connecting, preparing and executing. Without a timeout a statement
    /// may run forever, and connecting to a server is bounded by the URL's `connect_timeout` (10 s by default).
    ///
    /// Writing is not bounded, nor is the flush of pending changes before a read: stopping it half-way would have to be
    /// undone, and stopping a commit would leave its outcome unknown. Waiting for locks is bounded by
    /// [`Builder::busy_timeout`](crate::Builder::busy_timeout).
    ///
    /// A statement that is stopped fails with [`TimedOut`](crate::ErrorKind::TimedOut) and the shard's name. The session
    /// can be used on, unless the server does not answer the request to stop either: that is waited for up to a second,
    /// then the connection is closed, and the session has to be rolled back.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// The rows of a query from those shards that answer, and an error for each that does not: one that is locked,
    /// damaged, gone, or slower than the session's timeout. A count, a sum or a group is then of what was there.
    ///
    /// With a timeout, and if some of the databases are servers, each database is read by a thread of its own, so that a
    /// server that does not answer takes no time from the others. The rows are in memory then before the first is
    /// returned. If the session was in a transaction on a server that did not answer, it has to be rolled back before it
    /// is used on.
    ///
    /// What is looked up by its id has no part in it, for a row that is not found could be on the shard that is
    /// missing; nor has `all_with`, whose parents would look childless.
    ///
    /// # Errors
    /// Those that are not one shard's: a wrong statement, a value that is none, a key that is placed nowhere, rows
    /// that wait and cannot be written. [`ErrorKind::Query`](crate::ErrorKind::Query) for a query with
    /// [`for_update`](crate::Select::for_update), before any statement: rows of a shard that does not answer cannot be
    /// locked, and could be changed by another transaction.
    pub fn all_that_answer<Q: Query>(&mut self, query: Q) -> Result<Partial<Q::Output>> {
        self.within("all_that_answer", None, |session| {
            session.missing = Some(RefCell::default());
            let mut missing = Vec::new();
            let rows = finally(
                session,
                |session| session.all(query),
                |session| missing = session.missing.take().map(RefCell::into_inner).unwrap_or_default(),
            );
            rows.map(|rows| Partial { rows, missing })
        })
    }

    /// Notes what is missing, where a partial answer is wanted and it is the shard's fault; otherwise the error.
    pub(super) fn tolerated(&self, error: Error) -> Result<()> {
        match &self.missing {
            Some(missing) if error.is_about_a_shard() => {
                missing.borrow_mut().push(error);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Runs something that reads, to be stopped when the session's timeout is over. What it is made of has no more
    /// time than the whole.
    pub(super) fn bounded<O>(&mut self, run: impl FnOnce(&mut Self) -> O) -> O {
        let (Some(timeout), None) = (self.timeout, self.deadline) else { return run(self) };
        // What is beyond the end of time is never.
        self.deadline = Instant::now().checked_add(timeout);
        finally(self, run, |session| {
            session.lift_deadlines();
            session.deadline = None;
        })
    }

    /// From now on the connections may run for as long as it takes: what follows may write.
    pub(super) fn lift_deadlines(&self) {
        if let Some(leaving) = &self.leaving {
            leaving.end();
        }
        if self.deadline.is_some() || self.leaving.is_some() {
            let connections = self.links.iter().filter_map(|link| link.connection());
            connections.for_each(|connection| connection.set_deadline(None));
        }
    }
}

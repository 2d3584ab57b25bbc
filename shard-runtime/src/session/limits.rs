//! Reads that end early: after a time, or with what can be had.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::Session;
use crate::error::{Error, Result};
use crate::query::Query;
use crate::shards::ShardSet;

/// The rows that could be had, and why others could not; made by [`Session::all_that_answer`].
#[derive(Debug)]
pub struct Partial<O> {
    /// The rows of the shards that answered, in the query's order. Of a shard that failed on the way, those that
    /// came before.
    pub rows: Vec<O>,
    /// One error for each shard that did not answer, or not to the end; each names its shard.
    pub missing: Vec<Error>,
}

impl Session {
    /// Gives up on every query (`all`, `first`, `one`, `for_each`) that takes longer than this on one of its shards;
    /// none, and it takes as long as it takes. Waiting for others' locks is bounded by
    /// [`Builder::busy_timeout`](crate::Builder::busy_timeout). Rows that are looked up by their ids or their parents'
    /// are not bounded, and neither is writing: what is stopped half-way would have to be undone.
    ///
    /// A query that was stopped is an error of the kind [`TimedOut`](crate::ErrorKind::TimedOut) with the shard's
    /// name, after which the session can be used on.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// The rows of a query from those shards that answer, and an error for each that does not: one that is locked,
    /// damaged, gone, or slower than the session's timeout. A count, a sum or a group is then of what was there.
    ///
    /// # Errors
    /// Those that are not one shard's: a wrong statement, a value that is none, a key that is placed nowhere, rows
    /// that wait and cannot be written.
    pub fn all_that_answer<Q: Query>(&mut self, query: Q) -> Result<Partial<Q::Output>> {
        self.missing = Some(RefCell::default());
        let rows = self.all(query);
        let missing = self.missing.take().map(RefCell::into_inner).unwrap_or_default();
        rows.map(|rows| Partial { rows, missing })
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

    /// Runs something that reads these shards, to be stopped when the session's timeout is over.
    pub(super) fn in_time<O>(&mut self, shards: &ShardSet, run: impl FnOnce(&mut Self) -> O) -> O {
        let Some(timeout) = self.timeout else { return run(self) };
        // What is beyond the end of time is never.
        self.set_deadlines(shards, Instant::now().checked_add(timeout));
        let result = run(self);
        self.set_deadlines(shards, None);
        result
    }

    fn set_deadlines(&self, shards: &ShardSet, deadline: Option<Instant>) {
        let layout = self.cluster.layout();
        for place in shards.indexes().iter().filter_map(|&shard| layout.place(shard).ok()) {
            if let Some(connection) = self.links.get(place.database).and_then(|link| link.connection()) {
                connection.set_deadline(deadline);
            }
        }
    }
}

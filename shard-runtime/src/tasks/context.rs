//! The state of one call of a session: its deadline, the missing shards of a partial answer, its cancellation, its span.
//! Uses `driver`, `error` and `schema`.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use super::{CancellationToken, Span};
use crate::driver::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{ShardSet, Shards, Table};

/// The state of one call.
#[derive(Default)]
pub(crate) struct ExecutionContext {
    /// The time at which the call's reads are stopped.
    pub(crate) deadline: Option<Instant>,
    /// The errors of shards that are missing, if the caller accepts a partial answer.
    pub(crate) missing: Option<RefCell<Vec<Error>>>,
    /// Cancels the call's reads.
    pub(crate) cancellation: Option<Arc<CancellationToken>>,
    /// The span of the verb.
    pub(crate) span: Option<Span>,
}

impl ExecutionContext {
    /// Records the error of a missing shard, if the caller accepts a partial answer and the error is about a shard.
    /// Otherwise returns the error.
    pub(crate) fn tolerated(&self, error: Error) -> Result<()> {
        match &self.missing {
            Some(missing) if error.is_about_a_shard() => {
                missing.borrow_mut().push(error);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Makes the next statements of a connection end at the call's deadline, or when the call is cancelled.
    pub(crate) fn begin_to_read(&self, connection: Option<&dyn Connection>) -> Result<()> {
        let Some(connection) = connection else { return Ok(()) };
        if self.deadline.is_some() {
            connection.set_deadline(self.deadline);
        }
        match &self.cancellation {
            Some(cancellation) if !cancellation.begin(connection) => {
                Err(Error::new(ErrorKind::TimedOut, "query was cancelled"))
            }
            _ => Ok(()),
        }
    }

    /// Records on the verb's span which shards it reads or writes.
    pub(crate) fn record_shards(&self, table: Option<&Table>, shards: &ShardSet, all: &Shards) {
        #[cfg(feature = "tracing")]
        if let Some(span) = &self.span {
            span.record_shards(table, &shards.names(all));
        }
        #[cfg(not(feature = "tracing"))]
        let _ = (table, shards, all);
    }
}

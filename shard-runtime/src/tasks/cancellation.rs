//! Cancellation of reads by another thread, which does not wait for their rows any more.

use std::sync::{Mutex, PoisonError};

use crate::driver::{Connection, Interrupter};

/// Cancels the reads of a session, from any thread.
#[derive(Default)]
pub(crate) struct CancellationToken(Mutex<Readers>);

#[derive(Default)]
struct Readers {
    is_cancelled: bool,
    /// What stops the connections that are being read.
    reading: Vec<Interrupter>,
}

impl CancellationToken {
    /// Stops what is read for nobody, and what would be read next.
    pub(crate) fn cancel(&self) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.is_cancelled = true;
        readers.reading.iter().for_each(|interrupt| interrupt());
    }

    /// Whether a connection is worth being read: then it can be stopped from now on.
    pub(crate) fn begin(&self, connection: &dyn Connection) -> bool {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !readers.is_cancelled {
            readers.reading.push(connection.interrupter());
        }
        !readers.is_cancelled
    }

    /// From now on nothing is stopped: what follows may write.
    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reading.clear();
    }
}

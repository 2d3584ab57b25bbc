//! Cancellation of a session's reads by another thread. Owns the list of connections to interrupt; uses `driver`.

use std::sync::{Mutex, PoisonError};

use crate::driver::{Connection, Interrupter};

/// Cancels the reads of a session, from any thread.
#[derive(Default)]
pub(crate) struct CancellationToken(Mutex<Readers>);

#[derive(Default)]
struct Readers {
    is_cancelled: bool,
    /// Functions that interrupt the connections that are being read.
    reading: Vec<Interrupter>,
}

impl CancellationToken {
    /// Interrupts the running reads, and cancels each later one.
    pub(crate) fn cancel(&self) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.is_cancelled = true;
        readers.reading.iter().for_each(|interrupt| interrupt());
    }

    /// Registers a connection to be interrupted. Returns false if the reads are cancelled.
    pub(crate) fn begin(&self, connection: &dyn Connection) -> bool {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !readers.is_cancelled {
            readers.reading.push(connection.interrupter());
        }
        !readers.is_cancelled
    }

    /// Unregisters all connections: the next statements may write.
    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reading.clear();
    }
}

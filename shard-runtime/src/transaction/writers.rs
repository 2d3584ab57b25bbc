//! Writer numbers, which detect an older copy of a SQLite database or of the control database.
//!
//! Each process takes a number from control before its first write. It writes the number into each SQLite database along
//! with its first transaction there, and then records that in control. A database whose number is smaller than the one
//! recorded in control is an older copy. If its number is greater than all that control has issued, control is an older
//! copy. Later transactions cost nothing. A copy that was made after a process's first write is not detected in this way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Cluster;
use super::facts::{self, Kind};
use crate::driver::Connection;
use crate::error::{ErrorKind, Result};

/// The state of the number that this process writes.
pub(crate) struct Writers {
    number: Mutex<Option<i64>>,
    /// Whether the number is committed in each database.
    is_written: Vec<AtomicBool>,
    /// The databases whose number is not recorded in control yet.
    unrecorded: Mutex<Vec<usize>>,
    has_unrecorded: AtomicBool,
}

impl Writers {
    pub(crate) fn new(databases: usize) -> Self {
        Writers {
            number: Mutex::default(),
            is_written: (0..databases).map(|_| AtomicBool::new(false)).collect(),
            unrecorded: Mutex::default(),
            has_unrecorded: AtomicBool::new(false),
        }
    }

    fn needs_writing(&self, database: usize) -> bool {
        self.is_written.get(database).is_some_and(|is_written| !is_written.load(Ordering::Relaxed))
    }
}

/// A writer number in a transaction that is not committed yet.
pub(crate) struct Written {
    writers: Arc<Writers>,
    database: usize,
}

impl Written {
    /// Notes that the transaction is committed. The number is recorded only if it is on disk: otherwise the database
    /// would look like an older copy after a power loss.
    pub(crate) fn committed(self, connection: &dyn Connection) {
        let Written { writers, database } = self;
        let Some(is_written) = writers.is_written.get(database) else { return };
        if connection.sync().is_ok() && !is_written.swap(true, Ordering::Relaxed) {
            writers.unrecorded.lock().unwrap_or_else(PoisonError::into_inner).push(database);
            writers.has_unrecorded.store(true, Ordering::Relaxed);
        }
    }
}

impl Cluster {
    /// Writes this process's number into a database along with its first transaction there.
    pub(crate) fn write_number(
        &self,
        database: usize,
        connection: &dyn Connection,
    ) -> Result<Option<Written>> {
        let writers = &self.0.writers;
        let control = &self.0.control;
        let dialect = self.dialect(database);
        let is_numbered = || {
            !dialect.has_log_position() && self.outlives_the_process(database) && !control.driver.is_private()
        };
        if !writers.needs_writing(database) || !is_numbered() {
            return Ok(None);
        }
        let number = {
            let mut number = writers.number.lock().unwrap_or_else(PoisonError::into_inner);
            if number.is_none() {
                *number = control.issue_writer();
            }
            *number
        };
        // Control is in use: a later transaction retries.
        let Some(number) = number else { return Ok(None) };
        let names = &self.layout().location(self.layout().first_in(database))?.names;
        let write = || facts::record_own(connection, names, dialect, Kind::Writer, &number.to_string());
        match write() {
            // Made by an older release.
            Err(error) if error.kind() == ErrorKind::Schema => {
                connection.run(&facts::make(names, dialect))?;
                write()?;
            }
            written => written?,
        }
        Ok(Some(Written { writers: Arc::clone(writers), database }))
    }

    /// Records in control which databases have this process's number, unless control is in use.
    pub(crate) fn record_writer(&self) {
        self.0.record_writer();
    }
}

impl crate::transaction::ClusterState {
    pub(crate) fn record_writer(&self) {
        let writers = &self.writers;
        if !writers.has_unrecorded.load(Ordering::Relaxed) {
            return;
        }
        let number = *writers.number.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unrecorded = writers.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        let first = |&database: &usize| self.layout.shards_in(database).next();
        let names: Vec<&str> = unrecorded.iter().filter_map(first).map(|shard| shard.name()).collect();
        if number.is_some_and(|number| self.control.record_writer(&names, number)) {
            unrecorded.clear();
            writers.has_unrecorded.store(false, Ordering::Relaxed);
        }
    }
}

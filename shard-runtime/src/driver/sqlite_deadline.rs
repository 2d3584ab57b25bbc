//! The deadline of the statements on a SQLite connection, which a progress handler enforces. Uses `sqlite_errors`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::sqlite_errors::from_sqlite;
use crate::error::Result;

/// The deadline at which the progress handler of SQLite stops statements.
pub(super) struct Deadline {
    began: Instant,
    /// Nanoseconds after `began`; `u64::MAX` for no deadline.
    at: AtomicU64,
}

impl Deadline {
    /// The number of VM steps between two checks: some tens of microseconds.
    const STEPS: i32 = 5_000;

    pub(super) fn watch(raw: &mut rusqlite::Connection) -> Result<Arc<Self>> {
        let deadline = Arc::new(Deadline { began: Instant::now(), at: AtomicU64::new(u64::MAX) });
        let watched = Arc::clone(&deadline);
        raw.progress_handler(Self::STEPS, Some(move || watched.is_over())).map_err(from_sqlite)?;
        Ok(deadline)
    }

    pub(super) fn set(&self, deadline: Option<Instant>) {
        let nanoseconds = |at: Instant| at.saturating_duration_since(self.began).as_nanos();
        let at = deadline.map_or(u64::MAX, |at| u64::try_from(nanoseconds(at)).unwrap_or(u64::MAX));
        self.at.store(at, Ordering::Relaxed);
    }

    pub(super) fn pass(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.rest().is_some_and(|rest| rest.is_zero())
    }

    /// Returns the time until the deadline, if there is one.
    pub(super) fn rest(&self) -> Option<Duration> {
        match self.at.load(Ordering::Relaxed) {
            u64::MAX => None,
            at => Some(Duration::from_nanos(at).saturating_sub(self.began.elapsed())),
        }
    }
}

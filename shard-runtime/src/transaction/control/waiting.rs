//! The pauses of a session that waits for the control database.

use std::time::{Duration, Instant};

/// The pauses of a session that waits for a lock, and holds nothing that other sessions wait for.
pub(super) struct Waiting {
    until: Instant,
    pause: Duration,
}

impl Waiting {
    const LONGEST: Duration = Duration::from_millis(10);

    pub(super) fn new(timeout: Duration) -> Self {
        Waiting { until: Instant::now() + timeout, pause: Duration::from_micros(500) }
    }

    /// Waits for a moment. Returns false if the timeout has passed.
    pub(super) fn pause(&mut self) -> bool {
        let rest = self.until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return false;
        }
        std::thread::sleep(self.pause.min(rest));
        self.pause = (self.pause * 2).min(Self::LONGEST);
        true
    }
}

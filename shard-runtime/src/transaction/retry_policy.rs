//! How often, and after which pauses, a transaction runs again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How often [`Cluster::transaction`](crate::Cluster::transaction) runs a closure again after an error that is
/// [retryable](crate::Error::is_retryable), and how long it pauses before. Set with
/// [`Builder::retry`](crate::Builder::retry).
///
/// The pause before a retry has a random length up to a limit that doubles with each retry (exponential backoff with full
/// jitter; M. Brooker, "Exponential Backoff And Jitter", 2015).
///
/// ```
/// # use std::time::Duration;
/// # use shard_runtime::RetryPolicy;
/// let patient = RetryPolicy::default().tries(30).longest_pause(Duration::from_secs(1));
/// assert_eq!(RetryPolicy::none(), RetryPolicy::default().tries(1));
/// # assert_eq!(patient.first_pause(Duration::from_millis(2)), patient);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    pub(crate) tries: u32,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            tries: 10,
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_millis(250),
        }
    }
}

impl RetryPolicy {
    /// Returns the policy that never runs a closure again.
    pub fn none() -> Self {
        RetryPolicy::default().tries(1)
    }

    /// Sets the largest number of runs of the closure, including the first. Default: 10.
    pub fn tries(self, tries: u32) -> Self {
        RetryPolicy { tries, ..self }
    }

    /// Sets the longest pause before the second try. Default: 2 ms.
    pub fn first_pause(self, pause: Duration) -> Self {
        RetryPolicy { first_pause: pause, ..self }
    }

    /// Sets the longest pause of all. Default: 250 ms.
    pub fn longest_pause(self, pause: Duration) -> Self {
        RetryPolicy { longest_pause: pause, ..self }
    }

    /// Returns the number of tries that give up a possible deadlock early. The others wait for the whole busy timeout.
    pub(crate) fn early_tries(self) -> u32 {
        self.tries / 2
    }

    /// Returns a random pause after this number of tries.
    pub(crate) fn pause(self, tried: u32) -> Duration {
        let doubled = 1_u32.checked_shl(tried.saturating_sub(1)).unwrap_or(u32::MAX);
        let longest = self.first_pause.saturating_mul(doubled).min(self.longest_pause);
        longest.mul_f64(chance())
    }
}

/// Returns a random number from 0 to 1.
fn chance() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = RetryPolicy::default();
        for (tried, most) in [(1, 2), (2, 4), (3, 8), (8, 250), (40, 250), (u32::MAX, 250)] {
            let pause = (0..100).map(|_| policy.pause(tried)).max().unwrap_or_default();
            assert!(pause <= Duration::from_millis(most), "{tried}: {pause:?}");
            assert!(pause > Duration::from_millis(most / 2), "{tried}: {pause:?}");
        }
    }
}

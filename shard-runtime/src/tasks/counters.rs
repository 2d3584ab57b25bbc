//! Counters of one cluster handle since it was opened. Uses `error`.
//!
//! Each is a relaxed atomic that no thread waits for. [`Shard`](crate::schema::Shard) counts statements and rows; the
//! owner of a resource counts the waits for it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::ErrorKind;

pub(crate) struct Counters {
    /// By the index of the shard, then by the kind. The errors that name no shard follow after the last shard.
    errors: Vec<[AtomicU64; ErrorKind::ALL.len()]>,
    one_shard: AtomicU64,
    several_shards: AtomicU64,
    retries: AtomicU64,
}

impl Counters {
    pub(crate) fn new(shards: usize) -> Self {
        Counters {
            errors: (0..=shards).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect(),
            one_shard: AtomicU64::new(0),
            several_shards: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }
    }

    pub(crate) fn count_error(&self, shard: Option<usize>, kind: ErrorKind) {
        let errors = match shard {
            Some(shard) => self.errors.get(shard),
            None => self.errors.last(),
        };
        if let Some(count) = errors.and_then(|errors| errors.get(kind as usize)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a committed transaction that wrote this number of shards.
    pub(crate) fn count_commit(&self, shards: usize) {
        match shards {
            0 => {}
            1 => _ = self.one_shard.fetch_add(1, Ordering::Relaxed),
            _ => _ = self.several_shards.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(crate) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the kinds of errors about a shard, or without a shard, that have occurred, with their numbers.
    pub(crate) fn errors(&self, shard: Option<usize>) -> Vec<(ErrorKind, u64)> {
        let errors = match shard {
            Some(shard) => self.errors.get(shard),
            None => self.errors.last(),
        };
        let counts = errors.into_iter().flatten().map(|count| count.load(Ordering::Relaxed));
        ErrorKind::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }

    /// Returns the numbers of committed transactions that wrote one shard, and that wrote several.
    pub(crate) fn commits(&self) -> (u64, u64) {
        (self.one_shard.load(Ordering::Relaxed), self.several_shards.load(Ordering::Relaxed))
    }

    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}

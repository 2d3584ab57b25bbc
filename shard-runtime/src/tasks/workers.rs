//! Worker threads for statements on several shards at once, and the recent times of statements. Uses `tasks::threads`.
//!
//! A query takes as many workers as are free, and runs on the calling thread if there are none. A worker may block
//! until its rows are taken, so no thread blocks for a worker.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use super::Parallelism;
use super::threads::ThreadPool;
use crate::error::{Error, ErrorKind};

/// The greatest number of statements whose times are remembered.
const REMEMBERED: usize = 1_024;

/// The worker threads of a cluster, and the times of its statements.
pub(crate) struct Workers {
    threads: ThreadPool,
    number: usize,
    free: AtomicUsize,
    /// The last two times of each statement.
    times: Mutex<HashMap<String, [Duration; 2]>>,
    /// For each model, how many look-ups in a row were slow.
    slow_look_ups: Vec<AtomicU32>,
}

/// A worker that was taken. Dropping it, also by a job that panics, makes it free again.
pub(crate) struct Worker(Arc<Workers>);

/// Returns the error of a caller whose worker thread has ended without a result.
pub(crate) fn worker_lost() -> Error {
    Error::new(ErrorKind::Database, "worker thread terminated unexpectedly")
}

impl Workers {
    /// Makes the workers without starting threads. There are two for each processor, at least 4 and at most 64: some
    /// block for a disk, or until their rows are taken.
    pub(crate) fn new(models: usize) -> Self {
        let number = (2 * available_parallelism().map_or(1, NonZero::get)).clamp(4, 64);
        Workers {
            threads: ThreadPool::new("sharded-worker"),
            number,
            free: AtomicUsize::new(number),
            times: Mutex::default(),
            slow_look_ups: (0..models).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Takes as many workers as are free, at most `wanted`. Takes none if their threads cannot be started.
    pub(crate) fn take(self: &Arc<Self>, wanted: usize) -> Vec<Worker> {
        let take = |free: usize| Some(free - wanted.min(free));
        let free = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).unwrap_or(0);
        let workers: Vec<Worker> = (0..wanted.min(free)).map(|_| Worker(Arc::clone(self))).collect();
        if workers.is_empty() {
            return workers;
        }
        // There are as many threads as workers in use, so that no job is queued behind another one.
        let in_use = self.number - self.free.load(Ordering::Acquire);
        match self.threads.grow_to(in_use.max(workers.len())) {
            Ok(()) => workers,
            Err(_) => Vec::new(),
        }
    }

    /// Returns how many of the last look-ups by id of a model were slow, without a quick one between them.
    pub(crate) fn slow_look_ups(&self, model: usize) -> u32 {
        self.slow_look_ups.get(model).map_or(0, |slow| slow.load(Ordering::Relaxed))
    }

    /// Records the time of a look-up by id on one shard.
    pub(crate) fn looked_up(&self, model: usize, time: Duration) {
        let Some(slow) = self.slow_look_ups.get(model) else { return };
        let before = slow.load(Ordering::Relaxed);
        let now = if Parallelism::is_slow_look_up(time) { before.saturating_add(1) } else { 0 };
        // The value seldom changes. A store would invalidate the cache line of the other processors.
        if now != before {
            slow.store(now, Ordering::Relaxed);
        }
    }

    /// Returns how long a statement takes on one shard; `None` if it is not remembered. This is the shorter of the last
    /// two times, because another process may have delayed one of them.
    pub(crate) fn time_of(&self, sql: &str) -> Option<Duration> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.get(sql).and_then(|times| times.iter().min().copied())
    }

    /// Records the time of a statement on one shard. The first time of a statement counts at once if it ran on a
    /// worker: it was expected to be slow.
    pub(crate) fn remember(&self, sql: &str, time: Duration, on_worker: bool) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        match times.get_mut(sql) {
            Some([last, before]) => (*last, *before) = (time, *last),
            None => {
                if times.len() >= REMEMBERED {
                    times.clear();
                }
                let before = if on_worker { time } else { Duration::ZERO };
                times.insert(sql.to_owned(), [time, before]);
            }
        }
    }
}

impl Worker {
    /// Runs a job on the worker's thread. `done` is called with the result after the worker is free again.
    pub(crate) fn run<T: Send + 'static>(
        self,
        job: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(T) + Send + 'static,
    ) {
        let workers = Arc::clone(&self.0);
        workers.threads.execute(move || {
            let result = job();
            drop(self);
            done(result);
        });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_workers_are_taken_than_there_are() {
        let workers = Arc::new(Workers::new(1));
        let mut all = workers.take(usize::MAX);
        assert_eq!((all.len(), workers.take(1).len()), (workers.number, 0));
        let (sender, receiver) = std::sync::mpsc::channel();
        all.pop().unwrap().run(|| 5, move |result| sender.send(result).unwrap());
        assert_eq!((receiver.recv(), workers.take(2).len()), (Ok(5), 1));
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        all.pop().unwrap().run(|| panic!("on purpose"), move |()| drop(sender));
        assert!(receiver.recv().is_err());
        assert_eq!(workers.take(usize::MAX).len(), 2);
        drop(all);
        assert_eq!(workers.take(usize::MAX).len(), workers.number);
    }

    #[test]
    fn a_statement_is_slow_that_was_slow_twice() {
        let workers = Workers::new(0);
        let (slow, fast) = (Duration::from_millis(9), Duration::from_millis(1));
        workers.remember("here", slow, false);
        workers.remember("there", slow, true);
        assert_eq!((workers.time_of("here"), workers.time_of("there")), (Some(Duration::ZERO), Some(slow)));
        for (time, expected) in [(slow, slow), (fast, fast), (slow, fast), (slow, slow)] {
            workers.remember("here", time, false);
            assert_eq!(workers.time_of("here"), Some(expected));
        }
        assert_eq!(workers.time_of("never"), None);
    }

    #[test]
    fn slow_look_ups_are_counted_in_a_row() {
        let workers = Workers::new(2);
        let (slow, fast) = (Duration::from_millis(1), Duration::from_micros(999));
        for (time, expected) in [(slow, 1), (slow, 2), (fast, 0), (slow, 1)] {
            workers.looked_up(0, time);
            assert_eq!((workers.slow_look_ups(0), workers.slow_look_ups(1)), (expected, 0));
        }
    }
}

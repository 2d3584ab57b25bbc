//! The threads on which statements run on several shards at once, and what is known of how long statements take.
//!
//! A query takes as many workers as are free, and runs on the caller's thread where none is: a worker may wait for
//! its reader, so that nobody may wait for a worker.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use super::Parallelism;
use once_cell::sync::OnceCell;
use scheduled_thread_pool::ScheduledThreadPool;

/// How many statements' times are remembered.
const REMEMBERED: usize = 1_024;

pub(crate) struct Workers {
    threads: OnceCell<ScheduledThreadPool>,
    number: usize,
    free: AtomicUsize,
    /// How long statements took the last two times.
    times: Mutex<HashMap<String, [Duration; 2]>>,
    /// For each model, how many look-ups in a row were slow.
    slow_look_ups: Vec<AtomicU32>,
}

impl Workers {
    /// Two for each processor, and at least four: some wait for their disk or their reader.
    pub(crate) fn new(models: usize) -> Self {
        let number = (2 * available_parallelism().map_or(1, NonZero::get)).clamp(4, 64);
        Workers {
            threads: OnceCell::new(),
            number,
            free: AtomicUsize::new(number),
            times: Mutex::default(),
            slow_look_ups: (0..models).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Takes as many workers as are free, and no more than these; each is given back by [`Workers::run`].
    pub(crate) fn take(&self, wanted: usize) -> usize {
        let taking = |free: usize| Some(free - wanted.min(free));
        let free = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, taking);
        free.map_or(0, |free| wanted.min(free))
    }

    /// Runs a job on a worker that was taken. It tells `done` at last, with the worker free again.
    pub(crate) fn run<T: Send + 'static>(
        self: &std::sync::Arc<Self>,
        job: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(T) + Send + 'static,
    ) {
        let threads = self.threads.get_or_init(|| {
            let builder = ScheduledThreadPool::builder().num_threads(self.number);
            builder.thread_name_pattern("sharded-worker-{}").build()
        });
        let worker = Taken(std::sync::Arc::clone(self));
        threads.execute(move || {
            let result = job();
            drop(worker);
            done(result);
        });
    }

    /// How often in a row looking up a row of a model by its id was slow.
    pub(crate) fn slow_look_ups(&self, model: usize) -> u32 {
        self.slow_look_ups.get(model).map_or(0, |slow| slow.load(Ordering::Relaxed))
    }

    /// Remembers how long it took on one shard.
    pub(crate) fn looked_up(&self, model: usize, time: Duration) {
        let Some(slow) = self.slow_look_ups.get(model) else { return };
        let before = slow.load(Ordering::Relaxed);
        let now = if Parallelism::is_slow_look_up(time) { before.saturating_add(1) } else { 0 };
        // Nearly always the same, which need not be told the other processors.
        if now != before {
            slow.store(now, Ordering::Relaxed);
        }
    }

    /// How long a statement takes on one shard, where it was seen before: the shorter of the last two times. Once is
    /// nothing: the machine may have done something else.
    pub(crate) fn time_of(&self, sql: &str) -> Option<Duration> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.get(sql).and_then(|times| times.iter().min().copied())
    }

    /// Remembers how long a statement took on one shard. Of one that was never seen and ran on a worker that is
    /// believed at once: it was expected to be slow.
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

/// A worker that was taken, and is free again when this is dropped: also by a job that panics.
struct Taken(std::sync::Arc<Workers>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_workers_are_taken_than_there_are() {
        let workers = std::sync::Arc::new(Workers::new(1));
        let all = workers.take(usize::MAX);
        assert_eq!((all, workers.take(1)), (workers.number, 0));
        let (sender, receiver) = std::sync::mpsc::channel();
        workers.run(|| 5, move |result| sender.send(result).unwrap());
        assert_eq!((receiver.recv(), workers.take(2)), (Ok(5), 1));
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        workers.run(|| panic!("on purpose"), move |()| drop(sender));
        assert!(receiver.recv().is_err());
        assert_eq!(workers.take(2), 1);
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

//! A pool of threads that run jobs from one queue. Owns the queue and starts the threads; uses only `std`.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A function that a thread runs once.
type Job = Box<dyn FnOnce() + Send>;

/// A pool of threads that are started as they are needed. They end with [`ThreadPool::close`], which a drop also calls.
pub(crate) struct ThreadPool(Arc<Shared>);

struct Shared {
    /// The prefix of the threads' names, before the number.
    name: &'static str,
    state: Mutex<State>,
    /// Notified when a job was queued, or the threads have to end.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    is_closed: bool,
}

impl ThreadPool {
    pub(crate) fn new(name: &'static str) -> Self {
        ThreadPool(Arc::new(Shared { name, state: Mutex::default(), changed: Condvar::new() }))
    }

    /// Starts threads until there are `wanted` threads.
    ///
    /// # Errors
    /// The operating system's, if it starts no more threads.
    pub(crate) fn grow_to(&self, wanted: usize) -> io::Result<()> {
        let mut state = self.0.lock();
        while state.threads < wanted {
            let shared = Arc::clone(&self.0);
            let name = format!("{}-{}", self.0.name, state.threads);
            thread::Builder::new().name(name).spawn(move || shared.work())?;
            state.threads += 1;
        }
        Ok(())
    }

    /// Queues a job. The caller has started at least one thread before.
    pub(crate) fn execute(&self, job: impl FnOnce() + Send + 'static) {
        self.0.lock().queue.push_back(Box::new(job));
        self.0.changed.notify_one();
    }

    /// Ends each thread once the queue is empty. Blocks for none of them.
    pub(crate) fn close(&self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                run_quietly(job);
                state = self.lock();
            } else if state.is_closed {
                return;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a job, and catches its panic. The panic's payload is leaked: its drop may panic again.
pub(crate) fn run_quietly(job: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
        std::mem::forget::<Box<dyn Any + Send>>(payload);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_thread_survives_the_panic_of_a_job() {
        let threads = ThreadPool::new("sharded-test");
        threads.grow_to(1).unwrap();
        threads.execute(|| panic!("on purpose"));
        let (sender, receiver) = channel();
        threads.execute(move || sender.send(thread::current().name().map(str::to_owned)).unwrap());
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("sharded-test-0"));
    }

    #[test]
    fn closing_runs_the_queue_first_and_ends_the_threads() {
        let threads = ThreadPool::new("sharded-test");
        threads.grow_to(2).unwrap();
        threads.grow_to(1).unwrap();
        assert_eq!(threads.0.lock().threads, 2);
        let shared = Arc::clone(&threads.0);
        let (sender, receiver) = channel();
        for number in 0..10 {
            let sender = sender.clone();
            threads.execute(move || sender.send(number).unwrap());
        }
        drop((threads, sender));
        let mut done: Vec<i32> = receiver.iter().collect();
        done.sort_unstable();
        assert_eq!(done, (0..10).collect::<Vec<_>>());
        // Each thread drops its handle when it ends.
        while Arc::strong_count(&shared) > 1 {
            thread::yield_now();
        }
    }
}

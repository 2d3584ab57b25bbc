//! The threads of async sessions, and the limit of sessions in the middle of a transaction. Uses `tasks::threads`.
//!
//! A session is *active* from the first verb that takes a connection until the commit or the rollback that returns all
//! its connections. A thread is reserved for each active session. A session that holds a lock or a connection therefore
//! never waits for a thread, even if all other threads block for that lock. Only a session that holds nothing waits for
//! a thread, first come, first served, and blocks no thread while it waits.
//!
//! The workers of large reads (`tasks::workers`) are other threads. No thread blocks for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::threads::{ThreadPool, run_quietly};
use crate::error::{Error, ErrorKind};

/// A job of a session on a thread.
pub(crate) trait Job: Send {
    /// Runs the job, and releases the thread if the session is not active any more.
    fn run(self: Box<Self>);

    /// Returns the error to the caller, without running the job.
    fn refuse(self: Box<Self>, error: Error);
}

/// A job that waits for a thread; see [`SessionExecutor::withdraw`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterId(u64);

/// A cluster's threads for async sessions, started when they are needed. A clone is another handle on them.
#[derive(Clone)]
pub(crate) struct SessionExecutor(Arc<Shared>);

struct Shared {
    /// How many sessions may be active at once.
    max_active: usize,
    /// How long a session waits for a thread while no thread is released.
    acquire_timeout: Duration,
    state: Mutex<State>,
    /// As many as sessions have been active at once. Each session has at most one job in the queue.
    threads: ThreadPool,
    /// Wakes the watching thread when the executor closes.
    watch: Condvar,
}

struct State {
    /// The number of active sessions; at most the number of threads.
    active: usize,
    /// The first jobs of waiting sessions, in their order, each with the time at which it began to wait.
    waiting: BTreeMap<u64, (Instant, Box<dyn Job>)>,
    next_waiter: u64,
    /// The time of the last release of a thread.
    last_release: Instant,
    /// Whether the thread runs that refuses jobs after the acquire timeout.
    is_watched: bool,
}

impl SessionExecutor {
    pub(crate) fn new(max_active: usize, acquire_timeout: Duration) -> Self {
        let state = State {
            active: 0,
            waiting: BTreeMap::new(),
            next_waiter: 0,
            last_release: Instant::now(),
            is_watched: false,
        };
        SessionExecutor(Arc::new(Shared {
            max_active,
            acquire_timeout,
            state: Mutex::new(state),
            threads: ThreadPool::new("sharded-async"),
            watch: Condvar::new(),
        }))
    }

    /// Ends the threads when the queue is empty.
    pub(crate) fn close(&self) {
        self.0.threads.close();
        self.0.watch.notify_all();
    }

    /// Runs a job of an active session.
    pub(crate) fn resume(&self, job: Box<dyn Job>) {
        self.0.threads.execute(|| job.run());
    }

    /// Runs a job of a session that is not active, as soon as a thread is free. Returns the waiter if the job has to
    /// wait.
    pub(crate) fn begin(&self, job: Box<dyn Job>) -> Option<WaiterId> {
        let mut state = self.lock();
        if state.active >= self.0.max_active {
            let waiter = state.next_waiter;
            state.next_waiter += 1;
            state.waiting.insert(waiter, (Instant::now(), job));
            self.ensure_watch(&mut state);
            return Some(WaiterId(waiter));
        }
        if let Err(error) = self.0.threads.grow_to(state.active + 1) {
            drop(state);
            let message = format!("no thread could be started: {error}");
            job.refuse(Error::new(ErrorKind::Io, message).with_source(error));
            return None;
        }
        state.active += 1;
        self.resume(job);
        None
    }

    /// Reserves a thread for a session that is not active, until [`release`](Self::release). Returns false if none is
    /// free.
    pub(crate) fn reserve(&self) -> bool {
        let mut state = self.lock();
        let is_free = state.active < self.0.max_active && self.0.threads.grow_to(state.active + 1).is_ok();
        state.active += usize::from(is_free);
        is_free
    }

    /// Removes a job that still waits. It has no effect on a job that has begun.
    pub(crate) fn withdraw(&self, WaiterId(waiter): WaiterId) {
        // The drop of the job takes other locks, so it happens after this one is released.
        let withdrawn = self.lock().waiting.remove(&waiter);
        drop(withdrawn);
    }

    /// Ends the reservation of a thread. The job that has waited longest gets the thread.
    pub(crate) fn release(&self) {
        let mut state = self.lock();
        state.last_release = Instant::now();
        match state.waiting.pop_first() {
            Some((_, (_, job))) => self.resume(job),
            None => state.active = state.active.saturating_sub(1),
        }
    }

    /// Starts the thread that refuses jobs after the acquire timeout, unless it runs.
    fn ensure_watch(&self, state: &mut State) {
        // If it cannot be started, jobs wait longer, until a later job starts it.
        state.is_watched = state.is_watched || {
            let executor = self.clone();
            let thread = thread::Builder::new().name("sharded-async-watch".to_owned());
            thread.spawn(move || executor.watch()).is_ok()
        };
    }

    /// Refuses each job that has waited for the acquire timeout while no thread was released. As long as threads are
    /// released, no job is refused, for any length of the queue.
    fn watch(&self) {
        let mut state = self.lock();
        loop {
            let Some(since) = state.waiting.first_key_value().map(|(_, (since, _))| *since) else {
                state.is_watched = false;
                return;
            };
            let waited = since.max(state.last_release).elapsed();
            if let Some(rest) = self.0.acquire_timeout.checked_sub(waited).filter(|rest| !rest.is_zero()) {
                let woken = self.0.watch.wait_timeout(state, rest);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let Some((_, (_, job))) = state.waiting.pop_first() else { continue };
            drop(state);
            let message = format!(
                "timed out after {waited:.1?} waiting for an async session slot (limit {}): commit, roll back or drop \
                 finished sessions, or raise `async_sessions`",
                self.0.max_active
            );
            run_quietly(|| job.refuse(Error::new(ErrorKind::Busy, message)));
            state = self.lock();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The threads of async sessions, and the limit of sessions in the middle of a transaction. Uses `tasks::threads`.
//!
//! A session is *under way* from the first verb that takes a connection until the commit or the rollback that gives
//! them all back. For that time one thread is reserved for it. A session that holds a lock or a connection therefore never
//! waits for a thread, even if all other threads block for that lock. Only a session that holds nothing waits for a
//! thread, first come first served, and blocks no thread while it waits.
//!
//! The workers of large reads (`tasks::workers`) are other threads. No thread blocks for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::threads::{Threads, run_quietly};
use crate::error::{Error, ErrorKind};

/// Something that a session does on a thread.
pub(crate) trait Job: Send {
    /// Does it, and gives the place back where the session is not under way any more.
    fn run(self: Box<Self>);

    /// Records that it was not done.
    fn refuse(self: Box<Self>, error: Error);
}

/// A job that waits for a place; see [`SessionExecutor::withdraw`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterId(u64);

/// A cluster's threads for async sessions, started when they are needed. A clone is another handle on them.
#[derive(Clone)]
pub(crate) struct SessionExecutor(Arc<Shared>);

struct Shared {
    /// How many sessions may be under way at once.
    max_active: usize,
    /// How long a session waits for a place while none is given back.
    acquire_timeout: Duration,
    state: Mutex<State>,
    /// As many as sessions have been under way at once; each session has at most one job queued.
    threads: Threads,
    /// The watching thread is to look again.
    watch: Condvar,
}

struct State {
    /// How many sessions are under way; never more than there are threads.
    under_way: usize,
    /// The first jobs of sessions that wait, in their order, and since when each waits.
    waiting: BTreeMap<u64, (Instant, Box<dyn Job>)>,
    tickets: u64,
    /// When a place was given back last.
    moved: Instant,
    /// Whether a thread refuses jobs that have waited for too long.
    is_watched: bool,
}

impl SessionExecutor {
    pub(crate) fn new(max_active: usize, acquire_timeout: Duration) -> Self {
        let state = State {
            under_way: 0,
            waiting: BTreeMap::new(),
            tickets: 0,
            moved: Instant::now(),
            is_watched: false,
        };
        SessionExecutor(Arc::new(Shared {
            max_active,
            acquire_timeout,
            state: Mutex::new(state),
            threads: Threads::new("sharded-async"),
            watch: Condvar::new(),
        }))
    }

    /// Ends the threads once they have nothing to do.
    pub(crate) fn close(&self) {
        self.0.threads.close();
        self.0.watch.notify_all();
    }

    /// Runs a job of a session that is under way.
    pub(crate) fn resume(&self, job: Box<dyn Job>) {
        self.0.threads.execute(|| job.run());
    }

    /// Runs a job of a session that is not under way, as soon as there is a thread for it. Returns the waiter if the job
    /// has to wait.
    pub(crate) fn begin(&self, job: Box<dyn Job>) -> Option<WaiterId> {
        let mut state = self.lock();
        if state.under_way >= self.0.max_active {
            let waiter = state.tickets;
            state.tickets += 1;
            state.waiting.insert(waiter, (Instant::now(), job));
            self.look_after(&mut state);
            return Some(WaiterId(waiter));
        }
        if let Err(error) = self.0.threads.grow_to(state.under_way + 1) {
            drop(state);
            let message = format!("no thread could be started: {error}");
            job.refuse(Error::new(ErrorKind::Io, message).with_source(error));
            return None;
        }
        state.under_way += 1;
        self.resume(job);
        None
    }

    /// Reserves a thread for a session that is not under way, if one can be had at once. [`give_back`](Self::give_back) ends
    /// that.
    pub(crate) fn reserve(&self) -> bool {
        let mut state = self.lock();
        let is_free =
            state.under_way < self.0.max_active && self.0.threads.grow_to(state.under_way + 1).is_ok();
        state.under_way += usize::from(is_free);
        is_free
    }

    /// Removes a job that still waits. A job that has begun is not affected.
    pub(crate) fn withdraw(&self, WaiterId(waiter): WaiterId) {
        // Dropping the job takes other locks, so that it happens without this one.
        let withdrawn = self.lock().waiting.remove(&waiter);
        drop(withdrawn);
    }

    /// Ends the reservation of a thread. The job that has waited for the longest time gets it.
    pub(crate) fn give_back(&self) {
        let mut state = self.lock();
        state.moved = Instant::now();
        match state.waiting.pop_first() {
            Some((_, (_, job))) => self.resume(job),
            None => state.under_way = state.under_way.saturating_sub(1),
        }
    }

    /// Starts the thread that refuses jobs after the acquire timeout.
    fn look_after(&self, state: &mut State) {
        // If it cannot be started, jobs wait for longer, until the next job starts it.
        state.is_watched = state.is_watched || {
            let executor = self.clone();
            let thread = thread::Builder::new().name("sharded-async-watch".to_owned());
            thread.spawn(move || executor.watch()).is_ok()
        };
    }

    /// Refuses each job that has waited for the acquire timeout, in which no thread became free. In a queue that moves no
    /// job is refused, however long the queue is.
    fn watch(&self) {
        let mut state = self.lock();
        loop {
            let Some(since) = state.waiting.first_key_value().map(|(_, (since, _))| *since) else {
                state.is_watched = false;
                return;
            };
            let waited = since.max(state.moved).elapsed();
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

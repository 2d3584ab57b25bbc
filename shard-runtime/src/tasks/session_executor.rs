//! The threads that async sessions work on.
//!
//! A session is *under way* from the first verb that takes a connection until the commit or the rollback that gives
//! them all back, and for as long it has a thread's place to itself. So whoever holds a lock or a connection never waits
//! for a thread, be all other threads waiting for that very lock: it can always go on, and give it back. Only who holds
//! nothing waits for a place, in the order of coming, and blocks no thread while it waits.
//!
//! The workers of large reads (`cluster::workers`) are others, and are never waited for: a read takes those that are
//! free, and runs on its own thread where there are none.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};

/// Something that a session does on a thread.
pub(crate) trait Job: Send {
    /// Does it, and gives the place back where the session is not under way any more.
    fn run(self: Box<Self>);

    /// Says that it was not done.
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
    /// There is a job.
    work: Condvar,
    /// There may be nobody left who waits.
    watch: Condvar,
}

struct State {
    /// How many sessions are under way; never more than there are threads.
    under_way: usize,
    threads: usize,
    /// What sessions that are under way have to do: never more than one thing each.
    ready: VecDeque<Box<dyn Job>>,
    /// What sessions are to begin with, in the order of coming, and since when each waits.
    waiting: BTreeMap<u64, (Instant, Box<dyn Job>)>,
    tickets: u64,
    /// When a place was given back last.
    moved: Instant,
    /// Whether somebody looks for those who have waited for too long.
    is_watched: bool,
    /// Whether the cluster is gone.
    is_closed: bool,
}

impl SessionExecutor {
    pub(crate) fn new(max_active: usize, acquire_timeout: Duration) -> Self {
        let state = State {
            under_way: 0,
            threads: 0,
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            tickets: 0,
            moved: Instant::now(),
            is_watched: false,
            is_closed: false,
        };
        SessionExecutor(Arc::new(Shared {
            max_active,
            acquire_timeout,
            state: Mutex::new(state),
            work: Condvar::new(),
            watch: Condvar::new(),
        }))
    }

    /// Ends the threads once they have nothing to do.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.0.work.notify_all();
        self.0.watch.notify_all();
    }

    /// Has something done by a session that is under way.
    pub(crate) fn resume(&self, job: Box<dyn Job>) {
        self.lock().ready.push_back(job);
        self.0.work.notify_one();
    }

    /// Has something done by a session that is not under way, as soon as it can be; its waiter, where it has to wait.
    pub(crate) fn begin(&self, job: Box<dyn Job>) -> Option<WaiterId> {
        let mut state = self.lock();
        if state.under_way >= self.0.max_active {
            let waiter = state.tickets;
            state.tickets += 1;
            state.waiting.insert(waiter, (Instant::now(), job));
            self.look_after(&mut state);
            return Some(WaiterId(waiter));
        }
        if state.threads <= state.under_way {
            if let Err(error) = self.start("sharded-async", SessionExecutor::work) {
                drop(state);
                let message = format!("no thread could be started: {error}");
                job.refuse(Error::new(ErrorKind::Io, message).with_source(error));
                return None;
            }
            state.threads += 1;
        }
        state.under_way += 1;
        state.ready.push_back(job);
        self.0.work.notify_one();
        None
    }

    /// Takes back what still waits, and so is not done; nothing happens where it is done or under way.
    pub(crate) fn withdraw(&self, WaiterId(waiter): WaiterId) {
        // What the job holds goes where it belongs when the job is dropped, which takes other locks.
        let withdrawn = self.lock().waiting.remove(&waiter);
        drop(withdrawn);
    }

    /// Gives a place back: to who has waited for the longest time, where somebody waits.
    pub(crate) fn give_back(&self) {
        let mut state = self.lock();
        state.moved = Instant::now();
        match state.waiting.pop_first() {
            Some((_, (_, job))) => {
                state.ready.push_back(job);
                self.0.work.notify_one();
            }
            None => state.under_way = state.under_way.saturating_sub(1),
        }
    }

    /// Sees to it that who waits is told when it has waited for too long.
    fn look_after(&self, state: &mut State) {
        // Without that thread they wait for longer, until somebody else is tried to be told.
        state.is_watched =
            state.is_watched || self.start("sharded-async-watch", SessionExecutor::watch).is_ok();
    }

    fn start(&self, name: &str, run: fn(&SessionExecutor)) -> io::Result<()> {
        let threads = self.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || run(&threads)).map(drop)
    }

    /// What each thread does.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.ready.pop_front() {
                drop(state);
                // A job catches what its closure panics with; this is for a runtime whose waker panics.
                drop_quietly(catch_unwind(AssertUnwindSafe(|| job.run())));
                state = self.lock();
            } else if state.is_closed {
                return;
            } else {
                state = self.0.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Tells those who wait that they have waited for too long: nobody has given a place back for all that time. In a
    /// queue that moves nobody is told so, however long it is.
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
                "all {} async sessions that may be in the middle of a unit of work at once have been so for {waited:.1?}; \
                 nothing was done",
                self.0.max_active
            );
            drop_quietly(catch_unwind(AssertUnwindSafe(|| job.refuse(Error::new(ErrorKind::Busy, message)))));
            state = self.lock();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that was thrown may throw again where it is dropped, and is leaked rather.
fn drop_quietly(result: Result<(), Box<dyn Any + Send>>) {
    if let Err(thrown) = result {
        std::mem::forget(thrown);
    }
}

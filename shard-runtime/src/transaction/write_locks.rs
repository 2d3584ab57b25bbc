//! The order in which the sessions of one cluster handle get the write locks of its SQLite databases, and the detection of
//! deadlocks among them.
//!
//! SQLite allows one writer for each database, and a connection that waits for it polls. Sessions of one process wait
//! here instead: in order of arrival, woken when the lock is free. A session waits for one lock at most. A deadlock is
//! therefore a cycle, found by following *waits for* and *is held by* when a session begins to wait. The youngest session
//! of the cycle fails at once. Waits for other processes, and for other handles of the cluster, happen in SQLite, up to
//! the busy timeout.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::driver::WaitCounter;
use crate::error::{Error, ErrorKind, Result};

/// How many later sessions may overtake the first waiter: a running thread is faster than one that must be woken.
const OVERTAKING: usize = 16;

/// The age of a transaction: smaller is older. A retry keeps it, so that each transaction becomes the oldest eventually.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Age(u64);

/// The write locks of a cluster's databases.
pub(crate) struct WriteLocks {
    ages: AtomicU64,
    state: Mutex<State>,
    pub(crate) waits: WaitCounter,
}

/// The right of one session to begin a write transaction on a database; released when it is dropped.
pub(crate) struct WriteLock {
    locks: Arc<WriteLocks>,
    database: usize,
}

struct State {
    databases: Vec<DatabaseQueue>,
    /// The database that each waiting session waits for.
    waiting: HashMap<Age, usize>,
}

#[derive(Default)]
struct DatabaseQueue {
    owner: Option<Age>,
    queue: VecDeque<(Age, Arc<Turn>)>,
    /// How many sessions have overtaken the first waiter.
    overtaken: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    TryAgain,
    Granted,
    /// The session is the youngest of a cycle.
    Deadlock,
}

/// Wakes one waiting thread.
#[derive(Default)]
struct Turn {
    signal: Mutex<Option<Signal>>,
    changed: Condvar,
}

impl Turn {
    fn send(&self, signal: Signal) {
        *self.signal.lock().unwrap_or_else(PoisonError::into_inner) = Some(signal);
        self.changed.notify_one();
    }

    fn wait(&self, timeout: Duration) -> Option<Signal> {
        let signal = self.signal.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = self.changed.wait_timeout_while(signal, timeout, |signal| signal.is_none());
        woken.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

impl WriteLocks {
    pub(crate) fn new(databases: usize) -> Arc<Self> {
        let databases = (0..databases).map(|_| DatabaseQueue::default()).collect();
        let state = Mutex::new(State { databases, waiting: HashMap::new() });
        Arc::new(WriteLocks { ages: AtomicU64::new(0), state, waits: WaitCounter::default() })
    }

    /// Returns the age of a transaction that begins now.
    pub(crate) fn age(&self) -> Age {
        Age(self.ages.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a database's lock if it is free.
    pub(crate) fn try_acquire(self: &Arc<Self>, age: Age, database: usize) -> Option<WriteLock> {
        let took = self.lock().take(age, database);
        took.then(|| WriteLock { locks: Arc::clone(self), database })
    }

    /// Waits for a database's lock.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] after the timeout. At once if the session is the youngest of a cycle of sessions that wait for
    /// one another.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        age: Age,
        database: usize,
        timeout: Duration,
    ) -> Result<WriteLock> {
        let lock = || WriteLock { locks: Arc::clone(self), database };
        let turn = Arc::new(Turn::default());
        let mut state = self.lock();
        if state.take(age, database) {
            return Ok(lock());
        }
        if let Some(victim) = state.youngest_of_a_cycle(age, database) {
            if victim == age {
                return Err(deadlock());
            }
            state.fail_waiter(victim);
        }
        state.enqueue(age, database, &turn);
        drop(state);
        let _counted = self.waits.begin();
        let began = Instant::now();
        loop {
            let signal = turn.wait(timeout.saturating_sub(began.elapsed()));
            match signal {
                Some(Signal::Granted) => return Ok(lock()),
                Some(Signal::Deadlock) => return Err(deadlock()),
                Some(Signal::TryAgain) if self.lock().take_as_waiter(age, database) => return Ok(lock()),
                Some(Signal::TryAgain) => {}
                None => {
                    let mut state = self.lock();
                    if state.remove_waiter(age, database) {
                        state.wake_first(database);
                        let waited = began.elapsed();
                        let message = format!(
                            "timed out after {waited:.1?} waiting for another session's write transaction: commit or roll \
                             back sessions that have written, or raise `busy_timeout`"
                        );
                        return Err(Error::new(ErrorKind::Busy, message));
                    }
                    // It was signalled after the timeout, before this took the lock.
                    match state.owns(age, database) {
                        true => return Ok(lock()),
                        false => return Err(deadlock()),
                    }
                }
            }
        }
    }

    /// Returns the waiting sessions, each with the session that it waits for.
    pub(crate) fn waits(&self) -> Vec<(Age, Age)> {
        let state = self.lock();
        let owner = |database: &usize| state.databases.get(*database)?.owner;
        state.waiting.iter().filter_map(|(waiter, database)| Some((*waiter, owner(database)?))).collect()
    }

    /// Makes a waiting session fail: it is part of a deadlock over files and servers.
    pub(crate) fn break_wait(&self, victim: Age) {
        self.lock().fail_waiter(victim);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn deadlock() -> Error {
    let message = "deadlock: the session waits for a database that another session writes, which waits for a database that \
                this session writes; roll back and try again (`Cluster::transaction` does)";
    Error::new(ErrorKind::Busy, message)
}

impl State {
    /// Takes the lock if it is free and its first waiter may be overtaken once more.
    fn take(&mut self, age: Age, database: usize) -> bool {
        let Some(wanted) = self.databases.get_mut(database) else { return true };
        if wanted.owner.is_some() || (!wanted.queue.is_empty() && wanted.overtaken >= OVERTAKING) {
            return false;
        }
        wanted.overtaken += usize::from(!wanted.queue.is_empty());
        wanted.owner = Some(age);
        true
    }

    /// Takes the lock for the first waiter, if it is free.
    fn take_as_waiter(&mut self, age: Age, database: usize) -> bool {
        let Some(wanted) = self.databases.get_mut(database) else { return true };
        if wanted.owner.is_some() || wanted.queue.front().is_none_or(|(first, _)| *first != age) {
            return false;
        }
        wanted.owner = Some(age);
        self.remove_waiter(age, database);
        true
    }

    fn enqueue(&mut self, age: Age, database: usize, turn: &Arc<Turn>) {
        self.waiting.insert(age, database);
        if let Some(wanted) = self.databases.get_mut(database) {
            wanted.queue.push_back((age, Arc::clone(turn)));
        }
        self.wake_first(database);
    }

    /// Removes a waiter. Returns whether it was one.
    fn remove_waiter(&mut self, age: Age, database: usize) -> bool {
        self.waiting.remove(&age);
        let Some(wanted) = self.databases.get_mut(database) else { return false };
        let Some(at) = wanted.queue.iter().position(|(waiter, _)| *waiter == age) else { return false };
        wanted.queue.remove(at);
        if at == 0 {
            wanted.overtaken = 0;
        }
        true
    }

    fn owns(&self, age: Age, database: usize) -> bool {
        self.databases.get(database).is_some_and(|database| database.owner == Some(age))
    }

    /// Makes a waiter fail.
    fn fail_waiter(&mut self, victim: Age) {
        let Some(&database) = self.waiting.get(&victim) else { return };
        let queue = self.databases.get(database).map(|database| &database.queue);
        let turn =
            queue.into_iter().flatten().find(|(age, _)| *age == victim).map(|(_, turn)| Arc::clone(turn));
        self.remove_waiter(victim, database);
        turn.into_iter().for_each(|turn| turn.send(Signal::Deadlock));
        self.wake_first(database);
    }

    /// Returns the youngest session of the cycle that would exist if this session waited for this database.
    fn youngest_of_a_cycle(&self, age: Age, database: usize) -> Option<Age> {
        let (mut youngest, mut wanted) = (age, database);
        // Each session waits for one database, so that the walk has no branches and ends.
        for _ in 0..=self.waiting.len() {
            let owner = self.databases.get(wanted)?.owner?;
            if owner == age {
                return Some(youngest);
            }
            youngest = youngest.max(owner);
            wanted = *self.waiting.get(&owner)?;
        }
        None
    }

    /// Wakes the first waiter of a free lock. Hands the lock over if that waiter was overtaken too often.
    fn wake_first(&mut self, database: usize) {
        let Some(free) = self.databases.get_mut(database).filter(|database| database.owner.is_none()) else {
            return;
        };
        let Some((first, turn)) = free.queue.front().cloned() else { return };
        if free.overtaken < OVERTAKING {
            turn.send(Signal::TryAgain);
            return;
        }
        free.owner = Some(first);
        self.remove_waiter(first, database);
        turn.send(Signal::Granted);
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        let mut state = self.locks.lock();
        if let Some(database) = state.databases.get_mut(self.database) {
            database.owner = None;
        }
        state.wake_first(self.database);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const LONG: Duration = Duration::from_secs(600);

    /// Waits until this many sessions wait.
    fn until_waiting(locks: &WriteLocks, count: usize) {
        while locks.lock().waiting.len() < count {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_youngest_of_a_cycle_fails_at_once() {
        for youngest in 0..3 {
            let locks = WriteLocks::new(3);
            let mut ages: Vec<Age> = (0..3).map(|_| locks.age()).collect();
            ages.rotate_left(youngest + 1);
            // Session n has database n and waits for the next.
            let mut held: Vec<_> = (0..3).map(|n| Some(locks.try_acquire(ages[n], n).unwrap())).collect();
            thread::scope(|scope| {
                let mut threads = Vec::new();
                for n in 0..3 {
                    let (own, locks, age) = (held[n].take(), &locks, ages[n]);
                    threads.push(scope.spawn(move || {
                        let next = locks.acquire(age, (n + 1) % 3, LONG);
                        drop(own);
                        next.map(drop).map_err(|error| error.to_string())
                    }));
                    if n < 2 {
                        until_waiting(locks, n + 1);
                    }
                }
                let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
                let oldest_first: Vec<usize> = (0..3).filter(|n| ended[*n].is_err()).collect();
                let victim = (0..3).max_by_key(|n| ages[*n]).unwrap();
                assert_eq!(oldest_first, [victim], "{ended:?}");
                assert!(ended[victim].as_ref().unwrap_err().starts_with("deadlock"));
            });
        }
    }

    #[test]
    fn a_chain_is_no_cycle_and_times_out() {
        let locks = WriteLocks::new(2);
        let (first, second) = (locks.age(), locks.age());
        let held = locks.try_acquire(first, 0).unwrap();
        let _other = locks.try_acquire(second, 1).unwrap();
        let error = locks.acquire(second, 0, Duration::from_millis(5)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains("busy_timeout"), "{error}");
        assert!(locks.lock().waiting.is_empty());
        drop(held);
        assert!(locks.acquire(second, 0, LONG).is_ok());
    }

    #[test]
    fn the_first_waiter_is_overtaken_a_bounded_number_of_times() {
        let locks = WriteLocks::new(1);
        let mut held = locks.try_acquire(locks.age(), 0).unwrap();
        let waiter = Arc::new(Turn::default());
        let age = locks.age();
        locks.lock().enqueue(age, 0, &waiter);
        for _ in 0..OVERTAKING {
            drop(held);
            assert!(waiter.wait(Duration::ZERO) == Some(Signal::TryAgain));
            held = locks.try_acquire(locks.age(), 0).unwrap();
        }
        drop(held);
        assert!(waiter.wait(Duration::ZERO) == Some(Signal::Granted));
        assert!(locks.lock().owns(age, 0) && locks.try_acquire(locks.age(), 0).is_none());
    }

    #[test]
    fn many_sessions_over_many_databases_all_end() {
        let locks = WriteLocks::new(4);
        let done = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..8_usize {
                let (locks, done) = (&locks, &done);
                scope.spawn(move || {
                    for round in 0..200_usize {
                        let age = locks.age();
                        // Retries with the same age, until it is the oldest of all waiters.
                        while let Err(error) = (0..3).try_fold(Vec::new(), |mut held, step| {
                            held.push(locks.acquire(
                                age,
                                (thread * 7 + round + step * (1 + round % 2 * 2)) % 4,
                                LONG,
                            )?);
                            Ok::<_, Error>(held)
                        }) {
                            assert!(error.to_string().starts_with("deadlock"), "{error}");
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 8 * 200);
    }
}

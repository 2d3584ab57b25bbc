//! The pool of connections to all databases of a cluster: opened on demand, kept, and closed when another database needs
//! one. [`checkouts`](super::checkouts) decides; this module waits and connects.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::checkouts::{COLD, Checkouts, Grant, LeaseOwner, WaiterSignal};
use super::{Connection, Driver, Mode, descriptors};
use crate::error::{Error, ErrorKind, Result};

/// The pause before the next attempt to connect to a database that was locked or had no connection left.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// The number of times that a thread yields before it sleeps: threads that hold a connection return it as soon as
/// they run.
const YIELDS: usize = 4;

/// The longest pause between two searches for a cold connection of another database.
const LONGEST_LOOK: Duration = Duration::from_millis(320);

/// The number of descriptors of the first connection of a database: SQLite's database, WAL and shared memory; or a
/// socket and its event loop.
const FIRST_DESCRIPTORS: usize = 3;

/// The number of descriptors that is counted for a further connection, which needs two or three. Other code needs some,
/// and SQLite closes the descriptors of a file only with its last connection.
const DESCRIPTORS: usize = 4;

/// Checks a new connection to the database with this index.
pub(crate) type Check = dyn Fn(usize, &dyn Connection) -> Result<()> + Send + Sync;

/// A connection, and the number of losses of its server when it was opened.
struct Checked {
    connection: Box<dyn Connection>,
    losses: u64,
}

pub(crate) struct Pool {
    drivers: Vec<Arc<dyn Driver>>,
    /// Checks whether a database was replaced by another one.
    check: Box<Check>,
    /// The time that a session waits for a connection.
    acquire_timeout: Duration,
    /// The configured limit. The process may have too few descriptors for it.
    configured_limit: usize,
    checkouts: Mutex<Checkouts<Checked, Arc<Turn>>>,
    pub(crate) waits: WaitCounter,
}

/// Counts waits and their time. Only a wait writes it.
#[derive(Debug, Default)]
pub(crate) struct WaitCounter {
    waits: AtomicU64,
    nanoseconds: AtomicU64,
}

impl WaitCounter {
    /// Counts a wait that begins now and ends when the result is dropped.
    pub(crate) fn begin(&self) -> WaitTimer<'_> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        WaitTimer { counter: self, began: Instant::now() }
    }

    /// Counts waits that are measured elsewhere, and their time.
    pub(crate) fn add(&self, waits: u64, time: Duration) {
        self.waits.fetch_add(waits, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the number of waits that have begun, and the time of those that have ended.
    pub(crate) fn total(&self) -> (u64, Duration) {
        let time = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
        (self.waits.load(Ordering::Relaxed), time)
    }
}

pub(crate) struct WaitTimer<'c> {
    counter: &'c WaitCounter,
    began: Instant,
}

impl Drop for WaitTimer<'_> {
    fn drop(&mut self) {
        let nanoseconds = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counter.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// The connections of a pool at one moment.
pub(crate) struct PoolUsage {
    pub(crate) in_use: usize,
    /// In use or idle.
    pub(crate) open: usize,
    pub(crate) limit: usize,
}

/// A connection of one session, until it is returned to the pool. If it is dropped instead, it is closed.
pub(crate) struct PooledConnection {
    // Closed before another session can open one in its place.
    connection: Box<dyn Connection>,
    permit: Permit,
}

/// The permit of one checkout, which ends when this is dropped.
struct Permit {
    pool: Arc<Pool>,
    owner: LeaseOwner,
    database: usize,
    /// The number of losses of the server when the connection was opened.
    losses: u64,
    /// The connection, if it is returned to the pool.
    kept: Option<Box<dyn Connection>>,
}

/// Wakes one waiting thread.
#[derive(Default)]
struct Turn {
    state: Mutex<TurnState>,
    changed: Condvar,
}

#[derive(Default)]
struct TurnState {
    grant: Option<Grant<Checked>>,
    retries: bool,
}

impl Turn {
    /// Waits for a signal. Returns its grant, if it has one.
    fn wait(&self, timeout: Duration) -> Option<Grant<Checked>> {
        let state = self.lock();
        let is_quiet = |state: &mut TurnState| state.grant.is_none() && !state.retries;
        let woken = self.changed.wait_timeout_while(state, timeout, is_quiet);
        let mut state = woken.unwrap_or_else(PoisonError::into_inner).0;
        state.retries = false;
        state.grant.take()
    }

    fn lock(&self) -> MutexGuard<'_, TurnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the signalled threads after the lock of the pool was released.
fn send(signals: Vec<WaiterSignal<Checked, Arc<Turn>>>) {
    for (turn, grant) in signals {
        let mut state = turn.lock();
        match grant {
            Some(grant) => state.grant = Some(grant),
            None => state.retries = true,
        }
        drop(state);
        turn.changed.notify_one();
    }
}

impl Pool {
    /// Creates a pool with this limit, or a lower one if the process has too few descriptors. `made` are the open
    /// connections.
    pub(crate) fn new(
        drivers: Vec<Arc<dyn Driver>>,
        made: Vec<Option<Box<dyn Connection>>>,
        limit: usize,
        acquire_timeout: Duration,
        check: Box<Check>,
    ) -> Arc<Self> {
        let checked = |connection| Checked { connection, losses: 0 };
        let made = made.into_iter().map(|made| made.map(checked)).collect();
        let configured_limit = limit.max(drivers.len());
        let left = descriptors::left().map_or(usize::MAX, |left| {
            let further = left.saturating_sub(drivers.len() * FIRST_DESCRIPTORS) / DESCRIPTORS;
            drivers.len().saturating_add(further)
        });
        let checkouts =
            Mutex::new(Checkouts::new(configured_limit.min(left), acquire_timeout, made, Instant::now()));
        Arc::new(Pool {
            drivers,
            check,
            acquire_timeout,
            configured_limit,
            checkouts,
            waits: WaitCounter::default(),
        })
    }

    /// Checks out a connection, within the acquire timeout or a shorter limit. Waiting and connecting stop at the
    /// deadline.
    ///
    /// # Errors
    /// - The error of connecting.
    /// - [`ErrorKind::Busy`] at the end of the timeout.
    /// - [`ErrorKind::TimedOut`] at the deadline.
    pub(crate) fn get(
        self: &Arc<Self>,
        owner: &LeaseOwner,
        database: usize,
        limit: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Result<PooledConnection> {
        let timeout = limit.map_or(self.acquire_timeout, |limit| limit.min(self.acquire_timeout));
        let (mut began, mut refused) = (None, None);
        loop {
            let taken = self.acquire_permit(owner, database, timeout, deadline, &mut began);
            let (mut permit, grant) = taken.map_err(|timed_out| match timed_out.kind() {
                // An external limit has caused the wait.
                ErrorKind::Busy => refused.take().unwrap_or(timed_out),
                _ => timed_out,
            })?;
            let granted = Instant::now();
            let mut idle = match grant {
                Grant::Idle(idle) => Some(idle),
                Grant::Connect { evicted } => {
                    drop(evicted);
                    None
                }
            };
            let error = loop {
                match idle.take() {
                    Some(Checked { connection, losses }) if connection.is_usable() => {
                        permit.losses = losses;
                        return Ok(PooledConnection { connection, permit });
                    }
                    // It was lost while it was idle.
                    Some(lost) => drop(lost),
                    None => {
                        permit.losses = self.lock().losses(database);
                        let error = match self.connect_until(database, true, deadline) {
                            Ok(connection) => return Ok(PooledConnection { connection, permit }),
                            Err(error) => error,
                        };
                        if error.kind() == ErrorKind::ConnectionLost {
                            self.lose(database, permit.losses);
                        }
                        let is_over = began.get_or_insert_with(Instant::now).elapsed() >= timeout
                            || deadline.is_some_and(|deadline| deadline <= Instant::now());
                        if error.kind() != ErrorKind::Busy || is_over {
                            return Err(error);
                        }
                        if error.exhausted().is_some() {
                            break error;
                        }
                        // Another process had locked the database.
                        thread::sleep(RETRY_PAUSE);
                    }
                }
                idle = self.lock().replace(database);
            };
            let Some(exhausted) = error.exhausted() else { return Err(error) };
            let evicted = self.lock().run_out(exhausted, database, granted, Instant::now());
            let helps = !evicted.is_empty();
            drop((evicted, permit));
            refused = Some(error);
            if !helps {
                thread::sleep(RETRY_PAUSE);
            }
        }
    }

    /// Checks out an open and idle connection, if the session may have one now.
    pub(crate) fn get_idle(
        self: &Arc<Self>,
        owner: &LeaseOwner,
        database: usize,
    ) -> Option<PooledConnection> {
        let Checked { connection, losses } = self.lock().take_idle(owner, database, Instant::now())?;
        let permit = Permit { pool: Arc::clone(self), owner: owner.clone(), database, losses, kept: None };
        let connection = PooledConnection { connection, permit };
        connection.is_usable().then_some(connection)
    }

    /// Closes the connections to a database whose server was lost: idle ones now, those in use when they are returned. A
    /// loss on a connection that was opened before the last loss counts as the same loss.
    fn lose(&self, database: usize, losses: u64) {
        let (closed, signals) = self.lock().lose(database, losses, Instant::now());
        send(signals);
        // Closed after the lock is released, for which other threads wait.
        drop(closed);
    }

    /// Closes all connections, those in use when they are returned: another pool replaces this one.
    pub(crate) fn retire(&self) {
        for database in 0..self.drivers.len() {
            let losses = self.lock().losses(database);
            self.lose(database, losses);
        }
    }

    /// Opens a connection that is not counted, for work that must not wait for other sessions. `waits` is whether the
    /// connection waits for locks.
    pub(crate) fn connect(&self, database: usize, waits: bool) -> Result<Box<dyn Connection>> {
        self.connect_until(database, waits, None)
    }

    fn connect_until(
        &self,
        database: usize,
        waits: bool,
        deadline: Option<Instant>,
    ) -> Result<Box<dyn Connection>> {
        let Some(driver) = self.drivers.get(database) else {
            return Err(Error::new(ErrorKind::UnknownShard, "the cluster has no database with this index"));
        };
        let connection = driver.connect(Mode::Open, deadline).map_err(|error| match error.kind() {
            ErrorKind::Missing => {
                let message = format!("{error}, but it existed when the cluster was opened; restore it");
                Error::new(ErrorKind::Missing, message).with_source(error)
            }
            _ => error,
        })?;
        if !driver.is_private() {
            (self.check)(database, &*connection)?;
        }
        if waits {
            connection.wait_for_locks()?;
        }
        connection.set_deadline(None);
        Ok(connection)
    }

    /// Waits for a checkout.
    fn acquire_permit(
        self: &Arc<Self>,
        owner: &LeaseOwner,
        database: usize,
        timeout: Duration,
        deadline: Option<Instant>,
        began: &mut Option<Instant>,
    ) -> Result<(Permit, Grant<Checked>)> {
        let permit =
            || Permit { pool: Arc::clone(self), owner: owner.clone(), database, losses: 0, kept: None };
        let mut now = Instant::now();
        for _ in 0..YIELDS {
            if let Some(grant) = self.lock().take(owner, database, now) {
                return Ok((permit(), grant));
            }
            thread::yield_now();
        }
        let turn = Arc::new(Turn::default());
        let mut checkouts = self.lock();
        if let Some(grant) = checkouts.take(owner, database, now) {
            return Ok((permit(), grant));
        }
        let id = checkouts.enqueue(owner, database, Arc::clone(&turn), now);
        drop(checkouts);
        let _counted = self.waits.begin();
        let end = *began.get_or_insert(now) + timeout;
        let end = deadline.map_or(end, |deadline| deadline.min(end));
        // A short timeout leaves time for the search for cold connections, too.
        let mut look = COLD.min(timeout / 4);
        loop {
            let rest = end.saturating_duration_since(now);
            if let Some(grant) = turn.wait(rest.min(look)) {
                return Ok((permit(), grant));
            }
            now = Instant::now();
            let (grant, signals) = self.lock().retry(id, now);
            send(signals);
            if let Some(grant) = grant {
                return Ok((permit(), grant));
            }
            look = (look * 2).clamp(COLD, LONGEST_LOOK);
            if now < end {
                continue;
            }
            let (is_removed, signals) = self.lock().remove_waiter(id, now);
            send(signals);
            // It was granted after the timeout: the grant counts already, and its signal will arrive.
            if !is_removed {
                loop {
                    if let Some(grant) = turn.wait(RETRY_PAUSE) {
                        return Ok((permit(), grant));
                    }
                }
            }
            let waited = began.map_or(Duration::ZERO, |began| began.elapsed());
            if deadline.is_some_and(|deadline| deadline <= now) {
                let message =
                    format!("the session's timeout ended after {waited:.1?} of waiting for a connection");
                return Err(Error::new(ErrorKind::TimedOut, message));
            }
            let limit = self.lock().limit();
            let raise = match limit < self.configured_limit {
                true => "the process's limit of file descriptors (`ulimit -n`)",
                false => "`connections`",
            };
            let message = format!(
                "timed out after {waited:.1?} waiting for a connection (limit: {limit} connections): commit, roll back or \
                 drop sessions that have finished reading, or raise {raise}"
            );
            return Err(Error::new(ErrorKind::Busy, message));
        }
    }

    pub(crate) fn usage(&self) -> PoolUsage {
        let checkouts = self.lock();
        let (in_use, open) = checkouts.in_use();
        PoolUsage { in_use, open, limit: checkouts.limit() }
    }

    fn lock(&self) -> MutexGuard<'_, Checkouts<Checked, Arc<Turn>>> {
        self.checkouts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PooledConnection {
    /// Returns the connection to the pool. If it could not end its transaction, it is closed, which ends the transaction.
    /// If its server was lost, the other connections to that server are closed.
    pub(crate) fn give_back(self) {
        let PooledConnection { connection, mut permit } = self;
        let is_usable = !connection.in_transaction() && connection.is_usable();
        if connection.has_lost_its_server() {
            permit.pool.lose(permit.database, permit.losses);
        }
        match is_usable {
            true => permit.kept = Some(connection),
            // Closed before another session can open one in its place.
            false => drop(connection),
        }
    }
}

impl Deref for PooledConnection {
    type Target = dyn Connection;

    fn deref(&self) -> &Self::Target {
        &*self.connection
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let losses = self.losses;
        let kept = self.kept.take().map(|connection| Checked { connection, losses });
        let mut checkouts = self.pool.lock();
        let is_of_before = checkouts.losses(self.database) != losses;
        let (closed, kept) = if is_of_before { (kept, None) } else { (None, kept) };
        let signals = checkouts.check_in(&self.owner, self.database, kept, Instant::now());
        drop(checkouts);
        send(signals);
        drop(closed);
    }
}

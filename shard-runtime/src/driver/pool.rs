//! The connections to all databases of a cluster: made when they are needed, kept, and closed where another database
//! needs their room.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::{Connection, Driver, Mode};
use crate::error::{Error, ErrorKind, Result};

/// How long to wait before a database is connected to again that was locked, or had no connection left.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Looks at a new connection to the database at this place.
pub(crate) type Check = dyn Fn(usize, &dyn Connection) -> Result<()> + Send + Sync;

pub(crate) struct Pool {
    drivers: Vec<Arc<dyn Driver>>,
    /// Is this still the database that it was?
    check: Box<Check>,
    /// How long a session waits for a connection.
    patience: Duration,
    state: Mutex<State>,
    given_back: Condvar,
}

struct State {
    budget: Budget,
    /// Those of each database that nobody uses; the one that was used last comes last.
    idle: Vec<VecDeque<Box<dyn Connection>>>,
    /// How often each database's server was lost. A connection that was made before is not kept.
    losses: Vec<u64>,
}

/// Who uses connections together, as a session does: it holds no more than one of each database. A clone is the same.
#[derive(Clone, Default)]
pub(crate) struct Holder(Arc<AtomicUsize>);

/// A connection to one of the databases, its holder's own until it is given back; dropped without that, it is closed.
pub(crate) struct Pooled {
    // Closed before somebody else may have its place.
    connection: Box<dyn Connection>,
    slot: Slot,
}

/// A connection's place in the budget, free again when this is dropped.
struct Slot {
    pool: Arc<Pool>,
    holder: Holder,
    database: usize,
    /// How often the server had been lost when the connection was made.
    losses: u64,
    /// The connection, where it is kept.
    kept: Option<Box<dyn Connection>>,
}

impl Pool {
    /// A pool of no more than so many connections, with those that have been made.
    pub(crate) fn new(
        drivers: Vec<Arc<dyn Driver>>,
        made: Vec<Option<Box<dyn Connection>>>,
        most: usize,
        patience: Duration,
        check: Box<Check>,
    ) -> Arc<Self> {
        let budget = Budget::new(most, drivers.len());
        let idle = made.into_iter().map(|made| made.into_iter().collect()).collect();
        let losses = vec![0; drivers.len()];
        let state = Mutex::new(State { budget, idle, losses });
        Arc::new(Pool { drivers, check, patience, state, given_back: Condvar::new() })
    }

    /// Returns a connection of this holder's own. Waiting for it, and making it, ends at the deadline.
    ///
    /// # Errors
    /// Those of connecting; [`ErrorKind::Busy`] if no connection became free for too long, [`ErrorKind::TimedOut`] at the
    /// deadline.
    pub(crate) fn get(
        self: &Arc<Self>,
        holder: &Holder,
        database: usize,
        deadline: Option<Instant>,
    ) -> Result<Pooled> {
        let (mut slot, mut idle) = self.take_slot(holder, database, deadline)?;
        let mut began = None;
        loop {
            match idle {
                Some(connection) if connection.is_usable() => return Ok(Pooled { connection, slot }),
                // It was lost while nobody used it.
                Some(lost) => drop(lost),
                None => match self.make_room_and_connect(database, deadline) {
                    Err(error)
                        if error.kind() == ErrorKind::Busy
                            && deadline.is_none_or(|deadline| Instant::now() < deadline)
                            && began.get_or_insert_with(Instant::now).elapsed() < self.patience =>
                    {
                        std::thread::sleep(TRY_AGAIN);
                    }
                    Err(error) => {
                        if error.kind() == ErrorKind::ConnectionLost {
                            self.lose(database, slot.losses);
                        }
                        return Err(error);
                    }
                    Ok(connection) => return Ok(Pooled { connection, slot }),
                },
            }
            let mut state = self.lock();
            slot.losses = state.losses(database);
            idle = state.take_idle(database);
        }
    }

    /// Closes the connections to a database whose server was lost: idle ones now, those in use when they are given back.
    /// A loss that was seen on a connection of before the last loss is not another one.
    fn lose(&self, database: usize, losses: u64) {
        let mut state = self.lock();
        let closed = match state.losses.get_mut(database).filter(|known| **known == losses) {
            Some(known) => {
                *known += 1;
                state.idle.get_mut(database).map(std::mem::take)
            }
            None => None,
        };
        // Not while the others wait for the lock.
        drop(state);
        drop(closed);
    }

    /// Makes a connection that is not counted: for what must not wait for other sessions. `waits` says whether it waits
    /// for locks.
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
            return Err(Error::new(ErrorKind::UnknownShard, "there is no such database in this cluster"));
        };
        let connection = driver.connect(Mode::Open, deadline).map_err(|error| match error.kind() {
            ErrorKind::Missing => {
                let said = format!("{error}, and it was there when the cluster was opened; restore it");
                Error::new(ErrorKind::Missing, said).with_source(error)
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

    /// Closes what nobody uses and is too many beside a new one.
    fn make_room_and_connect(
        &self,
        database: usize,
        deadline: Option<Instant>,
    ) -> Result<Box<dyn Connection>> {
        // Not while the others wait for the lock.
        let closed = self.lock().take_surplus();
        drop(closed);
        self.connect_until(database, true, deadline)
    }

    /// A place in the budget, and a connection for it where there is one that nobody uses.
    fn take_slot(
        self: &Arc<Self>,
        holder: &Holder,
        database: usize,
        deadline: Option<Instant>,
    ) -> Result<(Slot, Option<Box<dyn Connection>>)> {
        let mut state = self.lock();
        let mut began = None;
        loop {
            if state.budget.take(holder.0.load(Ordering::Relaxed)) {
                holder.0.fetch_add(1, Ordering::Relaxed);
                let (idle, losses) = (state.take_idle(database), state.losses(database));
                drop(state);
                let (pool, holder) = (Arc::clone(self), holder.clone());
                return Ok((Slot { pool, holder, database, losses, kept: None }, idle));
            }
            let waited = began.get_or_insert_with(Instant::now).elapsed();
            let Some(rest) = self.patience.checked_sub(waited).filter(|rest| !rest.is_zero()) else {
                let said = format!(
                    "the cluster's {} connections have been in use for {waited:.1?}, or kept for sessions that hold \
                     some and may need more",
                    state.budget.most()
                );
                return Err(Error::new(ErrorKind::Busy, said));
            };
            let until_deadline =
                deadline.map_or(rest, |deadline| deadline.saturating_duration_since(Instant::now()));
            if until_deadline.is_zero() {
                let said =
                    format!("the session's timeout was over after {waited:.1?} of waiting for a connection");
                return Err(Error::new(ErrorKind::TimedOut, said));
            }
            let rest = rest.min(until_deadline);
            let woken = self.given_back.wait_timeout(state, rest);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn losses(&self, database: usize) -> u64 {
        self.losses.get(database).copied().unwrap_or_default()
    }

    fn take_idle(&mut self, database: usize) -> Option<Box<dyn Connection>> {
        self.idle.get_mut(database)?.pop_back()
    }

    /// Connections that nobody uses, as many as there are too many in all: of the databases that have most of them those
    /// that nobody has used for longest.
    fn take_surplus(&mut self) -> Vec<Box<dyn Connection>> {
        let idle: usize = self.idle.iter().map(VecDeque::len).sum();
        let surplus = (self.budget.used() + idle).saturating_sub(self.budget.most());
        let oldest = |_| self.idle.iter_mut().max_by_key(|idle| idle.len())?.pop_front();
        (0..surplus.min(idle)).filter_map(oldest).collect()
    }
}

impl Pooled {
    /// Gives the connection back for others to use. One that could not end its transaction is closed, which ends it.
    /// One whose server was lost takes the others to that server along.
    pub(crate) fn give_back(self) {
        let Pooled { connection, mut slot } = self;
        let is_usable = !connection.in_transaction() && connection.is_usable();
        if connection.has_lost_its_server() {
            slot.pool.lose(slot.database, slot.losses);
        }
        match is_usable {
            true => slot.kept = Some(connection),
            // Before somebody else may have its place.
            false => drop(connection),
        }
    }
}

impl Deref for Pooled {
    type Target = dyn Connection;

    fn deref(&self) -> &Self::Target {
        &*self.connection
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let held = self.holder.0.fetch_sub(1, Ordering::Relaxed);
        state.budget.give_back(held);
        let is_of_before = state.losses(self.database) != self.losses;
        let mut closed = None;
        match (self.kept.take(), state.idle.get_mut(self.database)) {
            (Some(kept), Some(idle)) if !is_of_before => idle.push_back(kept),
            (kept, _) => closed = kept,
        }
        drop(state);
        drop(closed);
        // One of those who wait may go on now, and only it knows that.
        self.pool.given_back.notify_all();
    }
}

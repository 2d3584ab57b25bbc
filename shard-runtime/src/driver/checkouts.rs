//! Decides for the pool which session gets a connection, and which idle connection is closed for it. Uses `budget`. Pure:
//! it neither waits nor connects, and the time is a parameter.
//!
//! Rules, in this order:
//! 1. A checkout is granted only within the [`ConnectionBudget`], so that sessions cannot deadlock on the pool. Sessions
//!    that hold connections have priority over new ones: they will end, and return their connections.
//! 2. An idle connection of the requested database is used. A running thread may overtake threads that wait for the same
//!    database, because waking a thread costs more than a short read. After [`OVERTAKING`] times in a row, the returned
//!    connection goes to the first waiter.
//! 3. Otherwise a new connection is opened while the limit allows one.
//! 4. Otherwise an idle connection of another database is closed, if the requested database has none, or if the other one
//!    has at least two more. Either step makes the shares more equal, so that these closings end.
//! 5. Otherwise the session waits for a connection of its own database. After [`COLD`] it may replace any connection that
//!    has been idle for as long. A new session whose database has an equal share already may only replace one that has
//!    been idle for [`UNUSED`]. Otherwise more sessions would wait for locks on one database, while the owners of these
//!    locks wait for a connection to another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::budget::ConnectionBudget;
use crate::error::Exhausted;

/// The number of later sessions that may overtake the first waiter of a database. Also the number of new sessions that
/// may overtake the first waiter of all while the budget refuses it.
pub(super) const OVERTAKING: usize = 64;

/// The time that a session waits, and that a connection is idle, before that connection is closed for a session that
/// needs another database. It is many times longer than a checkout of a busy pool, which therefore closes nothing.
pub(super) const COLD: Duration = Duration::from_millis(20);

/// The idle time after which a connection is closed for a new session whose database has an equal share of the
/// connections already.
pub(super) const UNUSED: Duration = Duration::from_secs(1);

/// The time for which the budget stays lowered after descriptors ran out.
const LIMITED: Duration = Duration::from_secs(5);

/// The time during which no further connection is tried to a server that had none left. Other programs may free one at
/// any time.
const REFUSED: Duration = Duration::from_millis(100);

/// The longest time that closing idle connections takes.
const TAKES_EFFECT: Duration = Duration::from_millis(50);

/// The fraction of the open connections that is closed for other files when descriptors run out.
const RESERVED_PART: usize = 16;

/// The fraction by which the budget grows again in one step.
const LIFTED_PART: usize = 8;

/// The owner of the connections of one session. A clone is the same owner.
#[derive(Clone, Default)]
pub(crate) struct LeaseOwner(Arc<AtomicUsize>);

impl LeaseOwner {
    fn held(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection, or the permission to open one after closing another.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Grant<C> {
    Idle(C),
    Connect { evicted: Option<C> },
}

/// A waiter's signal: with a grant or, without one, to retry.
pub(super) type WaiterSignal<C, W> = (W, Option<Grant<C>>);

/// The connections of all databases of a cluster, and the sessions that wait for one.
pub(super) struct Checkouts<C, W> {
    /// Its limit is lower than the configured one while the process is out of descriptors.
    budget: ConnectionBudget,
    /// The configured limit.
    configured_limit: usize,
    /// [`UNUSED`], or less for sessions with a short timeout.
    unused: Duration,
    databases: Vec<DatabaseConnections<C>>,
    waiters: VecDeque<Waiter<W>>,
    /// How many connections are open, in use or idle.
    open: usize,
    next_waiter: u64,
    /// How many waiting sessions hold this number of connections, by that number.
    waiting_by_held: Vec<usize>,
    /// How many new sessions have overtaken the first waiter since the budget refused it.
    overtaken: usize,
    /// When the lowered budget is raised.
    limited_until: Option<Instant>,
    /// When servers that had no connection left are tried again.
    refused_until: Option<Instant>,
    /// When descriptors last ran out.
    ran_out: Option<Instant>,
}

struct DatabaseConnections<C> {
    /// How many connections are open, in use or idle.
    open: usize,
    /// How many may be open: fewer than the limit while its server has none left.
    limit: usize,
    /// How often its server was lost. A connection that was opened before is not kept.
    losses: u64,
    /// The connection that was returned last comes last.
    idle: VecDeque<(C, Instant)>,
    waiting: usize,
    /// How many sessions have overtaken the first waiter for this database.
    overtaken: usize,
    /// The waiter that was signalled to retry and has not done so yet.
    woken: Option<u64>,
}

struct Waiter<W> {
    id: u64,
    owner: LeaseOwner,
    /// How many connections it holds while it waits.
    held: usize,
    database: usize,
    since: Instant,
    signal: W,
}

impl<C, W: Clone> Checkouts<C, W> {
    /// Creates a pool with this limit and this timeout of its sessions. `made` are the open connections, by database.
    pub(super) fn new(limit: usize, timeout: Duration, made: Vec<Option<C>>, now: Instant) -> Self {
        let budget = ConnectionBudget::new(limit, made.len());
        let configured_limit = budget.limit();
        let database = |made: Option<C>| DatabaseConnections {
            open: usize::from(made.is_some()),
            limit: usize::MAX,
            losses: 0,
            idle: made.into_iter().map(|made| (made, now)).collect(),
            waiting: 0,
            overtaken: 0,
            woken: None,
        };
        let databases: Vec<_> = made.into_iter().map(database).collect();
        let open = databases.iter().map(|database| database.open).sum();
        let waiting_by_held = vec![0; databases.len() + 1];
        Checkouts {
            budget,
            configured_limit,
            unused: UNUSED.min(timeout / 4).max(COLD),
            databases,
            waiters: VecDeque::new(),
            open,
            next_waiter: 0,
            waiting_by_held,
            overtaken: 0,
            limited_until: None,
            refused_until: None,
            ran_out: None,
        }
    }

    /// Returns the current limit.
    pub(super) fn limit(&self) -> usize {
        self.budget.limit()
    }

    /// Returns how many connections sessions use, and how many are open.
    pub(super) fn in_use(&self) -> (usize, usize) {
        (self.budget.used(), self.open)
    }

    /// Grants a connection to a session that does not wait yet, if it may have one now.
    pub(super) fn take(&mut self, owner: &LeaseOwner, database: usize, now: Instant) -> Option<Grant<C>> {
        self.lift_limits(now);
        let Some(first) = self.waiters.front() else {
            return self.grant(owner, database, Duration::ZERO, now);
        };
        let refuses_first = !self.budget.may_take(first.held);
        let wanted = self.databases.get(database)?;
        let is_first_here = wanted.waiting == 0;
        if wanted.overtaken >= OVERTAKING && !is_first_here {
            return None;
        }
        let is_new = owner.held() == 0;
        if is_new && (self.has_blocked_holder() || (refuses_first && self.overtaken >= OVERTAKING)) {
            return None;
        }
        let grant = self.grant(owner, database, Duration::ZERO, now)?;
        self.overtaken = if refuses_first { self.overtaken + usize::from(is_new) } else { 0 };
        if let Some(wanted) = self.databases.get_mut(database).filter(|_| !is_first_here) {
            wanted.overtaken += 1;
        }
        Some(grant)
    }

    /// Grants an idle connection to a session that does not wait yet, if it may have one now.
    pub(super) fn take_idle(&mut self, owner: &LeaseOwner, database: usize, now: Instant) -> Option<C> {
        if self.databases.get(database)?.idle.is_empty() {
            return None;
        }
        match self.take(owner, database, now)? {
            Grant::Idle(connection) => Some(connection),
            // `grant` prefers an idle connection.
            Grant::Connect { .. } => None,
        }
    }

    /// Adds a session to the waiters. Returns its id.
    pub(super) fn enqueue(&mut self, owner: &LeaseOwner, database: usize, signal: W, now: Instant) -> u64 {
        let (id, held) = (self.next_waiter, owner.held());
        self.next_waiter += 1;
        if let Some(waiting) = self.waiting_by_held.get_mut(held) {
            *waiting += 1;
        }
        if let Some(wanted) = self.databases.get_mut(database) {
            wanted.waiting += 1;
        }
        self.waiters.push_back(Waiter { id, owner: owner.clone(), held, database, since: now, signal });
        id
    }

    /// Grants a connection to a waiter, if it may have one now. Returns signals to other waiters, too.
    pub(super) fn retry(&mut self, id: u64, now: Instant) -> (Option<Grant<C>>, Vec<WaiterSignal<C, W>>) {
        let Some(at) = self.position(id) else { return (None, Vec::new()) };
        self.lift_limits(now);
        self.clear_woken(id);
        let Some(waiter) = self.waiters.get(at) else { return (None, Vec::new()) };
        let (owner, database, waited) =
            (waiter.owner.clone(), waiter.database, now.saturating_duration_since(waiter.since));
        let comes_first = owner.held() > 0 || !self.has_blocked_holder();
        let grant = if comes_first { self.grant(&owner, database, waited, now) } else { None };
        if grant.is_some() {
            self.remove(at);
        }
        // Another connection may be free for the next waiter, or a connection that this waiter may not take.
        (grant, self.serve(Some(database), now))
    }

    /// Removes a waiter. Returns `false` if it was granted a connection meanwhile.
    pub(super) fn remove_waiter(&mut self, id: u64, now: Instant) -> (bool, Vec<WaiterSignal<C, W>>) {
        match self.position(id) {
            Some(at) => {
                self.clear_woken(id);
                self.remove(at);
                (true, self.serve(None, now))
            }
            None => (false, Vec::new()),
        }
    }

    /// Takes back a checkout, with the connection unless that is closed. Returns signals to waiters.
    pub(super) fn check_in(
        &mut self,
        owner: &LeaseOwner,
        database: usize,
        connection: Option<C>,
        now: Instant,
    ) -> Vec<WaiterSignal<C, W>> {
        let held = owner.0.fetch_sub(1, Ordering::Relaxed);
        self.budget.give_back(held);
        let returned = connection.is_some().then_some(database);
        if let Some(own) = self.databases.get_mut(database) {
            match connection {
                Some(connection) => own.idle.push_back((connection, now)),
                None => {
                    own.open = own.open.saturating_sub(1);
                    self.open = self.open.saturating_sub(1);
                }
            }
        }
        self.serve(returned, now)
    }

    /// Returns another idle connection in place of one that was granted and turned out to be lost.
    pub(super) fn replace(&mut self, database: usize) -> Option<C> {
        let own = self.databases.get_mut(database)?;
        let (connection, _) = own.idle.pop_back()?;
        own.open = own.open.saturating_sub(1);
        self.open = self.open.saturating_sub(1);
        Some(connection)
    }

    /// Lowers the limit to the number of open connections, after opening one has failed because of an external limit.
    /// Returns the connections that were idle for longest, for the caller to close.
    ///
    /// The budget is lowered, too: otherwise sessions that use every database could share the connections so that each
    /// waits for one more. It stays at least at the need of one session.
    ///
    /// Nothing changes if the connection was granted before the last change took effect: its failure is no evidence about
    /// the new limit.
    pub(super) fn run_out(
        &mut self,
        exhausted: Exhausted,
        database: usize,
        granted: Instant,
        now: Instant,
    ) -> Vec<C> {
        let mut evicted = Vec::new();
        match exhausted {
            Exhausted::Descriptors => {
                if self.ran_out.is_some_and(|at| granted < at + TAKES_EFFECT) {
                    return evicted;
                }
                self.ran_out = Some(now);
                self.limited_until = Some(now + LIMITED);
                // Without the connection that was granted but not opened, and with a reserve for other open files.
                let were_open = self.open.saturating_sub(1 + self.open / RESERVED_PART);
                // Other code needs descriptors, too: half of the idle connections are closed. SQLite keeps the
                // descriptors of a file until its last connection is closed, so unused files come first.
                let idle: usize = self.databases.iter().map(|database| database.idle.len()).sum();
                while evicted.len() < idle.div_ceil(2) {
                    let unused = self.coldest_of(|_, database| database.idle.len() == database.open);
                    let Some(unused) = unused.and_then(|at| self.databases.get_mut(at)) else { break };
                    self.open = self.open.saturating_sub(unused.open);
                    unused.open = 0;
                    evicted.extend(unused.idle.drain(..).map(|(connection, _)| connection));
                }
                while evicted.len() < idle.div_ceil(2) {
                    evicted.extend(self.evict_coldest(|_, _| true));
                }
                self.budget.lower(were_open);
            }
            Exhausted::ServerConnections => {
                self.refused_until = Some(now + REFUSED);
                // Connections of other databases may use the same server.
                let alike = self.databases.len();
                for other in (0..alike).filter(|other| *other != database) {
                    evicted.extend(self.evict_coldest(|at, idle| at == other && idle > 1));
                }
                if let Some(own) = self.databases.get_mut(database) {
                    own.limit = own.open.saturating_sub(1).max(1);
                }
            }
        }
        evicted
    }

    /// Returns the number of losses of the server of a database.
    pub(super) fn losses(&self, database: usize) -> u64 {
        self.databases.get(database).map_or(0, |database| database.losses)
    }

    /// Returns the idle connections of a database whose server was lost, for the caller to close, and signals to waiters.
    /// Returns nothing if the loss was counted already: `losses` is older than the last one.
    pub(super) fn lose(
        &mut self,
        database: usize,
        losses: u64,
        now: Instant,
    ) -> (Vec<C>, Vec<WaiterSignal<C, W>>) {
        let Some(own) = self.databases.get_mut(database).filter(|own| own.losses == losses) else {
            return (Vec::new(), Vec::new());
        };
        own.losses += 1;
        let lost: Vec<C> = own.idle.drain(..).map(|(connection, _)| connection).collect();
        own.open = own.open.saturating_sub(lost.len());
        self.open = self.open.saturating_sub(lost.len());
        (lost, self.serve(None, now))
    }

    /// Lifts expired external limits: those of servers at once, the budget step by step.
    fn lift_limits(&mut self, now: Instant) {
        if self.refused_until.is_some_and(|until| until <= now) {
            self.refused_until = None;
            self.databases.iter_mut().for_each(|database| database.limit = usize::MAX);
        }
        if self.limited_until.is_some_and(|until| until <= now) {
            let limit = self.budget.limit();
            self.budget.raise((limit + (limit / LIFTED_PART).max(1)).min(self.configured_limit));
            self.limited_until = (self.budget.limit() < self.configured_limit).then_some(now + LIMITED);
        }
    }

    fn grant(
        &mut self,
        owner: &LeaseOwner,
        database: usize,
        waited: Duration,
        now: Instant,
    ) -> Option<Grant<C>> {
        let held = owner.held();
        if !self.budget.take(held) {
            return None;
        }
        let grant = self.connection(database, held == 0, waited, now);
        match grant {
            Some(_) => drop(owner.0.fetch_add(1, Ordering::Relaxed)),
            None => self.budget.give_back(held + 1),
        }
        grant
    }

    fn connection(
        &mut self,
        database: usize,
        is_new: bool,
        waited: Duration,
        now: Instant,
    ) -> Option<Grant<C>> {
        let wanted = self.databases.get_mut(database)?;
        if let Some((connection, _)) = wanted.idle.pop_back() {
            return Some(Grant::Idle(connection));
        }
        let own = wanted.open;
        if own >= wanted.limit {
            return None;
        }
        let evicted = match self.open < self.budget.limit() {
            true => None,
            false => {
                let has_share = own >= self.budget.limit() / self.databases.len().max(1);
                let cold = if is_new && has_share { self.unused } else { COLD };
                Some(self.evict(database, own, (waited, cold), now)?)
            }
        };
        self.databases.get_mut(database)?.open += 1;
        self.open += 1;
        Some(Grant::Connect { evicted })
    }

    /// Returns an idle connection of another database to close, so that a database with `own` connections can have one
    /// more. The session has waited for `waited`. A connection that has been idle for `cold` is not needed by its
    /// database.
    fn evict(
        &mut self,
        database: usize,
        own: usize,
        (waited, cold): (Duration, Duration),
        now: Instant,
    ) -> Option<C> {
        let others = || {
            let others = self.databases.iter().enumerate();
            others.filter(|(at, other)| *at != database && !other.idle.is_empty())
        };
        let larger = others().filter(|(_, other)| other.open >= own + 2).max_by_key(|(_, other)| other.open);
        if let Some((at, _)) = larger {
            return self.evict_coldest(|other, _| other == at);
        }
        let is_cold = |since: Instant| now.saturating_duration_since(since) >= cold;
        let has_cold =
            others().any(|(_, other)| other.idle.front().is_some_and(|(_, since)| is_cold(*since)));
        match own == 0 || (waited >= COLD && has_cold) {
            true => self.evict_coldest(|other, _| other != database),
            false => None,
        }
    }

    /// Returns the connection that has been idle for longest, among the databases that `from` accepts by their index and
    /// number of idle connections.
    fn evict_coldest(&mut self, from: impl Fn(usize, usize) -> bool) -> Option<C> {
        let at = self.coldest_of(|at, database| from(at, database.idle.len()))?;
        let database = self.databases.get_mut(at)?;
        let (connection, _) = database.idle.pop_front()?;
        database.open = database.open.saturating_sub(1);
        self.open = self.open.saturating_sub(1);
        Some(connection)
    }

    /// Returns the database with the connection that has been idle for longest, among those that `from` accepts.
    fn coldest_of(&self, from: impl Fn(usize, &DatabaseConnections<C>) -> bool) -> Option<usize> {
        let fronts = self.databases.iter().enumerate().filter_map(|(at, database)| {
            let (_, since) = database.idle.front().filter(|_| from(at, database))?;
            Some((at, *since))
        });
        fronts.min_by_key(|(_, since)| *since).map(|(at, _)| at)
    }

    /// Serves the waiters in their order. A returned connection of the database `returned` is left to running threads.
    /// The first waiter is signalled to retry, or gets the connection if it was overtaken too often.
    fn serve(&mut self, returned: Option<usize>, now: Instant) -> Vec<WaiterSignal<C, W>> {
        let mut signals = Vec::new();
        if self.waiters.is_empty() {
            return signals;
        }
        let mut undecided = self.databases.iter().filter(|database| database.waiting > 0).count();
        let mut refused = vec![false; self.databases.len()];
        let mut refused_by_budget = vec![false; self.databases.len() + 1];
        for serves_holders in [true, false] {
            let mut at = 0;
            while undecided > 0 && (serves_holders || !self.has_blocked_holder()) {
                let Some(waiter) = self.waiters.get(at) else { break };
                let Waiter { held, database, id, .. } = *waiter;
                let (owner, waited) = (waiter.owner.clone(), now.saturating_duration_since(waiter.since));
                let must_wait = held == 0 && at > 0 && self.overtaken >= OVERTAKING;
                if (held > 0) != serves_holders
                    || must_wait
                    || refused.get(database).copied().unwrap_or(true)
                    || refused_by_budget.get(held).copied().unwrap_or(true)
                {
                    at += 1;
                    continue;
                }
                if !self.budget.may_take(held) {
                    refused_by_budget[held] = true;
                    at += 1;
                    continue;
                }
                let Some(wanted) = self.databases.get_mut(database) else { break };
                if returned == Some(database) && wanted.overtaken < OVERTAKING && !wanted.idle.is_empty() {
                    if wanted.woken.is_none() {
                        wanted.woken = Some(id);
                        signals.push((waiter.signal.clone(), None));
                    }
                    refused[database] = true;
                    undecided -= 1;
                    at += 1;
                    continue;
                }
                match self.grant(&owner, database, waited, now) {
                    Some(grant) => {
                        let Some(waiter) = self.remove(at) else { break };
                        if self.databases.get(database).is_some_and(|database| database.waiting == 0) {
                            undecided = undecided.saturating_sub(1);
                        }
                        signals.push((waiter.signal, Some(grant)));
                    }
                    None => {
                        refused[database] = true;
                        undecided -= 1;
                        at += 1;
                    }
                }
            }
        }
        signals
    }

    /// Returns whether a session that holds connections waits for the budget.
    fn has_blocked_holder(&mut self) -> bool {
        let (waiting, budget) = (&self.waiting_by_held, &mut self.budget);
        waiting.iter().enumerate().skip(1).any(|(held, waiting)| *waiting > 0 && !budget.may_take(held))
    }

    fn position(&self, id: u64) -> Option<usize> {
        // Ids ascend along the queue.
        self.waiters.binary_search_by_key(&id, |waiter| waiter.id).ok()
    }

    fn clear_woken(&mut self, id: u64) {
        let woken = self.databases.iter_mut().map(|database| &mut database.woken);
        woken.filter(|woken| **woken == Some(id)).for_each(|woken| *woken = None);
    }

    fn remove(&mut self, at: usize) -> Option<Waiter<W>> {
        let waiter = self.waiters.remove(at)?;
        if at == 0 {
            self.overtaken = 0;
        }
        self.clear_woken(waiter.id);
        if let Some(waiting) = self.waiting_by_held.get_mut(waiter.held) {
            *waiting = waiting.saturating_sub(1);
        }
        if let Some(database) = self.databases.get_mut(waiter.database) {
            database.waiting = database.waiting.saturating_sub(1);
            database.overtaken = 0;
        }
        Some(waiter)
    }
}

#[cfg(test)]
mod tests;

//! Decides which session gets a connection of which database, and which idle connection is closed for it. Pure: nothing
//! here waits or connects, and the time is a parameter.
//!
//! Rules, in this order:
//! 1. A checkout is granted only within the [`ConnectionBudget`], so that sessions cannot deadlock on the pool. Sessions that hold
//!    connections come before new ones: they end, and give back what they hold.
//! 2. An idle connection of the wanted database is used. A running thread may overtake threads that wait for the same
//!    database, because waking a thread costs more than a short read; at most [`OVERTAKING`] times in a row, then the
//!    returned connection is handed to the first waiter.
//! 3. Otherwise a new connection is opened while there is room.
//! 4. Otherwise an idle connection of another database is closed: if the wanted database has none, or if the other one has
//!    at least two more. Either step makes the shares more equal, so that these closings come to an end.
//! 5. Otherwise the session waits for a connection of its own database to be returned. After [`COLD`] it takes the room of
//!    any connection that has been idle for as long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::budget::ConnectionBudget;
use crate::error::Exhausted;

/// How many later sessions may overtake the first waiter of a database, and how many new sessions may overtake the first
/// waiter of all while the budget refuses it.
pub(super) const OVERTAKING: usize = 64;

/// How long a session waits, and how long a connection is idle, before that connection makes room for a session that wants
/// another database. Many times longer than a checkout of a busy pool takes, so that a busy pool closes nothing.
pub(super) const COLD: Duration = Duration::from_millis(20);

/// How long the budget is lowered after descriptors ran out, before more is tried again.
const LIMITED: Duration = Duration::from_secs(5);

/// How long no further connection to a server without a slot is tried. Other programs may free one at any time.
const REFUSED: Duration = Duration::from_millis(100);

/// How long closing idle connections may take.
const TAKES_EFFECT: Duration = Duration::from_millis(50);

/// The part of the open connections that is given up for other files when descriptors run out.
const RESERVED_PART: usize = 16;

/// The part of the budget by which it grows again at a time.
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

/// A waiter's signal: with a grant or, without one, to try again.
pub(super) type Signal<C, W> = (W, Option<Grant<C>>);

/// The connections of all databases of a cluster, and the sessions that wait for one.
pub(super) struct Checkouts<C, W> {
    /// Its limit is lower than the cluster's while the process is out of descriptors.
    budget: ConnectionBudget,
    /// The cluster's limit.
    most: usize,
    databases: Vec<Database<C>>,
    waiters: VecDeque<Waiter<W>>,
    /// How many connections are open, in use or idle.
    open: usize,
    tickets: u64,
    /// How many sessions wait that hold so many connections, by their number.
    waiting_by_held: Vec<usize>,
    /// How many new sessions have overtaken the first waiter since the budget refused it.
    overtaken: usize,
    /// When the lowered budget is raised.
    limited_until: Option<Instant>,
    /// When servers without a slot are tried again.
    refused_until: Option<Instant>,
    /// When descriptors ran out last.
    ran_out: Option<Instant>,
}

struct Database<C> {
    /// How many connections are open, in use or idle.
    open: usize,
    /// How many may be open: less than all while its server has no slot left.
    limit: usize,
    /// How often its server was lost. A connection that was made before is not kept.
    losses: u64,
    /// The connection that was returned last comes last.
    idle: VecDeque<(C, Instant)>,
    waiting: usize,
    /// How many sessions have overtaken the first waiter for this database.
    overtaken: usize,
    /// The waiter that was told to try again and has not tried yet.
    woken: Option<u64>,
}

struct Waiter<W> {
    ticket: u64,
    owner: LeaseOwner,
    /// How many connections it holds while it waits.
    held: usize,
    database: usize,
    since: Instant,
    signal: W,
}

impl<C, W: Clone> Checkouts<C, W> {
    /// At most so many connections, with those that are open already, by database.
    pub(super) fn new(most: usize, made: Vec<Option<C>>, now: Instant) -> Self {
        let budget = ConnectionBudget::new(most, made.len());
        let most = budget.most();
        let database = |made: Option<C>| Database {
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
            most,
            databases,
            waiters: VecDeque::new(),
            open,
            tickets: 0,
            waiting_by_held,
            overtaken: 0,
            limited_until: None,
            refused_until: None,
            ran_out: None,
        }
    }

    /// The limit now.
    pub(super) fn most(&self) -> usize {
        self.budget.most()
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

    /// Adds a session to those that wait; its ticket.
    pub(super) fn wait(&mut self, owner: &LeaseOwner, database: usize, signal: W, now: Instant) -> u64 {
        let (ticket, held) = (self.tickets, owner.held());
        self.tickets += 1;
        if let Some(waiting) = self.waiting_by_held.get_mut(held) {
            *waiting += 1;
        }
        if let Some(wanted) = self.databases.get_mut(database) {
            wanted.waiting += 1;
        }
        self.waiters.push_back(Waiter { ticket, owner: owner.clone(), held, database, since: now, signal });
        ticket
    }

    /// Grants a connection to a session that waits, if it may have one now; and the signals to others.
    pub(super) fn try_again(&mut self, ticket: u64, now: Instant) -> (Option<Grant<C>>, Vec<Signal<C, W>>) {
        let Some(at) = self.position(ticket) else { return (None, Vec::new()) };
        self.lift_limits(now);
        self.clear_woken(ticket);
        let Some(waiter) = self.waiters.get(at) else { return (None, Vec::new()) };
        let (owner, database, waited) =
            (waiter.owner.clone(), waiter.database, now.saturating_duration_since(waiter.since));
        let comes_first = owner.held() > 0 || !self.has_blocked_holder();
        let grant = if comes_first { self.grant(&owner, database, waited, now) } else { None };
        if grant.is_some() {
            self.remove(at);
        }
        // There may be one more for the next waiter, or another waiter may have what this one may not.
        (grant, self.serve(Some(database), now))
    }

    /// Removes a session that waits; `false` if it was granted a connection meanwhile.
    pub(super) fn leave(&mut self, ticket: u64, now: Instant) -> (bool, Vec<Signal<C, W>>) {
        match self.position(ticket) {
            Some(at) => {
                self.clear_woken(ticket);
                self.remove(at);
                (true, self.serve(None, now))
            }
            None => (false, Vec::new()),
        }
    }

    /// Takes back a checkout, with the connection unless that is closed; the signals to those that wait.
    pub(super) fn check_in(
        &mut self,
        owner: &LeaseOwner,
        database: usize,
        connection: Option<C>,
        now: Instant,
    ) -> Vec<Signal<C, W>> {
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

    /// Another idle connection in place of a checked-out one that turned out to be lost.
    pub(super) fn replace(&mut self, database: usize) -> Option<C> {
        let own = self.databases.get_mut(database)?;
        let (connection, _) = own.idle.pop_back()?;
        own.open = own.open.saturating_sub(1);
        self.open = self.open.saturating_sub(1);
        Some(connection)
    }

    /// After opening a connection has failed because a limit outside was met: lowers the own limit to what was open, and
    /// gives up idle connections, those that were idle for longest, for the caller to close.
    ///
    /// The budget is lowered, too: by a higher one, sessions that use every database could share the connections so that
    /// each waits for one more. It stays at what one session may need.
    ///
    /// Nothing changes for a connection that was granted before the last change took effect: its failure says nothing of
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
                // Without the one that was granted and not opened, and some for what else opens files.
                let were_open = self.open.saturating_sub(1 + self.open / RESERVED_PART);
                // Not only connections need descriptors: half of the idle ones leave room for others. SQLite keeps the
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
                // The connections of other databases may be connections to the same server.
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

    /// How often the server of a database was lost.
    pub(super) fn losses(&self, database: usize) -> u64 {
        self.databases.get(database).map_or(0, |database| database.losses)
    }

    /// Takes the idle connections of a database whose server was lost, for the caller to close, and the signals to those
    /// that wait. Nothing if a connection that had seen so many losses cannot have seen a new one.
    pub(super) fn lose(&mut self, database: usize, losses: u64, now: Instant) -> (Vec<C>, Vec<Signal<C, W>>) {
        let Some(own) = self.databases.get_mut(database).filter(|own| own.losses == losses) else {
            return (Vec::new(), Vec::new());
        };
        own.losses += 1;
        let lost: Vec<C> = own.idle.drain(..).map(|(connection, _)| connection).collect();
        own.open = own.open.saturating_sub(lost.len());
        self.open = self.open.saturating_sub(lost.len());
        (lost, self.serve(None, now))
    }

    /// Lifts the limits that were met outside when their time is over: those of servers at once, the budget step by step.
    fn lift_limits(&mut self, now: Instant) {
        if self.refused_until.is_some_and(|until| until <= now) {
            self.refused_until = None;
            self.databases.iter_mut().for_each(|database| database.limit = usize::MAX);
        }
        if self.limited_until.is_some_and(|until| until <= now) {
            let most = self.budget.most();
            self.budget.raise((most + (most / LIFTED_PART).max(1)).min(self.most));
            self.limited_until = (self.budget.most() < self.most).then_some(now + LIMITED);
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
        let grant = self.connection(database, waited, now);
        match grant {
            Some(_) => drop(owner.0.fetch_add(1, Ordering::Relaxed)),
            None => self.budget.give_back(held + 1),
        }
        grant
    }

    fn connection(&mut self, database: usize, waited: Duration, now: Instant) -> Option<Grant<C>> {
        let wanted = self.databases.get_mut(database)?;
        if let Some((connection, _)) = wanted.idle.pop_back() {
            return Some(Grant::Idle(connection));
        }
        let own = wanted.open;
        if own >= wanted.limit {
            return None;
        }
        let evicted = match self.open < self.budget.most() {
            true => None,
            false => Some(self.evict(database, own, waited, now)?),
        };
        self.databases.get_mut(database)?.open += 1;
        self.open += 1;
        Some(Grant::Connect { evicted })
    }

    /// An idle connection of another database that is closed for one more of a database that has `own`.
    fn evict(&mut self, database: usize, own: usize, waited: Duration, now: Instant) -> Option<C> {
        let others = || {
            let others = self.databases.iter().enumerate();
            others.filter(|(at, other)| *at != database && !other.idle.is_empty())
        };
        let larger = others().filter(|(_, other)| other.open >= own + 2).max_by_key(|(_, other)| other.open);
        if let Some((at, _)) = larger {
            return self.evict_coldest(|other, _| other == at);
        }
        let is_cold = |since: Instant| now.saturating_duration_since(since) >= COLD;
        let has_cold =
            others().any(|(_, other)| other.idle.front().is_some_and(|(_, since)| is_cold(*since)));
        match own == 0 || (waited >= COLD && has_cold) {
            true => self.evict_coldest(|other, _| other != database),
            false => None,
        }
    }

    /// The connection that has been idle for longest, of the databases that `from` accepts by their index and number of
    /// idle connections.
    fn evict_coldest(&mut self, from: impl Fn(usize, usize) -> bool) -> Option<C> {
        let at = self.coldest_of(|at, database| from(at, database.idle.len()))?;
        let database = self.databases.get_mut(at)?;
        let (connection, _) = database.idle.pop_front()?;
        database.open = database.open.saturating_sub(1);
        self.open = self.open.saturating_sub(1);
        Some(connection)
    }

    /// Of the databases that `from` accepts by their index, the one with the connection that has been idle for longest.
    fn coldest_of(&self, from: impl Fn(usize, &Database<C>) -> bool) -> Option<usize> {
        let fronts = self.databases.iter().enumerate().filter_map(|(at, database)| {
            let (_, since) = database.idle.front().filter(|_| from(at, database))?;
            Some((at, *since))
        });
        fronts.min_by_key(|(_, since)| *since).map(|(at, _)| at)
    }

    /// Goes through those that wait, in the order of coming: hands out what can be granted. A connection of `returned` is
    /// left to running threads, and the first waiter told to try again, unless that was overtaken too often.
    fn serve(&mut self, returned: Option<usize>, now: Instant) -> Vec<Signal<C, W>> {
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
                let Waiter { held, database, ticket, .. } = *waiter;
                let (owner, waited) = (waiter.owner.clone(), now.saturating_duration_since(waiter.since));
                let keeps_place = held == 0 && at > 0 && self.overtaken >= OVERTAKING;
                if (held > 0) != serves_holders
                    || keeps_place
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
                        wanted.woken = Some(ticket);
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

    /// Whether a session that holds connections waits for the budget.
    fn has_blocked_holder(&mut self) -> bool {
        let (waiting, budget) = (&self.waiting_by_held, &mut self.budget);
        waiting.iter().enumerate().skip(1).any(|(held, waiting)| *waiting > 0 && !budget.may_take(held))
    }

    fn position(&self, ticket: u64) -> Option<usize> {
        // Tickets rise along the queue.
        self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
    }

    fn clear_woken(&mut self, ticket: u64) {
        let woken = self.databases.iter_mut().map(|database| &mut database.woken);
        woken.filter(|woken| **woken == Some(ticket)).for_each(|woken| *woken = None);
    }

    fn remove(&mut self, at: usize) -> Option<Waiter<W>> {
        let waiter = self.waiters.remove(at)?;
        if at == 0 {
            self.overtaken = 0;
        }
        self.clear_woken(waiter.ticket);
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
mod tests {
    use super::*;

    struct Sim {
        checkouts: Checkouts<u32, u32>,
        now: Instant,
        connections: u32,
        opened: usize,
        closed: usize,
    }

    impl Sim {
        fn new(most: usize, databases: usize) -> Self {
            let now = Instant::now();
            let checkouts = Checkouts::new(most, (0..databases).map(|_| None).collect(), now);
            Sim { checkouts, now, connections: 0, opened: 0, closed: 0 }
        }

        /// The connection of a grant.
        fn fulfil(&mut self, grant: Grant<u32>) -> u32 {
            match grant {
                Grant::Idle(connection) => connection,
                Grant::Connect { evicted } => {
                    self.closed += usize::from(evicted.is_some());
                    self.opened += 1;
                    self.connections += 1;
                    self.connections
                }
            }
        }

        fn take(&mut self, database: usize) -> Option<(LeaseOwner, u32)> {
            let owner = LeaseOwner::default();
            let grant = self.checkouts.take(&owner, database, self.now)?;
            Some((owner, self.fulfil(grant)))
        }

        fn wait(&mut self, database: usize, name: u32) -> (LeaseOwner, u64) {
            let owner = LeaseOwner::default();
            let ticket = self.checkouts.wait(&owner, database, name, self.now);
            (owner, ticket)
        }

        fn check_in(
            &mut self,
            database: usize,
            (owner, connection): (LeaseOwner, u32),
        ) -> Vec<Signal<u32, u32>> {
            self.checkouts.check_in(&owner, database, Some(connection), self.now)
        }
    }

    #[test]
    fn shares_become_equal_and_stay_so() {
        let mut sim = Sim::new(8, 2);
        let first: Vec<_> = (0..7).map(|_| sim.take(0).unwrap()).collect();
        for held in first {
            assert!(sim.check_in(0, held).is_empty());
        }
        // One more is free, and three are taken from the other database: then each has four.
        let second: Vec<_> = (0..4).map(|_| sim.take(1).unwrap()).collect();
        assert_eq!((sim.opened, sim.closed), (11, 3));
        // The other one's are kept, although they are idle and a fifth is wanted here.
        assert!(sim.take(1).is_none());
        for held in second {
            sim.check_in(1, held);
        }
        for _ in 0..1_000 {
            let all: Vec<_> = (0..6).map(|place| (place % 2, sim.take(place % 2).unwrap())).collect();
            all.into_iter().for_each(|(database, held)| drop(sim.check_in(database, held)));
        }
        assert_eq!((sim.opened, sim.closed), (11, 3));
    }

    #[test]
    fn what_is_cold_makes_room_for_a_waiter() {
        let mut sim = Sim::new(4, 2);
        let idle: Vec<_> = (0..2).map(|_| sim.take(0).unwrap()).collect();
        idle.into_iter().for_each(|held| drop(sim.check_in(0, held)));
        let _in_use: Vec<_> = (0..2).map(|_| sim.take(1).unwrap()).collect();
        assert!(sim.take(1).is_none());
        let (_, ticket) = sim.wait(1, 7);
        assert_eq!(sim.checkouts.try_again(ticket, sim.now).0, None);
        sim.now += COLD;
        let granted = sim.checkouts.try_again(ticket, sim.now).0;
        assert!(matches!(granted, Some(Grant::Connect { evicted: Some(_) })), "{granted:?}");
    }

    #[test]
    fn a_waiter_is_overtaken_a_bounded_number_of_times() {
        let mut sim = Sim::new(2, 1);
        let [first, second] = [(); 2].map(|()| sim.take(0).unwrap());
        let (_waiting, ticket) = sim.wait(0, 7);
        let (_later, later) = sim.wait(0, 8);
        // The first waiter is told once to try again, not each time.
        assert_eq!(sim.check_in(0, first), [(7, None)]);
        let mut running = sim.take(0).unwrap();
        for _ in 1..OVERTAKING {
            assert_eq!(sim.check_in(0, running), []);
            running = sim.take(0).unwrap();
        }
        let signals = sim.check_in(0, running);
        assert!(matches!(signals[..], [(7, Some(Grant::Idle(_)))]), "{signals:?}");
        assert_eq!(sim.checkouts.try_again(ticket, sim.now).0, None, "it has its connection");
        // The next one's turn begins.
        assert_eq!(sim.check_in(0, second), [(8, None)]);
        assert!(sim.checkouts.try_again(later, sim.now).0.is_some());
    }

    #[test]
    fn sessions_that_hold_connections_come_before_new_ones() {
        // Each of the first four has one, and may need three.
        let mut sim = Sim::new(6, 3);
        let mut held: Vec<_> = (0..4).map(|_| sim.take(0).unwrap()).collect();
        let second = sim.checkouts.take(&held[0].0, 1, sim.now).unwrap();
        let second = sim.fulfil(second);
        assert!(sim.checkouts.take(&held[1].0, 1, sim.now).is_none());
        let ticket = sim.checkouts.wait(&held[1].0, 1, 1, sim.now);
        let (_new, new) = sim.wait(0, 9);
        // What the last one returns is not for the new session, which came later; nor for one that comes now.
        let last = held.pop().unwrap();
        let signals = sim.check_in(0, last);
        assert!(matches!(signals[..], [(1, Some(_))]), "{signals:?}");
        assert!(sim.checkouts.position(ticket).is_none() && sim.checkouts.position(new).is_some());
        let (first, connection) = held.remove(0);
        let mut signals = sim.checkouts.check_in(&first, 1, Some(second), sim.now);
        signals.extend(sim.check_in(0, (first, connection)));
        assert!(matches!(signals[..], [(9, _)]), "{signals:?}");
    }

    #[test]
    fn two_that_come_back_serve_two_waiters() {
        let mut sim = Sim::new(2, 1);
        let [first, second] = [(); 2].map(|()| sim.take(0).unwrap());
        let (_, seventh) = sim.wait(0, 7);
        let (_, eighth) = sim.wait(0, 8);
        assert_eq!(sim.check_in(0, first), [(7, None)]);
        assert_eq!(sim.check_in(0, second), []);
        let (granted, signals) = sim.checkouts.try_again(seventh, sim.now);
        assert!(granted.is_some());
        assert_eq!(signals, [(8, None)]);
        assert!(sim.checkouts.try_again(eighth, sim.now).0.is_some());
    }

    #[test]
    fn running_out_of_descriptors_lowers_the_limit_for_some_time() {
        let mut sim = Sim::new(12, 2);
        let held: Vec<_> = (0..8).map(|number| (number % 2, sim.take(number % 2).unwrap())).collect();
        let in_use = sim.take(0).unwrap();
        held.into_iter().for_each(|(database, held)| drop(sim.check_in(database, held)));
        let refused = LeaseOwner::default();
        let granted = sim.now;
        sim.now += COLD;
        // Nine are open, one of them in use. The database that is not in use is closed.
        assert!(sim.checkouts.take(&refused, 0, sim.now).is_some());
        let evicted = sim.checkouts.run_out(Exhausted::Descriptors, 0, granted, sim.now);
        assert_eq!((evicted.len(), sim.checkouts.databases[1].open, sim.checkouts.open), (4, 0, 5));
        let limit = sim.checkouts.most();
        assert_eq!(limit, 8);
        // What was granted before says nothing of the new limit.
        assert!(sim.checkouts.run_out(Exhausted::Descriptors, 0, granted, sim.now).is_empty());
        assert_eq!(sim.checkouts.most(), limit);
        sim.checkouts.check_in(&refused, 0, None, sim.now);
        sim.check_in(0, in_use);
        let mut limits = vec![limit];
        while sim.checkouts.most() < 12 {
            sim.now += LIMITED;
            let held = sim.take(0).unwrap();
            sim.check_in(0, held);
            assert!(sim.checkouts.most() > *limits.last().unwrap());
            limits.push(sim.checkouts.most());
        }
        assert_eq!(limits, [8, 9, 10, 11, 12]);
    }

    #[test]
    fn a_server_without_slots_keeps_its_limit() {
        let mut sim = Sim::new(6, 2);
        let held = sim.take(0).unwrap();
        // A second one was granted and refused by the server.
        let refused = LeaseOwner::default();
        let granted = sim.checkouts.take(&refused, 0, sim.now);
        assert!(matches!(granted, Some(Grant::Connect { evicted: None })));
        assert!(sim.checkouts.run_out(Exhausted::ServerConnections, 0, sim.now, sim.now).is_empty());
        sim.checkouts.check_in(&refused, 0, None, sim.now);
        assert!(sim.take(0).is_none());
        let (_, ticket) = sim.wait(0, 7);
        assert_eq!(sim.check_in(0, held), [(7, None)]);
        assert!(sim.checkouts.try_again(ticket, sim.now).0.is_some());
        // After some time the server is tried again, by a session that waits, too.
        let (_, ticket) = sim.wait(0, 8);
        assert_eq!(sim.checkouts.try_again(ticket, sim.now).0, None);
        sim.now += REFUSED;
        assert!(sim.checkouts.try_again(ticket, sim.now).0.is_some());
    }

    /// At any moment there is no waiter that could be granted something and was neither told nor handed it.
    #[test]
    fn no_waiter_is_forgotten() {
        let mut seed: u64 = 7;
        let mut below = |end: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % end
        };
        let waits = |waiting: &[(u64, usize, LeaseOwner)], owner: &LeaseOwner| {
            waiting.iter().any(|(.., other)| Arc::ptr_eq(&other.0, &owner.0))
        };
        for _ in 0..300 {
            let databases = 1 + below(4);
            let mut sim = Sim::new(databases + below(6), databases);
            let mut held: Vec<(usize, LeaseOwner, u32)> = Vec::new();
            let mut waiting: Vec<(u64, usize, LeaseOwner)> = Vec::new();
            let mut told: Vec<u64> = Vec::new();
            for _ in 0..300 {
                let database = below(databases);
                let mut signals = Vec::new();
                match below(4) {
                    0 | 1 => {
                        // A new session, or one that holds connections, of other databases, and does not wait.
                        let old = held.iter().map(|(_, owner, _)| owner).rfind(|old| {
                            let is_old = |other: &LeaseOwner| Arc::ptr_eq(&other.0, &old.0);
                            !waiting.iter().any(|(.., other)| is_old(other))
                                && !held.iter().any(|(at, other, _)| *at == database && is_old(other))
                        });
                        let owner = if below(2) == 0 { None } else { old }.cloned().unwrap_or_default();
                        match sim.checkouts.take(&owner, database, sim.now) {
                            Some(grant) => {
                                let connection = sim.fulfil(grant);
                                held.push((database, owner, connection));
                            }
                            None => {
                                let name = sim.checkouts.tickets as u32;
                                let ticket = sim.checkouts.wait(&owner, database, name, sim.now);
                                waiting.push((ticket, database, owner));
                            }
                        }
                    }
                    2 if held.iter().any(|(_, owner, _)| !waits(&waiting, owner)) => {
                        let at = (0..held.len()).rfind(|at| !waits(&waiting, &held[*at].1)).unwrap();
                        let (database, owner, connection) = held.swap_remove(at);
                        let kept = (below(8) > 0).then_some(connection);
                        signals = sim.checkouts.check_in(&owner, database, kept, sim.now);
                    }
                    _ if !told.is_empty() => {
                        let ticket = told.swap_remove(below(told.len()));
                        let (grant, more) = sim.checkouts.try_again(ticket, sim.now);
                        signals = more;
                        if let Some(grant) = grant {
                            signals.push((ticket as u32, Some(grant)));
                        }
                    }
                    _ => sim.now += Duration::from_millis(1),
                }
                for (name, grant) in signals {
                    match grant {
                        None => told.push(u64::from(name)),
                        Some(grant) => {
                            told.retain(|ticket| *ticket != u64::from(name));
                            let at =
                                waiting.iter().position(|(ticket, ..)| *ticket == u64::from(name)).unwrap();
                            let (_, database, owner) = waiting.swap_remove(at);
                            let connection = sim.fulfil(grant);
                            held.push((database, owner, connection));
                        }
                    }
                }
                for (_, database, owner) in &waiting {
                    let wanted = &sim.checkouts.databases[*database];
                    let is_left = !wanted.idle.is_empty() && wanted.woken.is_none();
                    let may_take = sim.checkouts.budget.may_take(owner.held());
                    let comes_first = owner.held() > 0 || !sim.checkouts.has_blocked_holder();
                    assert!(!(is_left && may_take && comes_first), "a waiter is forgotten");
                }
                let open: usize = sim.checkouts.databases.iter().map(|database| database.open).sum();
                assert_eq!(open, sim.checkouts.open);
                assert!(open <= sim.checkouts.most());
            }
        }
    }
}

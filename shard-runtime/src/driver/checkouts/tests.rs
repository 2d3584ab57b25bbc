//! Simulations of the decisions of the pool, without connections.

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);

struct Sim {
    checkouts: Checkouts<u32, u32>,
    now: Instant,
    connections: u32,
    opened: usize,
    closed: usize,
}

impl Sim {
    fn new(limit: usize, databases: usize) -> Self {
        let now = Instant::now();
        let checkouts = Checkouts::new(limit, TIMEOUT, (0..databases).map(|_| None).collect(), now);
        Sim { checkouts, now, connections: 0, opened: 0, closed: 0 }
    }

    /// Returns the connection of a grant.
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
        let id = self.checkouts.enqueue(&owner, database, name, self.now);
        (owner, id)
    }

    fn check_in(
        &mut self,
        database: usize,
        (owner, connection): (LeaseOwner, u32),
    ) -> Vec<WaiterSignal<u32, u32>> {
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
    // One more connection is free, and three are taken from the other database: then each has four.
    let second: Vec<_> = (0..4).map(|_| sim.take(1).unwrap()).collect();
    assert_eq!((sim.opened, sim.closed), (11, 3));
    // The other one's connections are kept, although they are idle and a fifth is requested here.
    assert!(sim.take(1).is_none());
    for held in second {
        sim.check_in(1, held);
    }
    for _ in 0..1_000 {
        let all: Vec<_> = (0..6).map(|index| (index % 2, sim.take(index % 2).unwrap())).collect();
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
    let (_, id) = sim.wait(1, 7);
    assert_eq!(sim.checkouts.retry(id, sim.now).0, None);
    // The database has its share already.
    sim.now += COLD;
    assert_eq!(sim.checkouts.retry(id, sim.now).0, None);
    sim.now += UNUSED;
    let granted = sim.checkouts.retry(id, sim.now).0;
    assert!(matches!(granted, Some(Grant::Connect { evicted: Some(_) })), "{granted:?}");
}

#[test]
fn what_is_cold_makes_room_for_a_session_that_holds_a_connection() {
    let mut sim = Sim::new(6, 3);
    let idle: Vec<_> = (0..2).map(|_| sim.take(0).unwrap()).collect();
    idle.into_iter().for_each(|held| drop(sim.check_in(0, held)));
    let (owner, _) = sim.take(1).unwrap();
    let _in_use = (sim.take(2).unwrap(), sim.take(2).unwrap());
    sim.take(1).unwrap();
    let id = sim.checkouts.enqueue(&owner, 2, 7, sim.now);
    assert_eq!(sim.checkouts.retry(id, sim.now).0, None);
    sim.now += COLD;
    let granted = sim.checkouts.retry(id, sim.now).0;
    assert!(matches!(granted, Some(Grant::Connect { evicted: Some(_) })), "{granted:?}");
}

#[test]
fn an_impatient_session_does_not_wait_for_what_is_unused() {
    let mut sim = Sim::new(4, 2);
    sim.checkouts = Checkouts::new(4, COLD * 8, vec![None, None], sim.now);
    let idle: Vec<_> = (0..2).map(|_| sim.take(0).unwrap()).collect();
    idle.into_iter().for_each(|held| drop(sim.check_in(0, held)));
    let _in_use: Vec<_> = (0..2).map(|_| sim.take(1).unwrap()).collect();
    let (_, id) = sim.wait(1, 7);
    sim.now += COLD;
    assert_eq!(sim.checkouts.retry(id, sim.now).0, None);
    sim.now += COLD;
    assert!(sim.checkouts.retry(id, sim.now).0.is_some());
}

#[test]
fn a_waiter_is_overtaken_a_bounded_number_of_times() {
    let mut sim = Sim::new(2, 1);
    let [first, second] = [(); 2].map(|()| sim.take(0).unwrap());
    let (_waiting, id) = sim.wait(0, 7);
    let (_later, later) = sim.wait(0, 8);
    // The first waiter is signalled once to retry, not each time.
    assert_eq!(sim.check_in(0, first), [(7, None)]);
    let mut running = sim.take(0).unwrap();
    for _ in 1..OVERTAKING {
        assert_eq!(sim.check_in(0, running), []);
        running = sim.take(0).unwrap();
    }
    let signals = sim.check_in(0, running);
    assert!(matches!(signals[..], [(7, Some(Grant::Idle(_)))]), "{signals:?}");
    assert_eq!(sim.checkouts.retry(id, sim.now).0, None, "it has its connection");
    // The next one's turn begins.
    assert_eq!(sim.check_in(0, second), [(8, None)]);
    assert!(sim.checkouts.retry(later, sim.now).0.is_some());
}

#[test]
fn sessions_that_hold_connections_come_before_new_ones() {
    // Each of the first four holds one, and may need three.
    let mut sim = Sim::new(6, 3);
    let mut held: Vec<_> = (0..4).map(|_| sim.take(0).unwrap()).collect();
    let second = sim.checkouts.take(&held[0].0, 1, sim.now).unwrap();
    let second = sim.fulfil(second);
    assert!(sim.checkouts.take(&held[1].0, 1, sim.now).is_none());
    let id = sim.checkouts.enqueue(&held[1].0, 1, 1, sim.now);
    let (_new, new) = sim.wait(0, 9);
    // A new session does not get the connection that the last one returns; nor does one that begins now.
    let last = held.pop().unwrap();
    let signals = sim.check_in(0, last);
    assert!(matches!(signals[..], [(1, Some(_))]), "{signals:?}");
    assert!(sim.checkouts.position(id).is_none() && sim.checkouts.position(new).is_some());
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
    let (granted, signals) = sim.checkouts.retry(seventh, sim.now);
    assert!(granted.is_some());
    assert_eq!(signals, [(8, None)]);
    assert!(sim.checkouts.retry(eighth, sim.now).0.is_some());
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
    let limit = sim.checkouts.limit();
    assert_eq!(limit, 8);
    // A failure of an attempt that was granted before the limit was lowered does not lower it again.
    assert!(sim.checkouts.run_out(Exhausted::Descriptors, 0, granted, sim.now).is_empty());
    assert_eq!(sim.checkouts.limit(), limit);
    sim.checkouts.check_in(&refused, 0, None, sim.now);
    sim.check_in(0, in_use);
    let mut limits = vec![limit];
    while sim.checkouts.limit() < 12 {
        sim.now += LIMITED;
        let held = sim.take(0).unwrap();
        sim.check_in(0, held);
        assert!(sim.checkouts.limit() > *limits.last().unwrap());
        limits.push(sim.checkouts.limit());
    }
    assert_eq!(limits, [8, 9, 10, 11, 12]);
}

#[test]
fn a_server_without_slots_keeps_its_limit() {
    let mut sim = Sim::new(6, 2);
    let held = sim.take(0).unwrap();
    // A second one was granted, and the server refused it.
    let refused = LeaseOwner::default();
    let granted = sim.checkouts.take(&refused, 0, sim.now);
    assert!(matches!(granted, Some(Grant::Connect { evicted: None })));
    assert!(sim.checkouts.run_out(Exhausted::ServerConnections, 0, sim.now, sim.now).is_empty());
    sim.checkouts.check_in(&refused, 0, None, sim.now);
    assert!(sim.take(0).is_none());
    let (_, id) = sim.wait(0, 7);
    assert_eq!(sim.check_in(0, held), [(7, None)]);
    assert!(sim.checkouts.retry(id, sim.now).0.is_some());
    // After some time the server is tried again, also by a session that waits.
    let (_, id) = sim.wait(0, 8);
    assert_eq!(sim.checkouts.retry(id, sim.now).0, None);
    sim.now += REFUSED;
    assert!(sim.checkouts.retry(id, sim.now).0.is_some());
}

/// Checks that there is never a waiter that could get a connection, and was neither signalled nor granted one.
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
                            let name = sim.checkouts.next_waiter as u32;
                            let id = sim.checkouts.enqueue(&owner, database, name, sim.now);
                            waiting.push((id, database, owner));
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
                    let id = told.swap_remove(below(told.len()));
                    let (grant, more) = sim.checkouts.retry(id, sim.now);
                    signals = more;
                    if let Some(grant) = grant {
                        signals.push((id as u32, Some(grant)));
                    }
                }
                _ => sim.now += Duration::from_millis(1),
            }
            for (name, grant) in signals {
                match grant {
                    None => told.push(u64::from(name)),
                    Some(grant) => {
                        told.retain(|id| *id != u64::from(name));
                        let at = waiting.iter().position(|(id, ..)| *id == u64::from(name)).unwrap();
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
            assert!(open <= sim.checkouts.limit());
        }
    }
}

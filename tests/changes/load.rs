//! Changes under load: writers and readers run while another process makes one change after the other. It is killed at random,
//! and the next one continues its change. Nothing may be lost, doubled, resurrected or stale.
//!
//! `SHARDED_SEED` repeats a run, `SHARDED_KILLS` sets how many movers are killed in each.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shard_runtime::{
    Builder, Cluster, ErrorKind, Pace, Sharded as _,
    change::{Change, Switch},
};

use crate::backend::{Backend, LETTERS};
use crate::models::{Customer, Device, Models, NewOrder, Order, assert_sound, customer, fill};
use crate::processes::{builder_of, described};

on_some_at_length! {
    Files Schemas: r50_movers_are_killed_under_load;
    Prefixed Servers Everything: r50_movers_are_killed_under_load_elsewhere
}

/// The spare shards, which become targets one after the other. The first stays spare: where spares share a database, it gives the
/// database its name.
const SPARES: [&str; 9] = ["spare", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/// The changes, in this order.
const CHANGES: [(&str, &[&str]); 5] =
    [("c", &["s0"]), ("s0", &["s1", "s2"]), ("b", &["s3", "s4"]), ("s1", &["s5"]), ("s3", &["s6", "s7"])];

/// The pause of a writer or a reader after each transaction. Without it they would take the processor from the movers.
const PAUSE: Duration = Duration::from_millis(2);

/// The customers that are only ever counted up.
const COUNTERS: i64 = 40;

const CLUSTER: &str = "SHARDED_CHANGED_CLUSTER";
const SOURCE: &str = "SHARDED_CHANGED_SOURCE";
const TARGETS: &str = "SHARDED_CHANGED_TARGETS";

/// A small generator of random numbers (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

pub fn seed() -> u64 {
    let seed = match std::env::var("SHARDED_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1,
    };
    println!("SHARDED_SEED={seed}");
    seed
}

/// Makes the change that the environment names, from wherever it is: what a test starts.
#[test]
#[ignore = "started by other tests"]
fn in_a_process_of_its_own() {
    let cluster = builder_of(CLUSTER).busy_timeout(Duration::from_secs(20)).open::<Models>().unwrap();
    let targets = std::env::var(TARGETS).unwrap();
    move_shard(&cluster, &std::env::var(SOURCE).unwrap(), &targets.split(' ').collect::<Vec<_>>());
}

fn current(cluster: &Cluster) -> Option<Change> {
    cluster.changes().unwrap().pop()
}

fn move_shard(cluster: &Cluster, source: &str, targets: &[&str]) {
    let mut change = match current(cluster) {
        Some(change) => change,
        None => {
            let plan = cluster.plan_change().split(source, targets.iter().copied()).build().unwrap();
            cluster.begin_change(&plan).unwrap()
        }
    };
    if change.status().unwrap().state == "cancelling" {
        change.cancel().unwrap();
        return move_shard(cluster, source, targets);
    }
    if change.status().unwrap().state == "copying" {
        change.copy(Pace::rows(5).rest(Duration::from_millis(1)), |_| {}).unwrap();
        change.verify().unwrap();
        change.switch(Switch::within(Duration::from_secs(3)).tries(50)).unwrap();
    }
    change.finish().unwrap();
    change.retire().unwrap();
}

/// Ends a run, also after a failed assertion.
pub struct End<'e>(pub &'e AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The events of a run.
#[derive(Default)]
struct Counts {
    transactions: AtomicU64,
    reads: AtomicU64,
}

struct World<'w> {
    builder: Builder,
    /// The count that each counter has at least.
    floors: Vec<AtomicI64>,
    /// Customers that come and go: of each id that exists its orders.
    others: Mutex<BTreeMap<i64, Vec<i64>>>,
    counts: &'w Counts,
    done: &'w AtomicBool,
}

impl World<'_> {
    fn cluster(&self) -> Cluster {
        self.builder.clone().open::<Models>().unwrap()
    }

    /// Writes until the run is over; ids of other customers are this number modulo 10.
    fn write(&self, cluster: &Cluster, number: i64, mut random: Random) {
        let mut next = 1_000 + number;
        while !self.done.load(Ordering::Relaxed) {
            match random.below(4) {
                // Two counters, on two shards mostly. A writer has counters of its own.
                0 | 1 => {
                    let mut pick = || random.below(COUNTERS as u64 / 2) as i64 * 2 + number;
                    let ids = [pick(), pick()];
                    let counted = cluster.transaction(|session| {
                        let mut now = Vec::new();
                        for id in ids {
                            let mut counter = session.get::<Customer>(id)?.expect("counters stay");
                            counter.cents += 1;
                            session.update(&mut counter)?;
                            session.flush()?;
                            now.push((id, counter.cents));
                        }
                        Ok(now)
                    });
                    for (id, cents) in self.ended(counted) {
                        self.floors[id as usize].fetch_max(cents, Ordering::SeqCst);
                    }
                }
                2 => {
                    let id = next;
                    next += 10;
                    let orders: Vec<i64> = (0..random.below(3) as i64).collect();
                    let added = cluster.transaction(|session| {
                        let row = session.add(customer(id))?;
                        for &cents in &orders {
                            session.add(NewOrder { customer: row.link(), cents })?;
                        }
                        Ok(())
                    });
                    self.ended(added);
                    self.others.lock().unwrap().insert(id, orders);
                }
                _ => {
                    let mine = |id: &&i64| **id % 10 == number;
                    let id = self.others.lock().unwrap().keys().rfind(mine).copied();
                    let Some(id) = id else { continue };
                    let removed = cluster.transaction(|session| {
                        let row = session.get::<Customer>(id)?.expect("it was added");
                        session.execute(Order::delete().filter(Order::CUSTOMER.eq(row.link())))?;
                        session.delete(&row)
                    });
                    self.ended(removed);
                    self.others.lock().unwrap().remove(&id);
                }
            }
            self.counts.transactions.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(PAUSE);
        }
    }

    fn ended<O>(&self, result: shard_runtime::Result<O>) -> O {
        result.unwrap_or_else(|error| {
            self.done.store(true, Ordering::Relaxed);
            panic!("{error:?}")
        })
    }

    /// Reads until the run is over: each counter once, and as high as it was when the read began.
    fn read(&self) {
        let cluster = self.cluster();
        while !self.done.load(Ordering::Relaxed) {
            let floors: Vec<i64> = self.floors.iter().map(|floor| floor.load(Ordering::SeqCst)).collect();
            let mut session = cluster.session();
            let rows =
                self.ended(session.all(Customer::select().all_shards().filter(Customer::ID.lt(COUNTERS))));
            let mut seen: Vec<i64> = rows.iter().map(|row| row.id).collect();
            seen.sort_unstable();
            let all: Vec<i64> = (0..COUNTERS).collect();
            let shards: Vec<_> = rows.iter().map(|row| (row.id, row.shard().name().to_owned())).collect();
            if seen != all {
                self.done.store(true, Ordering::Relaxed);
                panic!("not each counter once: {shards:?}");
            }
            for row in &rows {
                if row.cents < floors[row.id as usize] {
                    self.done.store(true, Ordering::Relaxed);
                    panic!("{} has {} and had {}: {shards:?}", row.id, row.cents, floors[row.id as usize]);
                }
            }
            session.rollback();
            let email = format!("{}@example.org", rows.len() / 2);
            let found =
                self.ended(session.all(Customer::select().filter(Customer::EMAIL.eq(email.as_str()))));
            assert_eq!(found.len(), 1, "{email}");
            self.counts.reads.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(PAUSE);
        }
    }
}

fn r50_movers_are_killed_under_load(backend: &Backend) {
    run(backend, 10);
}

fn r50_movers_are_killed_under_load_elsewhere(backend: &Backend) {
    run(backend, 5);
}

fn run(backend: &Backend, kills: u64) {
    let kills = std::env::var("SHARDED_KILLS").map_or(kills, |kills| kills.parse().unwrap());
    let mut random = Random(seed());
    let all: Vec<&str> = LETTERS.iter().chain(&SPARES).copied().collect();
    drop({
        let cluster = backend.create::<Models>(&LETTERS);
        fill(&cluster, COUNTERS);
        let mut session = cluster.session();
        for id in 0..COUNTERS {
            let mut counter = session.get::<Customer>(id).unwrap().unwrap();
            counter.cents = 0;
            session.update(&mut counter).unwrap();
        }
        session.commit().unwrap();
        cluster
    });
    let cluster = backend.builder(&all).create::<Models>().unwrap();
    let counts = Counts::default();
    let (mut killed, mut cancelled) = (0, 0);
    let done = AtomicBool::new(false);
    let world = World {
        builder: backend.builder(&all),
        floors: (0..COUNTERS).map(|_| AtomicI64::new(0)).collect(),
        others: Mutex::default(),
        counts: &counts,
        done: &done,
    };
    let cluster_text = described(backend, &all);
    let others = std::thread::scope(|scope| {
        let world = &world;
        let _end = End(&done);
        // Both with one handle, which notices their deadlocks.
        let writers = world.cluster();
        for number in 0..2 {
            let (random, writers) = (Random(random.below(u64::MAX) | 1), writers.clone());
            scope.spawn(move || world.write(&writers, number, random));
        }
        scope.spawn(|| world.read());
        let each = kills / CHANGES.len() as u64;
        for (source, targets) in CHANGES {
            let mut left = each;
            loop {
                let mut mover = spawn(&cluster_text, source, &targets.join(" "));
                if left == 0 || done.load(Ordering::Relaxed) {
                    let ended = mover.wait().unwrap();
                    assert!(ended.success() || done.load(Ordering::Relaxed), "the mover failed");
                    break;
                }
                left -= 1;
                let began = Instant::now();
                let at = Duration::from_millis(5 + random.below(250));
                while began.elapsed() < at && mover.try_wait().unwrap().is_none() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                if let Some(ended) = mover.try_wait().unwrap() {
                    assert!(ended.success() || done.load(Ordering::Relaxed), "the mover failed");
                    break;
                }
                mover.kill().unwrap();
                mover.wait().unwrap();
                killed += 1;
                if random.below(4) == 0
                    && let Some(change) = current(&cluster)
                {
                    match change.cancel() {
                        Ok(()) => cancelled += 1,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Stale, "{error}"),
                    }
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        &world.others
    });
    let others = others.lock().unwrap().clone();
    assert_end(&cluster, &world_floors(&world.floors), &others);
    assert_eq!(cluster.epoch(), 1 + CHANGES.len() as u64);
    println!(
        "{} movers killed, {} changes cancelled, {} transactions, {} reads",
        killed,
        cancelled,
        counts.transactions.load(Ordering::Relaxed),
        counts.reads.load(Ordering::Relaxed)
    );
}

fn world_floors(floors: &[AtomicI64]) -> Vec<i64> {
    floors.iter().map(|floor| floor.load(Ordering::SeqCst)).collect()
}

fn assert_end(cluster: &Cluster, floors: &[i64], others: &BTreeMap<i64, Vec<i64>>) {
    cluster.recover().unwrap();
    let mut session = cluster.session();
    let rows = session.all(Customer::select().all_shards()).unwrap();
    let mut found: BTreeMap<i64, i64> = BTreeMap::new();
    for row in &rows {
        assert!(found.insert(row.id, row.cents).is_none(), "{} is there twice", row.id);
    }
    let expected: BTreeMap<i64, i64> =
        (0..COUNTERS).zip(floors.iter().copied()).chain(others.keys().map(|id| (*id, 100 * id))).collect();
    assert_eq!(found, expected);
    for (id, orders) in others {
        let row = rows.iter().find(|row| row.id == *id).unwrap();
        let of = Order::select().filter(Order::CUSTOMER.eq(row.link()));
        let mut cents: Vec<i64> = session.all(of).unwrap().iter().map(|order| order.cents).collect();
        cents.sort_unstable();
        assert_eq!(cents, *orders, "orders of {id}");
    }
    assert_eq!(session.all(Device::select().all_shards()).unwrap().len(), 24);
    drop(session);
    assert_sound(cluster);
}

fn spawn(configured: &str, source: &str, targets: &str) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "load::in_a_process_of_its_own"]);
    command.env(CLUSTER, configured).env(SOURCE, source).env(TARGETS, targets);
    command.stdout(Stdio::inherit()).stderr(Stdio::inherit()).spawn().unwrap()
}

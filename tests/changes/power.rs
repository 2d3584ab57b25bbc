//! A mover, and a writer beside it, whose machine loses its power at any moment of a change, with any part of the unsynced data
//! on the disk. It is recorded with `strace`, and replayed. Acknowledged transactions are stored as a whole, and another
//! process
//! continues the change or cancels it.
//!
//! `SHARDED_STEPS=all` loses the power at every moment, several times.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shard_runtime::{Cluster, Durability, Pace, Sharded as _, change::Switch};
use sharded_tests::disk::{self, Record};
use sharded_tests::numbers::{Numbers, seed};

use crate::backend::{Backend, Kind};
use crate::models::{Customer, Line, Models, Order, add, assert_sound};
use crate::mover::{ALL, World, begin, current, every, run};
use crate::processes::{builder_of, described, test_behind};

const CLUSTER: &str = "SHARDED_POWER_CLUSTER";
const LOG: &str = "SHARDED_POWER_LOG";
const NORMAL: &str = "SHARDED_POWER_NORMAL";

/// The customers of a [`World`], and the first id of those that the writer adds.
const CUSTOMERS: i64 = 30;
const ADDED: i64 = 1_000;

/// How many power losses an ordinary run replays, and how many of each moment one that tries all.
const LOSSES: usize = 60;
const TIMES: usize = 4;

#[test]
#[ignore = "started by other tests"]
fn in_a_process_of_its_own() {
    let log = std::env::var_os(LOG).map(PathBuf::from).unwrap();
    let log = Mutex::new(File::options().create(true).append(true).open(log).unwrap());
    let tell = |line: String| log.lock().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    // Transactions of the application may be lost with `Normal`, and a change loses nothing that was there.
    let is_normal = std::env::var_os(NORMAL).is_some();
    let durability = if is_normal { Durability::Normal } else { Durability::Full };
    let cluster = builder_of(CLUSTER).durability(durability).open::<Models>().unwrap();
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut unit = 0;
            while !is_normal && !has_ended.load(Ordering::Relaxed) {
                write(&cluster, unit);
                tell(format!("unit {unit}"));
                unit += 1;
            }
        });
        let mut change = begin(&cluster).unwrap();
        tell("begun".into());
        change.copy(Pace::rows(6), |_| {}).unwrap();
        tell("copied".into());
        change.verify().unwrap();
        tell("verified".into());
        change.switch(Switch::within(Duration::from_secs(5)).tries(10)).unwrap();
        tell("switched".into());
        change.finish().unwrap();
        has_ended.store(true, Ordering::Relaxed);
    });
    tell("done".into());
}

/// Adds a customer with its orders, and raises the cents of another one, on any shards.
fn write(cluster: &Cluster, unit: i64) {
    let written = cluster.transaction(|session| {
        add(session, ADDED + unit)?;
        let mut raised = session.get::<Customer>(unit % CUSTOMERS)?.unwrap();
        raised.cents += 1;
        session.update(&mut raised)
    });
    written.unwrap();
}

/// The operations of a mover on the disk; without `Normal` also those of a writer.
fn record(is_normal: bool) -> (Record, World) {
    let world = World::new(Kind::Files, false);
    let log = tempfile::NamedTempFile::new().unwrap();
    let record = disk::record(world.backend.folder(), log.path(), String::new(), |behind| {
        let mut mover = test_behind(behind, "power::in_a_process_of_its_own");
        mover.env(CLUSTER, described(&world.backend, &ALL)).env(LOG, log.path());
        if is_normal {
            mover.env(NORMAL, "");
        }
        mover
    });
    (record, world)
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r50_a_power_loss_at_any_moment_of_a_change_loses_nothing() {
    lose_power(false);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r50_a_power_loss_in_a_change_loses_nothing_if_commits_do_not_wait_for_the_disk() {
    lose_power(true);
}

fn lose_power(is_normal: bool) {
    let (record, world) = record(is_normal);
    let mut numbers = Numbers(seed());
    let [begun, copied, verified, switched] =
        ["begun", "copied", "verified", "switched"].map(|line| record.told(line)[0]);
    // The last one is the decision.
    let mut recorded = record.synced("control.db-wal");
    recorded.retain(|moment| (verified..switched).contains(moment));
    assert!(recorded.len() > 2, "{recorded:?}");
    let mut between = |first: usize, end: usize| first + numbers.below((end - first) as u64) as usize;
    let moments: Vec<usize> = match every() {
        true => (1..=record.events()).flat_map(|moment| [moment; TIMES]).collect(),
        // Most while rows are copied without waiting for the disk, and when control has recorded something in the switch.
        false => (0..LOSSES)
            .map(|loss| match loss % 4 {
                0 => between(1, record.events() + 1),
                1 => between(copied, record.events() + 1),
                2 => recorded[loss / 4 % recorded.len()],
                _ => between(begun, copied + 1),
            })
            .collect(),
    };
    let (mut continued, mut cancelled) = (0, 0);
    for (loss, &moment) in moments.iter().enumerate() {
        let what = format!("power loss {loss}, at {moment} of {} moments", record.events());
        let backend = Backend::new(Kind::Files);
        let log = tempfile::NamedTempFile::new().unwrap();
        record.lose_power(moment, &mut numbers, backend.folder(), log.path());
        let world = World { backend, before: world.before.clone() };
        let told = std::fs::read_to_string(log.path()).unwrap();
        let told = told.lines().filter(|line| line.starts_with("unit ")).count();
        let cluster = world.open();
        assert_written(&cluster, told, &what);
        if let Some(mut change) = current(&cluster) {
            let is_copying = change.status().unwrap().state == "copying";
            if is_copying && loss % 4 == 3 {
                change.cancel().unwrap_or_else(|error| panic!("{what}: {error}"));
                cancelled += 1;
            } else {
                run(&mut change).unwrap_or_else(|error| panic!("{what}: {error}"));
                continued += 1;
            }
        }
        let cluster = world.open();
        assert_written(&cluster, told, &what);
        assert_sound(&cluster);
    }
    println!("{} power losses, {continued} changes continued, {cancelled} cancelled", moments.len());
    assert!(continued > 0 && cancelled > 0);
}

/// Asserts that the acknowledged transactions are stored, perhaps with the next one, and each as a whole.
fn assert_written(cluster: &Cluster, told: usize, what: &str) {
    let mut session = cluster.session();
    let customers = session.all(Customer::select().all_shards().order_by(Customer::ID.asc())).unwrap();
    let added = customers.iter().filter(|customer| customer.id >= ADDED).count();
    assert!((told..=told + 1).contains(&added), "{what}: {added} of {told} transactions");
    let added = i64::try_from(added).unwrap();
    let expected: Vec<i64> = (0..CUSTOMERS).chain((ADDED..).take(added as usize)).collect();
    assert_eq!(customers.iter().map(|customer| customer.id).collect::<Vec<_>>(), expected, "{what}");
    for customer in &customers {
        let raised = (0..added).filter(|unit| unit % CUSTOMERS == customer.id).count() as i64;
        assert_eq!(customer.cents, 100 * customer.id + raised, "{what}: customer {}", customer.id);
        let orders = session.all(Order::select().filter(Order::CUSTOMER.eq(customer.link()))).unwrap();
        assert_eq!(orders.len() as i64, customer.id % 3, "{what}: orders of {}", customer.id);
        for order in &orders {
            let lines = session.all(Line::select().filter(Line::ORDER.eq(order.link()))).unwrap();
            assert_eq!(lines.len(), 1, "{what}: lines of an order of {}", customer.id);
        }
    }
}

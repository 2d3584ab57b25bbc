//! A source that is written while it is copied: the copy is of one moment, with each transaction whole or not at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shard_runtime::{Cluster, Pace, Sharded};

use crate::backend::{Backend, Kind, LETTERS};
use crate::models::{Customer, Device, Event, Models, assert_sound, customer, fill};

on_some_at_length! {
    on_disk: r62_the_copy_is_of_one_moment;
    Schemas Servers Everything: r62_the_copy_of_servers_is_of_one_moment
}

fn r62_the_copy_is_of_one_moment(backend: &Backend) {
    check(backend, Kind::Files, 6);
}

fn r62_the_copy_of_servers_is_of_one_moment(backend: &Backend) {
    check(backend, Kind::Files, 2);
    check(&Backend::new(backend.kind), backend.kind, 1);
}

const ACCOUNTS: i64 = 20;

/// Each transaction moves money between shards, and adds a row to two tables that are placed by other rules.
fn write(cluster: &Cluster, turn: i64) {
    let written = cluster.transaction(|session| {
        let mut from = session.get::<Customer>(turn.rem_euclid(ACCOUNTS))?.unwrap();
        let mut to = session.get::<Customer>((turn * 7 + 3).rem_euclid(ACCOUNTS))?.unwrap();
        if from.id == to.id {
            return Ok(());
        }
        from.cents -= 1;
        to.cents += 1;
        session.update(&mut from)?;
        session.update(&mut to)?;
        let color = ["red", "green", "blue"][turn.rem_euclid(3) as usize];
        session.add(Device { name: format!("turn {turn}"), color: color.into(), on: true })?;
        // On both sides of the ranges, and of no other turn.
        let unique = if turn < 0 { 1 - 2 * turn } else { 2 * turn };
        let at = if unique % 4 < 2 { 1_000 + unique } else { -1_000 - unique };
        session.add(Event { at, what: format!("turn {turn}") })?;
        session.add(customer(1_000_000 + turn))?;
        Ok(())
    });
    written.unwrap();
}

/// The sum of the accounts, and the turns that each table has.
fn state(cluster: &Cluster) -> (i64, Vec<String>, Vec<String>, Vec<String>) {
    let mut session = cluster.session();
    let customers = session.all(Customer::select().all_shards()).unwrap();
    let cents = customers.iter().filter(|row| row.id < ACCOUNTS).map(|row| row.cents).sum();
    let sorted = |mut names: Vec<String>| {
        names.sort_unstable();
        names
    };
    let turns = |name: &String| name.starts_with("turn");
    let devices = session.all(Device::select().all_shards()).unwrap();
    let events = session.all(Event::select().all_shards()).unwrap();
    let added = customers.iter().filter(|row| row.id >= 100_000);
    (
        cents,
        sorted(devices.iter().map(|row| row.name.clone()).filter(turns).collect()),
        sorted(events.iter().map(|row| row.what.clone()).filter(turns).collect()),
        sorted(added.map(|row| format!("turn {}", row.id - 1_000_000)).collect()),
    )
}

struct End<'e>(&'e AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn check(from: &Backend, kind: Kind, copies: u32) {
    let source = from.builder(&LETTERS).create::<Models>().unwrap();
    fill(&source, 40);
    let sum = state(&source).0;
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&has_ended);
        for writer in 0..3 {
            let own = from.builder(&LETTERS).open::<Models>().unwrap();
            let has_ended = &has_ended;
            scope.spawn(move || {
                let turns = (0..).map(|turn| turn * 3 + writer);
                for turn in turns.take_while(|_| !has_ended.load(Ordering::Relaxed)) {
                    write(&own, turn);
                    // The source does not outgrow its copies.
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let (mut before, mut own_turn) = (0, 0);
        for _ in 0..copies {
            let other = Backend::new(kind);
            let target = other.builder(&LETTERS).create::<Models>().unwrap();
            let mut events = 0;
            source
                .copy_to(&target)
                .pace(Pace::rows(40))
                .run(|_| {
                    // The source is written while it is copied.
                    events += 1;
                    if events % 5 == 1 {
                        own_turn -= 1;
                        write(&source, own_turn);
                    }
                })
                .unwrap();
            let (cents, devices, events, customers) = state(&target);
            assert_eq!(cents, sum);
            assert_eq!((&devices, &devices), (&events, &customers));
            assert_sound(&target);
            assert!(devices.len() > before, "{} and {before}", devices.len());
            before = devices.len();
        }
    });
    assert_eq!(state(&source).0, sum);
}

on_some_at_length! {
    Files: r62_no_transaction_is_torn;
    Schemas: r62_no_transaction_on_a_server_is_torn
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts")]
struct Account {
    #[id]
    #[shard_key(hash)]
    id: i64,
    cents: i64,
    #[version]
    version: i64,
}

fn r62_no_transaction_is_torn(backend: &Backend) {
    transfers(backend, 40);
}

fn r62_no_transaction_on_a_server_is_torn(backend: &Backend) {
    transfers(backend, 10);
}

/// Writers do nothing but move money between shards, so that a snapshot of one shard is often in the middle of a transaction.
fn transfers(backend: &Backend, copies: u32) {
    let shards = ["a", "b", "c", "d"];
    let source = backend.builder(&shards).create::<Account>().unwrap();
    source
        .transaction(|session| {
            session.add_all((0..16).map(|id| Account { id, cents: 100, version: 1 })).map(drop)
        })
        .unwrap();
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&has_ended);
        for writer in 0..2 {
            let own = backend.builder(&shards).open::<Account>().unwrap();
            let has_ended = &has_ended;
            scope.spawn(move || {
                for turn in (writer..).take_while(|_| !has_ended.load(Ordering::Relaxed)) {
                    let moved = own.transaction(|session| {
                        let mut from = session.get::<Account>(turn % 16)?.unwrap();
                        let mut to = session.get::<Account>((turn * 3 + 1) % 16)?.unwrap();
                        if from.id != to.id {
                            from.cents -= 1;
                            to.cents += 1;
                            session.update(&mut from)?;
                            session.update(&mut to)?;
                        }
                        Ok(())
                    });
                    moved.unwrap();
                }
            });
        }
        for turn in 0..copies {
            let other = Backend::new(Kind::Files);
            let target = other.builder(&["one"]).create::<Account>().unwrap();
            source.copy_to(&target).run(|_| {}).unwrap();
            let cents = target.session().all(Account::select().all_shards()).unwrap();
            assert_eq!(cents.iter().map(|row| row.cents).sum::<i64>(), 1_600, "copy {turn}");
        }
    });
    let cents = source.session().all(Account::select().all_shards()).unwrap();
    assert_eq!(cents.iter().map(|row| row.cents).sum::<i64>(), 1_600);
}

//! Movers of files that are killed at their system calls, or whose disk fails there: another process continues or cancels. They
//! need `strace`.
//!
//! `SHARDED_STEPS=all` tries every system call of steps 6 to 12, and of the whole change, instead of some.

#![cfg(target_os = "linux")]

use std::time::Duration;

use shard_runtime::{Sharded as _, change::Switch};

use crate::backend::Kind;
use crate::models::{Customer, assert_sound};
use crate::mover::{World, current, every, stride};

/// The system calls that change files or wait for the disk.
const CALLS: [&str; 4] = ["pwrite64", "fdatasync,fsync", "ftruncate", "unlink"];

fn injected(world: &World, call: &str, what: &str, only: &str) {
    let inject = format!("inject={call}:{what}");
    let behind = ["strace", "-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject];
    world.command(&behind.map(str::to_owned), only).status().unwrap();
}

/// Tries something at a call's first time, its second, and so on.
fn at_each(call: &str, (from, count): (usize, usize), tries: usize, mut attempt: impl FnMut(usize)) -> usize {
    let step = stride(count.saturating_sub(from), tries);
    let mut tried = 0;
    // Some calls depend on time: a few more.
    for time in (from + 1..=count + 2).step_by(step) {
        attempt(time);
        tried += 1;
    }
    println!("{call}: {tried} of {}", count.saturating_sub(from));
    tried
}

fn killed(is_copied: bool, only: &str, tries: usize) {
    let made = World::new(Kind::Files, is_copied);
    let (mut killed, mut cancelled) = (0, 0);
    for call in CALLS {
        let count = (made.copy().calls(call, "open"), made.copy().calls(call, only));
        killed += at_each(call, count, tries, |time| {
            let world = made.copy();
            let what = format!("killed at {call} {time}");
            injected(&world, call, &format!("signal=KILL:when={time}"), only);
            cancelled += u32::from(world.end(time % 3 == 0, &what));
        });
    }
    println!("{killed} movers killed, {cancelled} changes cancelled");
    assert!(killed > tries);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r50_a_kill_at_any_system_call_of_a_switch_is_continued() {
    killed(true, "", 6);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r50_a_kill_at_any_system_call_of_a_beginning_is_continued() {
    killed(false, "begin", 3);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r50_a_kill_at_any_system_call_of_a_cancellation_is_continued() {
    killed(true, "cancel", 3);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r50_a_disk_that_fails_in_a_switch_loses_nothing() {
    let made = World::new(Kind::Files, true);
    let mut failed = 0;
    for (call, error) in [("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fdatasync,fsync", "EIO")] {
        let count = (made.copy().calls(call, "open"), made.copy().calls(call, ""));
        // Once, and from then on.
        for on in if every() { &["", "+"][..] } else { &["+"][..] } {
            failed += at_each(call, count, 4, |time| {
                let world = made.copy();
                injected(&world, call, &format!("error={error}:when={time}{on}"), "");
                world.end(time % 3 == 0, &format!("{error} at {call} {time}{on}"));
            });
        }
    }
    println!("{failed} failing disks");
    assert!(failed > 8);
}

/// Whether the transaction of a writer is there: all of it, or nothing.
fn is_written(cluster: &shard_runtime::Cluster, before: &[i64], what: &str) -> bool {
    let mut session = cluster.session();
    let added = session.all(Customer::select().all_shards().filter(Customer::ID.ge(5_000))).unwrap().len();
    let changed = (0..6).filter(|id| {
        let row = session.get::<Customer>(*id).unwrap().unwrap();
        row.cents == before[usize::try_from(*id).unwrap()] + 1
    });
    let found = (added, changed.count());
    assert!(found == (0, 0) || found == (6, 6), "{what}: {found:?} of (6, 6)");
    found == (6, 6)
}

/// A writer over all shards is killed; the mover was open before, so that no opening finishes what it has left.
fn killed_writers(make: impl Fn() -> World, calls: &[&str], tries: usize) {
    let (mut killed, mut written) = (0, 0);
    for call in calls {
        let count = (make().calls(call, "open"), make().calls(call, "write"));
        killed += at_each(call, count, tries, |time| {
            let world = make();
            let what = format!("a writer killed at {call} {time}");
            let cluster = world.open();
            let mut change = current(&cluster).unwrap();
            change.verify().unwrap();
            let mut session = cluster.session();
            let before: Vec<i64> =
                (0..6).map(|id| session.get::<Customer>(id).unwrap().unwrap().cents).collect();
            drop(session);
            injected(&world, call, &format!("signal=KILL:when={time}"), "write");
            change
                .switch(Switch::within(Duration::from_secs(10)).tries(5))
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            change.finish().unwrap();
            written += usize::from(is_written(&cluster, &before, &what));
            assert_sound(&cluster);
            let cluster = world.open();
            is_written(&cluster, &before, &what);
            assert_sound(&cluster);
        });
    }
    println!("{killed} writers killed, of {written} all is there");
    assert!(killed > 0);
}

#[test]
fn r50_what_a_killed_writer_of_files_has_left_is_moved() {
    let made = World::new(Kind::Files, true);
    killed_writers(|| made.copy(), &["pwrite64", "fdatasync,fsync"], 8);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r50_what_a_killed_writer_on_servers_has_left_is_moved() {
    killed_writers(|| World::new(Kind::Servers, true), &["sendto"], 8);
}

//! Copies whose process is killed: at each event of its progress, and, with `strace`, at system calls. They are continued by
//! another process, also after the source was written.
//!
//! `SHARDED_STEPS=all` kills at every system call, instead of some.

use std::process::Command;
use std::time::Duration;

use shard_runtime::{Cluster, ErrorKind, Pace, Sharded as _};

use crate::backend::{Backend, Kind, LETTERS, assert_error};
use crate::models::{Customer, Line, Models, Order, add, assert_sound, contents, fill};
use crate::processes::{builder_of, calls_of, described, test_behind};

const FROM: &str = "SHARDED_COPY_FROM";
const TO: &str = "SHARDED_COPY_TO";
const EVENTS: &str = "SHARDED_COPY_EVENTS";

/// Copies the cluster that the environment names. A test starts it.
#[test]
#[ignore = "started by other tests"]
fn in_a_process_of_its_own() {
    let builder = |name: &str| builder_of(name).busy_timeout(Duration::from_secs(20));
    let source = builder(FROM).open::<Models>().unwrap();
    let target = builder(TO).create::<Models>().unwrap();
    let mut left: usize = std::env::var(EVENTS).unwrap().parse().unwrap();
    if left == 0 {
        return;
    }
    let copied = source.copy_to(&target).pace(Pace::rows(20)).run(|_| {
        left -= 1;
        if left == 0 {
            std::process::abort();
        }
    });
    copied.unwrap();
}

/// Two clusters, of which the first has rows.
pub struct World {
    pub from: Backend,
    pub to: Backend,
}

impl World {
    pub fn new(from: Kind, to: Kind) -> Self {
        let world = World { from: Backend::new(from), to: Backend::new(to) };
        fill(&world.from.create::<Models>(&LETTERS), 25);
        drop(world.to.create::<Models>(&LETTERS));
        world
    }

    /// A copy in a process of its own, behind a program, that ends at an event.
    fn command(&self, behind: &[String], event: usize) -> Command {
        let mut command = test_behind(behind, "stopped::in_a_process_of_its_own");
        command.env(FROM, described(&self.from, &LETTERS)).env(TO, described(&self.to, &LETTERS));
        command.env(EVENTS, event.to_string());
        command
    }

    fn calls(&self, call: &str, event: usize) -> usize {
        calls_of(call, |behind| self.command(behind, event))
    }

    /// Continues the copy if it has not ended, after the source was written, and compares. Returns whether it had not.
    pub fn end(&self, writes: bool, what: &str) -> bool {
        let source = self.from.builder(&LETTERS).open::<Models>().unwrap();
        let opened = self.to.builder(&LETTERS).open::<Models>();
        let before = contents(&source);
        if writes {
            write(&source);
        }
        let is_unfinished = match opened {
            Err(error) => {
                assert_error::<()>(Err(error), ErrorKind::Layout, &["run the copy again"]);
                true
            }
            // Before it has begun, or after its end.
            Ok(target) => {
                let held = contents(&target);
                assert!(held.is_empty() || held == before, "{what}: {held:#?}");
                held.is_empty()
            }
        };
        let expected = if is_unfinished { contents(&source) } else { before };
        let target = self.to.builder(&LETTERS).create::<Models>().unwrap();
        if is_unfinished {
            let copied = source.copy_to(&target).pace(Pace::rows(20)).run(|_| {});
            copied.unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        assert_eq!(contents(&target), expected, "{what}");
        assert_sound(&target);
        drop(target);
        let target = self.to.builder(&LETTERS).open::<Models>().unwrap();
        assert!(target.compare_references().unwrap().is_empty(), "{what}");
        target.transaction(|session| (8_000..8_006).try_for_each(|id| add(session, id))).unwrap();
        assert_sound(&target);
        is_unfinished
    }
}

/// Rows are added, changed and removed on all shards, some of which were copied, and unique values go from one to another.
fn write(cluster: &Cluster) {
    let written = cluster.transaction(|session| {
        for id in [-5, 100, 101, 102] {
            add(session, id)?;
        }
        for id in 0..8 {
            let Some(mut row) = session.get::<Customer>(id)? else { continue };
            match id % 3 {
                0 => {
                    for order in session.all(row.children::<Order>())? {
                        session.execute(Line::delete().filter(Line::ORDER.eq(order.link())))?;
                        session.delete(&order)?;
                    }
                    session.delete(&row)?;
                }
                _ => {
                    row.cents += 1;
                    row.email = format!("new {id}@example.org");
                    session.update(&mut row)?;
                }
            }
        }
        Ok(())
    });
    written.unwrap();
}

fn aborted(from: Kind, to: Kind) {
    let (mut event, mut continued) = (1, 0);
    loop {
        let world = World::new(from, to);
        let has_ended = world.command(&[], event).status().unwrap().success();
        continued += u32::from(world.end(event % 2 == 0, &format!("event {event}")));
        if has_ended {
            break;
        }
        event += if std::env::var("SHARDED_STEPS").is_ok_and(|steps| steps == "all") { 1 } else { 3 };
    }
    println!("{continued} copies continued, {event} events");
    assert!(continued > 3);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r62_a_copy_that_was_killed_at_an_event_is_continued() {
    aborted(Kind::Files, Kind::Files);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r62_a_copy_to_servers_that_was_killed_at_an_event_is_continued() {
    aborted(Kind::Files, Kind::Schemas);
    aborted(Kind::Everything, Kind::Prefixed);
}

/// It is killed again and again, and each process continues the copy.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r62_many_processes_end_one_copy() {
    let world = World::new(Kind::Files, Kind::Prefixed);
    let mut killed = 0;
    for event in [3, 5, 9, 2, 14] {
        killed += u32::from(!world.command(&[], event).status().unwrap().success());
        write_more(&world, event as i64);
    }
    assert!(killed >= 4);
    assert!(world.end(true, "many"));
}

fn write_more(world: &World, turn: i64) {
    let source = world.from.builder(&LETTERS).open::<Models>().unwrap();
    source.transaction(|session| add(session, 500 + turn)).unwrap();
}

fn killed(from: Kind, to: Kind, call: &str, tries: usize) {
    let never = 1_000_000;
    let (opened, count) = {
        let world = World::new(from, to);
        (world.calls(call, 0), world.calls(call, never))
    };
    let is_all = std::env::var("SHARDED_STEPS").is_ok_and(|steps| steps == "all");
    let step = if is_all { 1 } else { (count.saturating_sub(opened) / tries).max(1) };
    let (mut kills, mut continued) = (0, 0);
    for time in (opened + 1..=count).step_by(step) {
        let world = World::new(from, to);
        let inject = format!("inject={call}:signal=KILL:when={time}");
        let behind = ["strace", "-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject];
        let status = world.command(&behind.map(str::to_owned), never).status().unwrap();
        kills += u32::from(!status.success());
        continued += u32::from(world.end(time % 2 == 0, &format!("killed at {call} {time}")));
    }
    println!("{call}: {kills} of {count} copies killed, {continued} continued");
    assert!(continued > 0);
}

#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r62_a_copy_of_files_that_was_killed_at_a_system_call_is_continued() {
    killed(Kind::Files, Kind::Files, "pwrite64", 12);
}

#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r62_a_copy_of_servers_that_was_killed_at_a_request_is_continued() {
    killed(Kind::Files, Kind::Everything, "sendto", 12);
    killed(Kind::Schemas, Kind::Schemas, "sendto", 8);
}

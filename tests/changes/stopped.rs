//! Movers that stop for long, at any place, and continue after another process has finished or cancelled the change: they write
//! nothing any more. They need `strace`, which stops them at a system call.
//!
//! `SHARDED_STEPS=all` stops at every request to a database, instead of some.

#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use crate::backend::Kind;
use crate::models::{assert_sound, contents};
use crate::mover::{World, below, current, run, stride, wait, write};

/// Whether a process is stopped.
fn is_stopped(process: &std::path::Path) -> bool {
    let status = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    // Behind the name in parentheses; `t` is stopped by a tracer.
    let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('T' | 't'))
}

fn go_on(process: &std::path::Path) {
    let pid = process.file_name().unwrap().to_string_lossy().into_owned();
    let _ = std::process::Command::new("kill").args(["-CONT", &pid]).status();
}

/// Returns how often it was stopped while another process went on.
fn stopped(make: impl Fn() -> World, call: &str, only: &str, tries: usize) {
    let (opened, count) = (make().calls(call, "open"), make().calls(call, only));
    let step = stride(count.saturating_sub(opened), tries);
    let (mut stopped, mut overtaken) = (0, 0);
    for (turn, time) in (opened + 1..=count).step_by(step).enumerate() {
        let world = make();
        let what = format!("stopped at {call} {time}");
        let inject = format!("inject={call}:signal=STOP:when={time}");
        let behind = ["strace", "-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject];
        let mut mover = world.command(&behind.map(str::to_owned), only).spawn().unwrap();
        // Until it is stopped, or has ended.
        let mut process = None;
        let began = Instant::now();
        while mover.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(30) {
            let found = below(mover.id()).into_iter().find(|process| is_stopped(process));
            // Stopped by its tracer for a moment at each system call.
            std::thread::sleep(Duration::from_millis(20));
            if let Some(found) = found.filter(|found| is_stopped(found)) {
                std::thread::sleep(Duration::from_millis(20));
                if is_stopped(&found) {
                    process = Some(found);
                    break;
                }
            }
        }
        let Some(process) = process else {
            assert!(mover.wait().unwrap().success(), "{what}");
            continue;
        };
        stopped += 1;
        let cancels = turn.is_multiple_of(2);
        let went_on = end(&world, cancels, &what);
        overtaken += u32::from(went_on);
        // Live rows, which the stopped one has not read.
        let before = went_on.then(|| {
            let cluster = world.open();
            write(&cluster, 7_000);
            contents(&cluster)
        });
        let began = Instant::now();
        while wait(&mut mover, Duration::from_millis(100)).is_none() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}: it does not end");
            // It may stop only now.
            go_on(&process);
        }
        match before {
            Some(before) => {
                let cluster = world.open();
                assert_eq!(contents(&cluster), before, "{what}, cancelled: {cancels}");
                assert_sound(&cluster);
                if cancels && cluster.epoch() == 1 {
                    assert!(current(&cluster).is_none(), "{what}: it has begun again");
                }
            }
            None => {
                world.end(cancels, &what);
            }
        }
    }
    println!("{call}: {stopped} of {count} movers stopped, {overtaken} overtaken");
    assert!(overtaken > 0);
}

/// Another process ends the change, if the stopped one does not hold what it needs.
fn end(world: &World, cancels: bool, what: &str) -> bool {
    let builder = world.backend.builder(&crate::mover::ALL).busy_timeout(Duration::from_millis(300));
    let ended = builder.open::<crate::models::Models>().and_then(|cluster| {
        let Some(mut change) = cluster.changes()?.pop() else { return Ok(false) };
        match change.status()?.state {
            "copying" if cancels => change.cancel()?,
            "cancelling" => change.cancel()?,
            _ => run(&mut change)?,
        }
        Ok(true)
    });
    match ended {
        Ok(ended) => ended,
        Err(error) => {
            assert!(error.is_retryable() || error.to_string().contains("lock"), "{what}: {error:?}");
            false
        }
    }
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r50_a_mover_of_files_that_was_stopped_changes_nothing() {
    let made = World::new(Kind::Files, true);
    stopped(|| made.copy(), "fcntl", "", 8);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r50_a_beginning_on_files_that_was_stopped_changes_nothing() {
    let made = World::new(Kind::Files, false);
    stopped(|| made.copy(), "fcntl", "begin", 8);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r50_a_mover_on_servers_that_was_stopped_changes_nothing() {
    stopped(|| World::new(Kind::Schemas, true), "sendto", "", 5);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r50_a_beginning_on_servers_that_was_stopped_changes_nothing() {
    stopped(|| World::new(Kind::Schemas, false), "sendto", "begin", 16);
}

//! A process that moves a key is killed at any of its system calls: the key has moved with all its rows, or not at all, and
//! nothing keeps the next move or change away. It needs `strace`.
//!
//! `SHARDED_STEPS=all` tries every call, instead of some.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use shard_runtime::{Cluster, Durability};

use super::models::{Models, Tenant, add, assert_sound, contents};
use super::{assert_at, located};
use crate::backend::{Backend, Kind};
use crate::mover::stride;

const ALL: [&str; 5] = ["a", "b", "c", "d", "e"];
const CLUSTER: &str = "SHARDED_MOVED_CLUSTER";
const SHARD: &str = "SHARDED_MOVED_TO";
const KEY: i64 = 7;

/// Moves the key of the cluster that the environment names: what a test starts.
#[test]
#[ignore = "started by other tests"]
fn in_a_process_of_its_own() {
    let text = std::env::var(CLUSTER).expect("started by a test");
    let builder = text.lines().fold(Cluster::builder().durability(Durability::Normal), |builder, line| {
        match line.split_once(' ').unwrap() {
            ("control", url) => builder.control(url),
            (shard, url) => builder.shard(shard, url),
        }
    });
    let cluster = builder.busy_timeout(Duration::from_secs(3)).open::<Models>().unwrap();
    if let Ok(shard) = std::env::var(SHARD) {
        cluster.move_key::<Tenant>(KEY, &shard).run().unwrap();
    }
}

fn command(backend: &Backend, behind: &[String], to: Option<&str>) -> Command {
    let this = std::env::current_exe().unwrap().display().to_string();
    let test = ["--exact", "--ignored", "keys::killed::in_a_process_of_its_own"].map(str::to_owned);
    let words: Vec<String> = behind.iter().cloned().chain([this]).chain(test).collect();
    let mut configured: Vec<String> =
        ALL.iter().map(|shard| format!("{shard} {}", backend.url(shard))).collect();
    configured.extend(backend.control(&ALL).map(|url| format!("control {url}")));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(CLUSTER, configured.join("\n")).env_remove(SHARD);
    to.map(|to| command.env(SHARD, to));
    command.env("RUST_BACKTRACE", "0").stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn made(kind: Kind) -> Backend {
    let backend = Backend::new(kind);
    drop({
        let cluster = backend.builder(&ALL[..3]).create::<Models>().unwrap();
        cluster.transaction(|session| (0..12).try_for_each(|id| add(session, id))).unwrap();
        cluster
    });
    drop(backend.builder(&ALL).create::<Models>().unwrap());
    backend
}

/// How often the busiest thread comes to a call where nothing happens to it.
fn calls(backend: &Backend, call: &str, to: Option<&str>) -> usize {
    let lines = tempfile::NamedTempFile::new().unwrap();
    let path = lines.path().display().to_string();
    let behind = ["strace", "-f", "-o", &path, "-e", &format!("trace={call}"), "-e", "signal=none"];
    assert!(command(backend, &behind.map(str::to_owned), to).status().unwrap().success());
    let text = std::fs::read_to_string(lines.path()).unwrap();
    let calls = text.lines().filter(|line| line.contains('(') && !line.contains("resumed>"));
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (thread, _) in calls.filter_map(|line| line.split_once(' ')) {
        *counts.entry(thread).or_default() += 1;
    }
    counts.into_values().max().unwrap_or_default()
}

fn open(backend: &Backend) -> Cluster {
    backend.builder(&ALL).open::<Models>().unwrap()
}

fn killed(kind: Kind, traced: &[&str], tries: usize) {
    let (mut killed, mut moved) = (0, 0);
    for call in traced {
        let backend = made(kind);
        let (from, to) = {
            let cluster = open(&backend);
            (located(&cluster, KEY), super::elsewhere(&cluster, KEY))
        };
        let count = (calls(&made(kind), call, None), calls(&made(kind), call, Some(to)));
        println!("{call}: {} to {}", count.0, count.1);
        let step = stride(count.1.saturating_sub(count.0), tries);
        for time in (count.0 + 1..=count.1 + 2).step_by(step) {
            let what = format!("killed at {call} {time}");
            let backend = made(kind);
            // This process knows the layout, and is there when the other one dies.
            let witness = open(&backend);
            let before = contents(&witness);
            let inject = format!("inject={call}:signal=KILL:when={time}");
            let behind = ["strace", "-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject];
            let status = command(&backend, &behind.map(str::to_owned), Some(to)).status().unwrap();
            killed += u32::from(!status.success());
            if time % 2 == 0 {
                drop(open(&backend));
            }
            // Sessions need no operator.
            let found = witness.session().get::<Tenant>(KEY).unwrap();
            assert!(found.is_some(), "{what}");
            let fresh = open(&backend);
            assert!(fresh.session().get::<Tenant>(KEY).unwrap().is_some(), "{what}");
            assert_eq!(contents(&fresh), before, "{what}");
            let now = located(&open(&backend), KEY);
            assert!(now == from || now == to, "{what}: on {now}");
            moved += u32::from(now == to);
            // A transaction that was decided and not applied is finished by the opening.
            assert!(witness.session().get::<Tenant>(KEY).unwrap().is_some(), "{what}");
            assert_at(&witness, KEY, &now);
            assert_sound(&witness);
            // A change, `create` and the next move end what was left.
            if time % 3 == 0 {
                let plan = open(&backend).plan_change().split("c", ["d", "e"]).build().unwrap();
                witness
                    .begin_change(&plan)
                    .unwrap_or_else(|error| panic!("{what}: {error}"))
                    .cancel()
                    .unwrap();
            }
            if time % 3 == 1 {
                drop(
                    backend
                        .builder(&ALL)
                        .create::<Models>()
                        .unwrap_or_else(|error| panic!("{what}: {error}")),
                );
            }
            for shard in [to, &from] {
                witness
                    .move_key::<Tenant>(KEY, shard)
                    .run()
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_at(&witness, KEY, shard);
            }
            assert_eq!(contents(&open(&backend)), before, "{what}");
        }
    }
    println!("{killed} processes killed, {moved} keys had moved");
    assert!(killed > 0 && moved > 0);
}

#[test]
fn r61_a_kill_at_any_system_call_of_a_move_leaves_one_shard() {
    killed(Kind::Files, &["pwrite64", "fdatasync,fsync", "ftruncate"], 8);
}

#[test]
fn r61_a_kill_at_any_system_call_of_a_move_in_one_file_leaves_one_shard() {
    killed(Kind::Prefixed, &["pwrite64"], 6);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r61_a_kill_at_any_request_of_a_move_on_servers_leaves_one_shard() {
    killed(Kind::Servers, &["sendto"], 12);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r61_a_kill_at_any_request_of_a_move_between_file_and_server_leaves_one_shard() {
    killed(Kind::Everything, &["sendto", "pwrite64"], 6);
}

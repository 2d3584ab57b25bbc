//! A process that moves a key is killed at any of its system calls. The key has moved with all its rows, or not at all, and the
//! next move or change is not blocked. It needs `strace`.
//!
//! `SHARDED_STEPS=all` tries every call, instead of some.

#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::Duration;

use shard_runtime::Cluster;

use super::models::{Models, Tenant, add, assert_sound, contents};
use super::{assert_at, located};
use crate::backend::{Backend, Kind};
use crate::mover::stride;
use crate::processes::{builder_of, calls_of, described, test_behind};

const ALL: [&str; 5] = ["a", "b", "c", "d", "e"];
const CLUSTER: &str = "SHARDED_MOVED_CLUSTER";
const SHARD: &str = "SHARDED_MOVED_TO";
const KEY: i64 = 7;

/// Moves the key of the cluster that the environment names: what a test starts.
#[test]
#[ignore = "started by other tests"]
fn in_a_process_of_its_own() {
    let cluster = builder_of(CLUSTER).busy_timeout(Duration::from_secs(3)).open::<Models>().unwrap();
    if let Ok(shard) = std::env::var(SHARD) {
        cluster.move_key::<Tenant>(KEY, &shard).run().unwrap();
    }
}

fn command(backend: &Backend, behind: &[String], to: Option<&str>) -> Command {
    let mut command = test_behind(behind, "keys::killed::in_a_process_of_its_own");
    command.env(CLUSTER, described(backend, &ALL)).env_remove(SHARD);
    to.map(|to| command.env(SHARD, to));
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

fn calls(backend: &Backend, call: &str, to: Option<&str>) -> usize {
    calls_of(call, |behind| command(backend, behind, to))
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
            // This process has the layout, and runs when the other one dies.
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
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r61_a_kill_at_any_system_call_of_a_move_leaves_one_shard() {
    killed(Kind::Files, &["pwrite64", "fdatasync,fsync", "ftruncate"], 8);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
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

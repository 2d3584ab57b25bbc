//! Movers as processes of their own, behind `strace`, on a cluster that is made anew for each: what the attacks at system calls
//! share.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use shard_runtime::{
    Cluster, ErrorKind, Pace, Sharded as _,
    change::{Change, Switch},
};

use crate::backend::{Backend, Kind};
use crate::models::{Customer, Models, Order, add, assert_sound, contents, fill};
use crate::processes::{builder_of, calls_of, described, test_behind};

/// The last ones are spare.
pub const ALL: [&str; 5] = ["a", "b", "c", "d", "e"];

const CLUSTER: &str = "SHARDED_MOVED_CLUSTER";
const WAIT: &str = "SHARDED_MOVED_WAIT";
const ONLY: &str = "SHARDED_MOVED_ONLY";

/// Whether every step is tried, or some.
pub fn every() -> bool {
    std::env::var("SHARDED_STEPS").is_ok_and(|steps| steps == "all")
}

/// The stride that tries about so many of these steps.
pub fn stride(steps: usize, tries: usize) -> usize {
    if every() { 1 } else { (steps / (tries / 2).max(2)).max(1) }
}

/// Makes the change of the cluster that the environment names, from wherever it is: what a test starts.
#[test]
#[ignore = "started by other tests"]
fn in_a_process_of_its_own() {
    let wait = Duration::from_millis(std::env::var(WAIT).unwrap().parse().unwrap());
    let cluster = builder_of(CLUSTER).busy_timeout(wait).open::<Models>().unwrap();
    let is_only = |what: &str| std::env::var(ONLY).is_ok_and(|only| only == what);
    let result = match current(&cluster) {
        // Its change was cancelled, or has ended.
        _ if is_only("begin") => begin(&cluster).and_then(|mut change| run(&mut change)),
        None => Ok(()),
        Some(_) if is_only("open") => Ok(()),
        Some(_) if is_only("write") => {
            write(&cluster, 5_000);
            Ok(())
        }
        Some(change) if is_only("cancel") => change.cancel(),
        Some(mut change) => run(&mut change),
    };
    if let Err(error) = result {
        println!("the mover has ended: {error}");
        std::process::exit(if error.kind() == ErrorKind::Stale { 3 } else { 4 });
    }
}

pub fn current(cluster: &Cluster) -> Option<Change> {
    cluster.changes().unwrap().pop()
}

pub fn begin(cluster: &Cluster) -> shard_runtime::Result<Change> {
    cluster.begin_change(&cluster.plan_change().split("c", ["d", "e"]).build()?)
}

pub fn run(change: &mut Change) -> shard_runtime::Result<()> {
    if change.status()?.state == "copying" {
        change.copy(Pace::rows(40), |_| {})?;
        change.switch(Switch::within(Duration::from_secs(5)).tries(3))?;
    }
    change.finish()
}

/// A cluster with a change to be made.
pub struct World {
    pub backend: Backend,
    pub before: Vec<String>,
}

impl World {
    /// A cluster whose shard `c` can be split; with rows that wait to be copied again, if it was copied before.
    pub fn new(kind: Kind, is_copied: bool) -> Self {
        let backend = Backend::new(kind);
        drop({
            let cluster = backend.create::<Models>(&ALL[..3]);
            fill(&cluster, 30);
            cluster
        });
        let cluster = backend.builder(&ALL).create::<Models>().unwrap();
        if is_copied {
            let mut change = begin(&cluster).unwrap();
            change.copy(Pace::default(), |_| {}).unwrap();
            write(&cluster, 1_000);
        }
        let before = contents(&cluster);
        World { backend, before }
    }

    pub fn open(&self) -> Cluster {
        self.backend.builder(&ALL).open::<Models>().unwrap()
    }

    /// Another world like this one, if it is in files.
    pub fn copy(&self) -> Self {
        let backend = Backend::new(Kind::Files);
        for file in std::fs::read_dir(self.backend.folder()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), backend.folder().join(file.file_name())).unwrap();
        }
        World { backend, before: self.before.clone() }
    }

    /// A mover, behind a program; `only` is `open`, `begin`, `cancel` or `write` for one that does only that.
    pub fn command(&self, behind: &[String], only: &str) -> Command {
        let mut command = test_behind(behind, "mover::in_a_process_of_its_own");
        command.env(CLUSTER, described(&self.backend, &ALL)).env(WAIT, "3000").env(ONLY, only);
        command
    }

    pub fn calls(&self, call: &str, only: &str) -> usize {
        calls_of(call, |behind| self.command(behind, only))
    }

    /// Continues with whatever is left, or cancels it, and compares.
    pub fn end(&self, cancels: bool, what: &str) -> bool {
        let cluster = self.open();
        let mut is_cancelled = false;
        if let Some(change) = current(&cluster) {
            let state = change.status().unwrap().state;
            match (cancels, state) {
                (true, "copying") | (_, "cancelling") => {
                    change.cancel().unwrap_or_else(|error| panic!("{what}: {error}"));
                    is_cancelled = true;
                }
                _ => {
                    let mut change = change;
                    run(&mut change).unwrap_or_else(|error| panic!("{what}: {error}"));
                }
            }
        }
        self.assert_end(what);
        is_cancelled
    }

    /// Every row is where it belongs, nothing is left of a change that was cancelled, and the cluster works.
    pub fn assert_end(&self, what: &str) {
        let cluster = self.open();
        assert_eq!(contents(&cluster), self.before, "{what}");
        assert_sound(&cluster);
        if cluster.epoch() == 1 && current(&cluster).is_none() {
            let left = self.left("c") + self.left("d") + self.left("e");
            assert_eq!(left, 0, "{what}: triggers, tables and parts that a cancelled change has left");
        }
        write(&cluster, 5_000);
        assert_sound(&cluster);
    }

    /// How much a shard still has of changes.
    pub fn left(&self, shard: &str) -> i64 {
        if !self.backend.is_postgres(shard) {
            let of = |name: &str, sql: &str| self.backend.peek::<i64>(shard, name, sql);
            return of(
                "",
                "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%sharded_capture%' OR name LIKE '%sharded_fence%' OR name LIKE '%sharded_dirty%'",
            ) + of(
                "sharded_state",
                "SELECT count(*) FROM {table} WHERE (kind = 'change' AND name = '') OR kind = 'copied'",
            );
        }
        let schema = self.backend.schema(shard);
        let own = format!(
            "SELECT (SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = '{schema}'::regnamespace \
             AND t.tgname LIKE 'sharded%') + (SELECT count(*) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace AND relname LIKE 'sharded_dirty%') \
             + (SELECT count(*) FROM {{table}} WHERE (kind = 'change' AND name = '') OR kind = 'copied')"
        );
        self.backend.peek::<i64>(shard, "sharded_state", &own)
    }
}

/// Rows are added, changed and removed on all shards.
pub fn write(cluster: &Cluster, first: i64) {
    let written = cluster.transaction(|session| {
        for id in first..first + 6 {
            add(session, id)?;
        }
        for id in 0..6 {
            if let Some(mut row) = session.get::<Customer>(id)? {
                row.cents += 1;
                session.update(&mut row)?;
            }
        }
        if let Some(row) = session.get::<Customer>(9)? {
            session.execute(Order::delete().filter(Order::CUSTOMER.eq(row.link())))?;
            session.delete(&row)?;
        }
        Ok(())
    });
    written.unwrap();
}

/// Waits for a process; `None` if it does not end in time.
pub fn wait(child: &mut Child, time: Duration) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code().unwrap_or(-1));
        }
        if began.elapsed() > time {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes below a process, which run a program of this name.
pub fn below(parent: u32) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| PathBuf::from("/proc").join(pid)).collect()
}

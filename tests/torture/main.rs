//! Commits over several shards under attack: processes are killed at random and at their system calls, and disks fail, while
//! transactions are written. `check` has the conditions that must hold afterwards.
//!
//! As part of `cargo test --all-features` this is a scaled-down run. It needs `strace`. On request it is a long one:
//!
//! ```sh
//! SHARDED_SECONDS=60 SHARDED_IDS=500000 SHARDED_KILLS=1000 SHARDED_LEFT=5000 SHARDED_STEPS=all cargo test --all-features --release --test torture -- --nocapture
//! ```
//!
//! `SHARDED_SECONDS` is the time in which several processes write side by side; `SHARDED_IDS` the number of ids that they take;
//! `SHARDED_KILLS` is the number of processes that are killed at random; `SHARDED_LEFT` the number of units whose futures are
//! dropped; `SHARDED_STEPS=all` kills at every system call instead of some; `SHARDED_TORTURE_FOLDER` is the folder (by default
//! one in memory, if there is one); `SHARDED_SEED` repeats a run's choices, as far as processes allow it.

#![cfg(target_os = "linux")]

mod cancelling;
mod check;
mod concurrency;
mod ids;
mod injected;
mod kills;
mod making;
mod power;
mod unread;
mod unread_power;
mod unread_servers;
mod writer;

use std::path::PathBuf;
use std::process::{Child, Command};

use shard_runtime::{Builder, Cluster, Durability, ShardKey, Sharded};
use sharded_tests::numbers::{Numbers, seed};
use tempfile::TempDir;

/// The shards, each a file of its own.
const SHARDS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    #[shard("a")]
    A,
    #[shard("b")]
    B,
    #[shard("c")]
    C,
    #[shard("d")]
    D,
}

impl Place {
    const ALL: [Place; 4] = [Place::A, Place::B, Place::C, Place::D];
}

/// One row of each unit on each shard that it writes, with all of those shards in it.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "entries")]
struct Entry {
    /// The unit.
    #[id]
    id: i64,
    #[shard_key]
    place: Place,
    /// The shards of the unit, a bit each.
    shards: i64,
}

/// Another row of each unit, with an id that the shard counts.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "tallies")]
struct Tally {
    #[id(auto)]
    id: i64,
    #[shard_key]
    place: Place,
    unit: i64,
}

/// One row on each shard, between which units move amounts.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "accounts")]
struct Account {
    #[id]
    id: i64,
    #[shard_key]
    place: Place,
    cents: i64,
}

/// The model whose ids are reserved.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "tickets")]
struct Ticket {
    #[id(sequence)]
    id: i64,
    #[shard_key]
    place: Place,
}

/// A row on every shard, of each unit that writes all of them.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "notes", reference)]
struct Note {
    /// The unit.
    #[id]
    id: i64,
    text: String,
}

/// A row with a value that is unique over the cluster. Each unit that writes all shards has one, and each that writes three
/// without another process. The value's entry is on a shard of its own.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "names")]
struct Name {
    /// The unit.
    #[id]
    id: i64,
    #[shard_key]
    place: Place,
    #[lookup]
    name: String,
}

type Models = (Entry, Tally, Account, Ticket, Note, Name);

/// A folder for a test, in memory by default.
fn folder() -> TempDir {
    let said = std::env::var_os("SHARDED_TORTURE_FOLDER").map(PathBuf::from);
    let memory = || Some(PathBuf::from("/dev/shm")).filter(|folder| folder.is_dir());
    match said.or_else(memory) {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    }
    .unwrap()
}

fn builder(folder: &std::path::Path) -> Builder {
    let builder = Cluster::builder()
        .durability(Durability::Full)
        .busy_timeout(std::time::Duration::from_secs(20))
        .cache_size(1_024)
        .mmap_size(0);
    SHARDS.iter().fold(builder, |builder, shard| {
        builder.shard(*shard, format!("sqlite:{}", folder.join(format!("{shard}.db")).display()))
    })
}

/// A new cluster with an account on each shard.
fn create(folder: &std::path::Path) {
    std::fs::create_dir_all(folder).unwrap();
    let cluster = builder(folder).create::<Models>().unwrap();
    let mut session = cluster.session();
    session.add_all(Place::ALL.map(|place| Account { id: 1, place, cents: 0 })).unwrap();
    session.commit().unwrap();
}

/// A process that ends with the test, however that ends.
struct Running(Child);

impl Running {
    fn spawn(command: &mut Command) -> Self {
        Running(command.spawn().unwrap())
    }

    /// Kills it; it must not have ended before.
    fn kill(mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "a process has ended by itself");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

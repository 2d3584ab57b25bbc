//! Commits over several PostgreSQL servers, and over files and servers, under attack. Servers crash, connections are cut,
//! clients are killed, at every step of a transaction and at random. `check` has the conditions that must hold afterwards.
//!
//! As part of `cargo test --all-features` this is a scaled-down run. On request it is a long one:
//!
//! ```sh
//! SHARDED_STEPS=all SHARDED_KILLS=500 SHARDED_SECONDS=60 cargo test --all-features --release --test server_attacks -- --nocapture --test-threads=1
//! ```
//!
//! `SHARDED_STEPS=all` attacks at every step instead of some; `SHARDED_KILLS` is the number of processes that are killed at
//! random; `SHARDED_SECONDS` is the time in which servers crash while sixteen threads write; `SHARDED_SEED` repeats a run's
//! choices, as far as servers allow it.

#![cfg(target_os = "linux")]

mod ages;
mod chaos;
mod check;
mod kills;
// Some of it is for `tests/failover`.
#[allow(dead_code)]
mod proxy;
mod steps;
mod unit;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use shard_runtime::{Builder, Cluster, ShardKey, Sharded};
use sharded_tests::numbers::{Numbers, seed};
use sharded_tests::postgres_server::Server;
use tempfile::TempDir;

/// The shards.
const SHARDS: [&str; 4] = ["a", "b", "c", "d"];

/// The settings of the servers; they are stopped as by a crash, but the machine they are on does not fail.
const SETTINGS: [&str; 2] = ["max_connections=200", "max_prepared_transactions=100"];

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

type Models = (Entry, Account);

/// The servers of a test, and a folder for the shards that are files.
struct World {
    servers: Vec<Mutex<Server>>,
    /// Whether the first shard is a file.
    has_file: bool,
    folder: TempDir,
}

impl World {
    fn start(has_file: bool) -> World {
        let servers =
            SHARDS.iter().skip(usize::from(has_file)).map(|_| Mutex::new(Server::start_with(&SETTINGS)));
        let servers = servers.collect();
        let world = World { servers, has_file, folder: tempfile::tempdir().unwrap() };
        let cluster = world.builder(&world.ports()).create::<Models>().unwrap();
        let mut session = cluster.session();
        session.add_all(Place::ALL.map(|place| Account { id: 1, place, cents: 0 })).unwrap();
        session.commit().unwrap();
        world
    }

    fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.lock().unwrap().port()).collect()
    }

    /// The URLs of the shards if the servers are reached at these ports.
    fn urls(&self, ports: &[u16]) -> Vec<String> {
        let file = self.has_file.then(|| format!("sqlite:{}", self.folder.path().join("a.db").display()));
        let servers = self.servers.iter().zip(ports).map(|(server, port)| {
            let server = server.lock().unwrap();
            server.url().replace(&format!(":{}/", server.port()), &format!(":{port}/"))
        });
        file.into_iter().chain(servers).collect()
    }

    fn builder(&self, ports: &[u16]) -> Builder {
        builder(&self.urls(ports))
    }

    fn crash(&self, server: usize) {
        self.servers[server].lock().unwrap().stop();
    }

    fn start_again(&self, server: usize) {
        self.servers[server].lock().unwrap().start_again();
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn builder(urls: &[String]) -> Builder {
    let builder = Cluster::builder().busy_timeout(Duration::from_secs(5));
    SHARDS.iter().zip(urls).fold(builder, |builder, (shard, url)| builder.shard(*shard, url))
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |number| number.parse().expect("a number"))
}

//! The connections of a change: one to each database that takes part, and their transactions. Uses `driver` and
//! `transaction::change`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::driver::{Connection, Driver, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Place;
use crate::transaction::Cluster;

/// How long a statement waits for a lock on a server before its transaction is tried again: later statements wait behind it.
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// How long the first further try for the lock of a file waits. Sessions of one process hand the lock over at once, so that it is
/// free for some microseconds only.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);

/// How long a further try waits at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// The connections of a change, by database.
pub(super) struct Links {
    connections: BTreeMap<usize, Box<dyn Connection>>,
    /// How long a transaction tries to get its locks.
    timeout: Duration,
}

/// A shard of a change.
#[derive(Clone, Copy)]
pub(super) struct Site<'c> {
    pub(super) name: &'c str,
    pub(super) place: &'c Place,
    driver: &'c dyn Driver,
}

/// How a transaction waits for locks, and for the disk.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// For as long as sessions wait.
    Timeout,
    /// For as long as sessions wait, and its commit is on disk when it returns.
    Durably,
    /// Up to this moment, and its commit is on disk when it returns.
    Until(Instant),
}

impl Links {
    /// Connects to the databases of these shards.
    pub(super) fn connect<'n>(cluster: &Cluster, shards: impl Iterator<Item = &'n String>) -> Result<Self> {
        let mut connections: BTreeMap<usize, Box<dyn Connection>> = BTreeMap::new();
        for name in shards {
            let site = site(cluster, name)?;
            let database = site.place.database;
            if connections.contains_key(&database) {
                continue;
            }
            let connected = site.driver.connect_waiting(Mode::Open, cluster.0.timeout);
            let connection = connected.map_err(|error| error.on_shard(name))?;
            if !site.place.dialect.is_on_server() {
                // Rows come in any order, and their parents before they are read.
                connection.run("PRAGMA foreign_keys = OFF").map_err(|error| error.on_shard(name))?;
            }
            connections.insert(database, connection);
        }
        Ok(Links { connections, timeout: cluster.0.timeout })
    }

    pub(super) fn at(&self, site: Site<'_>) -> Result<&dyn Connection> {
        let connection = self.connections.get(&site.place.database).map(|connection| &**connection);
        let missing =
            || Error::new(ErrorKind::UnknownShard, "the change has no connection").on_shard(site.name);
        connection.ok_or_else(missing)
    }

    /// Runs a transaction on the databases of these shards, and commits them in the reverse of this order. It is tried again
    /// while another connection holds a lock; `run` must have had no other effect.
    pub(super) fn transaction<O>(
        &self,
        sites: &[Site<'_>],
        wait: Wait,
        mut run: impl FnMut() -> Result<O>,
    ) -> Result<O> {
        let mut databases: Vec<usize> = Vec::new();
        for site in sites {
            if !databases.contains(&site.place.database) {
                databases.push(site.place.database);
            }
        }
        let until = match wait {
            Wait::Timeout | Wait::Durably => Instant::now() + self.timeout,
            Wait::Until(until) => until,
        };
        let mut pause = SHORTEST_PAUSE;
        loop {
            let done = self.begin(&databases, wait).and_then(|()| run()).and_then(|done| {
                databases.iter().rev().try_for_each(|database| match self.connections.get(database) {
                    Some(connection) => connection.commit(),
                    None => Ok(()),
                })?;
                Ok(done)
            });
            if done.is_err() {
                self.each(&databases, |connection| connection.rollback())?;
            }
            if !matches!(wait, Wait::Timeout) {
                self.each(&databases, |connection| connection.restore_durability())?;
            }
            match done {
                Err(error) if error.is_busy() && Instant::now() < until => {
                    std::thread::sleep(pause);
                    pause = (pause * 21 / 20).min(LONGEST_PAUSE);
                }
                done => return done,
            }
        }
    }

    fn begin(&self, databases: &[usize], wait: Wait) -> Result<()> {
        self.each(databases, |connection| {
            // Without waiting: what other connections of the change hold could be waited for.
            match wait {
                Wait::Timeout => connection.begin_without_waiting()?,
                Wait::Durably | Wait::Until(_) => connection.begin_durable()?,
            }
            connection.limit_lock_waits(LOCK_WAIT);
            Ok(())
        })
    }

    fn each(&self, databases: &[usize], run: impl Fn(&dyn Connection) -> Result<()>) -> Result<()> {
        let connections = databases.iter().filter_map(|database| self.connections.get(database));
        connections.map(|connection| &**connection).try_for_each(run)
    }
}

/// A shard of a change, by its name: one of the layout's, or one that a change has retired.
pub(super) fn site<'c>(cluster: &'c Cluster, name: &'c str) -> Result<Site<'c>> {
    let layout = &cluster.0.layout;
    if let Some(retired) = cluster.0.retired.iter().find(|retired| retired.name == name) {
        return Ok(Site { name, place: &retired.place, driver: &*retired.driver });
    }
    let place = layout.place(layout.shards().require(name)?.index())?;
    match cluster.0.databases.get(place.database) {
        Some(database) => Ok(Site { name, place, driver: &*database.driver }),
        None => Err(Error::new(ErrorKind::UnknownShard, "the shard has no database").on_shard(name)),
    }
}

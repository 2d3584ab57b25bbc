//! The connections of a change, and their transactions: one connection to each database that takes part. Uses `driver` and
//! `transaction::change`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::driver::{Connection, Driver, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::sql::ATTACHED;
use crate::transaction::Cluster;

/// The time that a statement waits for a lock on a server before its transaction is retried: later statements queue behind it.
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// The pause before the first retry for the lock of a file. Sessions of one process pass the lock on at once, so that it is free
/// for some microseconds only.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);

/// The longest pause before a retry.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// The time after which a server ends a transaction of a change that sends no further statement.
const IDLE: &str = "60s";

/// The connections of a change, by database. On servers there is one for the sources in a database, and one for the targets.
pub(in crate::cluster) struct Links {
    connections: BTreeMap<(usize, bool), Box<dyn Connection>>,
    /// The first shard of each.
    shards: BTreeMap<(usize, bool), String>,
    /// The connections to servers.
    on_servers: Vec<(usize, bool)>,
    /// How long a transaction retries to get its locks.
    timeout: Duration,
}

/// A shard that rows are copied from or to, with its driver.
#[derive(Clone, Copy)]
pub(in crate::cluster) struct Endpoint<'c> {
    pub(in crate::cluster) name: &'c str,
    pub(in crate::cluster) location: &'c Location,
    /// Whether it is a source.
    is_source: bool,
    /// Whether sources and targets are of two clusters, so that their database numbers are unrelated.
    is_apart: bool,
    driver: &'c dyn Driver,
}

impl Endpoint<'_> {
    pub(in crate::cluster) fn is_apart(&self) -> bool {
        self.is_apart
    }

    pub(in crate::cluster) fn is_private(&self) -> bool {
        self.driver.is_private()
    }

    #[cfg(feature = "admin")]
    pub(super) fn driver(&self) -> &dyn Driver {
        self.driver
    }

    /// Returns whether both targets use one connection.
    pub(super) fn shares_connection(&self, other: Endpoint<'_>) -> bool {
        self.link() == other.link()
    }

    /// Returns the key of its connection. On a server, a source has its own: it is read in a snapshot while targets there are
    /// written.
    fn link(&self) -> (usize, bool) {
        let is_apart = self.is_apart || self.location.dialect.is_on_server();
        (self.location.database, self.is_source && is_apart)
    }
}

/// The file of a source while it is attached to the connections of targets.
pub(super) struct AttachedSource<'l> {
    source: (usize, bool),
    targets: BTreeMap<(usize, bool), &'l dyn Connection>,
}

impl AttachedSource<'_> {
    /// Returns the schema in which the connection of a target reads the source.
    pub(super) fn schema(&self, target: Endpoint<'_>) -> &'static str {
        if target.link() == self.source { "main" } else { ATTACHED }
    }
}

impl Drop for AttachedSource<'_> {
    fn drop(&mut self) {
        for connection in self.targets.values() {
            // If the detach fails, the next attach fails, too, and rows are copied as values.
            let _ = connection.detach(ATTACHED);
        }
    }
}

/// How a transaction waits for locks, and for the disk.
#[derive(Clone, Copy)]
pub(in crate::cluster) enum LockWait {
    /// For as long as sessions wait.
    Timeout,
    /// For as long as sessions wait. Its commit, and all earlier ones on these databases, are on disk when it returns.
    Durable,
    /// Until this moment. Its commit, and all earlier ones on these databases, are on disk when it returns.
    Until(Instant),
}

impl Links {
    /// Connects to the databases of these shards.
    pub(in crate::cluster) fn connect<'n>(
        cluster: &Cluster,
        endpoints: impl IntoIterator<Item = Endpoint<'n>>,
    ) -> Result<Self> {
        let mut connections: BTreeMap<(usize, bool), Box<dyn Connection>> = BTreeMap::new();
        let (mut on_servers, mut shards) = (Vec::new(), BTreeMap::new());
        for endpoint in endpoints {
            let name = endpoint.name;
            if connections.contains_key(&endpoint.link()) {
                continue;
            }
            let connected = endpoint.driver.connect_to_copy(cluster.0.timeout);
            let connection = connected.map_err(|error| error.on_shard(name))?;
            if endpoint.location.dialect.is_on_server() {
                on_servers.push(endpoint.link());
            } else {
                // Rows are inserted in any order, and their parents exist before they are read.
                connection.run("PRAGMA foreign_keys = OFF").map_err(|error| error.on_shard(name))?;
            }
            connections.insert(endpoint.link(), connection);
            shards.insert(endpoint.link(), name.to_owned());
        }
        Ok(Links { connections, shards, on_servers, timeout: cluster.0.timeout })
    }

    /// Attaches the file of a source to the connections of targets in other files, so that they can read it. Returns `None` if
    /// one of them cannot: a server, or a database in memory.
    pub(super) fn attach(
        &self,
        source: Endpoint<'_>,
        targets: &[Endpoint<'_>],
    ) -> Result<Option<AttachedSource<'_>>> {
        let mut attached = AttachedSource { source: source.link(), targets: BTreeMap::new() };
        for target in targets {
            let link = target.link();
            if link == attached.source || attached.targets.contains_key(&link) {
                continue;
            }
            let uri = source.driver.sqlite_uri().filter(|_| !source.is_private() && !target.is_private());
            let connection = self.at(*target)?;
            match uri {
                Some(uri) if connection.attach(&uri, ATTACHED) => attached.targets.insert(link, connection),
                _ => return Ok(None),
            };
        }
        Ok(Some(attached))
    }

    pub(in crate::cluster) fn at(&self, endpoint: Endpoint<'_>) -> Result<&dyn Connection> {
        let connection = self.connections.get(&endpoint.link()).map(|connection| &**connection);
        let missing =
            || Error::new(ErrorKind::UnknownShard, "the change has no connection").on_shard(endpoint.name);
        connection.ok_or_else(missing)
    }

    /// Runs a transaction on the databases of these shards, and commits them one after the other. It is retried while another
    /// connection holds a lock; `run` must have no other effects.
    pub(in crate::cluster) fn transaction<O>(
        &self,
        endpoints: &[Endpoint<'_>],
        wait: LockWait,
        mut run: impl FnMut() -> Result<O>,
    ) -> Result<O> {
        let mut databases: Vec<(usize, bool)> = Vec::new();
        for endpoint in endpoints {
            if !databases.contains(&endpoint.link()) {
                databases.push(endpoint.link());
            }
        }
        let until = match wait {
            LockWait::Timeout | LockWait::Durable => Instant::now() + self.timeout,
            LockWait::Until(until) => until,
        };
        let mut pause = SHORTEST_PAUSE;
        loop {
            let done = self.begin(&databases, wait).and_then(|()| run()).and_then(|done| {
                databases.iter().try_for_each(|database| match self.connections.get(database) {
                    Some(connection) => connection.commit(),
                    None => Ok(()),
                })?;
                Ok(done)
            });
            if done.is_err() {
                self.each(&databases, |connection| connection.rollback())?;
            }
            if !matches!(wait, LockWait::Timeout) {
                self.each(&databases, |connection| {
                    connection.restore_durability()?;
                    // A commit that has written nothing does not wait for those before it.
                    if done.is_ok() { connection.sync() } else { Ok(()) }
                })?;
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

    fn begin(&self, databases: &[(usize, bool)], wait: LockWait) -> Result<()> {
        self.each(databases, |connection| {
            // Without waiting: a wait for a lock of another connection of this change would never end.
            match wait {
                LockWait::Timeout => connection.begin_without_waiting()?,
                LockWait::Durable | LockWait::Until(_) => connection.begin_durable()?,
            }
            connection.limit_lock_waits(LOCK_WAIT);
            Ok(())
        })?;
        // If the process stops or loses its network within a transaction, the server ends it, and writers wait no longer.
        let servers = databases.iter().filter(|link| self.on_servers.contains(link));
        servers.filter_map(|link| self.connections.get(link)).try_for_each(|connection| {
            connection.run(&format!("SET LOCAL idle_in_transaction_session_timeout = '{IDLE}'"))
        })
    }

    fn each(&self, databases: &[(usize, bool)], run: impl Fn(&dyn Connection) -> Result<()>) -> Result<()> {
        databases.iter().try_for_each(|database| match self.connections.get(database) {
            Some(connection) => run(&**connection).map_err(|error| match self.shards.get(database) {
                Some(shard) => error.on_shard(shard),
                None => error,
            }),
            None => Ok(()),
        })
    }

    /// Calls the closure, which reads a source, in one snapshot. Then it waits until these rows are on disk there: a copy must
    /// not keep rows that its source loses in a power failure.
    pub(in crate::cluster) fn snapshot<O>(
        &self,
        endpoint: Endpoint<'_>,
        run: impl FnOnce(&dyn Connection) -> Result<O>,
    ) -> Result<O> {
        let connection = self.at(endpoint)?;
        // If a target is in the same file, its transaction is the snapshot. A copy to another cluster keeps one snapshot for all
        // reads.
        let is_begun = connection.in_transaction();
        if !is_begun {
            connection.begin(TransactionMode::Read)?;
        }
        let done = run(connection);
        if !is_begun {
            connection.rollback()?;
            connection.sync()?;
        }
        done
    }
}

/// Returns a shard of a cluster that is copied from another one, or to one.
pub(in crate::cluster) fn endpoint_apart<'c>(
    cluster: &'c Cluster,
    name: &'c str,
    is_source: bool,
) -> Result<Endpoint<'c>> {
    Ok(Endpoint { is_apart: true, ..endpoint(cluster, name, is_source)? })
}

/// Returns a source or a target of a change: a shard of the layout, or one that a change has retired.
pub(super) fn endpoint<'c>(cluster: &'c Cluster, name: &'c str, is_source: bool) -> Result<Endpoint<'c>> {
    let layout = &cluster.0.layout;
    if let Some(retired) = cluster.0.retired.iter().find(|retired| retired.name == name) {
        return Ok(Endpoint {
            name,
            location: &retired.location,
            is_source,
            is_apart: false,
            driver: &*retired.driver,
        });
    }
    let location = layout.location(layout.shards().require(name)?.index())?;
    match cluster.0.databases.get(location.database) {
        Some(database) => {
            Ok(Endpoint { name, location, is_source, is_apart: false, driver: &*database.driver })
        }
        None => Err(Error::new(ErrorKind::UnknownShard, "the shard has no database").on_shard(name)),
    }
}

//! The connections of a change: one to each database that takes part, and their transactions. Uses `driver` and
//! `transaction::change`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::driver::{Connection, Driver, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Place;
use crate::planner::sql::ATTACHED;
use crate::transaction::Cluster;

/// How long a statement waits for a lock on a server before its transaction is tried again: later statements wait behind it.
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// How long the first further try for the lock of a file waits. Sessions of one process hand the lock over at once, so that it is
/// free for some microseconds only.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);

/// How long a further try waits at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// How long a server lets a transaction of a change wait for its next statement.
const IDLE: &str = "60s";

/// The connections of a change, by database; on servers one for the sources in a database, and one for the targets.
pub(in crate::cluster) struct Links {
    connections: BTreeMap<(usize, bool), Box<dyn Connection>>,
    /// The first shard of each.
    shards: BTreeMap<(usize, bool), String>,
    /// Those to servers.
    on_servers: Vec<(usize, bool)>,
    /// How long a transaction tries to get its locks.
    timeout: Duration,
}

/// A shard of a change.
#[derive(Clone, Copy)]
pub(in crate::cluster) struct Site<'c> {
    pub(in crate::cluster) name: &'c str,
    pub(in crate::cluster) place: &'c Place,
    /// Whether it is a source.
    is_source: bool,
    /// Whether sources and targets are of two clusters, which number their databases each for itself.
    is_apart: bool,
    driver: &'c dyn Driver,
}

impl Site<'_> {
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

    /// Whether the connection of a target is that of another one.
    pub(super) fn shares_connection(&self, other: Site<'_>) -> bool {
        self.link() == other.link()
    }

    /// Its connection: a source of a server is read in a snapshot while targets there are written.
    fn link(&self) -> (usize, bool) {
        let is_apart = self.is_apart || self.place.dialect.is_on_server();
        (self.place.database, self.is_source && is_apart)
    }
}

/// The file of a source while it is attached to the connections of targets.
pub(super) struct AttachedSource<'l> {
    source: (usize, bool),
    targets: BTreeMap<(usize, bool), &'l dyn Connection>,
}

impl AttachedSource<'_> {
    /// The schema in which the connection of a target reads the source.
    pub(super) fn schema(&self, target: Site<'_>) -> &'static str {
        if target.link() == self.source { "main" } else { ATTACHED }
    }
}

impl Drop for AttachedSource<'_> {
    fn drop(&mut self) {
        for connection in self.targets.values() {
            // What stays attached refuses the next one, and rows are copied as values.
            let _ = connection.detach(ATTACHED);
        }
    }
}

/// How a transaction waits for locks, and for the disk.
#[derive(Clone, Copy)]
pub(in crate::cluster) enum Wait {
    /// For as long as sessions wait.
    Timeout,
    /// For as long as sessions wait; its commit is on disk when it returns, and all earlier ones on these databases.
    Durable,
    /// Up to this moment; its commit is on disk when it returns, and all earlier ones on these databases.
    Until(Instant),
}

impl Links {
    /// Connects to the databases of these shards.
    pub(in crate::cluster) fn connect<'n>(
        cluster: &Cluster,
        sites: impl IntoIterator<Item = Site<'n>>,
    ) -> Result<Self> {
        let mut connections: BTreeMap<(usize, bool), Box<dyn Connection>> = BTreeMap::new();
        let (mut on_servers, mut shards) = (Vec::new(), BTreeMap::new());
        for site in sites {
            let name = site.name;
            if connections.contains_key(&site.link()) {
                continue;
            }
            let connected = site.driver.connect_to_copy(cluster.0.timeout);
            let connection = connected.map_err(|error| error.on_shard(name))?;
            if site.place.dialect.is_on_server() {
                on_servers.push(site.link());
            } else {
                // Rows come in any order, and their parents before they are read.
                connection.run("PRAGMA foreign_keys = OFF").map_err(|error| error.on_shard(name))?;
            }
            connections.insert(site.link(), connection);
            shards.insert(site.link(), name.to_owned());
        }
        Ok(Links { connections, shards, on_servers, timeout: cluster.0.timeout })
    }

    /// Attaches the file of a source to the connections of targets in other files, so that they read it. Returns `None` if one of
    /// them cannot: a server, a database in memory.
    pub(super) fn attach(
        &self,
        source: Site<'_>,
        targets: &[Site<'_>],
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

    pub(in crate::cluster) fn at(&self, site: Site<'_>) -> Result<&dyn Connection> {
        let connection = self.connections.get(&site.link()).map(|connection| &**connection);
        let missing =
            || Error::new(ErrorKind::UnknownShard, "the change has no connection").on_shard(site.name);
        connection.ok_or_else(missing)
    }

    /// Runs a transaction on the databases of these shards, and commits them one after the other. It is tried again while another
    /// connection holds a lock; `run` must have had no other effect.
    pub(in crate::cluster) fn transaction<O>(
        &self,
        sites: &[Site<'_>],
        wait: Wait,
        mut run: impl FnMut() -> Result<O>,
    ) -> Result<O> {
        let mut databases: Vec<(usize, bool)> = Vec::new();
        for site in sites {
            if !databases.contains(&site.link()) {
                databases.push(site.link());
            }
        }
        let until = match wait {
            Wait::Timeout | Wait::Durable => Instant::now() + self.timeout,
            Wait::Until(until) => until,
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
            if !matches!(wait, Wait::Timeout) {
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

    fn begin(&self, databases: &[(usize, bool)], wait: Wait) -> Result<()> {
        self.each(databases, |connection| {
            // Without waiting: what other connections of the change hold could be waited for.
            match wait {
                Wait::Timeout => connection.begin_without_waiting()?,
                Wait::Durable | Wait::Until(_) => connection.begin_durable()?,
            }
            connection.limit_lock_waits(LOCK_WAIT);
            Ok(())
        })?;
        // A mover that stops, or loses its network, in the middle of a transaction keeps writers waiting no longer.
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

    /// Runs something that reads a source, in one snapshot, and waits until what it has read is on disk there: a copy must not
    /// hold what its source loses with the power.
    pub(in crate::cluster) fn snapshot<O>(
        &self,
        site: Site<'_>,
        run: impl FnOnce(&dyn Connection) -> Result<O>,
    ) -> Result<O> {
        let connection = self.at(site)?;
        // A target is in the same file, so that the transaction there is the snapshot; or one snapshot is kept for all reads.
        let is_begun = connection.in_transaction();
        if !is_begun {
            connection.begin(Transaction::Read)?;
        }
        let done = run(connection);
        if !is_begun {
            connection.rollback()?;
            connection.sync()?;
        }
        done
    }
}

/// A shard of a cluster that is copied from another one, or to one.
pub(in crate::cluster) fn site_apart<'c>(
    cluster: &'c Cluster,
    name: &'c str,
    is_source: bool,
) -> Result<Site<'c>> {
    Ok(Site { is_apart: true, ..site(cluster, name, is_source)? })
}

/// A source or a target of a change: a shard of the layout, or one that a change has retired.
pub(super) fn site<'c>(cluster: &'c Cluster, name: &'c str, is_source: bool) -> Result<Site<'c>> {
    let layout = &cluster.0.layout;
    if let Some(retired) = cluster.0.retired.iter().find(|retired| retired.name == name) {
        return Ok(Site {
            name,
            place: &retired.place,
            is_source,
            is_apart: false,
            driver: &*retired.driver,
        });
    }
    let place = layout.place(layout.shards().require(name)?.index())?;
    match cluster.0.databases.get(place.database) {
        Some(database) => Ok(Site { name, place, is_source, is_apart: false, driver: &*database.driver }),
        None => Err(Error::new(ErrorKind::UnknownShard, "the shard has no database").on_shard(name)),
    }
}

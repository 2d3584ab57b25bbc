//! Finds out the outcome of participants that are prepared on servers, and finishes them.
//!
//! A participant is finished by its owner. If the owner cannot, the next session that begins to write on the server
//! finishes it. In the owner's process this happens at once, because the process lists it (`commit::Unfinished`).
//! Sessions of other processes look for prepared participants about once a second, when they begin to write.
//!
//! A session that waits for a participant's lock does not depend on that. After a moment another thread searches the
//! server and finishes the decided participants, which unblocks the session's statement. Opening the cluster and
//! [`Cluster::recover`] search all servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::driver::{Connection, LeaseOwner, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Namespace;
use crate::schema::Shard;
use crate::transaction::commit;
use crate::transaction::commit::{Decider, PreparedPart};
use crate::transaction::{Age, Cluster, ClusterState, ServerWriter, server_waits};

/// How often sessions that begin to write on a server look for participants that other sessions left there.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// When each server is searched next.
pub(crate) struct Searches {
    began: Instant,
    servers: Vec<Search>,
}

struct Search {
    /// The time of the next look by a session that begins to write, in milliseconds from the beginning.
    due: AtomicU64,
    /// Whether a thread is searching for sessions that wait for locks.
    is_running: AtomicBool,
}

impl Searches {
    /// Makes the first look due after one interval: opening a cluster has searched all servers.
    pub(crate) fn new(databases: usize) -> Self {
        let search = |_| {
            let due = AtomicU64::new(u64::try_from(BETWEEN_LOOKS.as_millis()).unwrap_or(u64::MAX));
            Search { due, is_running: AtomicBool::new(false) }
        };
        Searches { began: Instant::now(), servers: (0..databases).map(search).collect() }
    }

    /// Returns whether a session that begins to write looks now. At most one session gets `true` in each interval.
    fn is_due(&self, database: usize) -> bool {
        let Some(search) = self.servers.get(database) else { return false };
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = search.due.load(Ordering::Relaxed);
        let next = now.saturating_add(u64::try_from(BETWEEN_LOOKS.as_millis()).unwrap_or(u64::MAX));
        now >= due && search.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// The result of a search.
#[derive(Default)]
pub(crate) struct SearchResult {
    /// The committed transactions among those that had participants to finish.
    pub(crate) committed: Vec<String>,
    /// The reason why each remaining participant stays prepared.
    pub(crate) left: Vec<Error>,
}

/// Which participants a search looks at, and whether it waits for owners that are about to decide.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effort<'s> {
    /// All participants. The search waits for their owners.
    Full,
    /// Participants that were left for a while. The session may already hold the write locks of `locked`. The search does
    /// not wait.
    Quick { locked: &'s [usize] },
}

impl Cluster {
    pub(crate) fn id(&self) -> &str {
        &self.0.control.cluster
    }

    /// Returns whether transactions over several databases are refused if one of them is a server.
    pub(crate) fn is_for_single_shards(&self) -> bool {
        self.0.without_prepared_transactions
    }

    /// Returns the place of a database's first shard, which identifies the database in the names of prepared
    /// transactions.
    pub(crate) fn first_place(&self, database: usize) -> usize {
        self.layout().shards_in(database).next().map_or(0, Shard::place)
    }

    /// Returns the places of all shards of a database.
    fn all_places(&self, database: usize) -> Vec<usize> {
        self.layout().shards_in(database).map(Shard::place).collect()
    }

    /// Returns the schema of a server's decision log, which is its first shard's.
    pub(crate) fn decision_log_names(&self, database: usize) -> Result<&Namespace> {
        Ok(&self.layout().location(self.layout().first_in(database))?.names)
    }

    /// Returns whether a database may have a decision log. A spare shard that could not be opened may have never been made, and
    /// its database has decided nothing then.
    fn has_decision_log(&self, database: usize) -> bool {
        let first = self.database_name(database);
        !self.0.absent.iter().any(|(name, _)| name == first)
    }

    fn servers(&self) -> impl Iterator<Item = usize> {
        (0..self.databases()).filter(|database| self.dialect(*database).prepares_transactions())
    }

    /// Prepares a connection for a session that begins to write on a server. `locked` are the databases that the session
    /// may write already. Failures are ignored here: the session's own statements report them. It does three things:
    ///
    /// - It finishes the participants that this process has listed there.
    /// - It looks for participants of other processes, unless a session has just done so.
    /// - It sets a callback that searches the server if the session waits for a lock.
    ///
    /// Returns the registration of the session, whose waits are checked for deadlocks.
    pub(crate) fn begin_to_write(
        &self,
        database: usize,
        connection: &dyn Connection,
        locked: &[usize],
        age: Age,
    ) -> Option<ServerWriter> {
        if !self.dialect(database).prepares_transactions() {
            return None;
        }
        // Transactions of one database are never prepared.
        let prepares = self.databases() > 1;
        let process = connection.server_process();
        let writer = process.map(|process| self.0.server_waits.writes(database, process, age));
        let cluster = Arc::downgrade(&self.0);
        connection.when_blocked(Arc::new(move |end| {
            let Some(inner) = cluster.upgrade() else { return };
            if end.is_some() && prepares {
                search_aside(Arc::clone(&inner), database);
            }
            if let Some(process) = process {
                server_waits::observe(inner, (database, process), end);
            }
        }));
        if !prepares {
            return writer;
        }
        for (part, commits) in self.0.unfinished.on(database) {
            if part.finish(connection, commits).is_ok() {
                self.finished_part(&part);
            }
        }
        if self.0.searches.is_due(database) {
            let _ = self.finish_decided(database, connection, Effort::Quick { locked });
        }
        writer
    }

    /// Lists the participants that could not be finished. If `left` is empty, all of them are.
    pub(crate) fn list_unfinished(
        &self,
        transaction: &str,
        decider: Decider,
        commits: bool,
        left: Vec<(usize, PreparedPart)>,
    ) {
        if let Some(id) = self.0.unfinished.add(transaction, decider, commits, left) {
            self.finished(id);
        }
    }

    fn finished_part(&self, part: &PreparedPart) {
        if let Some(id) = self.0.unfinished.finished(part) {
            self.finished(id);
        }
    }

    /// Takes rows of a server's decision log that its next decision removes.
    pub(crate) fn take_removable(&self, database: usize) -> Vec<String> {
        self.0.unfinished.take_removable(database)
    }

    /// Puts rows back that were not removed.
    pub(crate) fn put_back_removable(&self, database: Option<usize>, transactions: Vec<String>) {
        if let Some(database) = database {
            self.0.unfinished.put_back(database, transactions);
        }
    }

    /// Finishes the parts that are prepared on all servers, as far as their outcome is known, and collects old rows of
    /// the servers' decision logs.
    pub(crate) fn recover_servers(&self) -> Result<SearchResult> {
        let on_server = |database: usize, error: Error| error.on_shard(self.database_name(database));
        // Read before any server is searched: a participant is prepared before its row exists.
        let mut old = Vec::new();
        for database in self.servers().filter(|database| self.has_decision_log(*database)) {
            match self.on_connection(&LeaseOwner::default(), database, |connection| {
                commit::old_decisions(connection, self.decision_log_names(database)?)
            }) {
                Ok(ids) if ids.is_empty() => {}
                Ok(ids) => old.push((database, ids)),
                Err(error) if is_for_later(&error) => {}
                Err(error) => return Err(on_server(database, error)),
            }
        }
        let mut found = SearchResult::default();
        for database in self.servers() {
            let searched = self.on_connection(&LeaseOwner::default(), database, |connection| {
                self.finish_decided(database, connection, Effort::Full)
            });
            match searched {
                Ok(mut here) => {
                    found.committed.append(&mut here.committed);
                    found.left.append(&mut here.left);
                }
                Err(error) if is_for_later(&error) => {}
                Err(error) => return Err(on_server(database, error)),
            }
        }
        if !old.is_empty() {
            self.collect(old)?;
        }
        Ok(found)
    }

    /// Collects old rows from decision logs, except rows with a participant that is prepared on any server. Collects none
    /// if a server cannot be reached.
    fn collect(&self, old: Vec<(usize, Vec<String>)>) -> Result<()> {
        let mut unfinished = Vec::new();
        for database in self.servers() {
            let prepared = self.on_connection(&LeaseOwner::default(), database, |connection| {
                commit::unfinished_transactions(connection, self.id())
            });
            match prepared {
                Ok(mut ids) => unfinished.append(&mut ids),
                Err(error) if is_for_later(&error) => return Ok(()),
                Err(error) => return Err(error.on_shard(self.database_name(database))),
            }
        }
        for (database, mut ids) in old {
            ids.retain(|id| !unfinished.contains(id));
            if ids.is_empty() {
                continue;
            }
            let collected = self.on_connection(&LeaseOwner::default(), database, |connection| {
                commit::collect(connection, self.decision_log_names(database)?, &ids)
            });
            match collected {
                Err(error) if !is_for_later(&error) => {
                    return Err(error.on_shard(self.database_name(database)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Finishes the parts that are prepared on a server, as far as their outcome is known.
    fn finish_decided(
        &self,
        database: usize,
        connection: &dyn Connection,
        effort: Effort<'_>,
    ) -> Result<SearchResult> {
        let participants = self.all_places(database);
        let parts = match effort {
            Effort::Full => commit::prepared(connection, self.id(), &participants)?,
            Effort::Quick { .. } => commit::lingering(connection, self.id(), &participants)?,
        };
        let known = self.0.unfinished.on(database);
        let mut deciders = Deciders { cluster: self, effort, connections: Vec::new() };
        let mut found = SearchResult::default();
        for part in parts {
            let known = known.iter().find(|(other, _)| *other == part).map(|(_, commits)| Ok(*commits));
            let commits = known.unwrap_or_else(|| deciders.has_committed(&part, database, connection));
            let finished = commits.and_then(|commits| part.finish(connection, commits).map(|()| commits));
            match finished {
                Ok(commits) => {
                    self.finished_part(&part);
                    if commits {
                        found.committed.push(part.transaction);
                    }
                }
                Err(error) if is_for_later(&error) => {
                    let shard = self.database_name(database);
                    let message =
                        format!("a part of transaction {} stays prepared: {error}", part.transaction);
                    let left = Error::new(error.kind(), message).with_source(error);
                    found.left.push(left.on_shard(shard).of_transaction(&part.transaction));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Returns whether a global transaction is committed on the server that decides it, for its owner that has lost the
    /// connection; see `commit::has_committed`.
    pub(crate) fn read_outcome(&self, database: usize, transaction: &str, collected: i64) -> Result<bool> {
        let names = self.decision_log_names(database)?;
        commit::has_committed(&*self.connect_aside(database, true)?, names, transaction, collected)
    }

    /// Returns whether none of a decided transaction's parts is prepared on a server any more.
    pub(crate) fn is_finished_on_servers(&self, transaction: &str) -> Result<bool> {
        let names =
            self.0.control.with_decisions(|decisions, control| decisions.servers(control, transaction))?;
        for name in names {
            let Ok(shard) = self.layout().shards().require(&name) else { return Ok(false) };
            let database = self.layout().location(shard.index())?.database;
            let looked =
                self.on_connection(&LeaseOwner::default(), database, |connection: &dyn Connection| {
                    let mut is_finished = true;
                    for part in commit::prepared(connection, self.id(), &self.all_places(database))? {
                        if part.transaction == transaction && part.finish(connection, true).is_err() {
                            is_finished = false;
                        }
                    }
                    Ok(is_finished)
                });
            match looked {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) if is_for_later(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Returns whether a participant or a server with this error is left to a later search, by this process or another one.
fn is_for_later(error: &Error) -> bool {
    error.is_about_a_shard() || error.kind() == ErrorKind::Denied
}

/// Searches a server on a new thread, while the caller waits for a lock on that server. Does nothing if such a search
/// runs.
fn search_aside(inner: Arc<ClusterState>, database: usize) {
    let is_running = |inner: &ClusterState, is: bool| {
        let search = inner.searches.servers.get(database);
        search.is_none_or(|search| search.is_running.swap(is, Ordering::AcqRel))
    };
    if is_running(&inner, true) {
        return;
    }
    let search = Searching { cluster: Cluster(inner), database };
    let thread = std::thread::Builder::new().name("sharded-recovery".to_owned());
    // Without a thread the value is dropped, and a later wait searches.
    let _ = thread.spawn(move || search.run());
}

/// A search that counts as running until this is dropped.
struct Searching {
    cluster: Cluster,
    database: usize,
}

impl Searching {
    fn run(&self) {
        let connection = self.cluster.connect_aside(self.database, true);
        let _ = connection
            .and_then(|connection| self.cluster.finish_decided(self.database, &*connection, Effort::Full));
    }
}

impl Drop for Searching {
    fn drop(&mut self) {
        if let Some(search) = self.cluster.0.searches.servers.get(self.database) {
            search.is_running.store(false, Ordering::Release);
        }
    }
}

/// The databases that decide the transactions whose participants are found on one server.
struct Deciders<'c> {
    cluster: &'c Cluster,
    effort: Effort<'c>,
    connections: Vec<(usize, Box<dyn Connection>)>,
}

impl Deciders<'_> {
    /// Returns whether a participant's transaction was committed. After `false` it cannot be committed any more.
    /// `connection` is a connection to the participant's server.
    fn has_committed(
        &mut self,
        part: &PreparedPart,
        database: usize,
        connection: &dyn Connection,
    ) -> Result<bool> {
        let cluster = self.cluster;
        let location =
            cluster.layout().location(cluster.layout().shards().at_place(part.decider)?.index())?;
        let (decider, names) = (location.database, &location.names);
        let waits = self.effort == Effort::Full;
        match self.cluster.dialect(decider).prepares_transactions() {
            true if decider == database => commit::is_committed(connection, names, &part.transaction, waits),
            true => commit::is_committed(self.connection(decider, waits)?, names, &part.transaction, waits),
            false => {
                let control = &self.cluster.0.control;
                let is_recorded = control.wait_with_decisions(Error::is_busy, |decisions, control| {
                    decisions.resolve_in_doubt(control)?;
                    let is_recorded = decisions.is_recorded(control, &part.transaction)?;
                    // A killed owner may have left the record before it was on disk.
                    if is_recorded { decisions.sync(control).map(|()| true) } else { Ok(false) }
                })?;
                if is_recorded {
                    return Ok(true);
                }
                // The owner holds the file's lock from before the first part is prepared until all are finished. Under
                // the lock, a transaction without a record therefore has no owner. An owner that was killed while it
                // committed the record may have left it in the WAL, where no process reads it. A later recovery of the
                // WAL would read it. The commit overwrites it there.
                let is_recorded_for_good = || {
                    control.wait_with_decisions(Error::is_busy, |decisions, control| {
                        decisions.resolve_in_doubt(control)?;
                        decisions.sync(control)?;
                        decisions.is_recorded(control, &part.transaction)
                    })
                };
                if matches!(self.effort, Effort::Quick { locked } if locked.contains(&decider)) {
                    return is_recorded_for_good();
                }
                let file = self.connection(decider, waits)?;
                file.begin(TransactionMode::Write)?;
                let recorded = is_recorded_for_good();
                file.rollback()?;
                recorded
            }
        }
    }

    fn connection(&mut self, database: usize, waits: bool) -> Result<&dyn Connection> {
        let position = match self.connections.iter().position(|(other, _)| *other == database) {
            Some(position) => position,
            None => {
                let connection = self.cluster.connect_aside(database, waits);
                let named = |error: Error| error.on_shard(self.cluster.database_name(database));
                self.connections.push((database, connection.map_err(named)?));
                self.connections.len() - 1
            }
        };
        match self.connections.get(position) {
            Some((_, connection)) => Ok(&**connection),
            None => Err(Error::new(ErrorKind::UnknownShard, "the cluster has no such database")),
        }
    }
}

//! The state that all sessions of a cluster share. Uses `driver`, `planner`, `tasks` and this folder.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::change::ChangeRecord;
use super::commit::{Decisions, Searches, Unfinished};
use super::control::Control;
use super::recorded::RecordedLayout;
use super::writers::Writers;
use super::{Age, KnownVersion, RetryPolicy, ServerWaits, WriteLocks};
use crate::driver::{Connection, Driver, Expected, LeaseOwner, Pool, PooledConnection};
use crate::error::{Error, Result};
use crate::planner::{Layout, Location};
use crate::schema::{Shard, Table};
use crate::tasks::{Counters, Observer, Parallelism, SessionExecutor, Watch, Workers};

/// An open cluster, which makes sessions. A clone is another handle on the same cluster.
#[derive(Clone)]
pub struct Cluster(pub(crate) Arc<ClusterState>);

/// Opens a cluster again with the same settings, on its control database.
pub(crate) type Reopen = Arc<dyn Fn(Arc<Control>) -> Result<Cluster> + Send + Sync>;

/// The state of an open cluster.
pub(crate) struct ClusterState {
    pub(crate) layout: Arc<Layout>,
    /// The recorded layout, as it was when the cluster was opened.
    pub(crate) recorded: Arc<RecordedLayout>,
    /// The spare shards that could not be opened, each with the reason.
    pub(crate) absent: Vec<(String, String)>,
    pub(crate) databases: Vec<Database>,
    /// The control database, shared by all layouts that this process has used.
    pub(crate) control: Arc<Control>,
    pub(crate) writers: Arc<Writers>,
    /// The identity of each shard, if every transaction checks it.
    pub(crate) expected: Vec<Option<Arc<Expected>>>,
    /// Whether transactions may write several databases that outlive the process.
    pub(crate) is_decided: bool,
    /// Whether transactions over several databases are refused if one of them is a server.
    pub(crate) without_prepared_transactions: bool,
    /// The global transactions that were finished after their owners had died.
    pub(crate) recovered: Mutex<Vec<String>>,
    /// The global transactions of this process with unfinished work on servers.
    pub(crate) unfinished: Unfinished,
    pub(crate) searches: Searches,
    pub(crate) pool: Arc<Pool>,
    pub(crate) write_locks: Arc<WriteLocks>,
    pub(crate) server_waits: Arc<ServerWaits>,
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) parallelism: Parallelism,
    pub(crate) workers: Arc<Workers>,
    pub(crate) session_executor: SessionExecutor,
    pub(crate) observer: Option<Observer>,
    pub(crate) known_version: Arc<KnownVersion>,
    pub(crate) counters: Counters,
    /// The changes of the layout that were recorded when the cluster was opened.
    pub(crate) changes: Vec<ChangeRecord>,
    /// The configured shards that changes have retired.
    pub(crate) retired: Vec<Retired>,
    /// The cluster with the layout after the next change.
    pub(crate) next: OnceLock<Cluster>,
    /// Held while the cluster is opened again.
    pub(crate) reloading: Mutex<()>,
    pub(crate) reopen: Reopen,
    /// The databases whose health is being probed; the control database is the last.
    pub(crate) probes: Vec<Arc<AtomicBool>>,
}

impl Drop for ClusterState {
    /// Removes the records of finished transactions. If that fails, the next process that opens the cluster removes them:
    /// every database has applied them.
    fn drop(&mut self) {
        self.session_executor.close();
        self.record_writer();
        if !self.control.decides() {
            return;
        }
        let remove =
            |decisions: &mut Decisions, control: &dyn Connection| decisions.remove(control, Vec::new());
        let _ = self.control.wait_with_decisions(Error::is_busy, remove);
    }
}

/// A configured shard that a change has retired.
pub(crate) struct Retired {
    pub(crate) name: String,
    /// Its database has an index of its own, unless it is one of the cluster's databases.
    pub(crate) location: Location,
    pub(crate) driver: Arc<dyn Driver>,
}

/// One database: of one shard, or of several with a schema or a prefix each.
pub(crate) struct Database {
    pub(crate) driver: Arc<dyn Driver>,
}

impl Cluster {
    pub(crate) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Returns a handle on the layout, for code that uses it while it changes the session.
    pub(crate) fn shared_layout(&self) -> Arc<Layout> {
        Arc::clone(&self.0.layout)
    }

    pub(crate) fn databases(&self) -> usize {
        self.0.databases.len()
    }

    /// Returns the check that each transaction on a shard makes, unless connections make it.
    pub(crate) fn expected(&self, shard: usize) -> Option<&Arc<Expected>> {
        self.0.expected.get(shard)?.as_ref()
    }

    pub(crate) fn workers(&self) -> &Arc<Workers> {
        &self.0.workers
    }

    pub(crate) fn session_executor(&self) -> &SessionExecutor {
        &self.0.session_executor
    }

    pub(crate) fn observer(&self) -> Option<&Observer> {
        self.0.observer.as_ref()
    }

    /// Returns the longest time that a session waits for a lock.
    pub(crate) fn busy_timeout(&self) -> Duration {
        self.0.timeout
    }

    pub(crate) fn next_id(&self, table: &'static Table) -> Result<i64> {
        self.0.control.next_id(table)
    }

    pub(crate) fn claim_id(&self, table: &'static Table, id: i64) -> Result<()> {
        self.0.control.claim_id(table, id)
    }

    /// Checks out a connection to a database, which counts with the other connections of its owner. `limit` may shorten
    /// the busy timeout. Waiting and connecting stop at the deadline.
    pub(crate) fn connect(
        &self,
        owner: &LeaseOwner,
        database: usize,
        limit: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Result<PooledConnection> {
        self.0.pool.get(owner, database, limit, deadline)
    }

    /// Checks out an open and idle connection, if there is one, without waiting.
    pub(crate) fn connect_idle(&self, owner: &LeaseOwner, database: usize) -> Option<PooledConnection> {
        self.0.pool.get_idle(owner, database)
    }

    /// Returns the age of a session that begins to write now.
    pub(crate) fn age(&self) -> Age {
        self.0.write_locks.age()
    }

    /// Returns the write locks of SQLite databases; `None` if the database has row locks.
    pub(crate) fn write_locks(&self, database: usize) -> Option<&Arc<WriteLocks>> {
        (!self.dialect(database).locks_rows()).then_some(&self.0.write_locks)
    }

    /// Opens a connection outside the pool, which is closed after use. It finishes transactions that block sessions,
    /// which may hold all connections of the pool. It waits for locks if `waits`.
    pub(crate) fn connect_aside(&self, database: usize, waits: bool) -> Result<Box<dyn Connection>> {
        self.0.pool.connect(database, waits)
    }

    /// Runs a function on a connection, and gives the connection back.
    pub(crate) fn on_connection<O>(
        &self,
        owner: &LeaseOwner,
        database: usize,
        run: impl FnOnce(&dyn Connection) -> Result<O>,
    ) -> Result<O> {
        let connection = self.connect(owner, database, None, None)?;
        let done = run(&*connection);
        connection.give_back();
        done
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Counts an error that a verb returns, unless a verb inside of it has counted it.
    pub(crate) fn counted(&self, mut error: Error) -> Error {
        if error.count() {
            let shard = error.shard().and_then(|name| self.0.layout.shards().get(name)).map(Shard::index);
            self.0.counters.count_error(shard, error.kind());
        }
        error
    }

    pub(crate) fn parallelism(&self) -> Parallelism {
        self.0.parallelism
    }

    /// Begins to observe a statement on a shard.
    pub(crate) fn watch(&self, shard: &Shard, table: Option<&str>, sql: &str) -> Watch {
        let system = self.layout().location(shard.index()).map_or("", |location| location.dialect.name());
        Watch::begin(self.observer(), system, shard, table, sql)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = &self.0.layout;
        let databases = self.0.databases.iter().enumerate().flat_map(|(index, database)| {
            layout.shards_in(index).map(move |shard| {
                let schema =
                    layout.location(shard.index()).ok().and_then(|location| location.names.schema.as_deref());
                let schema = schema.map_or_else(String::new, |schema| format!("?schema={schema}"));
                (shard.name(), format!("{}{schema}", database.driver.describe()))
            })
        });
        f.debug_map().entries(databases).finish()
    }
}

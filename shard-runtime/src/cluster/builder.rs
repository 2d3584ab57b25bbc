//! Opening a cluster from its configuration: connects to each database, makes or checks it, and finishes the global
//! transactions that were left.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::opening;
use super::opening::Opening;
use super::url::{Location, Source};
use crate::driver::{
    Check, Connection, Driver, Durability, Mode, Pool, SqliteDriver, SqliteSettings, SqliteSource,
};
#[cfg(feature = "postgres")]
use crate::driver::{PostgresDriver, PostgresSource};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::Place;
use crate::planner::sql::Namespace;
use crate::query::Models;
use crate::schema::Table;
use crate::schema::{Shard, Shards};
use crate::tasks::Workers;
use crate::tasks::{Counters, SessionExecutor};
use crate::tasks::{Observer, Parallelism, StatementEvent};
use crate::transaction::RetryPolicy;
use crate::transaction::WriteLocks;
use crate::transaction::commit::Unfinished;
use crate::transaction::commit::{self, Searches};
use crate::transaction::facts::{Facts, Kind, MADE, MAKING, Position};
use crate::transaction::record::Declared;
use crate::transaction::{CLUSTER, Cluster, ClusterState, Control, Database, Writers, ids};

/// The configuration of a cluster: its shards, and how sessions use them.
#[derive(Clone)]
pub struct Builder {
    shards: Vec<(String, String)>,
    control: Option<String>,
    pub(super) folder: PathBuf,
    connections: Option<u32>,
    async_sessions: Option<u32>,
    sqlite: SqliteSettings,
    observer: Option<Observer>,
    retry: RetryPolicy,
    parallelism: Parallelism,
    without_prepared_transactions: bool,
    replaced: Vec<String>,
    /// Whether the tables may differ from the models, because a migration follows.
    migrates: bool,
}

/// Prints the shards' names and the settings. URLs may hold passwords, so they are not printed.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards: Vec<&str> = self.shards.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Builder")
            .field("shards", &shards)
            .field("folder", &self.folder)
            .field("connections", &self.connections)
            .field("async_sessions", &self.async_sessions)
            .field("sqlite", &self.sqlite)
            .field("retry", &self.retry)
            .field("parallelism", &self.parallelism)
            .field("without_prepared_transactions", &self.without_prepared_transactions)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            shards: Vec::new(),
            control: None,
            folder: PathBuf::new(),
            connections: None,
            async_sessions: None,
            sqlite: SqliteSettings {
                busy_timeout: Duration::from_secs(5),
                synchronous: Durability::Full,
                cache_size: 64 * 1024,
                mmap_size: 256 * 1024 * 1024,
                wal_size_limit: 16 * 1024 * 1024,
            },
            observer: None,
            retry: RetryPolicy::default(),
            parallelism: Parallelism::default(),
            without_prepared_transactions: false,
            replaced: Vec::new(),
            migrates: false,
        }
    }
}

impl Builder {
    /// Adds a shard with one of these URLs. A cluster can have shards of all kinds:
    ///
    /// | URL | where the shard is |
    /// |---|---|
    /// | `sqlite:data/a.db`, `sqlite://data/a.db` | a file; a relative path starts from the working directory when the cluster is opened, in a cluster file from that file's folder |
    /// | `sqlite:/data/a.db`, `sqlite:///data/a.db` | a file with an absolute path |
    /// | `sqlite:all.db?prefix=a_` | tables by prefix, where several shards share a file |
    /// | `sqlite::memory:` | a database in memory |
    /// | `postgres://user:password@host:5432/database` | a database on a server, with the feature `postgres` |
    /// | `postgres://user@host/database?schema=a` | a schema, where several shards share a database; without it, `public` |
    /// | `postgres://user@host/database?pooler=transaction` | behind a connection pooler that is not recognised; `pooler=session` for one that keeps a server connection per client |
    ///
    /// Characters with a meaning in URLs are percent-encoded: `%40` for an `@` in a password, `%20` for a space in a path, `%25`
    /// for `%` itself. A parameter that is unknown or is given twice is an error.
    ///
    /// A server that has a standby is named with it, separated by a comma, each host with its port:
    /// `postgres://<user>@<host>:5432,<host>:5432/<database>?target_session_attrs=read-write`. New connections go to the
    /// host that takes writes, which is verified. Without `target_session_attrs` the first host that answers is used.
    /// `connect_timeout=<seconds>` (10 by default) bounds connecting to each host, until a session can use the connection.
    ///
    /// Schemas of one database share its connections if their URLs differ in nothing else.
    ///
    /// Connections to a server are encrypted as the URL's `sslmode` requests, with the feature `tls`:
    ///
    /// | `sslmode=` | |
    /// |---|---|
    /// | not given, or `disable` | not encrypted, with the feature or without it |
    /// | `prefer` | encrypted if the server offers it and the feature is enabled |
    /// | `require`, `verify-full` | encrypted, or an error |
    ///
    /// An encrypted connection is verified: a trusted authority must have signed the server's certificate for the host that
    /// the URL names. So `require` is stricter than in `libpq`, and the same as `verify-full`. Under `prefer`, too, a
    /// certificate that is not trusted is an error. The trusted authorities are the platform's or, with
    /// `sslrootcert=<path>`, only those in that file of PEM certificates.
    ///
    /// The order of the shards is part of the cluster's layout: hash placement depends on it, and unordered answers of
    /// several shards come in this order.
    pub fn shard(mut self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.shards.push((name.into(), url.into()));
        self
    }

    /// Sets the URL of the control database. Default: `control.db` beside the first shard's file or, if no shard is a file,
    /// the first server's shard.
    pub fn control(mut self, url: impl Into<String>) -> Self {
        self.control = Some(url.into());
        self
    }

    /// Sets how long a session waits for a lock or a connection before it fails with [`ErrorKind::Busy`]. Default: 5
    /// seconds.
    ///
    /// This is the longest wait. A session fails earlier
    /// - if sessions of this cluster handle wait for one another's SQLite databases: the youngest one fails at once;
    /// - in the first tries of [`Cluster::transaction`]: with locks on several databases they wait 20 ms for a server's lock or
    ///   a connection, and then take all locks again in the cluster's order.
    ///
    /// A session waits twice as long at most if it waits first for a session of this process and then for another process.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.sqlite.busy_timeout = timeout;
        self
    }

    /// Sets when commits wait for the disk (`PRAGMA synchronous`, `synchronous_commit`). Default: [`Durability::Full`], at
    /// every commit. All processes of a cluster have to use the same one.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.sqlite.synchronous = durability;
        self
    }

    /// Sets how many connections all databases of the cluster may have together: at least one per database, at most 10,000.
    /// Default: 10 per database. A session holds a connection of each database that it uses, from its first statement there
    /// until its commit or rollback.
    ///
    /// Idle connections are kept. One is closed to make room for another database if that has none, if it has at least two
    /// fewer, or if a session has waited for 20 ms and the connection has been idle for as long. Otherwise a session waits for
    /// a connection of its own database. A thread that runs may overtake threads that wait for the same database, 64 times
    /// in a row at most: to wake a thread takes longer than a short read.
    ///
    /// Sessions cannot deadlock on the pool: a connection is granted only if afterwards some session can still obtain one of
    /// every database (the banker's algorithm), and sessions that hold connections come before new ones. So with `n`
    /// connections to `d` databases `n / d` sessions that use all of them can be active at once, or `n - d + 1` that use one
    /// each. Others wait up to the [`busy_timeout`](Builder::busy_timeout). A session that waits for a row's lock, or for a
    /// database that does not answer, keeps its connections meanwhile: if there may be many of these, raise the limit.
    ///
    /// The limit is lower if the process may open too few file descriptors (`ulimit -n`) when the cluster is opened: three
    /// are counted for each database, and four for each further connection. If the process runs out of descriptors, or a
    /// server of connections, idle connections are closed and the session tries again until the busy timeout. Then it fails
    /// with [`ErrorKind::Busy`], and the message names the limit.
    ///
    /// The control database has one connection beside these. A server on which a session waits for a lock, or that was lost
    /// during a commit, has one more for a moment, to finish participants that were left prepared.
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = Some(connections);
        self
    }

    /// Sets how many async sessions may be in the middle of a transaction at once, each with a thread of its own: 1 to
    /// 10,000. Default: as many as can use every database without waiting for a connection, which is 10 unless
    /// [`connections`](Builder::connections) is set. Others wait for their turn, see
    /// [`AsyncSession`](crate::AsyncSession). Threads are started when they are needed.
    pub fn async_sessions(mut self, sessions: u32) -> Self {
        self.async_sessions = Some(sessions);
        self
    }

    /// Sets how often [`Cluster::transaction`] runs a closure again, and after which pauses.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Sets when statements of several shards run on threads at the same time. Default: [`Parallelism::Auto`].
    pub fn parallelism(mut self, parallelism: Parallelism) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// Sets the page cache of each SQLite connection in KiB (`PRAGMA cache_size`). Default: 65,536.
    pub fn cache_size(mut self, kib: u32) -> Self {
        self.sqlite.cache_size = kib;
        self
    }

    /// Sets how many bytes of each SQLite file are mapped into memory (`PRAGMA mmap_size`). Default: 268,435,456.
    pub fn mmap_size(mut self, bytes: u64) -> Self {
        self.sqlite.mmap_size = bytes;
        self
    }

    /// Sets the size in bytes to which the WAL of each SQLite file is truncated (`PRAGMA journal_size_limit`). Default:
    /// 16,777,216.
    ///
    /// A WAL grows beyond it during a large transaction, and while a session reads an old snapshot. The next commit after a
    /// complete checkpoint truncates it. SQLite checkpoints at commits, and when the last process closes the file, which also
    /// removes the WAL.
    pub fn wal_size_limit(mut self, bytes: u64) -> Self {
        self.sqlite.wal_size_limit = bytes;
        self
    }

    /// Lets the cluster be opened although PostgreSQL servers cannot prepare transactions (`max_prepared_transactions` is 0 by
    /// default). A commit over several databases of which one is a server is then an error, unless it is
    /// [`Commit::BestEffort`](crate::Commit::BestEffort).
    pub fn without_prepared_transactions(mut self) -> Self {
        self.without_prepared_transactions = true;
        self
    }

    /// Calls the observer after every statement, on the thread of its session, with the shard, the SQL, the number of rows and
    /// the time. Values are not passed.
    pub fn on_statement(mut self, observer: impl Fn(&StatementEvent<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(observer));
        self
    }

    /// Lets [`Builder::create`] make a lost shard anew, empty. Otherwise `create` refuses a shard that existed and whose
    /// database is missing: its disk may only be not mounted.
    ///
    /// The rows that the shard held are lost. Its reference tables are filled from the other shards; lookup entries of its
    /// rows remain until [`Cluster::repair`] removes them; ids that its database counted (`#[id(auto)]`) begin again; and
    /// statements that decided transactions had still to run on it are dropped. All other checks are made.
    ///
    /// ```no_run
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// let builder = Cluster::builder().shard("a", "sqlite:a.db").shard("b", "sqlite:b.db");
    /// let cluster = builder.replace_lost("b").create::<Account>()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Builder::create`] fails with [`ErrorKind::WrongDatabase`] if the shard is not lost, and with
    /// [`ErrorKind::UnknownShard`] if it is not configured; [`Builder::open`] with [`ErrorKind::Configuration`].
    pub fn replace_lost(mut self, shard: impl Into<String>) -> Self {
        self.replaced.push(shard.into());
        self
    }

    /// Makes the databases, tables and indexes that do not exist, and opens the cluster. It changes nothing that exists, and
    /// continues if an earlier call has stopped. It accepts layout changes that move no row: a new model, a new list value,
    /// a new last shard if nothing is hashed. A new shard gets the rows of the reference tables.
    ///
    /// # Errors
    /// Those of [`Builder::open`], naming the first shard that failed.
    pub fn create<M: Models>(self) -> Result<Cluster> {
        self.build::<M>(Mode::Create)
    }

    /// Opens a cluster that was made by [`Builder::create`]. It makes nothing.
    ///
    /// # Errors
    /// Each names the shard: [`ErrorKind::Configuration`] if the settings or the models contradict each other,
    /// [`ErrorKind::Missing`] if a database does not exist, [`ErrorKind::WrongDatabase`] if a database is another shard,
    /// [`ErrorKind::Layout`] if keys are placed otherwise than in the recorded layout, [`ErrorKind::Schema`] if a table
    /// differs from its model.
    pub fn open<M: Models>(self) -> Result<Cluster> {
        self.build::<M>(Mode::Open)
    }

    /// Opens a cluster whose tables may differ from the models.
    pub(super) fn open_to_migrate<M: Models>(mut self) -> Result<Cluster> {
        self.migrates = true;
        self.build::<M>(Mode::Open)
    }

    fn build<M: Models>(self, mode: Mode) -> Result<Cluster> {
        let Described { layout, sources, databases, control_source, control_names } =
            self.described::<M>()?;
        self.check_replaced(layout.shards(), mode)?;
        let connections = self.connections_to(databases.len())?;
        let timeout = self.sqlite.busy_timeout;
        let of_control = |error: Error| {
            Error::new(error.kind(), format!("the control database: {error}")).with_source(error)
        };
        if mode == Mode::Create {
            refuse_elsewhere(&databases, &layout, timeout)?;
            refuse_orphans(&databases, &*self.driver(&control_source), &control_names, &layout, timeout)?;
        }
        let control_driver = self.driver(&control_source);
        let control = Control::open(control_driver, control_names, mode, self.sqlite, layout.tables())
            .map_err(|error| {
                if error.kind() == ErrorKind::WrongDatabase
                    && let Err(elsewhere) = refuse_elsewhere(&databases, &layout, timeout)
                {
                    return elsewhere;
                }
                let error = match error.kind() {
                    ErrorKind::Missing => {
                        let message = format!("{error}; restore it, or run `create` if the cluster is new");
                        Error::new(ErrorKind::Missing, message).with_source(error)
                    }
                    _ => error,
                };
                of_control(error)
            })?;
        layout.shards().belong_to(&control.cluster);
        let durable = databases.iter().filter(|database| !database.driver.is_private()).count();
        let facts = match mode {
            // A role without the right to read them can open the cluster. It makes no shard.
            Mode::Open => match control.facts() {
                Err(error) if error.kind() == ErrorKind::Denied => Ok(Facts::default()),
                facts => facts,
            },
            Mode::Create => self.begin_to_make(&control, &databases, &layout),
        };
        let facts = facts.map_err(of_control)?;
        let first = Databases {
            opening: Opening {
                layout: &layout,
                declared: &Declared::new(&layout),
                control: &control,
                facts: &facts,
                record: &Mutex::new(Arc::new(facts.record())),
                databases: &databases,
                replaced: &self.replaced,
                migrates: self.migrates,
                differences: Mutex::default(),
            },
            timeout,
            prepares: durable > 1 && !self.without_prepared_transactions,
            highest: Mutex::default(),
        }
        .open(mode)
        .map_err(|error| match error.kind() {
            ErrorKind::WrongDatabase => refuse_elsewhere(&databases, &layout, timeout).err().unwrap_or(error),
            _ => error,
        })?;
        let is_decided = durable > 1 && control.decides();
        let counters = Counters::new(layout.shards().len());
        let workers = Arc::new(Workers::new(layout.tables().count()));
        let check = identity_check(&layout, databases.len(), &control.cluster)?;
        let drivers = databases.iter().map(|database| Arc::clone(&database.driver)).collect();
        let database_count = databases.len();
        let pool = Pool::new(drivers, first, connections, timeout, check);
        let sessions = match self.async_sessions {
            Some(sessions) => usize::try_from(sessions).unwrap_or(usize::MAX),
            None => connections / databases.len().max(1),
        };
        let cluster = Cluster(Arc::new(ClusterState {
            writers: Writers::new(databases.len()).into(),
            expected: opening::expected(&layout, &control.cluster)?,
            layout: Arc::new(layout),
            databases,
            control,
            is_decided,
            without_prepared_transactions: self.without_prepared_transactions,
            recovered: Mutex::default(),
            unfinished: Unfinished::default(),
            searches: Searches::new(sources.len()),
            pool,
            write_locks: WriteLocks::new(database_count),
            server_waits: Arc::default(),
            timeout,
            retry: self.retry,
            parallelism: self.parallelism,
            workers,
            session_executor: SessionExecutor::new(sessions, timeout),
            observer: self.observer,
            counters,
            probes: (0..=database_count).map(|_| Arc::default()).collect(),
        }));
        cluster.recover()?;
        if mode == Mode::Create {
            cluster.fill_references()?;
        }
        Ok(cluster)
    }

    /// Reads the configuration; no database is touched.
    pub(super) fn described<M: Models>(&self) -> Result<Described> {
        self.check_settings()?;
        let folder = absolute(&self.folder)?;
        let shards = Shards::named(self.shards.iter().map(|(name, _)| name.clone()))?;
        let (sources, places) = self.places(&shards, &folder)?;
        let mut tables: Vec<&'static Table> = Vec::new();
        M::tables(&mut tables);
        let mut lookups = Vec::new();
        M::lookups(&mut lookups);
        let (control_source, control_names) = self.control_source(&sources, &places, &folder)?;
        let layout = Layout::new(shards, places, tables, lookups)?;
        let databases =
            sources.iter().map(|source| Database { driver: self.driver(source).into() }).collect();
        Ok(Described { layout, sources, databases, control_source, control_names })
    }

    /// Replaces the URL of each shard, which is given by its index and its name.
    #[cfg(feature = "admin")]
    pub(super) fn replace_places(
        &mut self,
        mut url: impl FnMut(usize, &str) -> Result<String>,
    ) -> Result<()> {
        let each = self.shards.iter_mut().enumerate();
        { each }.try_for_each(|(index, (name, old))| url(index, name).map(|new| *old = new))
    }

    #[cfg(feature = "admin")]
    pub(super) fn is_without_prepared_transactions(&self) -> bool {
        self.without_prepared_transactions
    }

    fn check_replaced(&self, shards: &Shards, mode: Mode) -> Result<()> {
        self.replaced.iter().try_for_each(|name| shards.require(name).map(|_| ()))?;
        match mode == Mode::Open && !self.replaced.is_empty() {
            true => {
                let message = "`replace_lost` makes a shard anew: call `create`, not `open`";
                Err(Error::new(ErrorKind::Configuration, message))
            }
            false => Ok(()),
        }
    }

    /// Records which shards are about to be made, before any of them is touched. Returns all recorded facts.
    fn begin_to_make(&self, control: &Control, databases: &[Database], layout: &Layout) -> Result<Facts> {
        let known = control.facts()?;
        if control.driver.is_private() {
            return Ok(known);
        }
        let mut facts = known.clone();
        if !control.is_new && !known.has_shards() {
            // Releases before this one recorded the shards in each shard, and not in control.
            for name in shards_of_older_release(databases, layout, self.sqlite.busy_timeout) {
                facts.note_made(&name);
            }
        }
        for (index, Database { driver }) in databases.iter().enumerate() {
            self.forget_lost(control, databases, &**driver, layout, &facts, index)?;
        }
        let mut record = Vec::new();
        for shard in lasting(databases, layout) {
            let state = if facts.is_made(shard) { MADE } else { MAKING };
            let is_replaced = self.replaced.iter().any(|name| name == shard) && state == MADE;
            if !is_replaced && !known.is_recorded(shard, state) {
                record.push((Kind::Shard, shard, state.to_owned()));
            }
        }
        control.record(&record)?;
        Ok(facts)
    }

    /// Forgets what control has recorded of the shards of a database that are lost and are to be made anew, and only that.
    /// Nothing is forgotten before it is certain that they are lost, and while another shard of the database is lost that is
    /// not to be made anew: opening refuses it.
    fn forget_lost(
        &self,
        control: &Control,
        databases: &[Database],
        driver: &dyn Driver,
        layout: &Layout,
        facts: &Facts,
        index: usize,
    ) -> Result<()> {
        let is_replaced = |shard: &Shard| self.replaced.iter().any(|name| name == shard.name());
        let made = || layout.shards_in(index).filter(|shard| facts.is_made(shard.name()));
        let Some(first_replaced) = made().find(|shard| is_replaced(shard)) else { return Ok(()) };
        let connection = match driver.connect_waiting(Mode::Open, self.sqlite.busy_timeout) {
            Ok(connection) => Some(connection),
            Err(error) if error.kind() == ErrorKind::Missing => None,
            Err(error) => return Err(error.on_shard(first_replaced.name())),
        };
        let (mut lost, mut kept) = (Vec::new(), Vec::new());
        for shard in made() {
            let names = &layout.place(shard.index())?.names;
            let is_there = match &connection {
                Some(connection) => opening::identity(&**connection, names)?.is_some(),
                None => false,
            };
            if is_there {
                kept.push((shard.name(), names))
            } else {
                lost.push((shard.name(), names))
            }
            if !is_there && !is_replaced(shard) {
                return Ok(());
            }
        }
        for (name, _) in &lost {
            self.refuse_undecided(control, databases, layout, layout.shards().require(name)?)?;
        }
        match (connection, kept.first()) {
            (Some(connection), Some((other, _))) => {
                let database = layout.shards_in(index).next().map_or("", Shard::name);
                let decided = control.decided_statements(database)?;
                if let Some(decided) = decided.first()
                    && lost.iter().any(|(name, _)| *name == database)
                {
                    let message = format!(
                        "transaction {} is decided, and with the shard the version is lost that tells whether it is applied \
                         to shard `{other}` in the same database; restore the tables of shard `{database}`, or move the \
                         database away and call `replace_lost` for all of its shards",
                        decided.unit
                    );
                    return Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(database));
                }
                let is_lost = |table: &str| {
                    let table = table.to_lowercase();
                    let of = |(_, names): &(&str, &Namespace)| {
                        table.starts_with(&names.prefix.to_lowercase()).then_some(names.prefix.len())
                    };
                    lost.iter().filter_map(of).max() > kept.iter().filter_map(of).max()
                };
                let dropped = decided.iter().filter(|decided| {
                    let missing = connection.prepare(&decided.sql).map(drop).err().and_then(missing_table);
                    missing.is_some_and(|table| is_lost(&table))
                });
                let lost: Vec<&str> = lost.iter().map(|(name, _)| *name).collect();
                control.forget_lost_tables(&lost, &dropped.collect::<Vec<_>>())
            }
            _ => lost.iter().try_for_each(|(name, _)| control.forget_lost(name)),
        }
    }

    /// Refuses to forget a lost shard while a participant is prepared on a server whose transaction the shard's database
    /// decides: without the decision it would be rolled back, although other participants may have committed.
    fn refuse_undecided(
        &self,
        control: &Control,
        databases: &[Database],
        layout: &Layout,
        lost: &Shard,
    ) -> Result<()> {
        for (index, Database { driver }) in databases.iter().enumerate() {
            if !driver.dialect().prepares_transactions() {
                continue;
            }
            let Some(shard) = layout.shards_in(index).next() else { continue };
            let prepared = driver
                .connect_waiting(Mode::Open, self.sqlite.busy_timeout)
                .and_then(|connection| commit::prepared_by(&*connection, &control.cluster, lost.index()));
            let part = match prepared {
                // A server does not drop a database in which a transaction is prepared.
                Err(error) if error.kind() == ErrorKind::Missing => continue,
                prepared => prepared.map_err(|error| error.on_shard(shard.name()))?.into_iter().next(),
            };
            if let Some(part) = part {
                let (gid, name, other) = (part.name(), lost.name(), shard.name());
                let message = format!(
                    "a part of transaction {} is prepared on the server of shard `{other}`, and its decision is lost with shard \
                     `{name}`; restore shard `{name}`, or end the part with COMMIT PREPARED '{gid}' or \
                     ROLLBACK PREPARED '{gid}', and run `create` again",
                    part.unit
                );
                return Err(Error::new(ErrorKind::WrongDatabase, message).of_unit(&part.unit).on_shard(name));
            }
        }
        Ok(())
    }

    pub(super) fn driver(&self, source: &Source) -> Box<dyn Driver> {
        match source {
            Source::Sqlite(source) => Box::new(SqliteDriver::new(source.clone(), self.sqlite)),
            #[cfg(feature = "postgres")]
            Source::Postgres(source) => {
                let SqliteSettings { busy_timeout, synchronous, .. } = self.sqlite;
                Box::new(PostgresDriver::new((**source).clone(), busy_timeout, synchronous))
            }
        }
    }

    fn check_settings(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Configuration, message));
        let connections = self.connections.unwrap_or(1);
        if !(1..=MOST_CONNECTIONS).contains(&connections) {
            return wrong(format!("`connections` must be between 1 and 10,000, got {connections}"));
        }
        let sessions = self.async_sessions.unwrap_or(1);
        if !(1..=MOST_CONNECTIONS).contains(&sessions) {
            return wrong(format!("`async_sessions` must be between 1 and 10,000, got {sessions}"));
        }
        if self.sqlite.busy_timeout > LONGEST_WAIT {
            return wrong(format!(
                "`busy_timeout` must be at most one day, got {:?}",
                self.sqlite.busy_timeout
            ));
        }
        Ok(())
    }

    /// Returns the limit of connections to so many databases.
    fn connections_to(&self, databases: usize) -> Result<usize> {
        match self.connections.map(|connections| usize::try_from(connections).unwrap_or(usize::MAX)) {
            None => Ok(databases.saturating_mul(CONNECTIONS)),
            Some(connections) if connections < databases => {
                let message = format!(
                    "`connections` must be at least {databases}, got {connections}: a session may need one of each of the \
                     {databases} databases"
                );
                Err(Error::new(ErrorKind::Configuration, message))
            }
            Some(connections) => Ok(connections),
        }
    }

    /// Returns the databases, and the place of each shard's tables.
    fn places(&self, shards: &Shards, folder: &Path) -> Result<(Vec<Source>, Vec<Place>)> {
        let mut sources: Vec<Source> = Vec::new();
        let mut known: HashMap<Identity, usize> = HashMap::new();
        let mut places = Vec::new();
        for (shard, (_, url)) in shards.iter().zip(&self.shards) {
            let Location { source, names, is_default_schema } =
                Location::parse(url, folder).map_err(|error| error.on_shard(shard.name()))?;
            let dialect = source.dialect();
            let database = *known.entry(Identity::of(&source)).or_insert_with(|| {
                sources.push(source);
                sources.len() - 1
            });
            places.push(Place { database, names, dialect, is_default_schema });
        }
        refuse_other_logins(shards, &sources, &places)?;
        Ok((sources, places))
    }

    /// Returns the control database: beside the files or, if there are none, on the first server.
    fn control_source(
        &self,
        sources: &[Source],
        places: &[Place],
        folder: &Path,
    ) -> Result<(Source, Namespace)> {
        let _ = places;
        #[cfg(feature = "postgres")]
        let has_files = sources.iter().any(|source| matches!(source, Source::Sqlite(SqliteSource::File(_))));
        let (source, names) = match &self.control {
            Some(url) => {
                let wrong = |message| {
                    Error::new(ErrorKind::Configuration, format!("the control database: {message}"))
                };
                let Location { source, names, .. } =
                    Location::parse(url, folder).map_err(|error| wrong(error.to_string()))?;
                if !names.prefix.is_empty() {
                    return Err(wrong("it takes no `?prefix=`; remove it".to_owned()));
                }
                match source {
                    #[cfg(feature = "postgres")]
                    Source::Postgres(_) if has_files => {
                        let message = "clusters with SQLite files need a SQLite control database";
                        return Err(wrong(message.to_owned()));
                    }
                    source => (source, names),
                }
            }
            None => {
                let beside = sources.iter().find_map(|source| match source {
                    Source::Sqlite(SqliteSource::File(path)) => {
                        let source = SqliteSource::File(path.with_file_name("control.db"));
                        Some((Source::Sqlite(source), Namespace::default()))
                    }
                    _ => None,
                });
                #[cfg(feature = "postgres")]
                let beside = beside.or_else(|| {
                    let first = places.iter().find(|place| place.dialect.is_on_server())?;
                    Some((sources.get(first.database)?.clone(), first.names.clone()))
                });
                beside.unwrap_or_else(|| (Source::Sqlite(SqliteSource::memory()), Namespace::default()))
            }
        };
        let is_file = matches!(source, Source::Sqlite(_));
        let identity = Identity::of(&source);
        match is_file && sources.iter().any(|other| Identity::of(other) == identity) {
            true => Err(Error::new(
                ErrorKind::Configuration,
                "the control database is the file of a shard; set another one with `control`",
            )),
            false => Ok((source, names)),
        }
    }
}

/// A cluster as its configuration describes it.
pub(super) struct Described {
    pub(super) layout: Layout,
    pub(super) sources: Vec<Source>,
    pub(super) databases: Vec<Database>,
    pub(super) control_source: Source,
    pub(super) control_names: Namespace,
}

/// A limit that no useful configuration reaches.
const MOST_CONNECTIONS: u32 = 10_000;

/// How many connections there are for each database by default.
const CONNECTIONS: usize = 10;

/// A day, which is longer than any lock should be held.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the check of every new connection: whether the database is still the shard that was opened. On servers each
/// transaction is checked instead.
fn identity_check(layout: &Layout, databases: usize, cluster: &str) -> Result<Box<Check>> {
    // The shards in one file are replaced together, so that the first is enough.
    let named = |shard: &Shard| Ok((shard.clone(), layout.place(shard.index())?.names.clone()));
    let is_checked =
        |shard: &&Shard| layout.place(shard.index()).is_ok_and(|place| !place.dialect.is_on_server());
    let first = |database| layout.shards_in(database).next().filter(is_checked);
    let shards = (0..databases).map(|database| first(database).map(named).transpose());
    let shards: Vec<Option<(Shard, Namespace)>> = shards.collect::<Result<_>>()?;
    let cluster = cluster.to_owned();
    Ok(Box::new(move |database, connection| match shards.get(database) {
        Some(Some((shard, names))) => opening::check_identity(connection, shard, names, &cluster),
        _ => Ok(()),
    }))
}

/// Refuses two shards in one schema that log in differently: they have connections of their own, and [`Layout`] takes them
/// for two databases.
#[cfg_attr(not(feature = "postgres"), allow(clippy::unnecessary_wraps))]
fn refuse_other_logins(shards: &Shards, sources: &[Source], places: &[Place]) -> Result<()> {
    #[cfg(feature = "postgres")]
    {
        let mut seen: HashMap<(Vec<String>, &Namespace), (&Shard, usize)> = HashMap::new();
        for (shard, place) in shards.iter().zip(places) {
            let Some(Source::Postgres(source)) = sources.get(place.database) else { continue };
            if let Some((other, database)) =
                seen.insert((source.database(), &place.names), (shard, place.database))
                && database != place.database
            {
                let message = format!(
                    "its schema is that of shard `{other}`, with another login; give every shard a schema of its own: \
                     `?schema={}`",
                    shard.name()
                );
                return Err(Error::new(ErrorKind::Configuration, message).on_shard(shard.name()));
            }
        }
    }
    let _ = (shards, sources, places);
    Ok(())
}

/// The identity of a database that is known without a connection.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    /// The path without links, of a file or of the file that is to be made.
    File(PathBuf),
    Memory(String),
    #[cfg(feature = "postgres")]
    Server(Box<PostgresSource>),
}

impl Identity {
    fn of(source: &Source) -> Self {
        match source {
            Source::Sqlite(SqliteSource::Memory(name)) => Identity::Memory(name.clone()),
            Source::Sqlite(SqliteSource::File(path)) => Identity::File(real(path)),
            #[cfg(feature = "postgres")]
            Source::Postgres(source) => Identity::Server(source.clone()),
        }
    }
}

/// A path without links and `..`, as far as it exists.
fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(folder), Some(name)) => {
            folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join(name)
        }
        (Err(_), ..) => path.to_owned(),
    }
}

/// Returns the folder that relative paths start from, as an absolute path.
pub(super) fn absolute(folder: &Path) -> Result<PathBuf> {
    let found = match folder.as_os_str().is_empty() {
        true => std::env::current_dir(),
        false => std::path::absolute(folder),
    };
    found.map_err(|error| {
        let message =
            "the working directory, from which relative paths start, cannot be read; give absolute paths";
        Error::new(ErrorKind::Io, message).with_source(error)
    })
}

/// The table that a SQLite statement was prepared for and that does not exist.
fn missing_table(error: Error) -> Option<String> {
    let message = error.to_string();
    let (_, name) = message.split_once("no such table: ")?;
    let name = name.split_whitespace().next()?;
    Some(name.rsplit('.').next().unwrap_or(name).to_owned())
}

/// The names of the shards that outlive the process.
fn lasting<'l>(databases: &'l [Database], layout: &'l Layout) -> impl Iterator<Item = &'l str> {
    let lasting = databases.iter().enumerate().filter(|(_, database)| !database.driver.is_private());
    lasting.flat_map(|(database, _)| layout.shards_in(database)).map(Shard::name)
}

/// The shards that exist according to the records of those that are found.
fn shards_of_older_release(databases: &[Database], layout: &Layout, timeout: Duration) -> Vec<String> {
    for (index, database) in databases.iter().enumerate() {
        let Ok(connection) = database.driver.connect_waiting(Mode::Open, timeout) else { continue };
        for shard in layout.shards_in(index) {
            let Ok(place) = layout.place(shard.index()) else { continue };
            match opening::recorded_shards(&*connection, &place.names) {
                Ok(names) if !names.is_empty() => return names,
                _ => {}
            }
        }
    }
    Vec::new()
}

/// How many databases are opened at the same time.
const AT_ONCE: usize = 16;

/// The databases of a cluster that is being opened.
struct Databases<'o> {
    opening: Opening<'o>,
    timeout: Duration,
    /// Whether servers have to be able to prepare transactions.
    prepares: bool,
    /// The highest ids that generated models have on the shards that were opened.
    highest: Mutex<Vec<(&'static Table, i64)>>,
}

/// A database that was opened: its connection, if it is kept, and the position of its log.
type Opened = (Option<Box<dyn Connection>>, Option<Position>);

impl Databases<'_> {
    /// Opens all of them and records facts about them. Returns the connections that are kept.
    fn open(&self, mode: Mode) -> Result<Vec<Option<Box<dyn Connection>>>> {
        let Opening { layout, control, facts, databases, .. } = &self.opening;
        let opened: Vec<Result<Opened>> = match mode {
            // One after the other, up to the first that fails.
            Mode::Create => {
                let mut opened = Vec::with_capacity(databases.len());
                for database in 0..databases.len() {
                    let made = self.open_one(database, mode);
                    let failed = made.as_ref().err().map(Error::kind);
                    opened.push(made);
                    if failed == Some(ErrorKind::Schema) {
                        (database + 1..databases.len()).for_each(|other| self.compare_existing(other));
                    }
                    if failed.is_some() {
                        break;
                    }
                }
                opened
            }
            Mode::Open => self.open_all(),
        };
        let mut record: Vec<(Kind, &str, String)> = Vec::new();
        for (index, opened) in opened.iter().enumerate() {
            let Ok((_, position)) = opened else { continue };
            let mut shards = layout.shards_in(index);
            if let (Some(position), Some(first)) = (position, layout.shards_in(index).next()) {
                record.push((Kind::Server, first.name(), position.text()));
            }
            if databases.get(index).is_some_and(|database| !database.driver.is_private()) {
                let is_unknown = |shard: &&Shard| mode == Mode::Create || !facts.is_made(shard.name());
                record.extend(
                    shards
                        .by_ref()
                        .filter(is_unknown)
                        .map(|shard| (Kind::Shard, shard.name(), MADE.to_owned())),
                );
            }
        }
        let recorded = if control.driver.is_private() { Ok(()) } else { control.record(&record) };
        let connections = opened.into_iter().map(|opened| opened.map(|(connection, _)| connection));
        let connections = connections.collect::<Result<Vec<_>>>();
        let connections = connections.map_err(|error| self.opening.with_differences(error))?;
        let highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        match control.start_ids_above(&highest) {
            // A cluster that cannot be written generates no ids.
            Err(error) if mode == Mode::Open && error.kind() == ErrorKind::ReadOnly => {}
            started => started.map_err(|error| {
                let message = format!("the control database: {error}");
                Error::new(error.kind(), message).with_source(error)
            })?,
        }
        match (mode, recorded) {
            (Mode::Create, Err(error)) => {
                let message = format!("the control database: {error}");
                Err(Error::new(error.kind(), message).with_source(error))
            }
            // If control cannot be written, the cluster can still be read, and the next process records it.
            _ => Ok(connections),
        }
    }

    /// Finds differences between tables and models for an error that is returned in any case.
    fn compare_existing(&self, index: usize) {
        if let Some(Database { driver }) = self.opening.databases.get(index)
            && let Ok(connection) = driver.connect_waiting(Mode::Open, self.timeout)
        {
            let _ = self.opening.compare_existing(&*connection, index);
        }
    }

    fn open_all(&self) -> Vec<Result<Opened>> {
        let databases = self.opening.databases.len();
        let threads = databases.min(AT_ONCE);
        if threads < 2 {
            return (0..databases).map(|database| self.open_one(database, Mode::Open)).collect();
        }
        let (next, opened) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(databases)));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let database = next.fetch_add(1, Ordering::Relaxed);
                        if database >= databases {
                            return;
                        }
                        let one = self.open_one(database, Mode::Open);
                        opened.lock().unwrap_or_else(PoisonError::into_inner).push((database, one));
                    }
                });
            }
        });
        let mut opened = opened.into_inner().unwrap_or_else(PoisonError::into_inner);
        opened.sort_by_key(|(database, _)| *database);
        opened.into_iter().map(|(_, one)| one).collect()
    }

    fn open_one(&self, index: usize, mode: Mode) -> Result<Opened> {
        let Opening { layout, databases, .. } = &self.opening;
        let Some(Database { driver }) = databases.get(index) else { return Ok((None, None)) };
        // The file or the schema of a shard that existed is not made again.
        let exists = layout.shards_in(index).any(|shard| self.opening.must_exist(shard));
        let how = if exists { Mode::Open } else { mode };
        let connected = driver.connect_waiting(how, self.timeout);
        let connection = connected.map_err(|error| self.opening.unreachable(error, index))?;
        let opened = match self.prepares && driver.dialect().prepares_transactions() {
            true => opening::check_prepares(&*connection),
            false => Ok(()),
        };
        let opened = opened.and_then(|()| match mode {
            Mode::Create => self.opening.create(&*connection, index),
            Mode::Open => self.opening.check(&*connection, index),
        });
        let opened = opened.and_then(|position| {
            // Before a migration, tables may not exist yet.
            for shard in layout.shards_in(index).filter(|_| !self.opening.migrates) {
                let mut held = match ids::highest(&*connection, layout.place(shard.index())?, layout) {
                    // A role that may not read the tables adds no rows.
                    Err(error) if mode == Mode::Open && error.kind() == ErrorKind::Denied => continue,
                    held => held.map_err(|error| error.on_shard(shard.name()))?,
                };
                self.highest.lock().unwrap_or_else(PoisonError::into_inner).append(&mut held);
            }
            Ok(position)
        });
        // An error of the whole database names its first shard.
        let position = opened.map_err(|error| match layout.shards_in(index).next() {
            Some(shard) => error.on_shard(shard.name()),
            None => error,
        })?;
        // Connecting to a server is slow, so that the pool takes this connection.
        Ok((Some(connection).filter(|_| driver.dialect().is_on_server()), position))
    }
}

/// Refuses a shard whose URL names no schema, if the default schema holds no shard and another schema of the role's
/// `search_path` does: releases before this one made the tables there.
fn refuse_elsewhere(databases: &[Database], layout: &Layout, timeout: Duration) -> Result<()> {
    for (index, database) in databases.iter().enumerate() {
        let places =
            || layout.shards_in(index).filter_map(|shard| Some((shard, layout.place(shard.index()).ok()?)));
        let Some((shard, Place { names, .. })) = places().find(|(_, place)| place.is_default_schema) else {
            continue;
        };
        let Ok(connection) = database.driver.connect_waiting(Mode::Open, timeout) else { continue };
        let named: Vec<&str> = places().filter_map(|(_, place)| place.names.schema.as_deref()).collect();
        opening::refuse_elsewhere(&*connection, names, &named)
            .map_err(|error| error.on_shard(shard.name()))?;
    }
    Ok(())
}

/// Refuses to make a control database for shards that have one elsewhere: sequences would begin again and hand out ids that
/// are in use.
fn refuse_orphans(
    databases: &[Database],
    control: &dyn Driver,
    names: &Namespace,
    layout: &Layout,
    timeout: Duration,
) -> Result<()> {
    let is_there = || match control.connect_waiting(Mode::Open, timeout) {
        Ok(connection) => Ok(!connection.columns(names, CLUSTER)?.is_empty()),
        Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
        Err(error) => {
            let message = format!("the control database: {error}");
            Err(Error::new(error.kind(), message).with_source(error))
        }
    };
    if control.is_private() || is_there()? {
        return Ok(());
    }
    for (index, database) in databases.iter().enumerate() {
        let Ok(connection) = database.driver.connect_waiting(Mode::Open, timeout) else { continue };
        for shard in layout.shards_in(index) {
            let is_shard = opening::identity(&*connection, &layout.place(shard.index())?.names)?.is_some();
            // Another process may be making the cluster at this moment, the control database first.
            if is_shard && !is_there()? {
                let message = format!(
                    "the shard belongs to a cluster whose control database is not at {}; without it ids would be \
                     handed out twice: restore it",
                    control.describe()
                );
                return Err(Error::new(ErrorKind::WrongDatabase, message).on_shard(shard.name()));
            }
        }
    }
    Ok(())
}

//! The configuration of a cluster: its shards and its settings. Opening it is in `build`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::driver::{Durability, Mode, SqliteSettings};
use crate::error::Result;
use crate::query::Models;
use crate::tasks::{Observer, Parallelism, StatementEvent};
use crate::transaction::{Cluster, KnownVersion, RetryPolicy};

/// The configuration of a cluster: its shards, and how sessions use them.
#[derive(Clone)]
pub struct Builder {
    pub(super) shards: Vec<(String, String)>,
    pub(super) control: Option<String>,
    pub(super) folder: PathBuf,
    pub(super) connections: Option<u32>,
    pub(super) async_sessions: Option<u32>,
    pub(super) sqlite: SqliteSettings,
    pub(super) observer: Option<Observer>,
    /// The version of the program, if it has called `migrate`.
    pub(super) known_version: Arc<KnownVersion>,
    pub(super) retry: RetryPolicy,
    pub(super) parallelism: Parallelism,
    pub(super) without_prepared_transactions: bool,
    pub(super) replaced: Vec<String>,
    /// Whether the tables may differ from the models, because a migration follows.
    pub(super) migrates: bool,
    /// Whether the one shard has tables that another program has made.
    pub(super) adopts: bool,
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
            known_version: Arc::default(),
            migrates: false,
            adopts: false,
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
    /// | `sqlite:all.db?prefix=a_` | tables by prefix, if several shards share a file |
    /// | `sqlite::memory:` | a database in memory |
    /// | `postgres://user:password@host:5432/database` | a database on a server, with the feature `postgres` |
    /// | `postgres://user@host/database?schema=a` | a schema, if several shards share a database; without it, `public` |
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
    /// A new cluster records the shards in this order: hash placement depends on it, and unordered rows of several shards are
    /// returned in it. Later the recorded order counts, and the shards may be configured in any order.
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

    /// Sets how long a session waits for a lock or a connection before it fails with [`ErrorKind::Busy`](crate::ErrorKind::Busy). Default: 5
    /// seconds.
    ///
    /// This is the longest wait. A session fails earlier
    ///
    /// - if sessions of this cluster handle wait for one another's SQLite databases: the youngest one fails at once;
    /// - in the first tries of [`Cluster::transaction`] with locks on several databases. They wait 20 ms for a server's lock or a
    ///   connection, and then take all locks again in the cluster's order.
    ///
    /// A session waits up to twice as long if it waits first for a session of this process and then for another process.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.sqlite.busy_timeout = timeout;
        self
    }

    /// Sets when commits wait for the disk (`PRAGMA synchronous`, `synchronous_commit`). Default: [`Durability::Full`], at every
    /// commit. All processes of a cluster have to use the same setting.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.sqlite.synchronous = durability;
        self
    }

    /// Sets how many connections all databases of the cluster may have together: at least one per database, at most 10,000.
    /// Default: 10 per database. A session holds a connection of each database that it uses, from its first statement there
    /// until its commit or rollback.
    ///
    /// Idle connections are kept. One is closed to make room for another database in three cases:
    ///
    /// - The other database has no connection, or at least two fewer.
    /// - A session has waited for 20 ms, and the connection has been idle for as long.
    /// - The session holds no connection, its database has an equal share already, and the connection has been idle for a second.
    ///   A `busy_timeout` below four seconds shortens this to a quarter of it.
    ///
    /// Otherwise a session waits for a connection of its own database. A running thread may overtake threads that wait for the
    /// same database, at most 64 times in a row. This is because waking a thread takes longer than a short read.
    ///
    /// Sessions cannot deadlock on the pool: a connection is granted only if afterwards some session can still obtain one of
    /// every database (the banker's algorithm). Sessions that hold connections come before new ones. Of `n` connections to `d`
    /// databases, `n / d` sessions can use all databases at once, or `n - d + 1` sessions one each. Others wait up to the
    /// [`busy_timeout`](Builder::busy_timeout). A session keeps its connections while it waits for a row's lock, or for a
    /// database that does not answer. If many sessions may do so, raise the limit.
    ///
    /// The limit is lower if the process may open too few file descriptors (`ulimit -n`) when the cluster is opened. Each
    /// database counts three, and each further connection four. If the process runs out of descriptors, or a server of
    /// connections, idle connections are closed and the session retries until the busy timeout. Then it fails with
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy), and the message names the limit.
    ///
    /// The control database has one connection beside these. A server temporarily has one more if a session waits for a lock
    /// there, or if it was lost during a commit. This connection finishes participants that are still prepared.
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = Some(connections);
        self
    }

    /// Sets how many async sessions may be in the middle of a transaction at once, each with its own thread: 1 to 10,000.
    /// Default: as many as can use every database without waiting for a connection, which is 10 unless
    /// [`connections`](Builder::connections) is set. Further sessions wait, see [`AsyncSession`](crate::AsyncSession). Threads
    /// are started when they are needed.
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

    /// Allows opening a cluster whose PostgreSQL servers cannot prepare transactions (`max_prepared_transactions` is 0 by
    /// default). A commit over several databases, one of them a server, is then an error, unless it is
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

    /// Lets [`Builder::create`] make a lost shard again, without its rows. Otherwise `create` refuses a shard that existed and
    /// whose database is missing: its disk may only be unmounted.
    ///
    /// All other checks are made. The rows of the shard are lost, and
    ///
    /// - its reference tables are filled from the other shards;
    /// - lookup entries of its rows remain until [`Cluster::repair`] removes them;
    /// - ids that its database counted (`#[id(auto)]`) begin again;
    /// - statements of decided transactions that had not yet run on it are dropped.
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
    /// - [`Builder::create`] fails with [`ErrorKind::WrongDatabase`](crate::ErrorKind::WrongDatabase) if the shard is not lost.
    /// - It fails with [`ErrorKind::UnknownShard`](crate::ErrorKind::UnknownShard) if the shard is not configured.
    /// - [`Builder::open`] fails with [`ErrorKind::Configuration`](crate::ErrorKind::Configuration).
    pub fn replace_lost(mut self, shard: impl Into<String>) -> Self {
        self.replaced.push(shard.into());
        self
    }

    /// Makes the databases, tables and indexes that do not exist, and opens the cluster. It changes nothing that exists, and
    /// continues an earlier call that was interrupted. It accepts layout changes that move no row: a new model, a new list value,
    /// a new shard.
    ///
    /// A shard that is added is *spare*: it has the tables and no rows, and no query reads it. Programs that do not configure it
    /// continue to work. It gets keys, and the rows of the reference tables, when a new list value or a new range names it.
    ///
    /// If a column has become a `#[lookup]` in this release, its rows get their entries. Until then the cluster cannot be opened
    /// with these models.
    ///
    /// # Errors
    /// - Those of [`Builder::open`], naming the first shard that failed.
    /// - [`ErrorKind::Unique`](crate::ErrorKind::Unique) if rows share a value of a column that has become a `#[lookup]` in this
    ///   release.
    pub fn create<M: Models>(self) -> Result<Cluster> {
        self.build::<M>(Mode::Create)
    }

    /// Opens a cluster that was made by [`Builder::create`]. It makes nothing.
    ///
    /// # Errors
    /// Each names the shard:
    ///
    /// - [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the settings or the models contradict each other.
    /// - [`ErrorKind::Missing`](crate::ErrorKind::Missing) if a database does not exist.
    /// - [`ErrorKind::WrongDatabase`](crate::ErrorKind::WrongDatabase) if a database is another shard.
    /// - [`ErrorKind::Layout`](crate::ErrorKind::Layout) if the recorded layout places keys differently.
    /// - [`ErrorKind::Schema`](crate::ErrorKind::Schema) if a table differs from its model.
    pub fn open<M: Models>(self) -> Result<Cluster> {
        self.build::<M>(Mode::Open)
    }

    /// Opens a cluster whose tables may differ from the models.
    pub(super) fn open_to_migrate<M: Models>(mut self) -> Result<Cluster> {
        self.migrates = true;
        self.build::<M>(Mode::Open)
    }

    /// Returns the configuration without some shards, which are selected by their names.
    pub(super) fn without(mut self, is_left_out: impl Fn(&str) -> bool) -> Self {
        // The control database stays beside the first file.
        let first = self.shards.iter().map(|(_, url)| url.split('?').next().unwrap_or_default());
        let mut files = first.filter(|url| url.starts_with("sqlite:") && !url.ends_with(":memory:"));
        if let (None, Some(url)) = (&self.control, files.next())
            && let Some(end) = url.rfind(['/', ':'])
        {
            self.control = url.get(..=end).map(|folder| format!("{folder}control.db"));
        }
        self.shards.retain(|(name, _)| !is_left_out(name));
        self
    }

    /// Replaces the URL of each shard, which is selected by its index and its name.
    #[cfg(feature = "admin")]
    pub(super) fn replace_urls(&mut self, mut url: impl FnMut(usize, &str) -> Result<String>) -> Result<()> {
        let each = self.shards.iter_mut().enumerate();
        { each }.try_for_each(|(index, (name, old))| url(index, name).map(|new| *old = new))
    }

    #[cfg(feature = "admin")]
    pub(super) fn is_without_prepared_transactions(&self) -> bool {
        self.without_prepared_transactions
    }
}

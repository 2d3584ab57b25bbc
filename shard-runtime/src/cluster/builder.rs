//! What a cluster consists of, and how it is opened: every database is connected to, made or looked at, and what was left
//! undone is finished.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::control::Control;
use super::url::{Location, Source};
use super::workers::Workers;
use super::{Cluster, Database, Inner, Layout, Place, opening};
use crate::asynchronous::Threads;
#[cfg(feature = "postgres")]
use crate::driver::PostgresDriver;
use crate::driver::{
    Check, Connection, Driver, Mode, Pool, SqliteDriver, SqliteSettings, SqliteSource, Synchronous,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Models, Table};
use crate::session::{Observer, StatementEvent};
use crate::shards::{Shard, Shards};
use crate::sql::Dialect;

/// What a cluster consists of: its shards, and how they are used.
#[derive(Clone)]
pub struct Builder {
    shards: Vec<(String, String)>,
    control: Option<String>,
    pub(super) folder: PathBuf,
    connections: Option<u32>,
    async_sessions: Option<u32>,
    sqlite: SqliteSettings,
    observer: Option<Observer>,
    single_shard_units: bool,
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
                synchronous: Synchronous::Full,
                cache_kib: 64 * 1024,
                mapped_bytes: 256 * 1024 * 1024,
            },
            observer: None,
            single_shard_units: false,
        }
    }
}

impl Builder {
    /// Adds a shard. Its URL is `sqlite:<path>`, `sqlite:<path>?prefix=<prefix>` where several shards share a
    /// file, or `sqlite::memory:`; with the feature `postgres` also `postgres://<user>:<password>@<host>/<database>`, and
    /// with `?schema=<schema>` where several shards share a database. Shards of all kinds can be of one cluster.
    ///
    /// Connections to a server are encrypted where the URL says so and the feature `tls` is there:
    ///
    /// | `sslmode=` | |
    /// |---|---|
    /// | nothing, or `disable` | not encrypted, with the feature or without it |
    /// | `prefer` | encrypted where the server offers it; not where it does not, nor without the feature |
    /// | `require`, `verify-full` | encrypted, or an error |
    ///
    /// What encrypts verifies: that an authority that is trusted has signed the server's certificate, and that it is for
    /// the host that the URL names. So `require` is stricter than `libpq` has it, and the same as `verify-full`; and a
    /// server whose certificate is not trusted is an error under `prefer`, too. The authorities are the platform's or,
    /// with `sslrootcert=<path>`, those in that file of PEM certificates and no others.
    ///
    /// The order of the shards is part of the cluster's layout: hash placement counts them, and answers from
    /// several shards come in this order where nothing else orders them.
    pub fn shard(mut self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.shards.push((name.into(), url.into()));
        self
    }

    /// Where the control database is; without this, `control.db` beside the first shard's file or, where no shard is a
    /// file, in the first server's shard.
    pub fn control(mut self, url: impl Into<String>) -> Self {
        self.control = Some(url.into());
        self
    }

    /// How long a session waits for a lock or a connection before it gives up with
    /// [`ErrorKind::Busy`]; 5 seconds unless said.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.sqlite.busy_timeout = timeout;
        self
    }

    /// When SQLite waits for the disk; at every commit unless said.
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.sqlite.synchronous = synchronous;
        self
    }

    /// How many connections the cluster's databases may have, all of them together: up to 10,000; 10 for each database
    /// unless said. A session holds one of each database that it uses, from its first statement there until its commit or
    /// rollback; and it may come to use all of them, so that as many as there are databases are the least. A database may
    /// have any number of them: what nobody uses is kept, and closed where another database needs its room.
    ///
    /// A session that holds connections never waits for others that do and wait for it in turn: none is given away after
    /// which no session could have one of every database. So with `n` connections to `d` databases `n / d` sessions that
    /// use all of them can be under way at once, or `n - d + 1` that use one each. Who finds none waits as long as
    /// [`busy_timeout`](Builder::busy_timeout) says. A session that waits for a database that does not answer has its
    /// connections meanwhile, as one that waits for a lock has: where that may be many, say more.
    ///
    /// Beside them there is one connection to the control database and, where a server was lost in the middle of a commit
    /// over several, for a moment one more that finishes it.
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = Some(connections);
        self
    }

    /// How many async sessions may be in the middle of a unit of work at once, each with a thread of its own: 1 to
    /// 10,000. Unless said, as many as there are connections for if each uses every database (which is 10 unless
    /// [`connections`](Builder::connections) says otherwise): none of them waits for another's connection then. Others
    /// wait for their turn, see [`AsyncSession`](crate::AsyncSession). The threads are started when they are needed.
    pub fn async_sessions(mut self, sessions: u32) -> Self {
        self.async_sessions = Some(sessions);
        self
    }

    /// The page cache of each SQLite connection, in KiB; 64 MiB unless said.
    pub fn cache_kib(mut self, kib: u32) -> Self {
        self.sqlite.cache_kib = kib;
        self
    }

    /// How much of each SQLite file is mapped into memory, in bytes; 256 MiB unless said.
    pub fn mapped_bytes(mut self, bytes: u64) -> Self {
        self.sqlite.mapped_bytes = bytes;
        self
    }

    /// Opens the cluster for units of work that write one database each: PostgreSQL servers need not be able to prepare
    /// transactions (`max_prepared_transactions`, which is 0 unless somebody has set it). A commit over several
    /// databases of which one is a server is then an error, unless it is
    /// [`Commit::BestEffort`](crate::Commit::BestEffort).
    pub fn single_shard_units(mut self) -> Self {
        self.single_shard_units = true;
        self
    }

    /// Calls this after every statement, on the thread of its session. It is told the shard, the SQL, the
    /// number of rows and the time, not the values.
    pub fn on_statement(mut self, observer: impl Fn(&StatementEvent<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(observer));
        self
    }

    /// Makes the databases, tables and indexes that are not there yet, and opens the cluster. Said again it
    /// changes nothing; where it stopped half-way, it goes on. It also records what the layout says more than
    /// before, where no row can be in the wrong place for it: a new model, a value that was placed nowhere, a
    /// shard after the others that nothing is hashed over. Such a shard gets the rows of the reference tables.
    ///
    /// # Errors
    /// Those of [`Builder::open`], naming the first shard that failed.
    pub fn create<M: Models>(self) -> Result<Cluster> {
        self.build::<M>(Mode::Create)
    }

    /// Opens a cluster that was made by [`Builder::create`]. It makes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where the builder's content or its models do not fit together,
    /// [`ErrorKind::Missing`] where there is no such database, [`ErrorKind::Identity`] where a database is not
    /// the shard that it should be, [`ErrorKind::Layout`] where keys are placed otherwise than when the shards
    /// were made, [`ErrorKind::Schema`] where a table is not what its model says; each names the shard.
    pub fn open<M: Models>(self) -> Result<Cluster> {
        self.build::<M>(Mode::Open)
    }

    fn build<M: Models>(self, mode: Mode) -> Result<Cluster> {
        self.check_settings()?;
        let shards = Shards::named(self.shards.iter().map(|(name, _)| name.clone()))?;
        let (sources, places) = self.places(&shards)?;
        let mut tables: Vec<&'static Table> = Vec::new();
        M::tables(&mut tables);
        let mut lookups = Vec::new();
        M::lookups(&mut lookups);
        let layout = Layout::new(shards, places, tables, lookups)?;

        let databases: Vec<Database> =
            sources.iter().map(|source| Database { driver: self.driver(source).into() }).collect();
        let connections = self.connections_to(databases.len())?;
        let mut first: Vec<Option<Box<dyn Connection>>> = Vec::with_capacity(databases.len());
        let control_source = self.control_source(&sources)?;
        if mode == Mode::Create {
            refuse_orphans(&databases, &control_source, &layout, self.sqlite.busy_timeout)?;
        }
        let control_driver = self.driver(&control_source);
        let timeout = self.sqlite.busy_timeout;
        let control = Control::open(control_driver, mode, self.sqlite, layout.tables()).map_err(|error| {
            Error::new(error.kind(), format!("the control database: {error}")).with_source(error)
        })?;
        layout.shards().belong_to(&control.cluster);
        let durable = databases.iter().filter(|database| !database.driver.is_private()).count();
        let prepares = durable > 1 && !self.single_shard_units;
        for (index, database) in databases.iter().enumerate() {
            let made = database.driver.connect_waiting(mode, timeout).and_then(|connection| {
                if prepares && database.driver.dialect() == Dialect::Postgres {
                    opening::check_prepares(&*connection)?;
                }
                match mode {
                    Mode::Create => opening::create(&*connection, index, &layout, &control)?,
                    Mode::Open => opening::verify(&*connection, index, &layout, &control.cluster)?,
                }
                Ok(connection)
            });
            // Where the database itself fails, the first of its shards stands for it.
            let made = made.map_err(|error| match layout.shards_in(index).next() {
                Some(shard) => error.on_shard(shard.name()),
                None => error,
            })?;
            // Connecting to a server takes long, so that this one is kept.
            first.push(Some(made).filter(|_| database.driver.dialect() == Dialect::Postgres));
        }
        let is_decided = durable > 1 && control.decides();
        let workers = Arc::new(Workers::new(layout.tables().count()));
        let check = identity_check(&layout, databases.len(), &control.cluster)?;
        let drivers = databases.iter().map(|database| Arc::clone(&database.driver)).collect();
        let pool = Pool::new(drivers, first, connections, timeout, check);
        let sessions = match self.async_sessions {
            Some(sessions) => usize::try_from(sessions).unwrap_or(usize::MAX),
            None => connections / databases.len().max(1),
        };
        let cluster = Cluster(Arc::new(Inner {
            layout,
            databases,
            control,
            is_decided,
            single_shard_units: self.single_shard_units,
            recovered: Mutex::default(),
            pool,
            timeout,
            workers,
            async_threads: Threads::new(sessions, timeout),
            observer: self.observer,
        }));
        cluster.recover()?;
        if mode == Mode::Create {
            cluster.fill_references()?;
        }
        Ok(cluster)
    }

    fn driver(&self, source: &Source) -> Box<dyn Driver> {
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
        let wrong = |said: String| Err(Error::new(ErrorKind::Configuration, said));
        let connections = self.connections.unwrap_or(1);
        if !(1..=MOST_CONNECTIONS).contains(&connections) {
            return wrong(format!("{connections} connections are not 1 to {MOST_CONNECTIONS}"));
        }
        let sessions = self.async_sessions.unwrap_or(1);
        if !(1..=MOST_CONNECTIONS).contains(&sessions) {
            return wrong(format!("{sessions} async sessions are not 1 to {MOST_CONNECTIONS}"));
        }
        if self.sqlite.busy_timeout > LONGEST_WAIT {
            return wrong(format!(
                "a busy timeout of {:?} is longer than {LONGEST_WAIT:?}",
                self.sqlite.busy_timeout
            ));
        }
        Ok(())
    }

    /// How many connections there may be to so many databases.
    fn connections_to(&self, databases: usize) -> Result<usize> {
        match self.connections.map(|connections| usize::try_from(connections).unwrap_or(usize::MAX)) {
            None => Ok(databases.saturating_mul(CONNECTIONS)),
            Some(connections) if connections < databases => {
                let said = format!(
                    "{connections} connections are too few for the {databases} databases of the cluster: a session may \
                     need one of each, so that {databases} are the least"
                );
                Err(Error::new(ErrorKind::Configuration, said))
            }
            Some(connections) => Ok(connections),
        }
    }

    /// The databases, and where each shard's tables are.
    fn places(&self, shards: &Shards) -> Result<(Vec<Source>, Vec<Place>)> {
        let mut sources: Vec<Source> = Vec::new();
        let mut places = Vec::new();
        for (shard, (_, url)) in shards.iter().zip(&self.shards) {
            let Location { source, prefix } =
                Location::parse(url, &self.folder).map_err(|error| error.on_shard(shard.name()))?;
            let dialect = match source {
                Source::Sqlite(_) => Dialect::Sqlite,
                #[cfg(feature = "postgres")]
                Source::Postgres(_) => Dialect::Postgres,
            };
            let database = sources.iter().position(|other| is_same(other, &source)).unwrap_or_else(|| {
                sources.push(source);
                sources.len() - 1
            });
            places.push(Place { database, prefix, dialect });
        }
        Ok((sources, places))
    }

    /// Where the control database is: beside the files, where there are files, and without them on the first server.
    fn control_source(&self, sources: &[Source]) -> Result<Source> {
        #[cfg(feature = "postgres")]
        let has_files = sources.iter().any(|source| matches!(source, Source::Sqlite(SqliteSource::File(_))));
        let source = match &self.control {
            Some(url) => {
                let wrong =
                    |said| Error::new(ErrorKind::Configuration, format!("the control database: {said}"));
                let Location { source, prefix } =
                    Location::parse(url, &self.folder).map_err(|error| wrong(error.to_string()))?;
                if !prefix.is_empty() {
                    return Err(wrong("it has no shards, and so no `?prefix=`".to_owned()));
                }
                match source {
                    #[cfg(feature = "postgres")]
                    Source::Postgres(_) if has_files => {
                        let said =
                            "units of work over SQLite files are decided in a SQLite database beside them";
                        return Err(wrong(said.to_owned()));
                    }
                    source => source,
                }
            }
            None => {
                let beside = sources.iter().find_map(|source| match source {
                    Source::Sqlite(SqliteSource::File(path)) => {
                        Some(Source::Sqlite(SqliteSource::File(path.with_file_name("control.db"))))
                    }
                    _ => None,
                });
                #[cfg(feature = "postgres")]
                let beside = beside
                    .or_else(|| sources.iter().find(|source| matches!(source, Source::Postgres(_))).cloned());
                beside.unwrap_or_else(|| Source::Sqlite(SqliteSource::memory()))
            }
        };
        let is_file = matches!(source, Source::Sqlite(_));
        match is_file && sources.iter().any(|other| is_same(other, &source)) {
            true => Err(Error::new(
                ErrorKind::Configuration,
                "the control database is a shard's file; name another with `control`",
            )),
            false => Ok(source),
        }
    }
}

/// More connections help nobody.
const MOST_CONNECTIONS: u32 = 10_000;

/// How many connections there may be for each database, unless somebody says how many in all.
const CONNECTIONS: usize = 10;

/// A day: who waits longer for a lock wants something else.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What every new connection to one of the databases is looked at with: whether they are still the shards that they were.
fn identity_check(layout: &Layout, databases: usize, cluster: &str) -> Result<Box<Check>> {
    let named = |shard: &Shard| Ok((shard.clone(), layout.place(shard.index())?.prefix.clone()));
    let shards = (0..databases).map(|database| layout.shards_in(database).map(named).collect());
    let shards: Vec<Vec<(Shard, String)>> = shards.collect::<Result<_>>()?;
    let cluster = cluster.to_owned();
    Ok(Box::new(move |database, connection| {
        let mut shards = shards.get(database).into_iter().flatten();
        shards.try_for_each(|(shard, prefix)| opening::check_identity(connection, shard, prefix, &cluster))
    }))
}

/// Whether two sources are one database, as far as can be told.
fn is_same(a: &Source, b: &Source) -> bool {
    match (a, b) {
        (Source::Sqlite(a), Source::Sqlite(b)) => same_file(a, b),
        #[cfg(feature = "postgres")]
        (Source::Postgres(a), Source::Postgres(b)) => a.is_same(b),
        #[cfg(feature = "postgres")]
        _ => false,
    }
}

/// Whether two sources are one database, however their paths are written.
fn same_file(a: &SqliteSource, b: &SqliteSource) -> bool {
    let real = |path: &Path| -> PathBuf {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        match (absolute.canonicalize(), absolute.parent(), absolute.file_name()) {
            (Ok(real), ..) => real,
            (Err(_), Some(folder), Some(name)) => {
                folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join(name)
            }
            (Err(_), ..) => absolute,
        }
    };
    match (a, b) {
        (SqliteSource::File(a), SqliteSource::File(b)) => real(a) == real(b),
        (a, b) => a == b,
    }
}

/// Shards without their control database are not made anew around: sequences would begin again and hand out
/// ids that are in use.
fn refuse_orphans(
    databases: &[Database],
    control: &Source,
    layout: &Layout,
    timeout: Duration,
) -> Result<()> {
    let Source::Sqlite(SqliteSource::File(path)) = control else { return Ok(()) };
    if path.exists() {
        return Ok(());
    }
    for (index, database) in databases.iter().enumerate() {
        let Ok(connection) = database.driver.connect_waiting(Mode::Open, timeout) else { continue };
        for shard in layout.shards_in(index) {
            let is_shard = opening::identity(&*connection, &layout.place(shard.index())?.prefix)?.is_some();
            // Somebody else may be making the cluster at this moment, the control database first.
            if is_shard && !path.exists() {
                let said = format!(
                    "the shard belongs to a cluster whose control database is not at {}; without it ids would be \
                     handed out twice",
                    path.display()
                );
                return Err(Error::new(ErrorKind::Identity, said).on_shard(shard.name()));
            }
        }
    }
    Ok(())
}

//! The kinds of cluster that the rules are tested on, and how a test looks at one from outside.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use shard_runtime::{Builder, Cluster, Models, Synchronous};
use tempfile::TempDir;

use crate::postgres_server::Server;

/// Instantiates tests once for every kind of cluster, as `files::…`, `memory::…`, `prefixed::…`, `mixed::…` and
/// `schemas::…`.
macro_rules! on_every_backend {
    ($($test:ident),* $(,)?) => {
        on_every_sqlite! { $($test),* }
        on_every_sqlite!(@ schemas Schemas { $($test)* });
    };
}

/// The same for what only SQLite does.
macro_rules! on_every_sqlite {
    ($($test:ident),* $(,)?) => {
        on_every_sqlite!(@ files Files { $($test)* });
        on_every_sqlite!(@ memory Memory { $($test)* });
        on_every_sqlite!(@ prefixed Prefixed { $($test)* });
        on_every_sqlite!(@ mixed Mixed { $($test)* });
    };
    (@ $module:ident $kind:ident { $($test:ident)* }) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    let kind = crate::backend::Kind::$kind;
                    if kind.is_there() {
                        super::$test(&crate::backend::Backend::new(kind));
                    }
                }
            )*
        }
    };
}

/// The shards of the models whose key is a continent, in the cluster's order.
pub const CONTINENTS: [&str; 4] = ["north_america", "asia", "europe", "south_america"];

/// The shards of the other models.
pub const LETTERS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A SQLite file for each shard.
    Files,
    /// A SQLite database in memory for each shard.
    Memory,
    /// One SQLite file, and a prefix for each shard's tables.
    Prefixed,
    /// The first shard in memory, the second in a file, the others in one file with prefixes.
    Mixed,
    /// A schema of one PostgreSQL server for each shard.
    Schemas,
}

impl Kind {
    /// Whether such a cluster can be made on this machine; where not, that is said loudly.
    pub fn is_there(self) -> bool {
        self != Kind::Schemas || server().is_some()
    }
}

/// The PostgreSQL servers of all tests: none, where none is installed, which is said loudly.
fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let start = || {
        let server = Server::start_with(&["max_connections=400", "max_prepared_transactions=100"])?;
        server.stop_with_the_process();
        Some(server)
    };
    SERVER.get_or_init(start).as_ref()
}

/// One kind of cluster, and a folder of its own to make clusters in.
pub struct Backend {
    pub kind: Kind,
    folder: TempDir,
    /// What the schemas of this backend begin with.
    schemas: String,
    /// How long sessions wait for a lock, in milliseconds.
    wait: AtomicU64,
}

impl Backend {
    pub fn new(kind: Kind) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Backend {
            kind,
            folder: tempfile::tempdir().unwrap(),
            schemas: format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed)),
            wait: AtomicU64::new(20_000),
        }
    }

    /// For tests in which a wait is in vain.
    pub fn does_not_wait_long(&self) {
        self.wait.store(150, Ordering::Relaxed);
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether a cluster outlives its handle, and can be looked at with plain `rusqlite`.
    pub fn is_on_disk(&self) -> bool {
        matches!(self.kind, Kind::Files | Kind::Prefixed)
    }

    /// Whether each shard has a database of its own.
    pub fn is_separate(&self) -> bool {
        matches!(self.kind, Kind::Files | Kind::Memory | Kind::Schemas)
    }

    /// How a shard of this name is kept.
    fn kept(&self, shard: &str) -> Kind {
        match (self.kind, shard) {
            (Kind::Mixed, "north_america" | "a") => Kind::Memory,
            (Kind::Mixed, "asia" | "b") => Kind::Files,
            (Kind::Mixed, _) => Kind::Prefixed,
            (kind, _) => kind,
        }
    }

    pub fn url(&self, shard: &str) -> String {
        let path = self.path(shard);
        match self.kept(shard) {
            Kind::Memory => "sqlite::memory:".to_owned(),
            Kind::Prefixed => format!("sqlite:{}?prefix={shard}_", path.display()),
            Kind::Schemas => format!("{}?schema={}_{shard}", server().unwrap().url(), self.schemas),
            Kind::Files | Kind::Mixed => format!("sqlite:{}", path.display()),
        }
    }

    /// The file that holds a shard.
    pub fn path(&self, shard: &str) -> PathBuf {
        self.folder().join(match self.kept(shard) {
            Kind::Prefixed => "together.db".to_owned(),
            Kind::Files | Kind::Memory | Kind::Mixed | Kind::Schemas => format!("{shard}.db"),
        })
    }

    /// A builder with these shards, in which nothing waits for the disk.
    pub fn builder(&self, shards: &[&str]) -> Builder {
        let builder = Cluster::builder()
            .synchronous(Synchronous::Normal)
            .busy_timeout(Duration::from_millis(self.wait.load(Ordering::Relaxed)))
            .cache_kib(1024)
            .mapped_bytes(0);
        shards.iter().fold(builder, |builder, shard| builder.shard(*shard, self.url(shard)))
    }

    /// A new cluster of these shards, whose statements are watched.
    pub fn create<M: Models>(&self, shards: &[&str]) -> Watched {
        Watched::over(|builder| builder.create::<M>(), self.builder(shards))
    }

    /// A cluster that was made before, opened again.
    pub fn open<M: Models>(&self, shards: &[&str]) -> shard_runtime::Result<Watched> {
        let log = Log::default();
        let cluster = watched(&log, self.builder(shards)).open::<M>()?;
        Ok(Watched { cluster, log })
    }

    /// A plain connection to the database that holds a shard.
    pub fn raw(&self, shard: &str) -> rusqlite::Connection {
        assert!(self.is_on_disk());
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let raw = rusqlite::Connection::open_with_flags(self.path(shard), flags).unwrap();
        raw.busy_timeout(Duration::from_millis(2_000)).unwrap();
        raw
    }

    /// A shard's table as SQL names it.
    pub fn table(&self, shard: &str, table: &str) -> String {
        let prefix = if self.kept(shard) == Kind::Prefixed { format!("{shard}_") } else { String::new() };
        format!("\"{}\"", format!("{prefix}{table}").replace('"', "\"\""))
    }

    /// Runs SQL in every shard behind the library's back, `{table}` standing for the shard's table of this name
    /// and `{shard}` for the shard's own. `false` where there is no way behind it.
    pub fn plant(&self, shards: &[&str], table: &str, sql: &str) -> bool {
        if self.is_on_disk() {
            for shard in shards {
                let sql = sql.replace("{table}", &self.table(shard, table)).replace("{shard}", shard);
                self.raw(shard).execute_batch(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
        }
        self.is_on_disk()
    }

    /// One value of a shard's table, read behind the library's back.
    pub fn peek<T: rusqlite::types::FromSql>(&self, shard: &str, table: &str, select: &str) -> T {
        let sql = select.replace("{table}", &self.table(shard, table));
        self.raw(shard).query_row(&sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

/// The shard and the SQL of every statement, in the order in which they ended.
type Log = Arc<Mutex<Vec<(String, String)>>>;

fn watched(log: &Log, builder: Builder) -> Builder {
    let log = Arc::clone(log);
    builder.on_statement(move |event| {
        log.lock().unwrap().push((event.shard.name().to_owned(), event.sql.to_owned()));
    })
}

/// A cluster whose statements are watched.
pub struct Watched {
    cluster: Cluster,
    log: Log,
}

impl Watched {
    pub fn over(make: impl FnOnce(Builder) -> shard_runtime::Result<Cluster>, builder: Builder) -> Self {
        let log = Log::default();
        let cluster = make(watched(&log, builder)).unwrap();
        Watched { cluster, log }
    }

    /// What something returns, and how many statements each shard was asked for it, shards that were asked none
    /// left out. The counters and the hook must agree.
    pub fn counted<T>(&self, run: impl FnOnce() -> T) -> (T, Vec<(String, u64)>) {
        self.log.lock().unwrap().clear();
        let before: Vec<u64> = self.shards().iter().map(|shard| shard.statements()).collect();
        let result = run();
        let mut counts = Vec::new();
        for (shard, before) in self.shards().iter().zip(before) {
            let counter = shard.statements() - before;
            let told = self.log.lock().unwrap().iter().filter(|(name, _)| name == shard.name()).count();
            assert_eq!(counter, told as u64, "the counter and the hook differ on {shard}");
            if counter > 0 {
                counts.push((shard.name().to_owned(), counter));
            }
        }
        (result, counts)
    }

    /// What something returns, and the names of the shards that were asked for it, in the cluster's order.
    pub fn asked<T>(&self, run: impl FnOnce() -> T) -> (T, Vec<String>) {
        let (result, counts) = self.counted(run);
        (result, counts.into_iter().map(|(shard, _)| shard).collect())
    }

    /// The SQL of the statements since the last look.
    pub fn sql(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Deref for Watched {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

/// The names of the shards that rows came from.
pub fn shards_of<T: shard_runtime::Sharded>(rows: &[shard_runtime::Stored<T>]) -> Vec<&str> {
    rows.iter().map(|row| row.shard().name()).collect()
}

/// Asserts an error's kind, and that its message holds each of these texts.
#[track_caller]
pub fn assert_error<T>(result: shard_runtime::Result<T>, kind: shard_runtime::ErrorKind, texts: &[&str]) {
    let Err(error) = result else { panic!("no error where {kind:?} was expected") };
    assert_eq!(error.kind(), kind, "{error}");
    let message = error.to_string();
    for text in texts {
        assert!(message.contains(text), "`{text}` is missing in: {message}");
    }
}

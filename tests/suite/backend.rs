//! The kinds of cluster on which the rules are tested, and access to one from outside of the library.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use shard_runtime::{Builder, Cluster, Durability, Models};
use tempfile::TempDir;

use crate::client::Client;
use sharded_tests::postgres_server::Server;

/// Instantiates tests once for every kind of cluster: the test `r01_x` as `r01_x::files`, `r01_x::schemas` and so on.
/// Tests that apply to some kinds come last, behind the names of these [kinds or groups of kinds](on_kinds):
/// `only on_disk: r02_y, r03_z; only Files Servers: r04_z`.
macro_rules! on_every_backend {
    ($($test:ident),* $(,)? $(; only $($kind:ident)+: $($some:ident),+ $(,)?)*) => {
        $(on_kinds!(backend [every] $test);)*
        $(on_each_of!(backend [$($kind)+] $($some)+);)*
    };
}

/// The same for a rule about databases of both kinds in one cluster, for example about commits or merged orders. It also runs
/// on files beside servers.
macro_rules! on_every_mixture {
    ($($test:ident),* $(,)? $(; only $($kind:ident)+: $($some:ident),+ $(,)?)*) => {
        $(on_kinds!(mixture [every] $test);)*
        $(on_each_of!(mixture [$($kind)+] $($some)+);)*
    };
}

/// The same for a rule that does not depend on how many servers hold the shards: one PostgreSQL server is enough.
macro_rules! on_every_dialect {
    ($($test:ident),* $(,)? $(; only $($kind:ident)+: $($some:ident),+ $(,)?)*) => {
        $(on_kinds!(dialect [every] $test);)*
        $(on_each_of!(dialect [$($kind)+] $($some)+);)*
    };
}

/// The same for behaviour of SQLite alone.
macro_rules! on_every_sqlite {
    ($($test:ident),* $(,)? $(; only $($kind:ident)+: $($some:ident),+ $(,)?)*) => {
        $(on_kinds!(backend [SQLite] $test);)*
        $(on_each_of!(backend [$($kind)+] $($some)+);)*
    };
}

/// Instantiates tests for the kinds that stand before them: `on_some! { Files Everything: r05_a, r06_b }`.
macro_rules! on_some {
    ($($($kind:ident)+: $($some:ident),+ $(,)?);+) => {
        $(on_each_of!(backend [$($kind)+] $($some)+);)+
    };
}

/// The same for tests with many rows or values: of the kinds on SQLite, only files are tested without the feature `servers`.
macro_rules! on_every_backend_at_length {
    ($($test:ident),+ $(,)?) => {
        $(on_kinds!(length [SQLite PostgreSQL] $test);)+
    };
}

macro_rules! on_every_dialect_at_length {
    ($($test:ident),+ $(,)?) => {
        $(on_kinds!(length [SQLite Schemas] $test);)+
    };
}

/// The same for tests that take long: on SQLite, too, they run only with the feature `servers`.
macro_rules! on_some_at_length {
    ($($($kind:ident)+: $($some:ident),+ $(,)?);+) => {
        $(on_each_of!(long [$($kind)+] $($some)+);)+
    };
}

macro_rules! on_each_of {
    ($base:ident $kinds:tt $($test:ident)+) => {
        $(on_kinds!($base $kinds $test);)+
    };
}

/// Instantiates one test for some kinds and groups of kinds.
macro_rules! on_kinds {
    ($base:ident [$($kind:ident)+] $test:ident) => {
        mod $test {
            $(on_kind!($base $kind $test);)+
        }
    };
}

/// Instantiates one test for a kind, or for each kind of a group.
macro_rules! on_kind {
    (length SQLite $test:ident) => {
        on_kind!(backend Files $test);
        on_kind!(long Prefixed $test);
        on_kind!(long Memory $test);
        on_kind!(long Mixed $test);
    };
    (length PostgreSQL $test:ident) => {
        on_kind!(backend PostgreSQL $test);
    };
    ($base:ident every $test:ident) => {
        on_kind!($base SQLite $test);
        on_kind!($base PostgreSQL $test);
    };
    ($base:ident SQLite $test:ident) => {
        on_kind!($base on_disk $test);
        on_kind!($base Memory $test);
        on_kind!($base Mixed $test);
    };
    (long Files $test:ident) => { on_kind!(files Files $test [long]); };
    (long Prefixed $test:ident) => { on_kind!(prefixed Prefixed $test [long]); };
    (long Memory $test:ident) => { on_kind!(memory Memory $test [long]); };
    (long Mixed $test:ident) => { on_kind!(mixed Mixed $test [long]); };
    (backend PostgreSQL $test:ident) => {
        on_kind!(backend Schemas $test);
        on_kind!(backend Servers $test);
    };
    (mixture PostgreSQL $test:ident) => {
        on_kind!(backend PostgreSQL $test);
        on_kind!(mixture Everything $test);
    };
    (dialect PostgreSQL $test:ident) => {
        on_kind!(dialect Schemas $test);
    };
    // Everything is in SQLite files, and can be read with plain `rusqlite`.
    ($base:ident on_disk $test:ident) => {
        on_kind!($base Files $test);
        on_kind!($base Prefixed $test);
    };
    // The cluster outlives its handle, and can be read with `run` and `peek`.
    ($base:ident lasting $test:ident) => {
        on_kind!($base on_disk $test);
        on_kind!($base PostgreSQL $test);
    };
    // Each shard has a database of its own.
    ($base:ident separate $test:ident) => {
        on_kind!($base Files $test);
        on_kind!($base Memory $test);
        on_kind!($base Servers $test);
        on_kind!($base Everything $test);
    };
    ($base:ident Files $test:ident) => { on_kind!(files Files $test []); };
    ($base:ident Memory $test:ident) => { on_kind!(memory Memory $test []); };
    ($base:ident Prefixed $test:ident) => { on_kind!(prefixed Prefixed $test []); };
    ($base:ident Mixed $test:ident) => { on_kind!(mixed Mixed $test []); };
    ($base:ident Schemas $test:ident) => { on_kind!(schemas Schemas $test [server]); };
    ($base:ident Servers $test:ident) => { on_kind!(servers Servers $test [server]); };
    ($base:ident Everything $test:ident) => { on_kind!(everything Everything $test [server]); };
    ($name:ident $kind:ident $test:ident []) => {
        #[test]
        fn $name() {
            super::$test(&crate::backend::Backend::new(crate::backend::Kind::$kind));
        }
    };
    ($name:ident $kind:ident $test:ident [long]) => {
        #[test]
        #[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
        fn $name() {
            super::$test(&crate::backend::Backend::new(crate::backend::Kind::$kind));
        }
    };
    ($name:ident $kind:ident $test:ident [server]) => {
        #[test]
        #[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
        fn $name() {
            super::$test(&crate::backend::Backend::new(crate::backend::Kind::$kind));
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
    /// A PostgreSQL server for each shard.
    Servers,
    /// The first shard in a SQLite file, the others each on a PostgreSQL server.
    Everything,
}

/// How a shard is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Memory,
    File,
    Prefixed,
    /// In a schema of the server at this place.
    Schema(usize),
}

/// The PostgreSQL servers of all tests, each started when it is first needed.
fn server(place: usize) -> &'static Server {
    static SERVERS: [OnceLock<Server>; 4] = [const { OnceLock::new() }; 4];
    let start = || {
        let server = Server::start_with(&[
            "max_connections=400",
            "max_prepared_transactions=100",
            // Small, quick to start, and busy with the tests alone.
            "shared_buffers=32MB",
            "autovacuum=off",
            "jit=off",
            "full_page_writes=off",
            "checkpoint_timeout=1h",
            "max_wal_size=4GB",
        ]);
        server.stop_with_the_process();
        server
    };
    SERVERS[place].get_or_init(start)
}

/// The default busy timeout of the tests, in milliseconds.
const PATIENCE: u64 = 20_000;

/// One kind of cluster, and a folder of its own to make clusters in.
pub struct Backend {
    pub kind: Kind,
    folder: TempDir,
    /// The prefix of this backend's schemas.
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
            wait: AtomicU64::new(PATIENCE),
        }
    }

    /// For tests in which a wait is in vain.
    pub fn does_not_wait_long(&self) {
        self.waits(150);
    }

    /// How many milliseconds clusters that are opened from now on wait for locks.
    pub fn waits(&self, milliseconds: u64) {
        self.wait.store(milliseconds, Ordering::Relaxed);
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether a cluster outlives its handle, and can be looked at from outside, with [`run`](Backend::run) and
    /// [`peek`](Backend::peek).
    pub fn is_lasting(&self) -> bool {
        !matches!(self.kind, Kind::Memory | Kind::Mixed)
    }

    /// Whether all of it is in SQLite files, and can be looked at with plain `rusqlite`.
    pub fn is_on_disk(&self) -> bool {
        matches!(self.kind, Kind::Files | Kind::Prefixed)
    }

    /// Whether each shard has a database of its own.
    pub fn is_separate(&self) -> bool {
        !matches!(self.kind, Kind::Prefixed | Kind::Schemas | Kind::Mixed)
    }

    /// How many databases a cluster of the shards [`LETTERS`] has.
    pub fn databases(&self) -> u32 {
        if matches!(self.kind, Kind::Prefixed | Kind::Schemas) { 1 } else { 3 }
    }

    /// Whether a shard is on a PostgreSQL server, where who writes keeps others from writing the same rows. On SQLite it
    /// keeps them from writing anything.
    pub fn is_postgres(&self, shard: &str) -> bool {
        matches!(self.kept(shard), Kept::Schema(_))
    }

    /// How SQL has the parameter at a place.
    pub fn param(&self, shard: &str, place: usize) -> String {
        let sign = if self.is_postgres(shard) { '$' } else { '?' };
        format!("{sign}{place}")
    }

    /// The SQL behind a column for "is one of the list that is the parameter at this place".
    pub fn is_in(&self, shard: &str, place: usize) -> String {
        match self.is_postgres(shard) {
            true => format!("= ANY (${place})"),
            false => format!("IN rarray(?{place})"),
        }
    }

    /// How a shard of this name is kept.
    fn kept(&self, shard: &str) -> Kept {
        let is_first = [CONTINENTS[0], LETTERS[0]].contains(&shard);
        let is_second = [CONTINENTS[1], LETTERS[1]].contains(&shard);
        match self.kind {
            Kind::Files => Kept::File,
            Kind::Memory => Kept::Memory,
            Kind::Prefixed => Kept::Prefixed,
            Kind::Mixed if is_first => Kept::Memory,
            Kind::Mixed if is_second => Kept::File,
            Kind::Mixed => Kept::Prefixed,
            Kind::Schemas => Kept::Schema(0),
            Kind::Everything if is_first => Kept::File,
            Kind::Servers | Kind::Everything => {
                let place = |shards: &[&str]| shards.iter().position(|known| *known == shard);
                Kept::Schema(place(&CONTINENTS).or_else(|| place(&LETTERS)).unwrap_or(0))
            }
        }
    }

    pub fn url(&self, shard: &str) -> String {
        match self.kept(shard) {
            Kept::Memory => "sqlite::memory:".to_owned(),
            Kept::File => format!("sqlite:{}", self.path(shard).display()),
            Kept::Prefixed => format!("sqlite:{}?prefix={shard}_", self.path(shard).display()),
            Kept::Schema(place) => format!("{}?schema={}", server(place).url(), self.schema(shard)),
        }
    }

    pub fn schema(&self, shard: &str) -> String {
        format!("{}_{shard}", self.schemas)
    }

    /// The file that holds a shard.
    pub fn path(&self, shard: &str) -> PathBuf {
        self.folder().join(match self.kept(shard) {
            Kept::Prefixed => "together.db".to_owned(),
            _ => format!("{shard}.db"),
        })
    }

    /// A builder with these shards, in which nothing waits for the disk.
    pub fn builder(&self, shards: &[&str]) -> Builder {
        let builder = Cluster::builder()
            .durability(Durability::Normal)
            .busy_timeout(Duration::from_millis(self.wait.load(Ordering::Relaxed)))
            .cache_size(1024)
            .mmap_size(0);
        let builder = match self.control(shards) {
            Some(control) => builder.control(control),
            None => builder,
        };
        shards.iter().fold(builder, |builder, shard| builder.shard(*shard, self.url(shard)))
    }

    /// The control database of a cluster of servers that was made with its shards in another order: in the first
    /// shard's schema. Beside files it is found where it was.
    pub fn control(&self, shards: &[&str]) -> Option<String> {
        let first =
            if shards.iter().any(|shard| CONTINENTS.contains(shard)) { CONTINENTS[0] } else { LETTERS[0] };
        (self.is_postgres(first) && !shards.starts_with(&[first])).then(|| self.url(first))
    }

    /// A new cluster of these shards, whose statements are watched.
    pub fn create<M: Models>(&self, shards: &[&str]) -> Watched {
        if self.wait.load(Ordering::Relaxed) < PATIENCE {
            return self.create_with::<M>(self.builder(shards));
        }
        Watched::over(|builder| builder.create::<M>(), self.builder(shards))
    }

    /// A new cluster made by a builder that waits for locks only shortly. On servers a handle with a long timeout makes it, and
    /// it is opened again: making tables on a server waits for other tests that do the same.
    pub fn create_with<M: Models>(&self, builder: Builder) -> Watched {
        if !matches!(self.kind, Kind::Schemas | Kind::Servers | Kind::Everything) {
            return Watched::over(|builder| builder.create::<M>(), builder);
        }
        drop(builder.clone().busy_timeout(Duration::from_millis(PATIENCE)).create::<M>().unwrap());
        Watched::over(|builder| builder.open::<M>(), builder)
    }

    /// A cluster that was made before, opened again.
    pub fn open<M: Models>(&self, shards: &[&str]) -> shard_runtime::Result<Watched> {
        let log = Log::default();
        let cluster = watched(&log, self.builder(shards)).open::<M>()?;
        Ok(Watched { cluster, log })
    }

    /// A plain connection to the SQLite file that holds a shard.
    pub fn raw(&self, shard: &str) -> rusqlite::Connection {
        assert!(self.is_lasting() && !self.is_postgres(shard));
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let raw = rusqlite::Connection::open_with_flags(self.path(shard), flags).unwrap();
        raw.busy_timeout(Duration::from_millis(2_000)).unwrap();
        raw
    }

    /// A plain connection to the PostgreSQL server that holds a shard, in the shard's schema.
    pub fn client(&self, shard: &str) -> Client {
        let Kept::Schema(place) = self.kept(shard) else { panic!("{shard} is on no server") };
        let client = Client::connect(&server(place).url());
        client.run(&format!(
            "SET search_path = {}; SET client_min_messages = warning; SET lock_timeout = '5s'",
            self.schema(shard)
        ));
        client
    }

    /// A shard's table as SQL names it.
    pub fn table(&self, shard: &str, table: &str) -> String {
        let prefix = if self.kept(shard) == Kept::Prefixed { format!("{shard}_") } else { String::new() };
        let table = format!("\"{}\"", format!("{prefix}{table}").replace('"', "\"\""));
        match self.is_postgres(shard) {
            true => format!("\"{}\".{table}", self.schema(shard)),
            false => table,
        }
    }

    /// Runs SQL on a shard behind the library's back; tables are made as SQLite has it.
    pub fn run(&self, shard: &str, sql: &str) {
        match self.is_postgres(shard) {
            true => self.client(shard).run(&sql.replace(" INTEGER", " bigint").replace(" STRICT", "")),
            false => self.raw(shard).execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}")),
        }
    }

    /// Runs SQL in every shard behind the library's back, `{table}` standing for the shard's table of this name
    /// and `{shard}` for the shard's own. `false` where there is no way behind it.
    pub fn plant(&self, shards: &[&str], table: &str, sql: &str) -> bool {
        if self.is_lasting() {
            for shard in shards {
                self.run(shard, &sql.replace("{table}", &self.table(shard, table)).replace("{shard}", shard));
            }
        }
        self.is_lasting()
    }

    /// One value of a shard's table, read behind the library's back.
    pub fn peek<T: Peeked>(&self, shard: &str, table: &str, select: &str) -> T {
        let sql = select.replace("{table}", &self.table(shard, table));
        if self.is_postgres(shard) {
            return T::from_text(&self.client(shard).text(&sql));
        }
        self.raw(shard).query_row(&sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

/// A value that [`Backend::peek`] reads.
pub trait Peeked: rusqlite::types::FromSql {
    fn from_text(text: &str) -> Self;
}

impl Peeked for i64 {
    fn from_text(text: &str) -> Self {
        text.parse().unwrap()
    }
}

impl Peeked for String {
    fn from_text(text: &str) -> Self {
        text.to_owned()
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

    /// Returns the closure's value and the number of statements that it ran on each shard; shards with none are
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

    /// Returns the closure's value and the names of the shards that it read, in the cluster's order.
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

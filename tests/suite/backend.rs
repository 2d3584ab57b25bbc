//! The kinds of cluster that the rules are tested on, and how a test looks at one from outside.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use shard_runtime::{Builder, Cluster, Durability, Models};
use tempfile::TempDir;

use crate::client::Client;
use crate::postgres_server::Server;

/// Instantiates tests once for every kind of cluster, as `files::…`, `memory::…`, `prefixed::…`, `mixed::…`, `schemas::…`,
/// `servers::…` and `everything::…`.
/// Tests of what only SQLite does, or only PostgreSQL, come last.
macro_rules! on_every_backend {
    ($($test:ident),* $(,)? $(; only SQLite: $($sqlite:ident),* $(,)?)? $(; only PostgreSQL: $($server:ident),* $(,)?)?) => {
        on_every_sqlite! { $($test,)* $($($sqlite),*)? }
        on_every_server! { $($test,)* $($($server),*)? }
    };
}

/// The same for what a statement says and answers, where it adds nothing that the shards are on several servers.
macro_rules! on_every_dialect {
    ($($test:ident),* $(,)? $(; only SQLite: $($sqlite:ident),* $(,)?)? $(; only PostgreSQL: $($server:ident),* $(,)?)?) => {
        on_every_sqlite! { $($test,)* $($($sqlite),*)? }
        on_kind!(schemas Schemas { $($test)* $($($server)*)? });
    };
}

/// The same for what only SQLite does.
macro_rules! on_every_sqlite {
    ($($test:ident),* $(,)?) => {
        on_kind!(files Files { $($test)* });
        on_kind!(memory Memory { $($test)* });
        on_kind!(prefixed Prefixed { $($test)* });
        on_kind!(mixed Mixed { $($test)* });
    };
}

/// The same for what only PostgreSQL does, with SQLite beside it or without.
macro_rules! on_every_server {
    ($($test:ident),* $(,)?) => {
        on_kind!(schemas Schemas { $($test)* });
        on_kind!(servers Servers { $($test)* });
        on_kind!(everything Everything { $($test)* });
    };
}

macro_rules! on_kind {
    ($module:ident $kind:ident { $($test:ident)* }) => {
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
    /// A PostgreSQL server for each shard.
    Servers,
    /// The first shard in a SQLite file, the others each on a PostgreSQL server.
    Everything,
}

impl Kind {
    /// Whether such a cluster can be made on this machine; where not, that is said loudly.
    pub fn is_there(self) -> bool {
        match self {
            Kind::Files | Kind::Memory | Kind::Prefixed | Kind::Mixed => true,
            Kind::Schemas | Kind::Servers | Kind::Everything => server(0).is_some(),
        }
    }
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

/// The PostgreSQL servers of all tests, each started when it is first needed; none, where none is installed, which is
/// said loudly.
fn server(place: usize) -> Option<&'static Server> {
    static SERVERS: [OnceLock<Option<Server>>; 4] = [const { OnceLock::new() }; 4];
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
        ])?;
        server.stop_with_the_process();
        Some(server)
    };
    SERVERS[place].get_or_init(start).as_ref()
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

    /// How SQL says behind a column that it is one of the list that is the parameter at a place.
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
            Kept::Schema(place) => format!("{}?schema={}", server(place).unwrap().url(), self.schema(shard)),
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

    /// Where the control database is of a cluster of servers that was made with its shards in another order: in the first
    /// shard's schema. Beside files it is found where it was.
    pub fn control(&self, shards: &[&str]) -> Option<String> {
        let first =
            if shards.iter().any(|shard| CONTINENTS.contains(shard)) { CONTINENTS[0] } else { LETTERS[0] };
        (self.is_postgres(first) && !shards.starts_with(&[first])).then(|| self.url(first))
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
        let client = Client::connect(&server(place).unwrap().url());
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

/// What [`Backend::peek`] reads.
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

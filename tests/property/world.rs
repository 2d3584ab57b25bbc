//! Clusters for the rows. They are kept for many cases, because making one costs more than a case.

use std::cell::Cell;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use shard_runtime::{Builder, Cluster, Durability, ErrorKind, Models, Result, Session, Shard};
use tempfile::TempDir;

use super::datum::{Column, Line};
use super::layout::Layout;
use super::subject::Subject;
use sharded_tests::postgres_server::Server;

/// The kind of a cluster's shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Files,
    /// One file, a prefix for each shard.
    Prefixed,
    /// All of these in turn.
    Mixed,
    /// A schema of one PostgreSQL server for each shard.
    Schemas,
    /// A SQLite file and schemas of a server in turn.
    FilesAndSchemas,
}

/// A cluster, and whether an earlier case has left rows in it.
pub struct World {
    pub cluster: Cluster,
    /// Its layout, as the tests see it.
    pub layout: Layout,
    pub dirty: Cell<bool>,
    _folder: Option<TempDir>,
}

/// Clusters of 1 to 7 shards, of each kind, with at least so many shards.
pub fn worlds<M: Models>(least: usize) -> Vec<World> {
    let sizes = [
        (Kind::Memory, 1),
        (Kind::Memory, 2),
        (Kind::Prefixed, 3),
        (Kind::Memory, 4),
        (Kind::Files, 4),
        (Kind::Mixed, 5),
        (Kind::Prefixed, 6),
        (Kind::Memory, 7),
    ];
    sizes
        .into_iter()
        .filter(|(_, shards)| *shards >= least)
        .map(|(kind, shards)| world::<M>(kind, shards))
        .collect()
}

/// Clusters of which some shards, or all, are on a PostgreSQL server, with at least so many shards.
pub fn with_servers<M: Models>(least: usize) -> Vec<World> {
    let sizes = [(Kind::Schemas, 3.max(least)), (Kind::FilesAndSchemas, 3.max(least))];
    sizes.into_iter().map(|(kind, shards)| world::<M>(kind, shards)).collect()
}

/// The server of all tests here, started when it is first needed.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let start = || {
        let settings = ["max_connections=200", "max_prepared_transactions=50", "autovacuum=off", "jit=off"];
        let server = Server::start_with(&settings);
        server.stop_with_the_process();
        server
    };
    SERVER.get_or_init(start)
}

/// A number for the schemas of a cluster.
pub fn number() -> u64 {
    static WORLDS: AtomicU64 = AtomicU64::new(0);
    WORLDS.fetch_add(1, Ordering::Relaxed)
}

/// The builder of a cluster in a folder; the first shards are `s0`, `s1`, …, and `number` is that of its schemas.
pub fn builder(kind: Kind, folder: &Path, number: u64, shards: usize) -> Builder {
    let path = |name: &str| folder.join(name).display().to_string();
    let schema = |place: usize| format!("{}?schema=w{number}_{place}", server().url());
    let url = |place: usize| match (kind, place % 3) {
        (Kind::Schemas, _) => schema(place),
        (Kind::FilesAndSchemas, 0) => format!("sqlite:{}", path(&format!("{place}.db"))),
        (Kind::FilesAndSchemas, _) => schema(place),
        (Kind::Memory, _) | (Kind::Mixed, 0) => "sqlite::memory:".to_owned(),
        (Kind::Files, _) | (Kind::Mixed, 1) => format!("sqlite:{}", path(&format!("{place}.db"))),
        (Kind::Prefixed | Kind::Mixed, _) => format!("sqlite:{}?prefix=p{place}_", path("all.db")),
    };
    let builder = Cluster::builder().durability(Durability::Normal);
    (0..shards).fold(builder, |builder, place| builder.shard(format!("s{place}"), url(place)))
}

fn world<M: Models>(kind: Kind, shards: usize) -> World {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let builder = builder(kind, folder.path(), number(), shards);
    let cluster = builder.create::<M>().unwrap_or_else(|error| panic!("{kind:?} of {shards}: {error}"));
    World { _folder: Some(folder), ..World::of(cluster) }
}

impl World {
    /// A cluster that is kept elsewhere, as its models declare it.
    pub fn of(cluster: Cluster) -> Self {
        let layout = Layout::declared(cluster.shards());
        World { cluster, layout, dirty: Cell::new(false), _folder: None }
    }

    /// Returns the closure's value and the indexes of the shards that it read, one for each statement.
    pub fn asked<O>(&self, session: &mut Session, run: impl FnOnce(&mut Session) -> O) -> (O, Vec<usize>) {
        let before: Vec<u64> = self.cluster.shards().iter().map(Shard::statements).collect();
        let result = run(session);
        let mut asked = Vec::new();
        for (shard, before) in self.cluster.shards().iter().zip(before) {
            asked.extend((before..shard.statements()).map(|_| shard.index()));
        }
        (result, asked)
    }
}

/// A session of a cluster that holds these rows, and the rows with their shards. They are committed by another session, or
/// pending in this one. Rows whose key is placed nowhere are refused.
pub fn filled<T: Subject>(
    world: &World,
    rows: &[Line],
    committed: bool,
) -> Result<(Session, Vec<(usize, Line)>), TestCaseError> {
    if world.dirty.get() {
        let mut session = world.cluster.session();
        succeeded(T::clear(&mut session))?;
        succeeded(session.commit())?;
        world.dirty.set(false);
    }
    let mut session = world.cluster.session();
    let mut stored = Vec::new();
    for line in rows {
        let row = T::build(line);
        let placed = T::place(line.get(Column::Key), line.get(Column::Part).as_text(), &world.layout);
        let Some(place) = placed else {
            let error = session.add(row).err().map(|error| error.kind());
            prop_assert_eq!(error, Some(ErrorKind::UnmappedKey), "{:?} is placed nowhere", line);
            continue;
        };
        succeeded(T::before_adding(&mut session, &row))?;
        let added = succeeded(session.add(row))?;
        prop_assert_eq!(added.shard().index(), place);
        stored.push((place, line.clone()));
    }
    if committed {
        world.dirty.set(true);
        succeeded(session.commit())?;
        session = world.cluster.session();
    }
    succeeded(session.flush())?;
    Ok((session, stored))
}

/// The value, or the error as a failure of the case.
pub fn succeeded<V>(result: Result<V>) -> Result<V, TestCaseError> {
    result.map_err(|error| TestCaseError::fail(format!("{error:?}")))
}

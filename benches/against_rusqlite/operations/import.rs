//! Many rows into empty tables of four shards, with a commit for every thousand, and in one commit. Also the cost of generated
//! ids.

use std::path::PathBuf;

use shard_runtime::sqlite::rusqlite::{Connection, params};
use shard_runtime::{Cluster, Commit, Durability};

use crate::by_hand::{self, shard_of};
use crate::data::{Data, SHARDS, builder};
use crate::measure::{Failure, Pair, Side};
use crate::models::{Account, NewStation, Region, Station, shuffled};

/// The number of rows of one commit of an import.
const TOGETHER: usize = 1_000;

/// The ids of rows in an order without a pattern, a commit for every thousand.
pub fn import(data: &Data) -> Result<Pair<'_>, Failure> {
    pair(
        data,
        data.effort.rows(200_000),
        TOGETHER,
        Settings { synchronous: Durability::Normal, commit: Commit::Atomic },
    )
}

/// The same, committed as by hand: not all or nothing.
pub fn import_by_best_effort(data: &Data) -> Result<Pair<'_>, Failure> {
    let settings = Settings { synchronous: Durability::Normal, commit: Commit::BestEffort };
    pair(data, data.effort.rows(200_000), TOGETHER, settings)
}

/// One flush of all rows, and commits that wait for the disk.
pub fn flush_on_disk(data: &Data) -> Result<Pair<'_>, Failure> {
    let settings = Settings { synchronous: Durability::Full, commit: Commit::Atomic };
    pair(data, data.effort.rows(100_000), usize::MAX, settings)
}

/// The same, committed as by hand: not all or nothing.
pub fn flush_on_disk_by_best_effort(data: &Data) -> Result<Pair<'_>, Failure> {
    let settings = Settings { synchronous: Durability::Full, commit: Commit::BestEffort };
    pair(data, data.effort.rows(100_000), usize::MAX, settings)
}

/// The ways in which rows are committed.
#[derive(Clone, Copy, Debug)]
struct Settings {
    synchronous: Durability,
    commit: Commit,
}

/// The files of one side, which are removed with it.
struct Files {
    folder: PathBuf,
    /// Empties the tables between the blocks.
    removal: Vec<Connection>,
}

impl Files {
    fn new(data: &Data, name: &str) -> Result<Self, Failure> {
        let folder = data.folder().join(name);
        std::fs::create_dir(&folder)?;
        builder(&folder).create::<Account>()?;
        let open = |name: &&str| by_hand::open(&folder.join(format!("{name}.db")));
        let removal = SHARDS.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Files { folder, removal })
    }

    fn empty(&self) -> Result<(), Failure> {
        for connection in &self.removal {
            connection.execute("DELETE FROM accounts", [])?;
        }
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

struct ByFramework {
    cluster: Cluster,
    commit: Commit,
    ids: Vec<i64>,
    together: usize,
    files: Files,
}

impl Side for ByFramework {
    fn block(&mut self) -> Result<u64, Failure> {
        let mut session = self.cluster.session();
        session.set_commit(self.commit);
        for ids in self.ids.chunks(self.together) {
            session.add_all(ids.iter().map(|&id| Account::numbered(id)))?;
            session.commit()?;
        }
        Ok(self.ids.len() as u64)
    }

    fn between(&mut self) -> Result<(), Failure> {
        self.files.empty()
    }
}

struct ByHand {
    connections: Vec<Connection>,
    ids: Vec<i64>,
    together: usize,
    files: Files,
}

impl Side for ByHand {
    fn block(&mut self) -> Result<u64, Failure> {
        for ids in self.ids.chunks(self.together) {
            let mut statements = Vec::new();
            for connection in &self.connections {
                connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
                let sql = "INSERT INTO accounts (id, owner, cents) VALUES (?1, ?2, ?3)";
                statements.push(connection.prepare_cached(sql)?);
            }
            for account in ids.iter().map(|&id| Account::numbered(id)) {
                let row = params![account.id, account.owner, account.cents];
                statements[shard_of(account.id)].execute(row)?;
            }
            for connection in &self.connections {
                connection.prepare_cached("COMMIT")?.execute([])?;
            }
        }
        Ok(self.ids.len() as u64)
    }

    fn between(&mut self) -> Result<(), Failure> {
        self.files.empty()
    }
}

fn pair(data: &Data, rows: i64, together: usize, settings: Settings) -> Result<Pair<'_>, Failure> {
    let Settings { synchronous, commit } = settings;
    let ids = shuffled(rows);
    let name = |side: &str| format!("import_{rows}_{synchronous:?}_{commit:?}_{side}");
    let files = Files::new(data, &name("framework"))?;
    let cluster = builder(&files.folder).durability(synchronous).open::<Account>()?;
    let framework = ByFramework { cluster, commit, ids: ids.clone(), together, files };

    let files = Files::new(data, &name("by_hand"))?;
    let mut connections = Vec::new();
    for name in SHARDS {
        let connection = by_hand::open(&files.folder.join(format!("{name}.db")))?;
        if synchronous == Durability::Full {
            connection.pragma_update(None, "synchronous", "FULL")?;
        }
        connections.push(connection);
    }
    let by_hand = ByHand { connections, ids, together, files };
    Ok(Pair { per_block: rows as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

/// Rows that get ids of a sequence, are placed and never sent. By hand they get the numbers of a counter that reserves a
/// thousand at a time in a table.
pub fn ids(data: &Data) -> Result<Pair<'_>, Failure> {
    const ROWS: usize = 1_000;
    let set = data.stations()?;
    let name = |number: usize| format!("station {number}");
    let framework = move || {
        let mut session = set.cluster.session();
        let mut last = 0;
        let mut first = None;
        for number in 0..ROWS {
            let region = Region::ALL[number % 4];
            last = session.add(NewStation { region, name: name(number), height: 0 })?.id;
            first.get_or_insert(last);
        }
        session.rollback();
        Ok((last - first.unwrap_or_default()) as u64)
    };
    let counter = by_hand::create(&data.folder().join("counter.db"))?;
    counter.pragma_update(None, "synchronous", "FULL")?;
    counter.execute_batch(
        "CREATE TABLE counters (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT; \
         INSERT INTO counters VALUES ('stations', 1)",
    )?;
    let (mut next, mut end) = (0, 0);
    let by_hand = move || {
        let mut waiting: [Vec<Station>; SHARDS.len()] = Default::default();
        let (mut first, mut last) = (None, 0);
        for number in 0..ROWS {
            if next == end {
                let sql = "UPDATE counters SET next = next + 1000 WHERE name = 'stations' RETURNING next";
                end = counter.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))?;
                next = end - 1_000;
            }
            let region = Region::ALL[number % 4];
            waiting[region as usize].push(Station { id: next, region, name: name(number), height: 0 });
            last = next;
            first.get_or_insert(last);
            next += 1;
        }
        Ok((last - first.unwrap_or_default()) as u64)
    };
    Ok(Pair { per_block: ROWS as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

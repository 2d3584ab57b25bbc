//! The clusters that the operations run on, their rows at the beginning, and how a test reads them by plain SQL.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use shard_runtime::{Cluster, Durability, Parent, Sharded};
use tempfile::TempDir;

use crate::client::Client;
use crate::hold::Hold;
use sharded_tests::postgres_server::Server;

pub const SHARDS: [&str; 3] = ["a", "b", "c"];

/// A root with a lookup, a reference and children.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "users")]
pub struct User {
    #[id]
    pub id: i64,
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c"))]
    pub home: String,
    #[lookup]
    pub email: Option<String>,
    pub name: String,
    pub cents: i64,
    #[references(Currency)]
    pub currency: Option<String>,
}

/// A child with a lookup.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "notes")]
pub struct Note {
    #[id]
    pub id: i64,
    #[shard_parent]
    pub user: Parent<User>,
    #[lookup]
    pub tag: Option<String>,
    pub text: String,
}

/// A row with a version.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts")]
pub struct Account {
    #[id]
    pub id: i64,
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c"))]
    pub home: String,
    #[version]
    pub version: i64,
    pub cents: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "currencies", reference)]
pub struct Currency {
    #[id]
    pub code: String,
    pub name: String,
}

pub type Models = (User, Note, Account, Currency);

pub fn user(id: i64, home: &str, email: Option<&str>) -> User {
    let (home, email) = (home.to_owned(), email.map(str::to_owned));
    User { id, home, email, name: "n".to_owned(), cents: 0, currency: None }
}

/// The tables, children before parents, and each row as one text.
const TABLES: [(&str, &str); 6] = [
    ("notes", "id || '|' || user_id || '|' || coalesce(tag, '-') || '|' || text"),
    (
        "users",
        "id || '|' || home || '|' || coalesce(email, '-') || '|' || name || '|' || cents || '|' || coalesce(currency, '-')",
    ),
    ("accounts", "id || '|' || home || '|' || version || '|' || cents"),
    ("currencies", "code || '|' || name"),
    ("sharded_lookup_users_email", "value || '|' || shard"),
    ("sharded_lookup_notes_tag", "value || '|' || shard"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A SQLite file for each shard.
    Files,
    /// Three schemas of one PostgreSQL server.
    Schemas,
    /// A PostgreSQL server for each shard.
    Servers,
    /// Shard `a` in a SQLite file, the others on a server each.
    Mixed,
}

/// The server of this number, for all tests here.
pub fn server(index: usize) -> &'static Server {
    static SERVERS: [OnceLock<Server>; 3] = [const { OnceLock::new() }; 3];
    let start = || {
        let server = Server::start_with(&[
            "max_connections=200",
            "max_prepared_transactions=100",
            "shared_buffers=32MB",
            "deadlock_timeout=100ms",
            "jit=off",
            "full_page_writes=off",
            "checkpoint_timeout=1h",
            "max_wal_size=4GB",
        ]);
        server.stop_with_the_process();
        server
    };
    SERVERS[index].get_or_init(start)
}

/// A plain connection to a shard's database.
enum Raw {
    File(rusqlite::Connection),
    Server(Client),
}

impl Raw {
    fn run(&self, sql: &str) {
        match self {
            Raw::File(file) => file.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}")),
            Raw::Server(client) => client.run(sql),
        }
    }

    /// The first columns of a query's rows.
    fn texts(&self, sql: &str) -> Vec<String> {
        match self {
            Raw::File(file) => {
                let mut statement = file.prepare_cached(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
                let rows = statement.query_map([], |row| row.get(0)).unwrap();
                rows.map(|row| row.unwrap()).collect()
            }
            Raw::Server(client) => client.rows(sql).into_iter().map(|mut row| row.remove(0)).collect(),
        }
    }
}

/// The rows of all shards: shard, table and row, in an order.
pub type End = Vec<String>;

pub struct World {
    pub kind: Kind,
    pub cluster: Cluster,
    pub hold: Hold,
    raw: Vec<Raw>,
    /// A connection to each server, which reads the waits of its sessions, and the number of the world's database there.
    activity: Vec<(Client, String)>,
    database: String,
    _folder: TempDir,
}

impl World {
    /// A cluster with the rows of the beginning; worlds of one kind with other numbers do not touch each other.
    pub fn new(kind: Kind, number: usize, busy_timeout: Duration) -> Self {
        let (folder, hold) = (tempfile::tempdir().unwrap(), Hold::default());
        let database = format!("{kind:?}_{number}").to_lowercase();
        let file = |shard: &str| folder.path().join(format!("{shard}.db"));
        let on_server =
            |index: usize| format!("{}/{database}", server(index).url().rsplit_once('/').unwrap().0);
        let indexes = match kind {
            Kind::Files => [None; 3],
            Kind::Schemas => [Some(0); 3],
            Kind::Servers => [Some(0), Some(1), Some(2)],
            Kind::Mixed => [None, Some(1), Some(2)],
        };
        let mut activity = Vec::new();
        for index in [0, 1, 2].into_iter().filter(|index| indexes.contains(&Some(*index))) {
            let client = Client::connect(&server(index).url());
            client.run(&format!("CREATE DATABASE {database}"));
            let number = client.text(&format!("SELECT oid FROM pg_database WHERE datname = '{database}'"));
            activity.push((client, number));
        }
        let mut builder = Cluster::builder()
            .durability(Durability::Normal)
            .busy_timeout(busy_timeout)
            .cache_size(1024)
            .mmap_size(0);
        for (shard, index) in SHARDS.into_iter().zip(indexes) {
            let url = match index {
                None => format!("sqlite:{}", file(shard).display()),
                Some(index) => format!("{}?schema={shard}", hold.before(&on_server(index))),
            };
            builder = builder.shard(shard, url);
        }
        let cluster = builder.create::<Models>().unwrap();
        let raw = |(shard, index): (&str, Option<usize>)| match index {
            None => Raw::File(connected(&file(shard))),
            Some(index) => {
                let client = Client::connect(&on_server(index));
                client.run(&format!("SET search_path = {shard}; SET client_min_messages = warning"));
                Raw::Server(client)
            }
        };
        let raw = SHARDS.into_iter().zip(indexes).map(raw).collect();
        let world = World { kind, cluster, hold, raw, activity, database, _folder: folder };
        world.begin();
        world
    }

    /// Adds the rows of the beginning, and keeps a copy of each table.
    fn begin(&self) {
        let mut session = self.cluster.session();
        for code in ["EUR", "USD"] {
            session.add(Currency { code: code.into(), name: "n".into() }).unwrap();
        }
        let first = session.add(user(1, "b", Some("e1"))).unwrap();
        let second = session.add(user(2, "a", Some("e2"))).unwrap();
        session.add(user(3, "c", None)).unwrap();
        for (id, user, tag) in [(11, &first, Some("t11")), (12, &first, None), (21, &second, Some("t21"))] {
            let tag = tag.map(str::to_owned);
            session.add(Note { id, user: user.link(), tag, text: "x".into() }).unwrap();
        }
        for (id, home) in [(1, "b"), (2, "a"), (3, "c")] {
            session.add(Account { id, home: home.into(), version: 1, cents: 0 }).unwrap();
        }
        session.commit().unwrap();
        for raw in &self.raw {
            for (table, _) in TABLES {
                raw.run(&format!("CREATE TABLE first_{table} AS SELECT * FROM {table}"));
            }
        }
    }

    /// Puts all tables back to the rows of the beginning.
    pub fn reset(&self) {
        let removed = TABLES.iter().map(|(table, _)| format!("DELETE FROM {table};"));
        let added =
            TABLES.iter().rev().map(|(table, _)| format!("INSERT INTO {table} SELECT * FROM first_{table};"));
        let sql = format!("BEGIN; {} {} COMMIT", removed.collect::<String>(), added.collect::<String>());
        self.raw.iter().for_each(|raw| raw.run(&sql));
    }

    /// The stored rows.
    pub fn end(&self) -> End {
        let mut end = Vec::new();
        let rows = TABLES.map(|(table, row)| {
            let name = table.trim_start_matches("sharded_lookup_");
            format!("SELECT '{name}: ' || {row} FROM {table}")
        });
        let sql = rows.join(" UNION ALL ");
        for (shard, raw) in SHARDS.iter().zip(&self.raw) {
            end.extend(raw.texts(&sql).into_iter().map(|row| format!("{shard} {row}")));
        }
        end.sort();
        end
    }

    /// Whether a session of this world waits for a lock on a server. The view `pg_stat_activity` joins more tables, and this is
    /// called again and again.
    pub fn is_waiting(&self) -> bool {
        self.activity.iter().any(|(client, database)| {
            let sql = format!(
                "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE datid = {database} AND wait_event_type = 'Lock'"
            );
            client.text(&sql) != "0"
        })
    }

    /// Whether nothing is left prepared.
    pub fn is_finished(&self) -> bool {
        let sql = format!("SELECT count(*) FROM pg_prepared_xacts WHERE database = '{}'", self.database);
        self.activity.iter().all(|(client, _)| client.text(&sql) == "0")
    }
}

fn connected(path: &Path) -> rusqlite::Connection {
    let raw = rusqlite::Connection::open(path).unwrap();
    raw.busy_timeout(Duration::from_secs(20)).unwrap();
    raw
}

/// The faults of an end: rows on two shards, children without their parents, lookups that are not their rows',
/// reference rows that differ.
pub fn faults(end: &End) -> Vec<String> {
    let mut faults = Vec::new();
    let rows: Vec<(&str, &str, Vec<&str>)> = end
        .iter()
        .map(|line| {
            let (location, row) = line.split_once(": ").unwrap();
            let (shard, table) = location.split_once(' ').unwrap();
            (shard, table, row.split('|').collect())
        })
        .collect();
    let of = |name: &'static str| rows.iter().filter(move |(_, table, _)| *table == name);
    for table in ["users", "notes", "accounts"] {
        let mut shards_by_id: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        of(table).for_each(|(shard, _, row)| shards_by_id.entry(row[0]).or_default().push(shard));
        let several = shards_by_id.iter().filter(|(_, shards)| shards.len() > 1);
        faults.extend(several.map(|(id, shards)| format!("{table} {id} is on {}", shards.join(" and "))));
    }
    for table in ["users", "accounts"] {
        let misplaced = of(table).filter(|(shard, _, row)| row[1] != *shard);
        faults.extend(
            misplaced.map(|(shard, _, row)| format!("{table} {} of {} is on {shard}", row[0], row[1])),
        );
    }
    for (table, entries) in [("users", "users_email"), ("notes", "notes_tag")] {
        let mut values: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
        for (shard, _, row) in of(table).filter(|(_, _, row)| row[2] != "-") {
            values.entry(row[2]).or_default().0.push(shard);
        }
        of(entries).for_each(|(_, _, row)| values.entry(row[0]).or_default().1.push(row[1]));
        let wrong = values.iter().filter(|(_, (rows, entries))| rows != entries || rows.len() > 1);
        faults.extend(wrong.map(|(value, (rows, said))| {
            format!("{entries} {value}: rows on [{}], entries for [{}]", rows.join(", "), said.join(", "))
        }));
    }
    let reference = |shard: &'static str| -> Vec<&Vec<&str>> {
        of("currencies").filter(|(on, ..)| *on == shard).map(|(_, _, row)| row).collect()
    };
    if SHARDS.iter().any(|shard| reference(shard) != reference("a")) {
        faults.push("currencies differ".to_owned());
    }
    faults
}

//! Adoption: a database with tables of another program becomes a cluster of one shard (R40, R41, R47, R48, R52). The tables of
//! `data/` were made by the tools that data/README.md names.

mod chinook;
mod command;
mod frameworks;
mod interrupted;
#[path = "../../examples/weather/model.rs"]
#[allow(dead_code)]
mod model;
mod odd_tables;
mod refusals;
#[cfg(feature = "servers")]
mod servers;
mod split;
mod text_times;
mod writers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use shard_runtime::sqlite::rusqlite::Connection;
use shard_runtime::{Builder, Cluster, Error, ErrorKind, adopt::AdoptionReport};

/// The path of a file of tables and rows.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("adoption/data").join(name)
}

pub fn script(name: &str) -> String {
    std::fs::read_to_string(data(name)).unwrap()
}

/// A database file of another program.
pub struct File {
    pub folder: tempfile::TempDir,
}

impl File {
    pub fn new(sql: &str) -> File {
        let file = File { folder: tempfile::tempdir().unwrap() };
        // A script inserts rows table by table.
        file.run(&format!("PRAGMA foreign_keys = OFF; {sql}"));
        file
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    /// A connection of a program without the library.
    pub fn plain(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection
    }

    #[track_caller]
    pub fn run(&self, sql: &str) {
        self.plain().execute_batch(sql).unwrap_or_else(|error| panic!("{error}"));
    }

    pub fn builder(&self) -> Builder {
        Cluster::builder()
            .shard("main", format!("sqlite:{}", self.path().display()))
            .busy_timeout(Duration::from_secs(20))
    }

    /// The tables and indexes that are not the library's, as SQL.
    pub fn schema(&self) -> Vec<String> {
        let plain = self.plain();
        let sql =
            "SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sharded_%' AND sql IS NOT NULL ORDER BY name";
        let mut statement = plain.prepare(sql).unwrap();
        let found = statement.query_map([], |row| row.get(0)).unwrap();
        found.collect::<Result<_, _>>().unwrap()
    }

    pub fn journal_mode(&self) -> String {
        self.plain().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap()
    }

    /// Runs the SQL of a report, in its order.
    #[track_caller]
    pub fn heal(&self, report: &AdoptionReport) {
        let plain = self.plain();
        for sql in report.differences.iter().flat_map(|difference| &difference.sql) {
            plain.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}\n{report}"));
        }
    }

    pub fn is_untouched(&self) -> bool {
        let own = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sharded_%'";
        let own: i64 = self.plain().query_row(own, [], |row| row.get(0)).unwrap();
        own == 0 && !self.folder.path().join("control.db").exists()
    }
}

/// The differences of a report as one text.
pub fn texts(report: &AdoptionReport) -> String {
    report.differences.iter().map(|difference| format!("{difference}\n")).collect()
}

#[track_caller]
pub fn assert_error<O>(result: Result<O, Error>, kind: ErrorKind, texts: &[&str]) {
    let Err(error) = result else { panic!("no error, expected {kind:?}") };
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for part in texts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

//! A shard that was made once is made again only on request: R47.

use std::fs;

use shard_runtime::{Cluster, Durability, ErrorKind, Sharded};

use crate::backend::{Backend, Kind, LETTERS, assert_error};
use crate::models::*;

on_some! {
    lasting:
        r47_a_lost_shard_is_not_made_again,
        r47_a_lost_shard_is_replaced_when_asked_by_name,
        r47_a_shard_that_was_being_made_is_continued,
        r47_a_cluster_of_an_older_release_keeps_its_shards,
        r40_an_older_release_refuses_a_shard_of_this_one,
        r40_lines_that_an_older_release_has_recorded_meanwhile_are_compared,
        r47_a_lost_control_database_is_not_made_again;
    Files PostgreSQL:
        r47_an_empty_database_is_no_shard;
    Files Schemas Servers:
        r47_a_shard_that_is_lost_under_a_running_cluster_is_noticed;
    Servers:
        r47_a_shard_that_decides_for_prepared_participants_is_not_replaced,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "currencies", reference)]
struct Currency {
    #[id]
    code: String,
    name: String,
}

/// A cluster of nine companies, three or so on each shard.
fn made(backend: &Backend) -> Vec<i64> {
    let cluster = backend.create::<(Company, Currency)>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..9).map(|id| Company { id, name: format!("company {id}") })).unwrap();
    session.add(Currency { code: "EUR".into(), name: "Euro".into() }).unwrap();
    session.commit().unwrap();
    let rows = session.all(Company::select().on_shard("b")).unwrap();
    assert!(!rows.is_empty());
    rows.iter().map(|row| row.id).collect()
}

fn count(cluster: &Cluster) -> u64 {
    cluster.session().one(Company::select().all_shards().count()).unwrap()
}

/// Takes a shard's database away.
fn lose(backend: &Backend, shard: &str) {
    match backend.kind {
        _ if backend.is_postgres(shard) => {
            backend.client(shard).run(&format!("DROP SCHEMA {} CASCADE", backend.schema(shard)));
        }
        Kind::Prefixed => {
            let raw = backend.raw(shard);
            let sql =
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE ?1 || '\\_%' ESCAPE '\\'";
            let names: Vec<String> = raw
                .prepare(sql)
                .unwrap()
                .query_map([shard], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            raw.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
            for name in names {
                raw.execute_batch(&format!("DROP TABLE \"{name}\"")).unwrap();
            }
        }
        _ => {
            for suffix in ["", "-wal", "-shm"] {
                let mut from = backend.path(shard).into_os_string();
                from.push(suffix);
                let mut to = from.clone();
                to.push(".lost");
                let _ = fs::rename(from, to);
            }
        }
    }
}

/// Runs SQL in the control database.
fn in_control(backend: &Backend, sql: &str) {
    match backend.is_postgres("a") {
        true => backend.client("a").run(sql),
        false => rusqlite::Connection::open(backend.folder().join("control.db"))
            .unwrap()
            .execute_batch(sql)
            .unwrap(),
    }
}

/// The lines of the layout that control has recorded.
fn recorded_lines(backend: &Backend) -> Vec<(String, String)> {
    let sql = "SELECT value FROM sharded_state WHERE kind = 'line'";
    let values: Vec<String> = match backend.is_postgres("a") {
        true => {
            let client = backend.client("a");
            match client.text("SELECT to_regclass('sharded_state') IS NULL") == "t" {
                true => Vec::new(),
                false => client.rows(sql).into_iter().map(|mut row| row.remove(0)).collect(),
            }
        }
        false => {
            let control = rusqlite::Connection::open(backend.folder().join("control.db")).unwrap();

            match control.prepare(sql) {
                Ok(mut statement) => {
                    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
                }
                Err(_) => Vec::new(),
            }
        }
    };
    let lines = values.iter().map(|value| value.split_once('\u{1f}').expect("a line has a subject"));
    lines.map(|(subject, line)| (subject.to_owned(), line.to_owned())).collect()
}

/// The kind of the error after [`lose`]: with its prefix, only the tables are lost, and the file is there.
fn kind_of_loss(backend: &Backend) -> ErrorKind {
    if backend.kind == Kind::Prefixed { ErrorKind::WrongDatabase } else { ErrorKind::Missing }
}

#[track_caller]
fn is_lost(error: &shard_runtime::Error, kind: ErrorKind, shard: &str) {
    assert_eq!((error.kind(), error.shard()), (kind, Some(shard)), "{error}");
    let said = error.to_string();
    for text in ["restore it", &format!("replace_lost(\"{shard}\")")] {
        assert!(said.contains(text), "{said}");
    }
}

fn r47_a_lost_shard_is_not_made_again(backend: &Backend) {
    made(backend);
    lose(backend, "b");
    for _ in 0..2 {
        is_lost(
            &backend.open::<(Company, Currency)>(&LETTERS).map(drop).unwrap_err(),
            kind_of_loss(backend),
            "b",
        );
        is_lost(
            &backend.builder(&LETTERS).create::<(Company, Currency)>().unwrap_err(),
            kind_of_loss(backend),
            "b",
        );
    }
    if backend.kind == Kind::Files {
        assert!(!backend.path("b").exists());
        // A disk that is not mounted, and a wrong path.
        let elsewhere = format!("sqlite:{}", backend.folder().join("mnt").join("b.db").display());
        for path in [elsewhere, format!("sqlite:{}", backend.folder().join("B.db").display())] {
            let builder =
                Cluster::builder().shard("a", backend.url("a")).shard("b", path).shard("c", backend.url("c"));
            is_lost(&builder.create::<(Company, Currency)>().unwrap_err(), kind_of_loss(backend), "b");
        }
        assert!(!backend.folder().join("mnt").exists() && !backend.folder().join("B.db").exists());
        fs::rename(backend.path("b").with_extension("db.lost"), backend.path("b")).unwrap();
        assert_eq!(count(&backend.create::<(Company, Currency)>(&LETTERS)), 9);
    }
}

fn r47_a_lost_shard_is_replaced_when_asked_by_name(backend: &Backend) {
    let lost = made(backend);
    let builder = || backend.builder(&LETTERS);
    let refused = builder().replace_lost("b").create::<(Company, Currency)>();
    assert_error(refused, ErrorKind::WrongDatabase, &["shard `b`", "not lost"]);
    assert_error(builder().replace_lost("zz").create::<Company>(), ErrorKind::UnknownShard, &["zz"]);
    lose(backend, "b");
    let opened = builder().replace_lost("b").open::<(Company, Currency)>();
    assert_error(opened, ErrorKind::Configuration, &["create"]);
    // Another shard's name does not allow it, and loses nothing.
    let error = builder().replace_lost("c").create::<(Company, Currency)>().unwrap_err();
    is_lost(&error, kind_of_loss(backend), "b");
    let cluster = builder().replace_lost("b").create::<(Company, Currency)>().unwrap();
    assert_eq!(count(&cluster), 9 - lost.len() as u64);
    let mut session = cluster.session();
    // It came back with the reference tables, and can be written.
    assert_eq!(session.all(Currency::select().on_shard("b")).unwrap().len(), 1);
    session.add_all(lost.iter().map(|&id| Company { id, name: "again".into() })).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    assert_eq!(count(&backend.open::<(Company, Currency)>(&LETTERS).unwrap()), 9);
    assert_eq!(count(&backend.create::<(Company, Currency)>(&LETTERS)), 9);
    lose(backend, "b");
    is_lost(&builder().create::<(Company, Currency)>().unwrap_err(), kind_of_loss(backend), "b");
}

fn r47_an_empty_database_is_no_shard(backend: &Backend) {
    made(backend);
    lose(backend, "c");
    // An empty file is no database yet; an empty schema is one.
    let kind = if backend.is_postgres("c") { ErrorKind::WrongDatabase } else { ErrorKind::Missing };
    match backend.is_postgres("c") {
        true => backend.client("c").run(&format!("CREATE SCHEMA {}", backend.schema("c"))),
        false => fs::write(backend.path("c"), "").unwrap(),
    }
    is_lost(&backend.open::<(Company, Currency)>(&LETTERS).map(drop).unwrap_err(), kind, "c");
    is_lost(&backend.builder(&LETTERS).create::<(Company, Currency)>().unwrap_err(), kind, "c");
    if !backend.is_postgres("c") {
        assert_eq!(fs::metadata(backend.path("c")).unwrap().len(), 0);
        // A database without tables.
        fs::remove_file(backend.path("c")).unwrap();
        let raw = rusqlite::Connection::open(backend.path("c")).unwrap();
        raw.execute_batch("CREATE TABLE other (id INTEGER) STRICT").unwrap();
        drop(raw);
        is_lost(
            &backend.open::<(Company, Currency)>(&LETTERS).map(drop).unwrap_err(),
            ErrorKind::WrongDatabase,
            "c",
        );
        is_lost(
            &backend.builder(&LETTERS).create::<(Company, Currency)>().unwrap_err(),
            ErrorKind::WrongDatabase,
            "c",
        );
    }
    let cluster = backend.builder(&LETTERS).replace_lost("c").create::<(Company, Currency)>().unwrap();
    assert!(cluster.session().all(Company::select().on_shard("c")).unwrap().is_empty());
}

fn r47_a_shard_that_was_being_made_is_continued(backend: &Backend) {
    made(backend);
    // As a kill leaves it between the first record and the shard.
    in_control(backend, "DELETE FROM sharded_state WHERE name = 'b' AND kind <> 'shard'");
    in_control(backend, "UPDATE sharded_state SET value = 'making' WHERE name = 'b'");
    lose(backend, "b");
    let opened = backend.open::<(Company, Currency)>(&LETTERS).map(drop).unwrap_err();
    assert!(opened.to_string().contains("run `create`"), "{opened}");
    drop(backend.create::<(Company, Currency)>(&LETTERS));
    // From here on it is made.
    lose(backend, "b");
    is_lost(
        &backend.builder(&LETTERS).create::<(Company, Currency)>().unwrap_err(),
        kind_of_loss(backend),
        "b",
    );
}

fn r47_a_cluster_of_an_older_release_keeps_its_shards(backend: &Backend) {
    made(backend);
    let forget = || {
        let lines = recorded_lines(backend);
        for shard in LETTERS {
            let (state, layout) =
                (backend.table(shard, "sharded_state"), backend.table(shard, "sharded_layout"));
            backend.run(shard, &format!("DROP TABLE IF EXISTS {state}"));
            if lines.is_empty() {
                continue;
            }
            let rows: Vec<String> =
                lines.iter().map(|(subject, line)| format!("('{subject}', '{line}')")).collect();
            backend.run(
                shard,
                &format!(
                    "DROP TABLE IF EXISTS {layout}; CREATE TABLE {layout} (subject TEXT NOT NULL, line TEXT NOT NULL) STRICT; \
                     INSERT INTO {layout} VALUES {}",
                    rows.join(", ")
                ),
            );
        }
        in_control(backend, "DROP TABLE IF EXISTS sharded_state");
    };
    forget();
    let cluster = backend.open::<(Company, Currency)>(&LETTERS).unwrap();
    assert_eq!(count(&cluster), 9);
    let mut session = cluster.session();
    session.add_all((9..20).map(|id| Company { id, name: "new".into() })).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    forget();
    // An edited line is noticed on each shard, also before `create` moves the lines to the control database.
    for shard in LETTERS {
        let layout = backend.table(shard, "sharded_layout");
        let edit = |from: &str, to: &str| {
            backend.run(shard, &format!("UPDATE {layout} SET line = replace(line, '{from}', '{to}')"));
        };
        edit("remainder 1", "remainder 2");
        let named = format!("shard `{shard}`");
        let opened = backend.open::<(Company, Currency)>(&LETTERS).map(drop);
        assert_error(opened, ErrorKind::Layout, &[&named, "companies"]);
        let created = backend.builder(&LETTERS).create::<(Company, Currency)>();
        assert_error(created, ErrorKind::Layout, &[&named, "companies"]);
        edit("remainder 2 => b", "remainder 1 => b");
    }
    assert_eq!(count(&backend.create::<(Company, Currency)>(&LETTERS)), 20);
    assert!(!recorded_lines(backend).is_empty());
    LETTERS.iter().for_each(|shard| assert_eq!(own_lines(backend, shard), [owned(MOVED)]));
    assert_eq!(count(&backend.open::<(Company, Currency)>(&LETTERS).unwrap()), 20);
    forget();
    lose(backend, "b");
    is_lost(
        &backend.builder(&LETTERS).create::<(Company, Currency)>().unwrap_err(),
        kind_of_loss(backend),
        "b",
    );
}

/// The line with which an older release refuses a shard: it declares another one about the shards.
const MOVED: (&str, &str) = ("shards", "recorded in the control database");

/// The lines that a shard holds itself.
fn own_lines(backend: &Backend, shard: &str) -> Vec<(String, String)> {
    let sql = format!("SELECT subject, line FROM {}", backend.table(shard, "sharded_layout"));
    if backend.is_postgres(shard) {
        let rows = backend.client(shard).rows(&sql).into_iter();
        return rows.map(|row| <[String; 2]>::try_from(row).unwrap().into()).collect();
    }
    let raw = backend.raw(shard);
    let mut statement = raw.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn r40_an_older_release_refuses_a_shard_of_this_one(backend: &Backend) {
    made(backend);
    LETTERS.iter().for_each(|shard| assert_eq!(own_lines(backend, shard), [owned(MOVED)]));
    // A shard that lost the line, as one that was made before it was kept, gets it from `create`.
    for edit in ["DROP TABLE", "DELETE FROM"] {
        backend.run("b", &format!("{edit} {}", backend.table("b", "sharded_layout")));
        drop(backend.create::<(Company, Currency)>(&LETTERS));
        assert_eq!(own_lines(backend, "b"), [owned(MOVED)]);
    }
}

/// As a process of an older release leaves a shard: with a digest of the lines in control, and with lines of its own.
fn r40_lines_that_an_older_release_has_recorded_meanwhile_are_compared(backend: &Backend) {
    made(backend);
    let record = |lines: &[(&str, &str)]| {
        let table = backend.table("b", "sharded_layout");
        backend.run("b", &format!("DELETE FROM {table}"));
        for (subject, line) in lines {
            backend.run("b", &format!("INSERT INTO {table} VALUES ('{subject}', '{line}')"));
        }
    };
    let create = || backend.builder(&LETTERS).create::<(Company, Currency)>();
    let before = recorded_lines(backend);
    let companies = before.iter().find(|(_, line)| line.contains("remainder")).unwrap();
    let other = companies.1.replace("remainder", "rest");
    record(&[(&companies.0, &other)]);
    assert_error(create().map(drop), ErrorKind::Layout, &["shard `b`", "companies", &other]);
    assert_eq!(recorded_lines(backend), before);
    // A model that this program does not declare.
    record(&[("table plants", "1 => a"), ("table plants", "2 => b")]);
    assert_eq!(count(&create().unwrap()), 9);
    assert_eq!(own_lines(backend, "b"), [owned(MOVED)]);
    let after = recorded_lines(backend);
    let plants = |line: &(String, String)| line.0 == "table plants";
    assert_eq!(after.iter().filter(|line| plants(line)).count(), 2);
    record(&[("table plants", "1 => a"), ("table plants", "2 => c")]);
    assert_error(create().map(drop), ErrorKind::Layout, &["shard `b`", "plants", "2 => c", "2 => b"]);
    assert_eq!(recorded_lines(backend), after);
    record(&[("table plants", "1 => a")]);
    assert_eq!(count(&create().unwrap()), 9);
    assert_eq!((recorded_lines(backend), own_lines(backend, "b")), (after, vec![owned(MOVED)]));
    assert_eq!(count(&backend.open::<(Company, Currency)>(&LETTERS).unwrap()), 9);
}

fn owned((subject, line): (&str, &str)) -> (String, String) {
    (subject.to_owned(), line.to_owned())
}

fn r47_a_shard_that_is_lost_under_a_running_cluster_is_noticed(backend: &Backend) {
    made(backend);
    let cluster = backend.open::<(Company, Currency)>(&LETTERS).unwrap();
    lose(backend, "b");
    let mut session = cluster.session();
    let read = session.all(Company::select().on_shard("b"));
    match backend.kind {
        Kind::Files => assert_error(read, ErrorKind::Missing, &["shard `b`", "restore it"]),
        _ => assert_error(read, ErrorKind::WrongDatabase, &["shard `b`", "Restore the schema"]),
    }
    assert!(!session.all(Company::select().on_shard("c")).unwrap().is_empty());
}

fn r47_a_lost_control_database_is_not_made_again(backend: &Backend) {
    made(backend);
    match backend.kind {
        Kind::Files | Kind::Prefixed | Kind::Everything => {
            fs::remove_file(backend.folder().join("control.db")).unwrap();
        }
        Kind::Schemas | Kind::Servers => lose(backend, "a"),
        kind => panic!("a cluster of the kind {kind:?} does not outlive its handle"),
    }
    let shard = if backend.is_postgres("a") { "shard `b`" } else { "shard `a`" };
    let opened = backend.open::<(Company, Currency)>(&LETTERS).map(drop);
    assert_error(opened, ErrorKind::Missing, &["control database", "restore it"]);
    for _ in 0..2 {
        let created = backend.builder(&LETTERS).create::<(Company, Currency)>();
        assert_error(created, ErrorKind::WrongDatabase, &[shard, "control database"]);
    }
}

/// The decision of a prepared participant is lost with the shard: it could be rolled back, although others have committed.
fn r47_a_shard_that_decides_for_prepared_participants_is_not_replaced(backend: &Backend) {
    made(backend);
    let client = backend.client("c");
    let cluster = backend.client("a").text("SELECT id FROM sharded_cluster");
    let gid = format!("sharded:{cluster}:1:the-transaction:2");
    client.run(&format!("BEGIN; UPDATE companies SET name = 'prepared'; PREPARE TRANSACTION '{gid}'"));
    lose(backend, "b");
    let replace = || backend.builder(&LETTERS).replace_lost("b").create::<(Company, Currency)>();
    for _ in 0..2 {
        let texts = ["shard `b`", "`c`", "the-transaction", &format!("COMMIT PREPARED '{gid}'"), "restore"];
        assert_error(replace().map(drop), ErrorKind::WrongDatabase, &texts);
    }
    client.run(&format!("COMMIT PREPARED '{gid}'"));
    let cluster = replace().unwrap();
    let rows = cluster.session().all(Company::select().on_shard("c")).unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.name == "prepared"));
}

/// Shards `a` and `b` in one file, `c` in another one, and a decided transaction over both files that is not applied yet.
struct Decided {
    folder: tempfile::TempDir,
}

impl Decided {
    fn new() -> Self {
        let decided = Decided { folder: tempfile::tempdir().unwrap() };
        drop(decided.builder().create::<Company>().unwrap());
        let control = decided.raw("control.db");
        for (shard, file, own, tables) in [
            ("a", "both.db", "a_sharded_shard", &["a_companies", "b_companies", "a_companies"][..]),
            ("c", "c.db", "sharded_shard", &["companies"]),
        ] {
            let base: i64 = decided
                .raw(file)
                .query_row(&format!("SELECT version FROM {own}"), [], |row| row.get(0))
                .unwrap();
            for (seq, table) in (1_i64..).zip(tables) {
                let sql = format!("INSERT INTO {table} VALUES ({}, 'decided')", 1_000 + seq);
                // One run without parameters.
                control
                    .execute(
                        "INSERT INTO sharded_redo VALUES ('t1', ?1, ?2, ?3, ?4, x'00')",
                        (shard, base, seq, sql),
                    )
                    .unwrap();
            }
        }
        decided
    }

    fn raw(&self, file: &str) -> rusqlite::Connection {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        rusqlite::Connection::open_with_flags(self.folder.path().join(file), flags).unwrap()
    }

    fn builder(&self) -> shard_runtime::Builder {
        let at = |file: &str| format!("sqlite:{}/{file}", self.folder.path().display());
        Cluster::builder()
            .shard("a", at("both.db?prefix=a_"))
            .shard("b", at("both.db?prefix=b_"))
            .shard("c", at("c.db"))
    }

    fn lose(&self, shard: &str) {
        let raw = self.raw("both.db");
        for table in ["companies", "sharded_shard", "sharded_state"] {
            raw.execute_batch(&format!("DROP TABLE {shard}_{table}")).unwrap();
        }
        raw.execute_batch(&format!("DROP TABLE IF EXISTS {shard}_sharded_layout")).unwrap();
    }

    fn records(&self) -> i64 {
        self.raw("control.db").query_row("SELECT count(*) FROM sharded_redo", [], |row| row.get(0)).unwrap()
    }
}

/// The ids of the companies on each shard.
fn ids_by_shard(cluster: &Cluster) -> Vec<Vec<i64>> {
    let mut session = cluster.session();
    let ids = |shard: &str| Company::select().on_shard(shard).order_by(Company::ID.asc());
    ["a", "b", "c"].map(|shard| session.all(ids(shard)).unwrap().iter().map(|row| row.id).collect()).to_vec()
}

#[test]
fn r47_the_other_shards_of_a_file_keep_decided_transactions() {
    let decided = Decided::new();
    decided.lose("b");
    let cluster = decided.builder().replace_lost("b").create::<Company>().unwrap();
    assert_eq!(ids_by_shard(&cluster), [vec![1_001, 1_003], vec![], vec![1_001]]);
    drop(cluster);
    assert_eq!(decided.records(), 0);
    assert_eq!(ids_by_shard(&decided.builder().open::<Company>().unwrap())[0], [1_001, 1_003]);
}

/// The first shard of a file holds the version, which shows whether a decided transaction was applied.
#[test]
fn r47_the_first_shard_of_a_file_is_not_replaced_while_a_decision_is_open() {
    let decided = Decided::new();
    decided.lose("a");
    for _ in 0..2 {
        let error = decided.builder().replace_lost("a").create::<Company>().map(drop);
        assert_error(error, ErrorKind::WrongDatabase, &["shard `a`", "t1", "`b`", "replace_lost"]);
        assert_eq!(decided.records(), 4);
    }
    // If all shards of the file are lost, decided transactions for it are dropped, and only these.
    decided.lose("b");
    let cluster = decided.builder().replace_lost("a").replace_lost("b").create::<Company>().unwrap();
    assert_eq!(ids_by_shard(&cluster), [vec![], vec![], vec![1_001]]);
    drop(cluster);
    assert_eq!(decided.records(), 0);
}

#[test]
fn r47_the_first_shard_of_a_file_is_replaced_after_all_decisions() {
    let decided = Decided::new();
    let cluster = decided.builder().open::<Company>().unwrap();
    assert_eq!(ids_by_shard(&cluster), [vec![1_001, 1_003], vec![1_002], vec![1_001]]);
    drop(cluster);
    assert_eq!(decided.records(), 0);
    decided.lose("a");
    let cluster = decided.builder().replace_lost("a").create::<Company>().unwrap();
    assert_eq!(ids_by_shard(&cluster), [vec![], vec![1_002], vec![1_001]]);
    cluster
        .transaction(|session| session.add_all((0..9).map(|id| Company { id, name: "new".into() })))
        .unwrap();
    drop(cluster);
    assert_eq!(ids_by_shard(&decided.builder().open::<Company>().unwrap()).concat().len(), 11);
}

/// A file that is not there for a moment, and whose other shards are not to be replaced.
#[test]
fn r47_nothing_is_forgotten_before_all_lost_shards_of_a_file_are_named() {
    let decided = Decided::new();
    let path = |name: &str| decided.folder.path().join(name);
    let moved = |from: &str, to: &str| {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::rename(path(&format!("{from}{suffix}")), path(&format!("{to}{suffix}")));
        }
    };
    moved("both.db", "aside.db");
    for name in ["a", "b"] {
        let error = decided.builder().replace_lost(name).create::<Company>().unwrap_err();
        is_lost(&error, ErrorKind::Missing, if name == "a" { "b" } else { "a" });
        assert_eq!(decided.records(), 4);
    }
    moved("aside.db", "both.db");
    let cluster = decided.builder().open::<Company>().unwrap();
    assert_eq!(ids_by_shard(&cluster), [vec![1_001, 1_003], vec![1_002], vec![1_001]]);
}

/// Fewer keys than shards were written when the shard was lost: its absence shows in no row.
#[test]
fn r47_a_lost_shard_without_rows_is_refused() {
    let backend = Backend::new(Kind::Files);
    drop(backend.builder(&LETTERS).durability(Durability::Full).create::<Company>().unwrap());
    lose(&backend, "c");
    is_lost(&backend.builder(&LETTERS).create::<Company>().unwrap_err(), ErrorKind::Missing, "c");
}

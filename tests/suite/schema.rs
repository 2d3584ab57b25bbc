//! Tables on every shard, made and compared: R41.

// Two indexes may begin with the same column; clippy takes the column for an attribute given twice.
#![allow(clippy::duplicated_attributes)]

use std::fs;

use shard_runtime::{Cluster, ErrorKind, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS, assert_error};
use crate::models::*;

on_every_backend! {
    r41_tables_are_made_on_every_shard,
    r41_shards_that_differ_are_refused,
    r41_indexes_of_one_name_are_two_indexes,
    r41_extra_columns_need_a_default,
    r41_bad_configurations_are_refused;
    only Files:
        r41_a_cluster_that_cannot_be_made_leaves_nothing;
    only lasting:
        r41_a_lost_index_is_refused,
        r41_made_by_several_at_once;
    only Prefixed:
        r41_shards_do_not_share_a_table,
}

fn r41_tables_are_made_on_every_shard(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    if backend.is_on_disk() {
        for shard in CONTINENTS {
            for table in ["cities", "reports", "remarks"] {
                let strict = format!(
                    "SELECT count(*) FROM pragma_table_list WHERE strict AND name = trim('{}', '\"')",
                    backend.table(shard, table)
                );
                assert_eq!(backend.peek::<i64>(shard, table, &strict), 1, "{shard} {table}");
            }
        }
    }
    assert_eq!(cluster.session().one(Remark::select().all_shards().count()).unwrap(), 0);
}

fn r41_a_cluster_that_cannot_be_made_leaves_nothing(backend: &Backend) {
    let later = backend.folder().join("later");
    let builder = || {
        let url = format!("sqlite:{}", later.join("b.db").display());
        Cluster::builder().shard("a", backend.url("a")).shard("b", url).shard("c", backend.url("c"))
    };
    assert_error(builder().create::<Company>(), ErrorKind::Io, &["shard `b`", "b.db"]);
    for made in [backend.path("a"), backend.path("c"), backend.folder().join("control.db")] {
        assert!(!made.exists(), "{}", made.display());
    }
    assert!(builder().open::<Company>().is_err());
    fs::create_dir(&later).unwrap();
    let cluster = builder().create::<Company>().unwrap();
    assert_eq!(cluster.session().one(Company::select().all_shards().count()).unwrap(), 0);
    builder().open::<Company>().unwrap();
}

fn r41_shards_that_differ_are_refused(backend: &Backend) {
    let changes = [
        ("ALTER TABLE {table} DROP COLUMN owner", ["`owner`", "no such column"]),
        ("ALTER TABLE {table} RENAME COLUMN owner TO holder", ["`owner`", "no such column"]),
        ("DROP TABLE {table}", ["no such table", "create"]),
        (
            "DROP TABLE {table}; CREATE TABLE {table} (id INTEGER PRIMARY KEY, number TEXT NOT NULL, owner TEXT NOT NULL) STRICT",
            ["`number`", "TEXT"],
        ),
        (
            "DROP TABLE {table}; CREATE TABLE {table} (id INTEGER PRIMARY KEY, number INTEGER NOT NULL, owner TEXT) STRICT",
            ["`owner`", "NULL"],
        ),
        (
            "DROP TABLE {table}; CREATE TABLE {table} (id INTEGER NOT NULL, number INTEGER NOT NULL, owner TEXT NOT NULL) STRICT",
            ["`id`", "key"],
        ),
    ];
    for (change, texts) in changes {
        let backend = Backend::new(backend.kind);
        drop(backend.create::<Account>(&LETTERS));
        if backend.plant(&["b"], "accounts", change) {
            let opened = backend.open::<Account>(&LETTERS).map(drop);
            let said = texts[1].replace("TEXT", if backend.is_postgres("b") { "text" } else { "TEXT" });
            assert_error(opened, ErrorKind::Schema, &["shard `b`", "table `accounts`", texts[0], &said]);
        }
    }
}

fn r41_a_lost_index_is_refused(backend: &Backend) {
    drop(backend.create::<City>(&CONTINENTS));
    let table = backend.table("asia", "cities");
    let find = match backend.is_postgres("asia") {
        true => {
            "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND tablename = 'cities' \
                 AND indexname NOT LIKE '%pkey'"
                .to_owned()
        }
        false => format!("SELECT name FROM pragma_index_list({table}) WHERE \"unique\" AND origin = 'c'"),
    };
    let index: String = backend.peek("asia", "cities", &find);
    backend.run("asia", &format!("DROP INDEX \"{index}\""));
    let opened = backend.open::<City>(&CONTINENTS).map(drop);
    assert_error(opened, ErrorKind::Schema, &["shard `asia`", "table `cities`", "index"]);
    // `create` makes it again.
    drop(backend.create::<City>(&CONTINENTS));
    backend.open::<City>(&CONTINENTS).unwrap();
}

/// Two tables, and indexes whose names would be made of the same words.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "pair", index(left_x, right), unique(left_x, right, id), index(left_x))]
struct Pair {
    #[id]
    #[shard_key(hash)]
    id: i64,
    left_x: i64,
    right: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "pair_left", index(x), index(x, right), unique(x, id))]
struct PairLeft {
    #[id]
    #[shard_key(hash)]
    id: i64,
    x: i64,
    right: i64,
}

/// A table named as an index of the first might be.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "pair_left_x")]
struct PairLeftX {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

fn r41_indexes_of_one_name_are_two_indexes(backend: &Backend) {
    let cluster = backend.create::<(Pair, PairLeft, PairLeftX)>(&LETTERS);
    let mut session = cluster.session();
    session.add(Pair { id: 1, left_x: 1, right: 1 }).unwrap();
    session.add(PairLeft { id: 1, x: 1, right: 1 }).unwrap();
    session.add(PairLeftX { id: 1 }).unwrap();
    session.commit().unwrap();
    if backend.is_on_disk() {
        let indexes = |table: &str| {
            let list = format!("SELECT count(*) FROM pragma_index_list({})", backend.table("b", table));
            backend.peek::<i64>("b", table, &list)
        };
        assert_eq!((indexes("pair"), indexes("pair_left")), (3, 3));
    }
}

/// The same columns, once for order and once for uniqueness.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "both", index(id, name), unique(id, name))]
struct Both {
    #[id(auto)]
    number: i64,
    #[shard_key(hash)]
    id: i64,
    name: String,
}

fn r41_extra_columns_need_a_default(backend: &Backend) {
    let cluster = backend.create::<(Account, Both)>(&LETTERS);
    let mut session = cluster.session();
    session.add(NewBoth { id: 1, name: "x".into() }).unwrap();
    let twice = session.add(NewBoth { id: 1, name: "x".into() });
    assert_error(twice, ErrorKind::Unique, &["table `both`"]);
    session.commit().unwrap();
    drop(session);
    if backend.is_lasting() {
        backend.plant(&["b"], "accounts", "ALTER TABLE {table} ADD COLUMN extra TEXT");
        backend.plant(&["c"], "accounts", "ALTER TABLE {table} ADD COLUMN extra INTEGER NOT NULL DEFAULT 5");
        let cluster = backend.open::<Account>(&LETTERS).unwrap();
        let mut session = cluster.session();
        let numbers = [(1, 5), (2, 1500), (3, 2500)];
        session.add_all(numbers.map(|(id, number)| Account { id, number, owner: "x".into() })).unwrap();
        session.commit().unwrap();
        assert_eq!(session.all(Account::select().all_shards()).unwrap().len(), 3);
        assert_eq!(backend.peek::<i64>("c", "accounts", "SELECT extra FROM {table}"), 5);
        session.commit().unwrap();
        let needs = "DROP TABLE {table}; CREATE TABLE {table} (id INTEGER PRIMARY KEY, number INTEGER NOT NULL, \
                     owner TEXT NOT NULL, extra TEXT NOT NULL) STRICT";
        backend.plant(&["b"], "accounts", needs);
        let opened = backend.open::<Account>(&LETTERS).map(drop);
        assert_error(opened, ErrorKind::Schema, &["shard `b`", "table `accounts`", "column `extra`"]);
    }
}

fn r41_bad_configurations_are_refused(backend: &Backend) {
    let builder = |shards: &[&str]| backend.builder(shards);
    let wrong = ErrorKind::Configuration;
    assert_error(builder(&[]).create::<Company>(), wrong, &["at least one shard"]);
    assert_error(builder(&["a", "b", "a"]).create::<Company>(), wrong, &["shard `a`", "duplicate"]);
    assert_error(builder(&["a", ""]).create::<Company>(), wrong, &["name"]);
    // A key that places rows on a shard that the cluster does not have.
    assert_error(builder(&["a", "b"]).create::<Account>(), wrong, &["shard `c`", "`Account`", "accounts"]);
    // A child without its parent, and a model twice.
    assert_error(builder(&LETTERS).create::<Campaign>(), wrong, &["table `campaigns`", "`Company`"]);
    assert_error(builder(&LETTERS).create::<(Company, Company)>(), wrong, &["`Company`"]);
    assert_error(
        builder(&LETTERS).create::<(Pair, PairAgain)>(),
        wrong,
        &["`Pair`", "`PairAgain`", "`pair`"],
    );
    for url in ["mysql://host/db", "sqlite:", "a.db", "sqlite:a.db?prefix=a-b", "sqlite:a.db?mode=ro"] {
        let builder = Cluster::builder().shard("good", backend.url("good")).shard("bad", url);
        assert_error(builder.create::<Company>(), wrong, &["shard `bad`"]);
    }
    let secret = Cluster::builder().shard("bad", "mysql://user:secret@host/db").create::<Company>();
    assert!(!secret.unwrap_err().to_string().contains("secret"));
    assert!(fs::read_dir(backend.folder()).unwrap().next().is_none(), "nothing was made");
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "pair")]
struct PairAgain {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

fn r41_shards_do_not_share_a_table(backend: &Backend) {
    let file = backend.path("x");
    let url = |rest: &str| format!("sqlite:{}{rest}", file.display());
    let shared = |first: &str, second: &str| {
        let builder = Cluster::builder().shard("one", url(first)).shard("two", url(second));
        assert_error(
            builder.create::<Company>(),
            ErrorKind::Configuration,
            &["shard `two`", "`one`", "prefix"],
        );
    };
    shared("", "");
    shared("?prefix=x_", "?prefix=x_");
    shared("?prefix=x_", "?prefix=X_"); // SQLite's names know no case
    Cluster::builder().shard("one", url("")).shard("two", url("?prefix=x_")).create::<Company>().unwrap();
}

fn r41_made_by_several_at_once(backend: &Backend) {
    let patient = backend.builder(&LETTERS).busy_timeout(std::time::Duration::from_secs(20));
    std::thread::scope(|scope| {
        let make = |thread: i64| {
            let builder = patient.clone();
            move || {
                let cluster = builder.create::<Advertising>()?;
                let mut session = cluster.session();
                session.add(Company { id: thread, name: String::new() })?;
                session.add(NewCampaign { company_id: thread, title: String::new() })?;
                session.commit()
            }
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(make(thread))).collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    let cluster = backend.open::<Advertising>(&LETTERS).unwrap();
    assert_eq!(cluster.session().one(Campaign::select().all_shards().count()).unwrap(), 4);
}

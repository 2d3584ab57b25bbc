//! Each shard records its identity, and opening never makes anything: R40.

use std::fs;
use std::time::Duration;

use shard_runtime::{Cluster, ErrorKind, Sharded};

use crate::backend::{Backend, Kind, LETTERS, assert_error};
use crate::models::*;

on_every_mixture! {
    r40_open_creates_nothing;
    only lasting:
        r40_a_renamed_shard_is_refused,
        r40_a_created_cluster_is_opened,
        r40_create_again_changes_nothing,
        r40_swapped_files_are_refused,
        r48_shards_have_names_in_any_order_and_none_is_left_out,
        r40_a_remapped_key_is_refused,
        r40_new_models_can_be_added,
        r40_values_that_had_no_place_can_be_added;
    only Files:
        r40_a_copied_file_is_refused,
        r40_another_clusters_file_is_refused,
        r40_a_missing_file_is_refused,
        r40_a_file_that_is_swapped_later_is_noticed,
        r40_a_foreign_database_is_refused;
    only on_disk:
        r40_a_lost_control_database_is_refused,
        r40_another_clusters_control_database_is_refused,
}

/// A cluster with one company on every shard.
fn made(backend: &Backend) {
    let cluster = backend.create::<Company>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..9).map(|id| Company { id, name: format!("company {id}") })).unwrap();
    session.commit().unwrap();
}

fn files(backend: &Backend) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(backend.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Shards in files whose names do not name the shard.
fn opened(backend: &Backend, shards: &[(&str, &str)]) -> shard_runtime::Result<Cluster> {
    let control = match backend.is_postgres("a") {
        true => backend.url("a"),
        false => format!("sqlite:{}", backend.folder().join("control.db").display()),
    };
    let builder = Cluster::builder().control(control);
    let at = |file: &str| backend.url(file);
    shards.iter().fold(builder, |builder, (name, file)| builder.shard(*name, at(file))).open::<Company>()
}

fn r40_open_creates_nothing(backend: &Backend) {
    let result = backend.open::<Company>(&LETTERS).map(drop);
    assert_error(result, ErrorKind::Missing, &["create"]);
    assert!(files(backend).is_empty(), "{:?}", files(backend));
    if backend.is_on_disk() {
        // A folder that is not there is not made either.
        let nowhere = backend.folder().join("nowhere").join("a.db");
        let builder = Cluster::builder().shard("a", format!("sqlite:{}", nowhere.display()));
        assert_error(builder.open::<Company>(), ErrorKind::Missing, &[]);
        assert!(files(backend).is_empty());
    }
}

fn r40_a_created_cluster_is_opened(backend: &Backend) {
    made(backend);
    for _ in 0..2 {
        let cluster = backend.open::<Company>(&LETTERS).unwrap();
        assert_eq!(cluster.session().one(Company::select().all_shards().count()).unwrap(), 9);
    }
    let names: Vec<String> = files(backend)
        .into_iter()
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    let expected: &[&str] = match backend.kind {
        Kind::Files => &["a.db", "b.db", "c.db", "control.db"],
        Kind::Everything => &["a.db", "control.db"],
        Kind::Schemas | Kind::Servers => &[],
        _ => &["control.db", "together.db"],
    };
    assert_eq!(names, expected);
}

fn r40_create_again_changes_nothing(backend: &Backend) {
    made(backend);
    let cluster = backend.create::<Company>(&LETTERS);
    assert_eq!(cluster.session().one(Company::select().all_shards().count()).unwrap(), 9);
    for table in ["sharded_shard", "sharded_state", "companies"] {
        let count = || backend.peek::<i64>("b", table, "SELECT count(*) FROM {table}");
        let before = count();
        drop(backend.create::<Company>(&LETTERS));
        assert_eq!(count(), before, "{table}");
    }
}

fn r40_swapped_files_are_refused(backend: &Backend) {
    made(backend);
    opened(backend, &[("a", "a"), ("b", "b"), ("c", "c")]).unwrap();
    // The layout is the same; only the files (or the prefixes) stand in each other's place.
    let swapped = opened(backend, &[("a", "b"), ("b", "a"), ("c", "c")]);
    assert_error(swapped, ErrorKind::WrongDatabase, &["shard `a`", "`b`"]);
    let swapped = opened(backend, &[("a", "a"), ("b", "c"), ("c", "b")]);
    assert_error(swapped, ErrorKind::WrongDatabase, &["shard `b`", "`c`"]);
    if backend.kind == Kind::Files {
        fs::rename(backend.path("b"), backend.path("x")).unwrap();
        fs::rename(backend.path("c"), backend.path("b")).unwrap();
        fs::rename(backend.path("x"), backend.path("c")).unwrap();
        let swapped = backend.open::<Company>(&LETTERS).map(drop);
        assert_error(swapped, ErrorKind::WrongDatabase, &["shard `b`", "`c`"]);
        let remade = backend.builder(&LETTERS).create::<Company>();
        assert_error(remade, ErrorKind::WrongDatabase, &["shard `b`", "`c`"]);
    }
}

fn r40_a_copied_file_is_refused(backend: &Backend) {
    made(backend);
    fs::remove_file(backend.path("c")).unwrap();
    fs::copy(backend.path("b"), backend.path("c")).unwrap();
    let copied = backend.open::<Company>(&LETTERS).map(drop);
    assert_error(copied, ErrorKind::WrongDatabase, &["shard `c`", "`b`"]);
    // The same file twice, also by another way of writing its path.
    let link = backend.folder().join(".").join("b.db");
    let twice = Cluster::builder()
        .shard("b", backend.url("b"))
        .shard("c", format!("sqlite:{}", link.display()))
        .open::<Company>();
    assert_error(twice, ErrorKind::Configuration, &["shard `c`", "`b`", "prefix"]);
    #[cfg(unix)]
    {
        fs::remove_file(backend.path("c")).unwrap();
        std::os::unix::fs::symlink(backend.path("b"), backend.path("c")).unwrap();
        let linked = backend.open::<Company>(&LETTERS).map(drop);
        assert_error(linked, ErrorKind::Configuration, &["shard `c`", "`b`"]);
    }
}

fn r40_another_clusters_file_is_refused(backend: &Backend) {
    let other = Backend::new(backend.kind);
    made(backend);
    made(&other);
    fs::copy(other.path("b"), backend.path("b")).unwrap();
    let _ = fs::remove_file(backend.path("b").with_extension("db-wal"));
    let _ = fs::remove_file(backend.path("b").with_extension("db-shm"));
    let foreign = backend.open::<Company>(&LETTERS).map(drop);
    assert_error(foreign, ErrorKind::WrongDatabase, &["shard `b`", "another cluster"]);
    let foreign = backend.builder(&LETTERS).create::<Company>();
    assert_error(foreign, ErrorKind::WrongDatabase, &["shard `b`", "another cluster"]);
}

fn r48_shards_have_names_in_any_order_and_none_is_left_out(backend: &Backend) {
    made(backend);
    let places = |cluster: &Cluster| -> Vec<String> {
        cluster.shards().iter().map(|shard| format!("{} {}", shard.place(), shard.name())).collect()
    };
    // The record has the order that hashes and names of prepared transactions depend on.
    for cluster in
        [backend.open::<Company>(&["b", "a", "c"]).unwrap(), backend.create::<Company>(&["c", "b", "a"])]
    {
        assert_eq!(places(&cluster), ["0 a", "1 b", "2 c"]);
        for id in 0..9 {
            assert!(cluster.session().get::<Company>(id).unwrap().is_some());
        }
    }
    let texts = ["shard `c` (place 2)", "not configured", "add it"];
    assert_error(backend.open::<Company>(&["a", "b"]).map(drop), ErrorKind::Layout, &texts);
    assert_error(backend.builder(&["a", "b"]).create::<Company>(), ErrorKind::Layout, &texts);
    let opened = backend.open::<Company>(&["a", "b", "c", "d"]).map(drop);
    assert_error(opened, ErrorKind::Layout, &["shard `d`", "no shard of this name", "`create` adds it"]);
    // None of this has changed anything.
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    assert_eq!(cluster.session().one(Company::select().all_shards().count()).unwrap(), 9);
}

fn r40_a_renamed_shard_is_refused(backend: &Backend) {
    made(backend);
    let renamed = opened(backend, &[("a", "a"), ("beta", "b"), ("c", "c")]);
    let error = renamed.map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WrongDatabase | ErrorKind::Layout), "{error}");
    assert!(error.to_string().contains("beta"), "{error}");
}

mod remapped {
    use shard_runtime::Sharded;

    /// As [`Shop`](super::Shop), two regions in each other's place.
    #[derive(Sharded)]
    #[sharded(table = "shops")]
    pub struct Shop {
        #[id]
        pub id: i64,
        #[shard_key(list("North" => "b", "South" => "a"))]
        pub region: String,
    }

    /// As [`Account`](super::Account), one bound moved.
    #[derive(Sharded)]
    #[sharded(table = "accounts")]
    pub struct Account {
        #[id]
        pub id: i64,
        #[shard_key(range("a" => ..1000, "b" => 1000..3000, "c" => 3000..))]
        pub number: i32,
        pub owner: String,
    }

    /// As [`Company`](super::Company), placed by range.
    #[derive(Sharded)]
    #[sharded(table = "companies")]
    pub struct Company {
        #[id]
        #[shard_key(range("a" => ..5, "b" => 5..))]
        pub id: i64,
        pub name: String,
    }

    /// As [`Visit`](super::Visit), with another fallback.
    #[derive(Sharded)]
    #[sharded(table = "visits")]
    pub struct Visit {
        #[id]
        pub id: i64,
        #[shard_key(list(1 => "a", -2 => "b", _ => "b"))]
        pub reason: i32,
        pub notes: String,
    }
}

fn r40_a_remapped_key_is_refused(backend: &Backend) {
    drop(backend.create::<(Shop, Account, Company, Visit)>(&LETTERS));
    let refused = |result: shard_runtime::Result<()>, texts: &[&str]| {
        assert_error(result, ErrorKind::Layout, texts);
    };
    let shops = backend.open::<remapped::Shop>(&LETTERS).map(drop);
    refused(shops, &["shard `a`", "shops", "North => a", "North => b"]);
    let accounts = backend.open::<remapped::Account>(&LETTERS).map(drop);
    refused(accounts, &["shard `a`", "accounts", "1000..2000 => b", "1000..3000 => b"]);
    let companies = backend.open::<remapped::Company>(&LETTERS).map(drop);
    refused(companies, &["shard `a`", "companies", "hash modulus 3", "range"]);
    let visits = backend.open::<remapped::Visit>(&LETTERS).map(drop);
    refused(visits, &["shard `a`", "visits", "otherwise => c", "otherwise => b"]);
    refused(backend.builder(&LETTERS).create::<remapped::Shop>().map(drop), &["shops", "North => b"]);
    // Some of the models alone, as they were: fine.
    backend.open::<(Visit, Shop)>(&LETTERS).unwrap();
}

fn r40_new_models_can_be_added(backend: &Backend) {
    made(backend);
    let texts = ["shard `a`", "table `campaigns`", "create"];
    assert_error(backend.open::<Advertising>(&LETTERS).map(drop), ErrorKind::Schema, &texts);
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    session.add(NewCampaign { company_id: 5, title: "new".into() }).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    backend.open::<Advertising>(&LETTERS).unwrap();
    backend.open::<Company>(&LETTERS).unwrap();
}

mod widened {
    use shard_runtime::Sharded;

    /// As [`Shop`](super::Shop), with a region more.
    #[derive(Sharded)]
    #[sharded(table = "shops")]
    pub struct Shop {
        #[id]
        pub id: i64,
        #[shard_key(list("North" => "a", "South" => "b", "East" => "c"))]
        pub region: String,
    }

    /// As [`Visit`](super::Visit), with a reason more: visits for it may lie in the fallback's shard.
    #[derive(Sharded)]
    #[sharded(table = "visits")]
    pub struct Visit {
        #[id]
        pub id: i64,
        #[shard_key(list(1 => "a", -2 => "b", 3 => "a", _ => "c"))]
        pub reason: i32,
        pub notes: String,
    }
}

fn r40_values_that_had_no_place_can_be_added(backend: &Backend) {
    let made = backend.create::<(Shop, Visit)>(&LETTERS);
    let mut session = made.session();
    session.add(Shop { id: 1, region: "North".into() }).unwrap();
    session.commit().unwrap();
    drop((session, made));
    let opened = backend.open::<widened::Shop>(&LETTERS).map(drop);
    assert_error(opened, ErrorKind::Layout, &["shard `a`", "shops", "`list East => c`", "create"]);
    // With a fallback, rows may exist already.
    let widened = backend.builder(&LETTERS).create::<widened::Visit>();
    assert_error(widened, ErrorKind::Layout, &["shard `a`", "visits", "`list 3 => a`"]);

    let cluster = backend.create::<widened::Shop>(&LETTERS);
    let mut session = cluster.session();
    session.add(widened::Shop { id: 2, region: "East".into() }).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let cluster = backend.open::<widened::Shop>(&LETTERS).unwrap();
    let east = widened::Shop::select().filter(widened::Shop::REGION.eq("East"));
    assert_eq!(cluster.session().one(east).unwrap().shard().name(), "c");
    assert_eq!(cluster.session().one(widened::Shop::select().all_shards().count()).unwrap(), 2);
    drop(cluster);
    // An added value cannot be removed again.
    let narrowed = backend.open::<Shop>(&LETTERS).map(drop);
    assert_error(narrowed, ErrorKind::Layout, &["shops", "`list East => c`", "not declared any more"]);
}

fn r40_a_missing_file_is_refused(backend: &Backend) {
    made(backend);
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    fs::remove_file(backend.path("b")).unwrap();
    let missing = || backend.open::<Company>(&LETTERS).map(drop);
    assert_error(missing(), ErrorKind::Missing, &["shard `b`", "b.db"]);
    // Nor does a cluster that was opened before make it when it first needs it.
    let mut session = cluster.session();
    assert_error(session.all(Company::select().on_shard("b")), ErrorKind::Missing, &["shard `b`"]);
    assert!(!backend.path("b").exists());
    // The others continue.
    assert!(!session.all(Company::select().on_shard("c")).unwrap().is_empty());
}

fn r40_a_file_that_is_swapped_later_is_noticed(backend: &Backend) {
    made(backend);
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    fs::rename(backend.path("b"), backend.path("x")).unwrap();
    fs::rename(backend.path("c"), backend.path("b")).unwrap();
    let mut session = cluster.session();
    let swapped = session.all(Company::select().on_shard("b"));
    assert_error(swapped, ErrorKind::WrongDatabase, &["shard `b`", "`c`"]);
}

fn r40_a_lost_control_database_is_refused(backend: &Backend) {
    made(backend);
    fs::remove_file(backend.folder().join("control.db")).unwrap();
    let opened = backend.open::<Company>(&LETTERS).map(drop);
    assert_error(opened, ErrorKind::Missing, &["control"]);
    // Made anew it would hand ids out again.
    let created = backend.builder(&LETTERS).create::<Company>();
    assert_error(created, ErrorKind::WrongDatabase, &["shard `a`", "control"]);
    assert!(!backend.folder().join("control.db").exists());
}

fn r40_another_clusters_control_database_is_refused(backend: &Backend) {
    let other = Backend::new(backend.kind);
    made(backend);
    made(&other);
    fs::copy(other.folder().join("control.db"), backend.folder().join("control.db")).unwrap();
    let opened = backend.open::<Company>(&LETTERS).map(drop);
    assert_error(opened, ErrorKind::WrongDatabase, &["shard `a`", "another cluster"]);
    // A shard's file, or any other database, is no control database.
    let control = |path: std::path::PathBuf| {
        backend.builder(&LETTERS).control(format!("sqlite:{}", path.display())).open::<Company>().map(drop)
    };
    assert_error(control(backend.path("a")), ErrorKind::Configuration, &["control"]);
    assert_error(control(other.path("a")), ErrorKind::WrongDatabase, &["control"]);
}

fn r40_a_foreign_database_is_refused(backend: &Backend) {
    made(backend);
    for name in ["b.db", "b.db-wal", "b.db-shm"] {
        let _ = fs::remove_file(backend.folder().join(name));
    }
    let foreign = rusqlite::Connection::open(backend.path("b")).unwrap();
    foreign
        .execute_batch("CREATE TABLE companies (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT")
        .unwrap();
    drop(foreign);
    let opened = backend.open::<Company>(&LETTERS);
    assert_error(opened.map(drop), ErrorKind::WrongDatabase, &["shard `b`", "no shard"]);
}

/// Opening took minutes when each shard's layout was compared line by line, and each path with each other (W18).
/// `benches/opening` prints the times; this only guards against a hang.
#[test]
fn r40_clusters_of_many_shards_are_opened() {
    const HANG: Duration = Duration::from_secs(60);
    for files in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let shards = if files { 256 } else { 512 };
        let at = |shard: usize| match files {
            true => format!("sqlite:{}/{shard}.db", folder.path().display()),
            false => format!("sqlite:{}/all.db?prefix=s{shard}_", folder.path().display()),
        };
        let builder = (0..shards)
            .fold(Cluster::builder(), |builder, shard| builder.shard(format!("s{shard}"), at(shard)))
            .durability(shard_runtime::Durability::Normal);
        drop(builder.clone().create::<Company>().unwrap());
        let (opened, waiting) = std::sync::mpsc::channel();
        std::thread::spawn(move || opened.send(builder.open::<Company>().unwrap().shards().len()));
        assert_eq!(waiting.recv_timeout(HANG), Ok(shards));
    }
}

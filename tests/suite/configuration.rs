//! A cluster in a TOML file is the same as one of the builder, and mistakes in it are named: R45.

use std::fs;

use shard_runtime::{Cluster, ErrorKind, Sharded};

use crate::backend::{Backend, Kind, LETTERS, assert_error};
use crate::models::*;

on_every_dialect! {
    a_file_configures_the_same_as_the_builder,
    every_setting_can_be_in_a_file,
    mistakes_in_a_file_are_named,
    a_file_that_cannot_be_read_is_named,
    r45_extreme_settings_are_no_panic,
    the_control_database_is_one_database;
    only Files:
        paths_in_a_file_start_from_its_folder,
        the_environment_is_put_into_urls,
}

fn written(backend: &Backend, text: &str) -> std::path::PathBuf {
    let path = backend.folder().join("shards.toml");
    fs::write(&path, text).unwrap();
    path
}

fn shards(backend: &Backend) -> String {
    LETTERS.map(|shard| format!("[[shard]]\nname = \"{shard}\"\nurl = '{}'\n", backend.url(shard))).concat()
}

fn a_file_configures_the_same_as_the_builder(backend: &Backend) {
    let path = written(backend, &shards(backend));
    let cluster = Cluster::builder().config_file(&path).unwrap().create::<Company>().unwrap();
    assert!(cluster.shards().iter().map(|shard| shard.name()).eq(LETTERS));
    let mut session = cluster.session();
    let companies = session.add_all((0..20).map(|id| Company { id, name: String::new() })).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    if backend.is_lasting() {
        let cluster = backend.open::<Company>(&LETTERS).unwrap();
        let mut session = cluster.session();
        assert_eq!(session.one(Company::select().all_shards().count()).unwrap(), 20);
        assert_eq!(session.get::<Company>(7).unwrap().unwrap(), companies[7]);
    }
}

fn paths_in_a_file_start_from_its_folder(backend: &Backend) {
    let folder = backend.folder().join("conf");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("shards.toml");
    let text = "control = \"sqlite:ids.db\"\n[[shard]]\nname = \"a\"\nurl = \"sqlite:a.db\"\n[[shard]]\nname = \"b\"\nurl = \"sqlite:../b.db\"\n";
    fs::write(&path, text).unwrap();
    Cluster::builder().config_file(&path).unwrap().create::<Company>().unwrap();
    assert!(folder.join("a.db").exists() && folder.join("ids.db").exists() && backend.path("b").exists());
    assert!(!folder.join("control.db").exists());
}

fn every_setting_can_be_in_a_file(backend: &Backend) {
    let connections = backend.databases();
    let settings = "busy_timeout_ms = 1000\ndurability = \"normal\"\ncache_size = 100\nmmap_size = 0\nwal_size_limit = 0\nwithout_prepared_transactions = true\n";
    let path = written(backend, &format!("{settings}connections = {connections}\n{}", shards(backend)));
    let cluster = Cluster::builder().config_file(&path).unwrap().create::<Company>().unwrap();
    let mut first = cluster.session();
    first.all(Company::select().on_shard("a")).unwrap();
    // One connection of each database, and a short wait for it.
    let second = cluster.session().all(Company::select().on_shard("a"));
    assert_error(second, ErrorKind::Busy, &["shard `a`", &format!("{connections} connections")]);
    if backend.kind == Kind::Servers {
        first.rollback();
        first.add_all((0..20).map(|id| Company { id, name: String::new() })).unwrap();
        assert_error(first.commit(), ErrorKind::Query, &["without_prepared_transactions"]);
    }
}

/// Cargo sets this variable.
fn the_environment_is_put_into_urls(backend: &Backend) {
    let shard = |url: &str| format!("[[shard]]\nname = \"a\"\nurl = \"{url}\"\n");
    let path = written(
        backend,
        &format!("control = \"sqlite:c_${{CARGO_PKG_NAME}}.db\"\n{}", shard("sqlite:${CARGO_PKG_NAME}.db")),
    );
    Cluster::builder().config_file(&path).unwrap().create::<Company>().unwrap();
    let package = std::env::var("CARGO_PKG_NAME").unwrap();
    for name in [format!("{package}.db"), format!("c_{package}.db")] {
        assert!(backend.folder().join(&name).exists(), "{name}");
    }
    for (url, said) in
        [("sqlite:${NO_SUCH_NAME}.db", "`NO_SUCH_NAME` is not set"), ("postgres://u:s3cret${@h/db", "`${`")]
    {
        let path = written(backend, &shard(url));
        let error = Cluster::builder().config_file(&path).err().unwrap();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert_error::<()>(Err(error), ErrorKind::Configuration, &["shard `a`", "shards.toml", said]);
    }
    let path = written(backend, &format!("control = \"sqlite:${{NO_SUCH_NAME}}\"\n{}", shard("sqlite:a.db")));
    let error = Cluster::builder().config_file(&path);
    assert_error(error.map(drop), ErrorKind::Configuration, &["control", "`NO_SUCH_NAME`"]);
}

fn mistakes_in_a_file_are_named(backend: &Backend) {
    let wrong = |text: &str, texts: &[&str]| {
        let path = written(backend, text);
        let built = Cluster::builder().config_file(&path).and_then(|builder| builder.create::<Company>());
        assert_error(built, ErrorKind::Configuration, texts);
    };
    wrong("", &["shards.toml", "has no shard", "[[shard]]"]);
    wrong("[[shard]]\nname = \"a\"\n", &["shards.toml", "line 1", "`url`"]);
    wrong("\n\n[[shard]]\nname = 5\nurl = \"sqlite::memory:\"\n", &["line 4"]);
    wrong("[[shard]]\nnaem = \"a\"\nurl = \"sqlite::memory:\"\n", &["line 2", "`naem`"]);
    wrong(
        "conections = 5\n[[shard]]\nname = \"a\"\nurl = \"sqlite::memory:\"\n",
        &["line 1", "`conections`"],
    );
    wrong("durability = \"off\"\n", &["line 1", "`full` or `normal`"]);
    wrong("connections = -1\n", &["line 1", "-1"]);
    wrong("async_sessions = \"many\"\n", &["line 1", "a string, expected u32"]);
    wrong("this is no TOML", &["line 1"]);
    let twice = "[[shard]]\nname = \"a\"\nurl = \"sqlite::memory:\"\n".repeat(2);
    wrong(&twice, &["shard `a`", "duplicate"]);
    wrong("[[shard]]\nname = \"a\"\nurl = \"file:a.db\"\n", &["shard `a`", "sqlite:"]);
    // A shard that a model's key needs and the file does not have.
    let path = written(backend, "[[shard]]\nname = \"a\"\nurl = \"sqlite::memory:\"\n");
    let missing = Cluster::builder().config_file(&path).unwrap().create::<Account>();
    assert_error(missing, ErrorKind::Configuration, &["shard `b`", "table `accounts`"]);
}

fn a_file_that_cannot_be_read_is_named(backend: &Backend) {
    let missing = Cluster::builder().config_file(backend.folder().join("none.toml"));
    assert_error(missing, ErrorKind::Io, &["none.toml"]);
    assert_error(Cluster::builder().config_file(backend.folder()), ErrorKind::Io, &[]);
    let path = backend.folder().join("bytes.toml");
    fs::write(&path, [0xFF, 0xFE, 0x00]).unwrap();
    assert_error(Cluster::builder().config_file(&path), ErrorKind::Io, &["bytes.toml"]);
}

fn r45_extreme_settings_are_no_panic(backend: &Backend) {
    use std::time::Duration;
    let timeouts = [Duration::ZERO, Duration::from_millis(i32::MAX as u64 + 1), Duration::MAX];
    for (place, timeout) in timeouts.into_iter().enumerate() {
        let backend = Backend::new(backend.kind);
        let builder = backend.builder(&LETTERS).busy_timeout(timeout).connections([0, 3, u32::MAX][place]);
        let builder = builder.cache_size([0, 1, u32::MAX][place]).mmap_size([0, 1, u64::MAX][place]);
        let builder = builder.wal_size_limit([0, 1, u64::MAX][place]);
        match builder.create::<Company>() {
            Ok(cluster) => {
                let mut session = cluster.session();
                session.add_all((0..9).map(|id| Company { id, name: String::new() })).unwrap();
                session.commit().unwrap();
                assert_eq!(session.one(Company::select().all_shards().count()).unwrap(), 9);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Configuration, "{error}"),
        }
    }
    let path = written(backend, &format!("busy_timeout_ms = 9000000000000\n{}", shards(backend)));
    let built = Cluster::builder().config_file(&path).and_then(|builder| builder.create::<Company>());
    assert_error(built, ErrorKind::Configuration, &["`busy_timeout`", "9000000000s"]);
}

fn the_control_database_is_one_database(backend: &Backend) {
    let ids = backend.folder().join("ids.db");
    let control = |query: &str| backend.builder(&LETTERS).control(format!("sqlite:{}{query}", ids.display()));
    // A prefix has no meaning there, and nothing that has no meaning is passed over.
    assert_error(control("?prefix=x_").create::<Company>(), ErrorKind::Configuration, &["control", "prefix"]);
    assert_error(
        backend.builder(&LETTERS).control("ids.db").create::<Company>(),
        ErrorKind::Configuration,
        &["control"],
    );
    control("").create::<Company>().unwrap();
    assert!(ids.exists() && !backend.folder().join("control.db").exists());
}

//! An older copy of one database of a cluster is noticed when the cluster is opened: R47.

use std::fs;
use std::path::{Path, PathBuf};

use shard_runtime::{Cluster, Durability, ErrorKind, Sharded};

use crate::backend::{Backend, Kind, LETTERS, assert_error};
use crate::models::*;

on_every_backend! {
    r47_an_older_copy_of_a_shard_is_refused,
    r47_an_older_copy_of_the_control_database_is_refused,
    r47_decisions_record_the_versions_of_their_databases,
    r47_a_backup_of_the_whole_cluster_is_no_older_copy,
    r47_a_newer_shard_of_a_killed_process_is_opened,
    r47_a_record_of_the_layout_that_was_edited_or_deleted_is_noticed,
}

fn made(backend: &Backend) {
    drop(backend.create::<Company>(&LETTERS));
    if backend.is_lasting() {
        write(backend);
    }
}

/// Opens the cluster, adds companies to all shards, each shard in a transaction of its own, and closes it.
fn write(backend: &Backend) {
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    add(&cluster);
}

fn add(cluster: &Cluster) {
    let first = cluster.session().one(Company::select().all_shards().count()).unwrap();
    for id in first..first + 12 {
        let id = i64::try_from(id).unwrap();
        let mut session = cluster.session();
        session.add(Company { id, name: format!("company {id}") }).unwrap();
        session.commit().unwrap();
    }
}

/// A shard that is in a SQLite file, and the first shard in that file.
fn in_a_file(backend: &Backend) -> Option<(&'static str, &'static str)> {
    match backend.kind {
        Kind::Files => Some(("b", "b")),
        Kind::Prefixed => Some(("b", "a")),
        Kind::Everything => Some(("a", "a")),
        _ => None,
    }
}

fn control(backend: &Backend) -> PathBuf {
    backend.folder().join("control.db")
}

/// Puts another file in the place of a closed database.
fn put_in_place(copy: &Path, of: &Path) {
    for suffix in ["-wal", "-shm"] {
        let mut path = of.as_os_str().to_owned();
        path.push(suffix);
        let _ = fs::remove_file(path);
    }
    fs::copy(copy, of).unwrap();
}

/// Copies a database that may be in use.
fn copy_of(database: &Path) -> PathBuf {
    let copy = database.with_extension("copy");
    let raw = rusqlite::Connection::open(database).unwrap();
    raw.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    copy
}

fn is_refused(backend: &Backend, shard: &str, texts: &[&str]) {
    let shard = format!("shard `{shard}`");
    let texts: Vec<&str> = texts.iter().copied().chain([shard.as_str(), "older", "restore"]).collect();
    assert_error(backend.open::<Company>(&LETTERS).map(drop), ErrorKind::WrongDatabase, &texts);
    assert_error(backend.builder(&LETTERS).create::<Company>(), ErrorKind::WrongDatabase, &texts);
}

fn r47_an_older_copy_of_a_shard_is_refused(backend: &Backend) {
    made(backend);
    let Some((shard, first)) = in_a_file(backend) else { return };
    let copy = copy_of(&backend.path(shard));
    write(backend);
    let newer = backend.path(shard).with_extension("newer");
    fs::copy(backend.path(shard), &newer).unwrap();
    put_in_place(&copy, &backend.path(shard));
    is_refused(backend, first, &["database is older"]);
    put_in_place(&newer, &backend.path(shard));
    write(backend);
}

fn r47_an_older_copy_of_the_control_database_is_refused(backend: &Backend) {
    made(backend);
    let Some((_, first)) = in_a_file(backend) else { return };
    let copy = copy_of(&control(backend));
    write(backend);
    let newer = control(backend).with_extension("newer");
    fs::copy(control(backend), &newer).unwrap();
    put_in_place(&copy, &control(backend));
    is_refused(
        backend,
        if backend.kind == Kind::Files { "a" } else { first },
        &["control database", "control.db"],
    );
    put_in_place(&newer, &control(backend));
    write(backend);
}

fn r47_decisions_record_the_versions_of_their_databases(backend: &Backend) {
    let Some((shard, first)) = in_a_file(backend) else { return };
    if backend.kind == Kind::Prefixed {
        return; // One database is no decision.
    }
    let cluster = backend.builder(&LETTERS).durability(Durability::Full).create::<Company>().unwrap();
    add(&cluster);
    let copy = copy_of(&backend.path(shard));
    // The process is the same, and each shard has its number already.
    let mut session = cluster.session();
    session.add_all((100..120).map(|id| Company { id, name: "together".into() })).unwrap();
    assert_eq!(session.commit().unwrap().pending().len(), 0);
    drop((session, cluster));
    put_in_place(&copy, &backend.path(shard));
    is_refused(backend, first, &["expected version"]);
}

fn r47_a_backup_of_the_whole_cluster_is_no_older_copy(backend: &Backend) {
    made(backend);
    if !backend.is_on_disk() {
        return;
    }
    let saved = backend.folder().join("saved");
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    add(&cluster);
    cluster.backup(&saved).unwrap();
    add(&cluster);
    drop(cluster);
    write(backend);
    for entry in fs::read_dir(&saved).unwrap() {
        let copy = entry.unwrap().path();
        put_in_place(&copy, &backend.folder().join(copy.file_name().unwrap()));
    }
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    assert_eq!(cluster.session().one(Company::select().all_shards().count()).unwrap(), 24);
    add(&cluster);
}

fn r47_a_newer_shard_of_a_killed_process_is_opened(backend: &Backend) {
    made(backend);
    if in_a_file(backend).is_none() {
        return;
    }
    // Killed between its first commit and the record of it in control.
    let raw = rusqlite::Connection::open(control(backend)).unwrap();
    let forgotten =
        raw.execute("DELETE FROM sharded_state WHERE kind = 'writer' AND name <> ''", []).unwrap();
    assert!(forgotten > 0);
    drop(raw);
    write(backend);
    drop(backend.create::<Company>(&LETTERS));
}

fn r47_a_record_of_the_layout_that_was_edited_or_deleted_is_noticed(backend: &Backend) {
    made(backend);
    if !backend.is_lasting() {
        return;
    }
    let both = |texts: &[&str]| {
        assert_error(backend.open::<Company>(&LETTERS).map(drop), ErrorKind::Layout, texts);
        assert_error(backend.builder(&LETTERS).create::<Company>(), ErrorKind::Layout, texts);
    };
    let state = |shard: &str| backend.table(shard, "sharded_state");
    for shard in LETTERS {
        let (table, named) = (state(shard), format!("shard `{shard}`"));
        let digest =
            backend.peek::<String>(shard, "sharded_state", "SELECT value FROM {table} WHERE kind = 'layout'");
        backend.run(shard, &format!("UPDATE {table} SET value = '9 0000000000000000' WHERE kind = 'layout'"));
        both(&[&named, "sharded_state", "edited", "restore"]);
        backend.run(shard, &format!("DELETE FROM {table} WHERE kind = 'layout'"));
        both(&[&named, "sharded_state", "deleted", "restore"]);
        backend.run(shard, &format!("INSERT INTO {table} VALUES ('layout', '', '{digest}')"));
        drop(backend.open::<Company>(&LETTERS).unwrap());
    }
    // A line of the record itself, which no shard has taken part in.
    for sql in [
        "UPDATE sharded_state SET value = replace(value, 'remainder 1', 'remainder 2') WHERE kind = 'line'",
        "DELETE FROM sharded_state WHERE kind = 'line'",
    ] {
        match backend.is_postgres("a") {
            true => backend.client("a").run(sql),
            false => rusqlite::Connection::open(control(backend)).unwrap().execute_batch(sql).unwrap(),
        }
        both(&["shard `a`", "edited", "control database"]);
    }
}

//! Databases that are locked, damaged, read-only or gone: R44; and no panic from data or configuration: R45.

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shard_runtime::{Cluster, ErrorKind, Result, Session, Sharded};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_backend! {
    r45_random_configurations_are_no_panic;
    only on_disk:
        r44_a_locked_database_is_busy_when_it_is_opened,
        r44_a_read_only_database_can_be_read,
        r44_a_database_that_is_a_folder;
    only Files:
        r44_a_damaged_database_is_corrupt,
        r44_a_file_that_is_no_database_is_corrupt,
        r44_a_file_that_goes_away_loses_nothing_on_the_others,
        r44_a_file_that_is_removed_under_a_running_cluster_is_not_written,
        r44_a_file_that_may_not_be_written_is_read_only,
        r44_a_device_that_takes_no_more_loses_nothing;
    only on_disk:
        r44_a_transaction_that_the_database_ends_ends_the_unit,
}

fn made(backend: &Backend) -> Watched {
    let cluster = backend.create::<Company>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..300).map(|id| Company { id, name: format!("company {id}") })).unwrap();
    session.commit().unwrap();
    cluster
}

/// Moves the write-ahead log into the file.
fn settle(backend: &Backend, shard: &str) {
    backend.raw(shard).query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

fn overwrite(backend: &Backend, shard: &str, at: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(backend.path(shard)).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

fn r44_a_locked_database_is_busy_when_it_is_opened(backend: &Backend) {
    drop(made(backend));
    let holder = backend.raw("b");
    holder.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    backend.does_not_wait_long();
    let shard = if backend.is_separate() { "shard `b`" } else { "shard `a`" };
    assert_error(backend.open::<Company>(&LETTERS).map(drop), ErrorKind::Busy, &[shard]);
    assert_error(backend.builder(&LETTERS).create::<Company>(), ErrorKind::Busy, &[shard]);
    drop(holder);
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    assert_eq!(cluster.session().one(Company::select().all_shards().count()).unwrap(), 300);
}

fn r44_a_read_only_database_can_be_read(backend: &Backend) {
    drop(made(backend));
    // A file whose format is newer than SQLite can write is read-only for it, for every user.
    settle(backend, "b");
    overwrite(backend, "b", 18, &[3]);
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    let mut session = cluster.session();
    assert_eq!(session.one(Company::select().all_shards().count()).unwrap(), 300);
    let there = session.first(Company::select().on_shard("b")).unwrap().unwrap();
    let shard = if backend.is_separate() { "shard `b`" } else { "shard `" };
    session.delete(&there).unwrap();
    assert_error(session.flush(), ErrorKind::ReadOnly, &[shard]);
    session.rollback();
    let update = Company::update().set(Company::NAME, "x").all_shards();
    assert_error(session.execute(update), ErrorKind::ReadOnly, &[shard]);
    session.add(Company { id: there.id + 1_000, name: "new".into() }).unwrap();
    let id = (1_000..)
        .find(|id| {
            let company = Company { id: *id, name: String::new() };
            company.shard_chooser(cluster.shards()).unwrap() == there.shard().index()
        })
        .unwrap();
    session.add(Company { id, name: "new".into() }).unwrap();
    assert_error(session.commit(), ErrorKind::ReadOnly, &[shard]);
    session.rollback();
    // Nothing of the unit is on the other shards either.
    let changed = Company::select().filter(Company::NAME.is_in(["x", "new"])).all_shards();
    assert_eq!(session.one(changed.count()).unwrap(), 0);
    if backend.is_separate() {
        session.execute(Company::update().set(Company::NAME, "x").on_shard("a")).unwrap();
        session.commit().unwrap();
    }
}

fn r44_a_damaged_database_is_corrupt(backend: &Backend) {
    drop(made(backend));
    settle(backend, "b");
    // The table's pages, not the schema's.
    let root: u64 =
        backend.peek::<i64>("b", "companies", "SELECT rootpage FROM sqlite_schema WHERE name = 'companies'")
            as u64;
    overwrite(backend, "b", (root - 1) * 4096, &[0xEE; 4096]);
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    let mut session = cluster.session();
    let all = || Company::select().all_shards();
    assert_error(session.all(all()), ErrorKind::Corrupt, &["shard `b`", "table `companies`"]);
    assert_error(session.one(all().count()), ErrorKind::Corrupt, &["shard `b`"]);
    let delete = Company::delete().all_shards();
    assert_error(session.execute(delete), ErrorKind::Corrupt, &["shard `b`"]);
    session.rollback();
    // The others have lost nothing.
    let others = Company::select().on_shard("a").count();
    assert!(session.one(others).unwrap() > 50);
}

fn r44_a_file_that_is_no_database_is_corrupt(backend: &Backend) {
    drop(made(backend));
    for name in ["b.db", "b.db-wal", "b.db-shm"] {
        let _ = fs::remove_file(backend.folder().join(name));
    }
    fs::write(backend.path("b"), "continent,city\nAsia,Tokyo\n".repeat(100)).unwrap();
    assert_error(backend.open::<Company>(&LETTERS).map(drop), ErrorKind::Corrupt, &["shard `b`"]);
    assert_error(backend.builder(&LETTERS).create::<Company>(), ErrorKind::Corrupt, &["shard `b`"]);
    fs::write(backend.path("b"), "").unwrap(); // SQLite would take it for an empty database
    assert_error(backend.open::<Company>(&LETTERS).map(drop), ErrorKind::Missing, &["shard `b`", "empty"]);
}

fn r44_a_database_that_is_a_folder(backend: &Backend) {
    let path = backend.path("a");
    fs::create_dir(&path).unwrap();
    assert_error(backend.builder(&["a"]).create::<Company>(), ErrorKind::Io, &["shard `a`"]);
    fs::remove_dir(&path).unwrap();
    drop(backend.create::<Company>(&["a"]));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_error(backend.open::<Company>(&["a"]).map(drop), ErrorKind::Io, &["shard `a`"]);
}

fn r44_a_file_that_goes_away_loses_nothing_on_the_others(backend: &Backend) {
    let cluster = made(backend);
    drop(cluster);
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    fs::rename(backend.path("c"), backend.folder().join("elsewhere")).unwrap();
    let mut session = cluster.session();
    session.execute(Company::update().set(Company::NAME, "changed").on_shard("a")).unwrap();
    let everywhere = Company::update().set(Company::NAME, "all").all_shards();
    assert_error(session.execute(everywhere), ErrorKind::Missing, &["shard `c`"]);
    assert_error(session.all(Company::select().all_shards()), ErrorKind::Missing, &["shard `c`"]);
    session.commit().unwrap();
    fs::rename(backend.folder().join("elsewhere"), backend.path("c")).unwrap();
    // The same cluster continues when the file is back.
    let changed = Company::select().filter(Company::NAME.eq("changed")).all_shards();
    let on_a = session.one(Company::select().on_shard("a").count()).unwrap();
    assert_eq!(session.one(changed.count()).unwrap(), on_a);
    assert_eq!(session.one(Company::select().all_shards().count()).unwrap(), 300);
}

fn r44_a_file_that_is_removed_under_a_running_cluster_is_not_written(backend: &Backend) {
    let cluster = made(backend);
    let everywhere = || Company::update().set(Company::NAME, "changed").all_shards();
    let on_c = || Company::update().set(Company::NAME, "changed").on_shard("c");
    let changed = || Company::select().filter(Company::NAME.eq("changed")).all_shards().count();
    let here = backend.path("c");
    let [away, copy] = ["elsewhere", "copy"].map(|name| backend.folder().join(name));
    // One session is in the middle of something, and another connection waits for the next one.
    let mut reader = cluster.session();
    let there = reader.one(Company::select().on_shard("c").count()).unwrap();
    cluster.session().one(Company::select().on_shard("c").count()).unwrap();
    fs::copy(&here, &copy).unwrap();
    fs::rename(&here, &away).unwrap();
    let mut session = cluster.session();
    session.execute(Company::update().set(Company::NAME, "changed").on_shard("a")).unwrap();
    for update in [on_c(), on_c(), everywhere()] {
        assert_error(session.execute(update), ErrorKind::Missing, &["shard `c`", "c.db"]);
    }
    session.rollback();
    assert_error(reader.execute(on_c()), ErrorKind::Missing, &["shard `c`", "c.db", "was removed"]);
    reader.rollback();
    // A copy of it in its place is another file.
    fs::rename(&away, &here).unwrap();
    reader.one(Company::select().on_shard("c").count()).unwrap();
    fs::rename(&here, &away).unwrap();
    fs::rename(&copy, &here).unwrap();
    assert_error(reader.execute(on_c()), ErrorKind::Missing, &["shard `c`", "c.db", "replaced"]);
    reader.rollback();
    fs::remove_file(&here).unwrap();
    fs::rename(&away, &here).unwrap();
    // Nothing of it was stored, and the same cluster continues when the file is back.
    let mut session = cluster.session();
    assert_eq!(session.one(changed()).unwrap(), 0);
    assert_eq!(session.execute(on_c()).unwrap(), there);
    session.commit().unwrap();
    assert_eq!(backend.open::<Company>(&LETTERS).unwrap().session().one(changed()).unwrap(), there);
    // The control database decides over several shards: without it nothing is.
    fs::rename(backend.folder().join("control.db"), &away).unwrap();
    session.execute(everywhere()).unwrap();
    assert_error(session.commit(), ErrorKind::Missing, &["control database"]);
    session.rollback();
    fs::rename(&away, backend.folder().join("control.db")).unwrap();
    assert_eq!(session.one(changed()).unwrap(), there);
    session.execute(everywhere()).unwrap();
    session.commit().unwrap();
    assert_eq!(session.one(changed()).unwrap(), 300);
}

/// A process of root has all rights.
#[cfg(unix)]
fn r44_a_file_that_may_not_be_written_is_read_only(backend: &Backend) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    const UNPRIVILEGED: u32 = 65_534;
    drop(made(backend));
    let folder = backend.folder();
    let may = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    // A file that may not be written; a folder with all that is in it; a folder that others may write.
    for (what, of_folder, of_files, of_b) in
        [("file", 0o777, 0o666, 0o444), ("folder", 0o555, 0o444, 0o444), ("others", 0o755, 0o644, 0o644)]
    {
        if what == "others" && folder.metadata().unwrap().uid() != 0 {
            continue; // The child is this user, who may write.
        }
        for file in fs::read_dir(folder).unwrap() {
            may(&file.unwrap().path(), of_files);
        }
        may(&backend.path("b"), of_b);
        may(folder, of_folder);
        // This test binary again, as a user without rights.
        let mut command = std::process::Command::new("/proc/self/exe");
        command.args(["--exact", "--ignored", "faults::in_a_process_that_may_not_write"]);
        command.env(FOLDER, folder).env(READ_ONLY, what);
        if folder.metadata().unwrap().uid() == 0 {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        let output = command.output().unwrap();
        may(folder, 0o777);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{what}: {said}");
    }
    for file in fs::read_dir(folder).unwrap() {
        may(&file.unwrap().path(), 0o666);
    }
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    assert_eq!(cluster.session().one(Company::select().all_shards().count()).unwrap(), 300);
    let changed = Company::select().filter(Company::NAME.eq("changed")).all_shards();
    assert!(cluster.session().all(changed).unwrap().iter().all(|company| company.shard().name() == "a"));
}

#[cfg(not(unix))]
fn r44_a_file_that_may_not_be_written_is_read_only(_: &Backend) {}

#[test]
#[ignore = "runs in a process of its own"]
fn in_a_process_that_may_not_write() {
    let folder = std::env::var(FOLDER).unwrap();
    let builder = LETTERS.iter().fold(Cluster::builder(), |builder, shard| {
        builder.shard(*shard, format!("sqlite:{folder}/{shard}.db"))
    });
    let what = std::env::var(READ_ONLY).unwrap();
    if what == "others" {
        // Other processes could write it.
        let opened = builder.open::<Company>().map(drop);
        let path = format!("{folder}/control.db");
        assert_error(opened, ErrorKind::ReadOnly, &["control database", &path, "`-wal`", "folder"]);
        return;
    }
    let cluster = builder.clone().open::<Company>().unwrap();
    if what == "folder" {
        let mut session = cluster.session();
        assert_eq!(session.all(Company::select().all_shards()).unwrap().len(), 300);
        session.commit().unwrap();
        let update = Company::update().set(Company::NAME, "changed").on_shard("b");
        assert_error(session.execute(update), ErrorKind::ReadOnly, &["shard `b`"]);
        let created = builder.create::<Company>();
        assert_error(created, ErrorKind::ReadOnly, &["control database"]);
        return;
    }
    let mut session = cluster.session();
    assert_eq!(session.one(Company::select().all_shards().count()).unwrap(), 300);
    let update = || Company::update().set(Company::NAME, "changed");
    assert_error(session.execute(update().all_shards()), ErrorKind::ReadOnly, &["shard `b`"]);
    session.execute(update().on_shard("a")).unwrap();
    session.commit().unwrap();
}

fn r44_a_transaction_that_the_database_ends_ends_the_unit(backend: &Backend) {
    let cluster = made(backend);
    let triggers = ["INSERT", "UPDATE", "DELETE"].map(|event| {
        let when = format!("CREATE TRIGGER {{shard}}_{event} BEFORE {event} ON {{table}}");
        format!("{when} BEGIN SELECT RAISE(ROLLBACK, 'all is undone'); END;")
    });
    backend.plant(&["b"], "companies", &triggers.concat());
    let company = |id| Company { id, name: "new".into() };
    let home = |id: i64| company(id).shard_chooser(cluster.shards()).unwrap();
    let [on_a, on_b] = [0, 1].map(|shard| (1_000..).find(|id| home(*id) == shard).unwrap());
    type Doomed = fn(&mut Session, i64) -> Result<()>;
    let doomed: [Doomed; 4] = [
        |session, on_b| {
            session.add(Company { id: on_b, name: "new".into() })?;
            session.flush()
        },
        |session, _| {
            let mut there = session.first(Company::select().on_shard("b"))?.unwrap();
            there.name = "new".into();
            session.update(&mut there)?;
            session.flush()
        },
        |session, _| {
            let there = session.first(Company::select().on_shard("b"))?.unwrap();
            session.delete(&there)?;
            session.flush()
        },
        |session, _| {
            let update = Company::update().set(Company::NAME, "new").on_shard("b");
            session.execute(update).map(drop)
        },
    ];
    for (place, doomed) in doomed.into_iter().enumerate() {
        let mut session = cluster.session();
        session.add(company(on_a)).unwrap();
        session.flush().unwrap();
        let error = doomed(&mut session, on_b).unwrap_err();
        assert_eq!(error.shard(), Some("b"), "{place}: {error}");
        // Nothing of the unit may be committed any more, on any of the other shards.
        assert_error(session.commit(), ErrorKind::TransactionAborted, &["all is undone"]);
        session.rollback();
        session.commit().unwrap();
        let new = Company::select().filter(Company::NAME.eq("new")).all_shards();
        assert_eq!(session.one(new.count()).unwrap(), 0, "{place}");
    }
}

/// The variable with the folder of the cluster of the process that may write little.
const FOLDER: &str = "SHARDED_SUITE_FOLDER";

/// The variable that names the thing that a process may not write: a file, or the folder.
const READ_ONLY: &str = "SHARDED_SUITE_READ_ONLY";

fn r44_a_device_that_takes_no_more_loses_nothing(backend: &Backend) {
    drop(made(backend));
    // This test binary again, as a process that may not make any file longer than 200 KiB.
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" --exact --ignored faults::in_a_process_that_may_write_little"])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, backend.folder())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && said.contains("1 passed"), "{said}");
    let cluster = backend.open::<Company>(&LETTERS).unwrap();
    assert_eq!(cluster.session().one(Company::select().all_shards().count()).unwrap(), 301);
}

#[test]
#[ignore = "runs in a process of its own"]
fn in_a_process_that_may_write_little() {
    let folder = std::env::var(FOLDER).unwrap();
    let builder = LETTERS.iter().fold(Cluster::builder(), |builder, shard| {
        builder.shard(*shard, format!("sqlite:{folder}/{shard}.db"))
    });
    let cluster = builder.open::<Company>().unwrap();
    let mut session = cluster.session();
    session.add(Company { id: 10_000, name: "small".into() }).unwrap();
    session.commit().unwrap();
    session.add_all((1_000..1_300).map(|id| Company { id, name: "x".repeat(10_000) })).unwrap();
    let error = session.commit().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Full), "{error:?}");
    assert!(error.shard().is_some() || error.to_string().contains("control database"), "{error}");
    // Committed rows are read by this session and the next.
    session.rollback();
    for mut session in [session, cluster.session()] {
        assert_eq!(session.one(Company::select().all_shards().count()).unwrap(), 301);
        session.rollback();
    }
}

fn r45_random_configurations_are_no_panic(backend: &Backend) {
    // Names, URLs and cluster files of all kinds: an answer or an error, never a panic, and no file elsewhere.
    let text = || {
        prop_oneof![
            Just(String::new()),
            "[a-z_]{1,3}",
            "sqlite:[a-z?=&/.%]{0,8}",
            "sqlite::memory:(\\?prefix=[a-z_]{0,2})?",
            "[\\PC\\x00]{0,6}",
        ]
    };
    let shards = prop::collection::vec((text(), text()), 0..4);
    let file = prop_oneof![
        "[\\PC\n]{0,60}",
        "((control|connections|cache_size|busy_timeout_ms|mmap_size|synchronous) = (-?[0-9]{1,20}|\"[a-z:]{0,9}\")\n){0,3}(\\[\\[shard\\]\\]\n(name|url|nmae) = \"[a-z:]{0,6}\"\n){0,3}",
    ];
    let config = Config { cases: 100, failure_persistence: None, ..Config::default() };
    let path = backend.folder().join("shards.toml");
    TestRunner::new(config)
        .run(&(shards, file), |(shards, file)| {
            let builder =
                shards.iter().fold(Cluster::builder(), |builder, (name, url)| builder.shard(name, url));
            let _ = builder.open::<Company>().map_err(|error| error.to_string());
            fs::write(&path, file).unwrap();
            if let Ok(builder) = Cluster::builder().config_file(&path) {
                let _ = builder.open::<Company>().map_err(|error| error.to_string());
            }
            Ok(())
        })
        .unwrap();
    let left: Vec<_> =
        fs::read_dir(backend.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["shards.toml"]);
}

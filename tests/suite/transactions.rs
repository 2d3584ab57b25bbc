//! The shards that get a transaction, and the rows that a session sees: R36, R23, R34.

use shard_runtime::{Cluster, ErrorKind, Sharded};

use crate::backend::{Backend, CONTINENTS, Kind, Watched, assert_error};
use crate::models::*;

on_every_mixture! {
    r36_adding_takes_no_lock,
    r36_a_session_that_does_nothing_takes_nothing,
    r36_a_contradicting_write_takes_no_lock,
    a_dropped_session_leaves_nothing_behind,
    sessions_can_be_used_on_after_a_commit;
    only Files:
        r36_only_shards_that_are_used_get_a_transaction;
    only on_disk:
        r36_a_session_that_reads_commits_without_writing;
    only lasting:
        a_session_reads_one_snapshot_of_each_shard,
}

/// Whether another connection can take the write lock at once, for each shard.
fn can_be_written(backend: &Backend, shards: &[&str]) -> Vec<bool> {
    let free = |shard: &&str| {
        let raw = backend.raw(shard);
        raw.busy_timeout(std::time::Duration::ZERO).unwrap();
        raw.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
    };
    shards.iter().map(free).collect()
}

fn filled(backend: &Backend) -> Watched {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    session.add_all(Continent::ALL.map(|continent| city(continent, "x"))).unwrap();
    session.commit().unwrap();
    cluster
}

fn r36_only_shards_that_are_used_get_a_transaction(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.flush().unwrap();
    assert_eq!(can_be_written(backend, &CONTINENTS), [true, false, true, true]);
    session.execute(City::update().set(City::NAME, "y").on(Continent::Europe)).unwrap();
    assert_eq!(can_be_written(backend, &CONTINENTS), [true, false, false, true]);
    // Reading every shard takes no further lock.
    session.all(City::select().all_shards()).unwrap();
    assert_eq!(can_be_written(backend, &CONTINENTS), [true, false, false, true]);
    session.commit().unwrap();
    assert_eq!(can_be_written(backend, &CONTINENTS), [true; 4]);
    session.add(city(Continent::Asia, "Osaka")).unwrap();
    session.flush().unwrap();
    session.rollback();
    assert_eq!(can_be_written(backend, &CONTINENTS), [true; 4]);
}

fn r36_a_session_that_reads_commits_without_writing(backend: &Backend) {
    let cluster = filled(backend);
    let raws: Vec<rusqlite::Connection> = CONTINENTS.iter().map(|shard| backend.raw(shard)).collect();
    let versions = || -> Vec<i64> {
        raws.iter()
            .map(|raw| raw.pragma_query_value(None, "data_version", |row| row.get(0)).unwrap())
            .collect()
    };
    let bytes = || -> Vec<Vec<u8>> {
        let files = |shard: &&str| [backend.path(shard), backend.path(shard).with_extension("db-wal")];
        CONTINENTS.iter().flat_map(files).map(|path| std::fs::read(path).unwrap()).collect()
    };
    let (before, written) = (versions(), bytes());
    let mut session = cluster.session();
    let cities = session.all(City::select().all_shards()).unwrap();
    session.all(cities[0].children::<Report>()).unwrap();
    session.get::<City>(cities[1].id).unwrap();
    assert_eq!(can_be_written(backend, &CONTINENTS), [true; 4], "a reader does not lock writers out");
    let (_, asked) = cluster.asked(|| session.commit().unwrap());
    assert!(asked.is_empty());
    assert_eq!(versions(), before);
    assert_eq!(bytes(), written);
}

fn r36_adding_takes_no_lock(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let ((), asked) = cluster.asked(|| {
        session.add_all(Continent::ALL.map(|continent| city(continent, "waits"))).unwrap();
    });
    assert!(asked.is_empty());
    if backend.is_on_disk() {
        assert_eq!(can_be_written(backend, &CONTINENTS), [true; 4]);
    }
    // Reading another table, or other shards, leaves them waiting.
    session.all(Report::select().all_shards()).unwrap();
    session.all(City::select().on(Continent::Europe)).unwrap();
    if backend.kind == Kind::Files {
        assert_eq!(can_be_written(backend, &CONTINENTS), [true, true, false, true]);
    }
}

fn r36_a_session_that_does_nothing_takes_nothing(backend: &Backend) {
    let cluster = filled(backend);
    let sessions: Vec<_> = (0..100).map(|_| cluster.session()).collect();
    for mut session in sessions {
        let ((), asked) = cluster.asked(|| {
            session.flush().unwrap();
            session.commit().unwrap();
            session.rollback();
        });
        assert!(asked.is_empty());
    }
}

fn r36_a_contradicting_write_takes_no_lock(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let no_row =
        City::delete().filter(City::CONTINENT.eq(Continent::Asia) & City::CONTINENT.eq(Continent::Europe));
    assert_eq!(session.execute(no_row).unwrap(), 0);
    if backend.is_on_disk() {
        assert_eq!(can_be_written(backend, &CONTINENTS), [true; 4]);
    }
}

fn a_session_reads_one_snapshot_of_each_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut reader = cluster.session();
    let count = |session: &mut shard_runtime::Session| {
        session.one(City::select().on(Continent::Asia).count()).unwrap()
    };
    assert_eq!(count(&mut reader), 2);
    let mut writer = cluster.session();
    writer.add(city(Continent::Asia, "Tokyo")).unwrap();
    writer.commit().unwrap();
    assert_eq!(count(&mut reader), 2, "one snapshot until the session ends its unit of work");
    reader.commit().unwrap();
    assert_eq!(count(&mut reader), 3);
    // A session that has read can write, also if another session has written since: its transaction begins again.
    writer.add(city(Continent::Asia, "Osaka")).unwrap();
    writer.commit().unwrap();
    reader.add(city(Continent::Asia, "Kyoto")).unwrap();
    assert_eq!(count(&mut reader), 5);
    reader.commit().unwrap();
}

fn a_dropped_session_leaves_nothing_behind(backend: &Backend) {
    let cluster = filled(backend);
    for _ in 0..30 {
        // More sessions than there are connections: each gives its own back.
        let mut session = cluster.session();
        session.add(city(Continent::Asia, "Tokyo")).unwrap();
        session.flush().unwrap();
        session.all(City::select().all_shards()).unwrap();
    }
    let mut session = cluster.session();
    assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 5);
}

fn sessions_can_be_used_on_after_a_commit(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    for round in 0..5 {
        let name = round.to_string();
        let mut tokyo = session.add(city(Continent::Asia, &name)).unwrap();
        session.commit().unwrap();
        tokyo.population = Some(round);
        session.update(&mut tokyo).unwrap();
        session.rollback();
        let read = session.one(City::select().on(Continent::Asia).filter(City::NAME.eq(&name))).unwrap();
        assert_eq!(read.population, None, "the update was rolled back");
        session.delete(&read).unwrap();
        session.commit().unwrap();
    }
    let same: &Cluster = session.cluster();
    assert_eq!(same.shards().len(), 4);
    assert_error(same.shards().require("nowhere").cloned(), ErrorKind::UnknownShard, &["nowhere"]);
}

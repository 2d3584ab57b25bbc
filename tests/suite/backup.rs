//! A copy of the whole cluster at one moment.

use std::sync::atomic::{AtomicBool, Ordering};

use shard_runtime::{Builder, Cluster, Durability, ErrorKind, Session, Sharded, Sql};

use crate::backend::{Backend, CONTINENTS, Kind, assert_error};
use crate::models::*;

on_some! {
    on_disk:
        a_copy_is_a_cluster_of_its_own,
        a_copy_has_every_unit_of_work_whole,
        a_copy_that_cannot_be_made_leaves_nothing;
    Memory Mixed:
        shards_in_memory_are_not_copied;
    PostgreSQL:
        shards_on_servers_are_not_copied,
}

/// The cluster that was copied to a folder.
fn copied(backend: &Backend, folder: &std::path::Path) -> Builder {
    let builder = Cluster::builder().durability(Durability::Normal);
    let url = |shard: &str| {
        let (path, url) = (backend.path(shard), backend.url(shard));
        let file = path.file_name().unwrap().to_str().unwrap();
        let prefix = url.split_once('?').map(|(_, prefix)| format!("?{prefix}")).unwrap_or_default();
        format!("sqlite:{}{prefix}", folder.join(file).display())
    };
    let builder = builder.control(format!("sqlite:{}", folder.join("control.db").display()));
    CONTINENTS.iter().fold(builder, |builder, shard| builder.shard(*shard, url(shard)))
}

fn a_copy_is_a_cluster_of_its_own(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = session.add_all(Continent::ALL.map(|place| city(place, "copied"))).unwrap();
    session.add_all(cities.iter().map(|city| NewReport { city: city.link(), temperature: 1.5 })).unwrap();
    session.commit().unwrap();
    session.rollback();
    let folder = backend.folder().join("copy");
    cluster.backup(&folder).unwrap();
    session.add(city(Continent::Asia, "later")).unwrap();
    session.commit().unwrap();

    let copy = copied(backend, &folder).open::<Weather>().unwrap();
    let mut session = copy.session();
    assert_eq!(session.all(City::select().all_shards()).unwrap().len(), cities.len());
    assert_eq!(session.all(Report::select().all_shards()).unwrap().len(), cities.len());
    // Its ids continue where they were, and it is no part of the other.
    let next = session.add(city(Continent::Asia, "in the copy")).unwrap();
    assert!(cities.iter().all(|city| city.id < next.id));
    session.commit().unwrap();
    let names = |cluster: &Cluster, name: &str| {
        cluster.session().one(City::select().filter(City::NAME.eq(name)).all_shards().count()).unwrap()
    };
    assert_eq!(
        [names(&cluster, "in the copy"), names(&copy, "in the copy"), names(&copy, "later")],
        [0, 1, 0]
    );
}

fn a_copy_has_every_unit_of_work_whole(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let populated = |place| NewCity { population: Some(0), ..city(place, "x") };
    cluster.transaction(|session| session.add_all(Continent::ALL.map(populated))).unwrap();
    // Rows move from continent to continent while copies are made: none is lost.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let movers =
            [(Continent::Asia, Continent::Europe), (Continent::NorthAmerica, Continent::SouthAmerica)];
        for (from, to) in movers {
            let (cluster, over) = (&cluster, &over);
            scope.spawn(move || {
                let add = "UPDATE {cities} SET population = population + ?1 \
                           WHERE id = (SELECT min(id) FROM {cities})";
                let mv = |session: &mut Session| {
                    session.execute(Sql::new(add).bind(-7).on::<City>(from))?;
                    session.execute(Sql::new(add).bind(7).on::<City>(to))?;
                    Ok(())
                };
                while !over.load(Ordering::Relaxed) {
                    cluster.transaction(mv).unwrap();
                }
            });
        }
        let end = OnDrop(&over);
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..8 {
            let folder = backend.folder().join(format!("copy {number}"));
            cluster.backup(&folder).unwrap();
            let copy = copied(backend, &folder).open::<City>().unwrap();
            let cities = copy.session().all(City::select().all_shards()).unwrap();
            assert_eq!(cities.iter().filter_map(|city| city.population).sum::<i64>(), 0);
            seen.insert(cities.iter().filter_map(|city| city.population).max());
        }
        drop(end);
        assert!(seen.len() > 1, "no row moved between the copies");
    });
}

/// Signals the end of something, also if a test fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn a_copy_that_cannot_be_made_leaves_nothing(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = backend.create::<City>(&CONTINENTS);
    let folder = backend.folder().join("copy");
    let left = || {
        let entries = std::fs::read_dir(backend.folder()).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("copy")).count()
    };
    let mut holder = cluster.session();
    holder.add(city(Continent::Europe, "held")).unwrap();
    holder.flush().unwrap();
    let shard = if backend.kind == Kind::Prefixed { "shard `north_america`" } else { "shard `europe`" };
    assert_error(cluster.backup(&folder), ErrorKind::Busy, &[shard]);
    assert_eq!(left(), 0);
    holder.rollback();
    // The shards that were locked for it are not any more.
    holder.add_all(Continent::ALL.map(|place| city(place, "x"))).unwrap();
    holder.commit().unwrap();

    std::fs::create_dir(&folder).unwrap();
    assert_error(cluster.backup(&folder), ErrorKind::Configuration, &["copy", "exists"]);
    assert_error(cluster.backup("/"), ErrorKind::Configuration, &["no name"]);
    assert_error(cluster.backup(backend.folder().join("missing/copy")), ErrorKind::Io, &["missing"]);
    assert_eq!(left(), 1);
    // Files that a killed process has left disturb no copy.
    std::fs::create_dir(backend.folder().join("second copy.incomplete")).unwrap();
    cluster.backup(backend.folder().join("second copy")).unwrap();
    assert_eq!(left(), 2);
}

fn shards_in_memory_are_not_copied(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let folder = backend.folder().join("copy");
    assert_error(cluster.backup(&folder), ErrorKind::Configuration, &["shard `north_america`", "in memory"]);
    assert!(!folder.exists());
}

#[test]
fn two_databases_of_one_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("other")).unwrap();
    let at = |file: &str| format!("sqlite:{}", folder.path().join(file).display());
    let cluster = Cluster::builder()
        .shard("a", at("same.db"))
        .shard("b", at("other/same.db"))
        .shard("c", at("c.db"))
        .create::<Company>()
        .unwrap();
    let copy = folder.path().join("copy");
    assert_error(cluster.backup(&copy), ErrorKind::Configuration, &["shard `b`", "same.db"]);
    assert!(!copy.exists());
}

fn shards_on_servers_are_not_copied(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let folder = backend.folder().join("copy");
    let shard = if backend.kind == Kind::Everything { "shard `asia`" } else { "shard `north_america`" };
    let texts = [
        shard,
        "stop all programs",
        "`recover`",
        "pg_dump --format=custom",
        "'asia.dump'",
        "`pg_basebackup`",
    ];
    let texts = texts.map(|text| {
        if backend.kind == Kind::Schemas { text.replace("asia", "north_america") } else { text.to_owned() }
    });
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_error(cluster.backup(&folder), ErrorKind::Configuration, &texts);
    assert!(!folder.exists());
}

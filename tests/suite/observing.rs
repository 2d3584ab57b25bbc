//! The observation of statements: counters per shard, and a hook.

use std::sync::{Arc, Mutex};

use shard_runtime::{ErrorKind, Sharded};

use crate::backend::{Backend, CONTINENTS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
    the_hook_gets_shard_rows_and_success,
    the_hook_gets_no_values,
    counters_are_of_all_sessions_and_threads,
    transactions_are_not_counted,
}

type Told = Arc<Mutex<Vec<(String, u64, bool)>>>;

fn told(backend: &Backend) -> (Watched, Told) {
    let told = Told::default();
    let log = Arc::clone(&told);
    let builder = backend.builder(&CONTINENTS).on_statement(move |event| {
        log.lock().unwrap().push((event.shard.name().to_owned(), event.rows, event.succeeded));
    });
    // `Watched` has a hook of its own: the last one given is the one that is called.
    let cluster = builder.create::<City>().unwrap();
    (Watched::over(|_| Ok(cluster), backend.builder(&[])), told)
}

fn r(shard: &str, rows: u64, succeeded: bool) -> (String, u64, bool) {
    (shard.to_owned(), rows, succeeded)
}

fn the_hook_gets_shard_rows_and_success(backend: &Backend) {
    let (cluster, told) = told(backend);
    let take = || std::mem::take(&mut *told.lock().unwrap());
    let mut session = cluster.session();
    use Continent::*;
    session.add_all([city(Asia, "a"), city(Asia, "b"), city(Europe, "c")]).unwrap();
    session.flush().unwrap();
    assert_eq!(take(), [r("asia", 2, true), r("europe", 1, true)]);
    session.all(City::select().all_shards()).unwrap();
    let read = [r("north_america", 0, true), r("asia", 2, true), r("europe", 1, true)];
    assert_eq!(take()[..3], read);
    session.all(City::select().on(Asia).limit(1)).unwrap();
    assert_eq!(take(), [r("asia", 1, true)]);
    session.execute(City::update().set(City::POPULATION, Some(1)).all_shards()).unwrap();
    assert_eq!(take()[1], r("asia", 2, true));
    session.add(city(Asia, "a")).unwrap();
    assert_error(session.flush(), ErrorKind::Unique, &["`asia`"]);
    assert_eq!(take(), [r("asia", 0, false)]);
    let id = session.all(City::select().on(Asia)).unwrap()[0].id;
    take();
    session.get::<City>(id).unwrap();
    assert_eq!(take(), [r("north_america", 0, true), r("asia", 1, true)]);
}

fn the_hook_gets_no_values(backend: &Backend) {
    let cluster = backend.create::<(City, Secret)>(&CONTINENTS);
    let mut session = cluster.session();
    cluster.sql();
    session.add(Secret { id: 1, secret: "hunter2".into() }).unwrap();
    let same = Secret::select().filter(Secret::SECRET.eq("hunter2") | Secret::SECRET.is_in(["hunter2"]));
    let same = same.filter(Secret::SECRET.starts_with("hunter2") & Secret::SECRET.like("hunter2%"));
    session.all(same.all_shards().limit(987_654)).unwrap();
    let mut row = session.get::<Secret>(1).unwrap().unwrap();
    row.secret = "hunter22".into();
    session.update(&mut row).unwrap();
    session.execute(Secret::delete().filter(Secret::SECRET.eq("hunter2")).all_shards()).unwrap();
    let sql = cluster.sql();
    assert!(sql.len() > 5);
    assert!(sql.iter().all(|(_, sql)| !sql.contains("hunter") && !sql.contains("987")), "{sql:?}");
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "secrets")]
struct Secret {
    #[id]
    #[shard_key(hash)]
    id: i64,
    secret: String,
}

fn counters_are_of_all_sessions_and_threads(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let asia = cluster.shards().require("asia").unwrap();
    let before = asia.statements();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session = cluster.session();
                for _ in 0..25 {
                    session.all(City::select().on(Continent::Asia)).unwrap();
                }
            });
        }
    });
    assert_eq!(asia.statements() - before, 100);
    assert_eq!(cluster.shards().require("europe").unwrap().statements(), 0);
}

fn transactions_are_not_counted(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    session.add(city(Continent::Asia, "x")).unwrap();
    session.flush().unwrap();
    let ((), counts) = cluster.counted(|| {
        session.commit().unwrap();
        session.rollback();
    });
    assert!(counts.is_empty());
}

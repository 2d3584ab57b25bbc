//! Many rows at once whose ids the database counts: R31.

use std::collections::HashMap;

use shard_runtime::{ErrorKind, Session, Sharded, Stored};

use crate::backend::{Backend, CONTINENTS, Watched, assert_error};
use crate::models::*;

on_every_backend! {
    r31_ids_of_many_rows_are_those_of_their_rows,
    r31_a_row_of_many_that_is_refused_leaves_none,
    r31_two_sessions_share_a_counter;
    only PostgreSQL:
    r31_many_rows_are_one_statement,
    counters_of_other_kinds,
}

const ROWS: usize = 5_000;

/// A city in each of two continents.
fn cities(session: &mut Session) -> [Stored<City>; 2] {
    [(Continent::Asia, "Tokyo"), (Continent::Europe, "Bern")]
        .map(|(continent, name)| session.add(city(continent, name)).unwrap())
}

/// Reports that differ by their temperature, of mixed shards.
fn reports(cities: &[Stored<City>; 2], rows: usize) -> Vec<NewReport> {
    let place = |row: usize| usize::from(row % 7 < 3);
    (0..rows).map(|row| NewReport { city: cities[place(row)].link(), temperature: row as f64 }).collect()
}

/// Each row that was given back must be, with its id, on its shard.
#[track_caller]
fn assert_stored(cluster: &Watched, added: &[Stored<Report>]) {
    let stored = cluster.session().all(Report::select().all_shards()).unwrap();
    assert_eq!(stored.len(), added.len());
    let by_id: HashMap<(&str, i64), f64> =
        stored.iter().map(|report| ((report.shard().name(), report.id), report.temperature)).collect();
    assert_eq!(by_id.len(), added.len());
    for (row, report) in added.iter().enumerate() {
        assert_eq!(report.temperature, row as f64);
        assert_eq!(by_id.get(&(report.shard().name(), report.id)), Some(&report.temperature));
    }
}

fn r31_ids_of_many_rows_are_those_of_their_rows(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = cities(&mut session);
    let added = session.add_all(reports(&cities, ROWS)).unwrap();
    session.commit().unwrap();
    assert_stored(&cluster, &added);
    // Ids are counted in the order of the rows.
    for shard in ["asia", "europe"] {
        let ids = added.iter().filter(|report| report.shard().name() == shard).map(|report| report.id);
        assert!(ids.is_sorted());
    }
}

fn r31_a_row_of_many_that_is_refused_leaves_none(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = cities(&mut session);
    let gone = session.add(city(Continent::Europe, "Atlantis")).unwrap();
    session.commit().unwrap();
    session.delete(&gone).unwrap();
    let mut rows = reports(&cities, 100);
    rows[57].city = gone.link();
    assert_error(session.add_all(rows), ErrorKind::ForeignKey, &["shard `europe`", "table `reports`"]);
    let added = session.add_all(reports(&cities, 100)).unwrap();
    session.commit().unwrap();
    assert_stored(&cluster, &added);
}

fn r31_two_sessions_share_a_counter(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = cities(&mut session);
    session.commit().unwrap();
    let rows = || reports(&cities, 500);
    let ids: Vec<(String, i64)> = std::thread::scope(|scope| {
        let add = || {
            let added = cluster.transaction(|session| session.add_all(rows())).unwrap();
            added.iter().map(|report| (report.shard().name().to_owned(), report.id)).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (2_000, 2_000));
    assert_eq!(cluster.session().one(Report::select().all_shards().count()).unwrap(), 2_000);
}

/// As the server itself counts them.
fn r31_many_rows_are_one_statement(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let shards = ["asia", "europe"];
    for shard in shards {
        backend.client(shard).run(
            "CREATE TABLE told (rows bigint); \
             CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO told SELECT count(*) FROM added; RETURN NULL; END'; \
             CREATE TRIGGER tell AFTER INSERT ON reports REFERENCING NEW TABLE AS added \
             FOR EACH STATEMENT EXECUTE FUNCTION tell()",
        );
    }
    let mut session = cluster.session();
    let cities = cities(&mut session);
    let (added, counts) = cluster.counted(|| {
        session.flush().unwrap();
        session.add_all(reports(&cities, ROWS)).unwrap()
    });
    session.commit().unwrap();
    for shard in shards {
        let rows = added.iter().filter(|report| report.shard().name() == shard).count();
        let told = backend.client(shard).rows("SELECT rows FROM told");
        assert_eq!(told, [[rows.to_string()]], "one statement with all the rows of {shard}");
    }
    // That and its city.
    assert_eq!(counts, shards.map(|shard| (shard.to_owned(), 2)));
}

/// Tables that were not made by us.
fn counters_of_other_kinds(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let client = backend.client("asia");
    client.run("ALTER TABLE reports ALTER COLUMN id SET GENERATED ALWAYS");
    // A counter that is not the column's own is taken row by row.
    let client = backend.client("europe");
    client.run(
        "ALTER TABLE reports ALTER COLUMN id DROP IDENTITY; CREATE SEQUENCE theirs START 7; \
         ALTER TABLE reports ALTER COLUMN id SET DEFAULT nextval('theirs')",
    );
    let mut session = cluster.session();
    let cities = cities(&mut session);
    let added = session.add_all(reports(&cities, 40)).unwrap();
    session.commit().unwrap();
    assert_stored(&cluster, &added);
    let first = added.iter().filter(|report| report.shard().name() == "europe").map(|report| report.id).min();
    assert!(first >= Some(7));
}

//! The kinds of id; none is generated twice: R39.

use std::collections::HashSet;

use shard_runtime::{Cluster, Durability, ErrorKind, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_mixture! {
    r39_a_sequence_is_unique_over_shards_and_sessions,
    r39_a_sequence_is_unique_under_threads,
    r39_a_sequence_never_waits_for_a_shards_lock,
    r39_sequences_of_two_models_are_their_own,
    r39_a_counter_is_the_shards_own,
    r39_ids_of_the_caller_are_taken_as_they_are;
    only lasting:
        r39_a_sequence_goes_on_after_the_cluster_was_closed,
        r39_two_handles_of_one_cluster_share_no_block;
    only Files:
        r39_a_sequence_is_unique_under_processes_and_kills,
}

fn r39_a_sequence_is_unique_over_shards_and_sessions(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut ids = HashSet::new();
    for round in 0..30 {
        let mut session = cluster.session();
        let rows = (0..100).map(|number| city(Continent::ALL[number % 5], &format!("{round} {number}")));
        ids.extend(session.add_all(rows).unwrap().iter().map(|city| city.id));
        if round % 2 == 0 {
            session.commit().unwrap();
        } // the other sessions' ids are lost, and not handed out again
    }
    assert_eq!(ids.len(), 3_000);
    assert!(ids.iter().all(|id| *id > 0));
}

fn r39_a_sequence_is_unique_under_threads(backend: &Backend) {
    let patient = backend.builder(&CONTINENTS).busy_timeout(std::time::Duration::from_secs(30));
    let cluster = Watched::over(|builder| builder.create::<City>(), patient);
    let handed_out: Vec<i64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let cluster = (*cluster).clone();
                scope.spawn(move || {
                    let mut ids = Vec::new();
                    for round in 0..5 {
                        let mut session = cluster.session();
                        let name = |number| format!("{thread} {round} {number}");
                        let rows = (0..100).map(|number| city(Continent::ALL[number % 5], &name(number)));
                        ids.extend(session.add_all(rows).unwrap().iter().map(|city| city.id));
                        session.commit().unwrap();
                    }
                    ids
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(handed_out.iter().collect::<HashSet<_>>().len(), 4_000);
    assert_eq!(cluster.session().one(City::select().all_shards().count()).unwrap(), 4_000);
}

fn r39_a_sequence_goes_on_after_the_cluster_was_closed(backend: &Backend) {
    let mut greatest = 0;
    drop(backend.create::<City>(&CONTINENTS));
    for _ in 0..3 {
        let cluster = backend.open::<City>(&CONTINENTS).unwrap();
        let mut session = cluster.session();
        let id = session.add(city(Continent::Asia, &greatest.to_string())).unwrap().id;
        assert!(id > greatest, "{id} after {greatest}");
        greatest = id;
        session.commit().unwrap();
    }
}

fn r39_a_sequence_never_waits_for_a_shards_lock(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    session.add(city(Continent::Asia, "locks")).unwrap();
    session.flush().unwrap();
    // More ids than a block holds, while this session and another hold the shards.
    let rows = (0..3_500).map(|number| city(Continent::Asia, &number.to_string()));
    session.add_all(rows).unwrap();
    let mut other = cluster.session();
    let rows = (0..3_500).map(|number| city(Continent::Europe, &number.to_string()));
    assert_eq!(other.add_all(rows).unwrap().len(), 3_500);
    session.commit().unwrap();
    other.commit().unwrap();
    assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 7_001);
}

fn r39_sequences_of_two_models_are_their_own(backend: &Backend) {
    let cluster = backend.create::<(Event, Invoice)>(&LETTERS);
    let mut session = cluster.session();
    let events = (0..5).map(|_| NewEvent { tenant: 1, day: "mon".into(), what: String::new() });
    let events = session.add_all(events).unwrap();
    let invoices = session.add_all((0..5).map(|cents| NewInvoice { tenant: TenantId(1), cents })).unwrap();
    assert!(events.iter().map(|event| event.id).eq(1..=5));
    assert!(invoices.iter().map(|invoice| invoice.id).eq(1..=5));
}

fn r39_a_counter_is_the_shards_own(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let quito = session.add(city(Continent::SouthAmerica, "Quito")).unwrap();
    let cities = [&tokyo, &quito, &tokyo, &quito];
    let reports = session.add_all(cities.map(|city| NewReport { city: city.link(), temperature: 1.0 }));
    let ids: Vec<i64> = reports.unwrap().iter().map(|report| report.id).collect();
    assert_eq!(ids, [1, 1, 2, 2]);
    // Only these use the database at once, in one statement per shard.
    let reports = cities.map(|city| NewReport { city: city.link(), temperature: 1.0 });
    let (_, counts) = cluster.counted(|| session.add_all(reports).unwrap());
    assert_eq!(counts, [("asia".to_owned(), 1), ("south_america".to_owned(), 1)]);
}

fn r39_ids_of_the_caller_are_taken_as_they_are(backend: &Backend) {
    let cluster = backend.create::<(Account, Word)>(&LETTERS);
    let mut session = cluster.session();
    for id in [i64::MIN, -1, 0, 1, i64::MAX] {
        session.add(Account { id, number: 5, owner: String::new() }).unwrap();
        let stored = session.get(Account::by_id(id).on_shard("a")).unwrap().unwrap();
        assert_eq!(stored.id, id);
    }
    for text in ["", "ümläut", "a'b\"c", "\u{10FFFF}"] {
        session.add(Word { text: text.into(), meaning: "m".into() }).unwrap();
        assert_eq!(session.get::<Word>(text.to_owned()).unwrap().unwrap().text, text);
    }
    session.add(Account { id: 1, number: 6, owner: String::new() }).unwrap();
    assert_error(session.commit(), ErrorKind::Unique, &["shard `a`", "table `accounts`", "id 1"]);
}

fn r39_two_handles_of_one_cluster_share_no_block(backend: &Backend) {
    let first = backend.create::<City>(&CONTINENTS);
    let second = backend.open::<City>(&CONTINENTS).unwrap();
    let mut ids = HashSet::new();
    let (mut a, mut b) = (first.session(), second.session());
    for number in 0..1_500 {
        assert!(ids.insert(a.add(city(Continent::Asia, &number.to_string())).unwrap().id));
        assert!(ids.insert(b.add(city(Continent::Europe, &number.to_string())).unwrap().id));
    }
    a.commit().unwrap();
    b.commit().unwrap();
}

/// The variables with the folder of the cluster, and with the prefix of a process's rows.
const FOLDER: &str = "SHARDED_SUITE_IDS";
const NAME: &str = "SHARDED_SUITE_NAME";

fn r39_a_sequence_is_unique_under_processes_and_kills(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    // This test binary again, four times; two of them are killed while they add rows.
    let mut processes: Vec<_> = (0..4)
        .map(|name| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--ignored", "ids::in_processes_of_their_own"])
                .env(FOLDER, backend.folder())
                .env(NAME, name.to_string())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for (name, process) in processes.iter_mut().enumerate().take(2) {
        let of_this = || City::select().filter(City::NAME.starts_with(format!("{name} "))).all_shards();
        while cluster.session().one(of_this().count()).unwrap() < 300 {
            assert!(process.try_wait().unwrap().is_none(), "it has ended already");
        }
        process.kill().unwrap();
    }
    let ended: Vec<bool> = processes.iter_mut().map(|process| process.wait().unwrap().success()).collect();
    assert_eq!(ended, [false, false, true, true]);
    let cities = cluster.session().all(City::select().all_shards()).unwrap();
    assert!(cities.len() >= 2 * 2_000 + 2 * 300, "{}", cities.len());
    let ids: HashSet<i64> = cities.iter().map(|city| city.id).collect();
    assert_eq!(ids.len(), cities.len());
}

#[test]
#[ignore = "runs in processes of its own"]
fn in_processes_of_their_own() {
    let (folder, name) = (std::env::var(FOLDER).unwrap(), std::env::var(NAME).unwrap());
    let builder = CONTINENTS.iter().fold(Cluster::builder(), |builder, shard| {
        builder.shard(*shard, format!("sqlite:{folder}/{shard}.db"))
    });
    let patient = builder.busy_timeout(std::time::Duration::from_secs(60)).durability(Durability::Normal);
    let cluster = patient.open::<City>().unwrap();
    // Those that are to be killed continue until they are.
    let rounds = if name.as_str() < "2" { 5_000 } else { 20 };
    for round in 0..rounds {
        let mut session = cluster.session();
        let rows = (0..100).map(|row| city(Continent::ALL[row % 5], &format!("{name} {round} {row}")));
        session.add_all(rows).unwrap();
        session.commit().unwrap();
    }
}

//! A cluster's state as values: counters, health, status, the shard of a key.

use std::time::{Duration, Instant};

use shard_runtime::{
    Cluster, ErrorKind, Session, Sharded, Sql,
    status::{Stats, TransactionState},
};

use crate::backend::{Backend, CONTINENTS, Kind, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_backend! {
    statements_rows_and_commits_are_counted,
    an_error_is_counted_once_by_shard_and_kind,
    every_shard_of_a_sound_cluster_is_healthy,
    status_counts_rows_and_bytes_by_shard,
    a_key_is_located_where_its_rows_are,
    a_key_that_is_placed_nowhere_is_an_error;
    only lasting:
        a_transaction_that_runs_again_is_counted;
    only on_disk:
        waits_for_write_locks_are_counted;
    only Schemas Servers:
        waits_for_row_locks_on_servers_are_counted;
    only Prefixed Schemas:
        waits_for_connections_are_counted;
    only Files:
        a_shard_that_is_gone_or_another_one_is_not_healthy,
        a_shard_that_is_damaged_has_its_error_in_the_status,
        a_decided_participant_that_is_not_applied_is_pending;
    only Schemas Servers:
        a_prepared_participant_is_pending_or_in_doubt,
}

const SECOND: Duration = Duration::from_secs(1);

fn rows(stats: &Stats) -> Vec<u64> {
    stats.shards.iter().map(|shard| shard.rows).collect()
}

fn statements_rows_and_commits_are_counted(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let before = cluster.stats();
    assert_eq!((before.connections.in_use, before.transactions.one_shard), (0, 0));
    let mut session = cluster.session();
    use Continent::*;
    session.add_all([city(Asia, "a"), city(Oceania, "b"), city(Europe, "c")]).unwrap();
    session.flush().unwrap();
    let during = cluster.stats();
    assert!(during.connections.in_use >= 1 && during.connections.open >= during.connections.in_use);
    assert!(during.connections.in_use <= during.connections.limit);
    session.commit().unwrap();
    session.add(city(SouthAmerica, "d")).unwrap();
    session.commit().unwrap();
    session.all(City::select().all_shards()).unwrap();
    session.commit().unwrap();
    session.rollback();
    let after = cluster.stats();
    let since: Vec<u64> =
        rows(&after).iter().zip(rows(&before)).map(|(after, before)| after - before).collect();
    assert_eq!(since, [0, 4, 2, 2], "each row was inserted and read");
    let statements: Vec<u64> = after.shards.iter().map(|shard| shard.statements).collect();
    assert_eq!(statements, cluster.shards().iter().map(|shard| shard.statements()).collect::<Vec<_>>());
    assert_eq!((after.transactions.one_shard, after.transactions.several_shards), (1, 1));
    assert_eq!((after.transactions.retries, after.connections.in_use), (0, 0));
    let names: Vec<&str> = after.shards.iter().map(|shard| shard.shard.as_str()).collect();
    assert_eq!(names, CONTINENTS);

    // The serialised value names shards, and no row.
    let text = serde_json::to_string(&after).unwrap();
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["shards"][1]["shard"], "asia");
    assert_eq!(read["transactions"]["several_shards"], 1);
    assert_eq!(read["connections"]["waited_seconds"].as_f64(), Some(after.connections.waited.as_secs_f64()));
    assert!(!text.contains("Oceania"), "{text}");
}

fn an_error_is_counted_once_by_shard_and_kind(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let errors = |shard: &str| {
        let shards = cluster.stats().shards.into_iter();
        let errors = shards.filter(|stats| stats.shard == shard).flat_map(|stats| stats.errors);
        errors.map(|error| (error.kind, error.count)).collect::<Vec<_>>()
    };
    let mut session = cluster.session();
    session.add(city(Continent::Asia, "a")).unwrap();
    session.commit().unwrap();
    // The flush inside of the commit fails.
    for _ in 0..2 {
        session.add(city(Continent::Asia, "a")).unwrap();
        assert_error(session.commit(), ErrorKind::Unique, &["`asia`"]);
        session.rollback();
    }
    assert_eq!(errors("asia"), [(ErrorKind::Unique, 2)]);
    assert_eq!(errors("europe"), []);
    // One that names no shard.
    let none = City::select().filter(City::NAME.eq("none")).all_shards();
    assert_error(session.one(none), ErrorKind::NotFound, &[]);
    let others: Vec<_> =
        cluster.stats().other_errors.into_iter().map(|error| (error.kind, error.count)).collect();
    assert_eq!(others, [(ErrorKind::NotFound, 1)]);
    // A failed commit is no commit.
    assert_eq!(cluster.stats().transactions.one_shard, 1);
}

fn waits_for_write_locks_are_counted(backend: &Backend) {
    let cluster = Cluster::clone(&backend.create::<City>(&CONTINENTS));
    let mut holder = cluster.session();
    holder.add(city(Continent::Asia, "held")).unwrap();
    holder.flush().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            cluster.transaction(|session| session.add(city(Continent::Asia, "later")).map(drop)).unwrap();
        });
        let began = Instant::now();
        while cluster.stats().locks.waits == 0 {
            assert!(began.elapsed() < 20 * SECOND, "the session does not wait");
            std::thread::yield_now();
        }
        holder.commit().unwrap();
        waiter.join().unwrap();
    });
    let locks = cluster.stats().locks;
    assert!(locks.waits >= 1 && locks.waited > Duration::ZERO, "{locks:?}");
}

fn waits_for_row_locks_on_servers_are_counted(backend: &Backend) {
    let cluster = Cluster::clone(&backend.create::<City>(&CONTINENTS));
    let row = cluster.transaction(|session| session.add(city(Continent::Asia, "held"))).unwrap();
    let rename = |session: &mut Session, name: &str| {
        let mut row = session.get::<City>(row.id)?.expect("it was added");
        row.name = name.into();
        session.update(&mut row)?;
        session.flush()
    };
    let mut holder = cluster.session();
    rename(&mut holder, "first").unwrap();
    // A statement that takes as long as a wait, and waits for no lock.
    let slow = Sql::new("SELECT 1 AS one FROM pg_sleep(0.5)");
    holder.one(slow.on_shard("asia")).unwrap();
    assert_eq!(cluster.stats().locks.waits, 0);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| cluster.transaction(|session| rename(session, "second")).unwrap());
        let began = Instant::now();
        while cluster.stats().locks.waits == 0 {
            assert!(began.elapsed() < 20 * SECOND, "the wait is not counted");
            std::thread::yield_now();
        }
        holder.commit().unwrap();
        waiter.join().unwrap();
    });
    let locks = cluster.stats().locks;
    assert!(locks.waits == 1 && locks.waited > Duration::ZERO, "{locks:?}");
}

fn waits_for_connections_are_counted(backend: &Backend) {
    let builder = backend.builder(&CONTINENTS).connections(1);
    let cluster = builder.create::<City>().unwrap();
    let mut holder = cluster.session();
    holder.add(city(Continent::Asia, "held")).unwrap();
    holder.flush().unwrap();
    assert_eq!((cluster.stats().connections.waits, cluster.stats().connections.limit), (0, 1));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| cluster.session().one(City::select().all_shards().count()).unwrap());
        let began = Instant::now();
        while cluster.stats().connections.waits == 0 {
            assert!(began.elapsed() < 20 * SECOND, "the session does not wait");
            std::thread::yield_now();
        }
        holder.commit().unwrap();
        drop(holder);
        assert_eq!(waiter.join().unwrap(), 1);
    });
    let connections = cluster.stats().connections;
    assert!(connections.waits == 1 && connections.waited > Duration::ZERO, "{connections:?}");
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "counters")]
struct Counter {
    #[id]
    #[shard_key(hash)]
    id: i64,
    value: i64,
    #[version]
    version: i64,
}

fn a_transaction_that_runs_again_is_counted(backend: &Backend) {
    let cluster = backend.create::<Counter>(&LETTERS);
    cluster.transaction(|session| session.add(Counter { id: 1, value: 0, version: 1 }).map(drop)).unwrap();
    let mut tries = 0;
    let raise = |session: &mut Session| {
        let mut counter = session.get::<Counter>(1)?.expect("it was added");
        tries += 1;
        if tries == 1 {
            let raised = Counter::update().set(Counter::VALUE, 10).filter(Counter::ID.eq(1));
            cluster.transaction(|other| other.execute(raised.clone()).map(drop))?;
        }
        counter.value += 1;
        session.update(&mut counter)
    };
    cluster.transaction(raise).unwrap();
    let stats = cluster.stats();
    assert_eq!((tries, stats.transactions.retries, stats.transactions.one_shard), (2, 1, 3));
    let stale = stats.shards.iter().flat_map(|shard| &shard.errors).chain(&stats.other_errors);
    let stale: Vec<_> = stale.map(|error| (error.kind, error.count)).collect();
    assert_eq!(stale, [(ErrorKind::Stale, 1)], "the error of the first try");
}

fn every_shard_of_a_sound_cluster_is_healthy(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    // A writer does not delay a probe.
    let mut writer = cluster.session();
    writer.add_all(Continent::ALL.map(|continent| city(continent, "x"))).unwrap();
    writer.flush().unwrap();
    let (health, asked) = cluster.asked(|| cluster.health(10 * SECOND));
    assert!(health.is_healthy(), "{health}");
    assert_eq!(asked, [""; 0], "probes are no statements of sessions");
    let names: Vec<&str> = health.shards.iter().map(|probe| probe.name.as_str()).collect();
    assert_eq!((names.as_slice(), health.control.name.as_str()), (&CONTINENTS[..], "control"));
    let read: serde_json::Value = serde_json::from_str(&serde_json::to_string(&health).unwrap()).unwrap();
    assert!(read["control"]["error"].is_null() && read["shards"][3]["latency_seconds"].is_f64(), "{read}");
}

fn status_counts_rows_and_bytes_by_shard(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let empty = cluster.status();
    assert_eq!(empty.imbalance, None);
    let mut session = cluster.session();
    let cities = session.add_all(Continent::ALL.map(|continent| city(continent, "x"))).unwrap();
    session.add_all(cities.iter().map(|city| NewReport { city: city.link(), temperature: 1.5 })).unwrap();
    session.commit().unwrap();
    session.rollback();
    let status = cluster.status();
    assert!(status.errors().next().is_none(), "{status:?}");
    let rows: Vec<Option<u64>> = status.shards.iter().map(|shard| shard.rows).collect();
    assert_eq!(rows, [Some(2), Some(4), Some(2), Some(2)]);
    assert_eq!(status.imbalance, Some(1.6));
    assert!(status.shards.iter().all(|shard| shard.bytes.is_some_and(|bytes| bytes > 0)), "{status:?}");
    let asia = &status.shards[1];
    let of = |table: &str| asia.tables.iter().find(|rows| rows.table == table).unwrap().rows;
    assert_eq!((of("cities"), of("reports"), of("remarks")), (2, 2, 0));
    assert!(status.transactions.is_empty());
    let text = serde_json::to_string(&status).unwrap();
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((read["shards"][1]["rows"].as_u64(), read["imbalance"].as_f64()), (Some(4), Some(1.6)));
    if backend.kind == Kind::Servers {
        assert!(asia.location.starts_with("postgres://127.0.0.1:") && !text.contains("sharded:"), "{text}");
    }
}

fn a_key_is_located_where_its_rows_are(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    for continent in Continent::ALL {
        let row = session.add(city(continent, "x")).unwrap();
        assert_eq!(cluster.locate::<City>(continent).unwrap(), row.shard());
        // A child is stored with its parent.
        assert_eq!(cluster.locate::<Report>(continent).unwrap(), row.shard());
    }
    let lookup = backend.create::<City>(&CONTINENTS);
    assert_error(lookup.locate::<Report>(Continent::Asia), ErrorKind::UnknownModel, &["`Report`"]);
}

fn a_key_that_is_placed_nowhere_is_an_error(backend: &Backend) {
    let cluster = backend.create::<(Parcel, Account)>(&LETTERS);
    assert_eq!(cluster.locate::<Parcel>(250_u16).unwrap().name(), "b");
    assert_eq!(cluster.locate::<Account>(999).unwrap().name(), "a");
    assert_error(cluster.locate::<Parcel>(150_u16), ErrorKind::UnmappedKey, &["`parcels`", "150"]);
}

fn a_shard_that_is_gone_or_another_one_is_not_healthy(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let kinds = |cluster: &Watched| {
        let health = cluster.health(10 * SECOND);
        assert_eq!(health.is_healthy(), health.errors().next().is_none());
        let kind = |probe: &shard_runtime::status::Probe| {
            let error = probe.error.as_ref()?;
            assert!(error.shard() == Some(probe.name.as_str()) || probe.name == "control", "{error}");
            Some(error.kind())
        };
        health.shards.iter().chain([&health.control]).map(kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&cluster), [None, None, None, None]);
    let (b, c, control) = (backend.path("b"), backend.path("c"), backend.folder().join("control.db"));
    let aside = backend.folder().join("aside.db");
    std::fs::rename(&b, &aside).unwrap();
    assert_eq!(kinds(&cluster), [None, Some(ErrorKind::Missing), None, None]);
    // A copy of another shard in its place.
    std::fs::copy(&c, &b).unwrap();
    assert_eq!(kinds(&cluster), [None, Some(ErrorKind::WrongDatabase), None, None]);
    std::fs::write(&b, "no database").unwrap();
    assert_eq!(kinds(&cluster), [None, Some(ErrorKind::Corrupt), None, None]);
    std::fs::rename(&control, backend.folder().join("control.aside")).unwrap();
    assert_eq!(kinds(&cluster), [None, Some(ErrorKind::Corrupt), None, Some(ErrorKind::Missing)]);
    std::fs::rename(backend.folder().join("control.aside"), &control).unwrap();
    std::fs::rename(&aside, &b).unwrap();
    assert_eq!(kinds(&cluster), [None, None, None, None]);
}

fn a_shard_that_is_damaged_has_its_error_in_the_status(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    cluster
        .transaction(|session| {
            session.add_all([5, 1_005, 2_005].map(|number| Account {
                id: i64::from(number),
                number,
                owner: "x".into(),
            }))
        })
        .unwrap();
    backend.run("b", "DROP TABLE accounts");
    let status = cluster.status();
    let errors: Vec<_> = status.errors().map(|error| (error.kind(), error.shard().unwrap())).collect();
    assert_eq!(errors, [(ErrorKind::Schema, "b")], "{status:?}");
    let rows: Vec<_> = status.shards.iter().map(|shard| shard.rows).collect();
    assert_eq!((rows, status.imbalance), (vec![Some(1), None, Some(1)], None));
    let read: serde_json::Value = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
    assert_eq!(read["shards"][1]["error"]["kind"], "Schema");
    assert_eq!(read["shards"][1]["error"]["table"], "accounts");
}

fn a_decided_participant_that_is_not_applied_is_pending(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let add = |session: &mut Session| {
        session.add_all([5, 1_005, 2_005].map(|number| Account {
            id: i64::from(number),
            number,
            owner: "0".into(),
        }))
    };
    cluster.transaction(add).unwrap();
    assert_eq!(cluster.stats().transactions.several_shards, 1);
    // The record of a finished transaction is not pending.
    assert!(cluster.status().transactions.is_empty());
    // Another process has died between its decision and the commits of `a` and `c`.
    let control = rusqlite::Connection::open(backend.folder().join("control.db")).unwrap();
    for shard in ["a", "c"] {
        let runs: &[u8] = &[1, 3, 1, 0, 0, 0, 0, 0, 0, 0];
        let insert =
            "INSERT INTO sharded_redo VALUES ('u', ?1, 1, 1, 'UPDATE accounts SET owner = owner + ?1', ?2)";
        control.execute(insert, (shard, runs)).unwrap();
    }
    let pending = cluster.status().transactions;
    assert_eq!(pending.len(), 1, "{pending:?}");
    assert_eq!((pending[0].id.as_str(), pending[0].state), ("u", TransactionState::Pending));
    assert_eq!(pending[0].shards, ["a", "c"]);
    // Nothing was changed by looking.
    assert_eq!(cluster.status().transactions, pending);
    // One that is finished while the status is read was being committed.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            cluster.recover().unwrap();
        });
        assert_eq!(cluster.status().transactions, []);
    });
    assert!(cluster.status().transactions.is_empty());
}

fn a_prepared_participant_is_pending_or_in_doubt(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let id = cluster.status().cluster;
    let participant = if backend.kind == Kind::Schemas { 0 } else { 1 };
    let shard = LETTERS[participant];
    let client = backend.client(shard);
    client.run(&format!(
        "BEGIN; INSERT INTO accounts (id, number, owner) VALUES (1, 5, 'x'); \
         PREPARE TRANSACTION 'sharded:{id}:0:u:{participant}'"
    ));
    let only = || {
        let mut transactions = cluster.status().transactions;
        assert_eq!(transactions.len(), 1, "{transactions:?}");
        transactions.remove(0)
    };
    let found = only();
    assert_eq!((found.id.as_str(), found.state), ("u", TransactionState::InDoubt));
    assert_eq!(found.shards, [shard]);
    // Its owner decides, and dies.
    backend.client("a").run("INSERT INTO sharded_unit (id) VALUES ('u')");
    assert_eq!(only().state, TransactionState::Pending);
    // It commits while the status is read.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(cluster.recover().unwrap().transactions(), ["u"]);
        });
        assert_eq!(cluster.status().transactions, []);
    });
    assert!(cluster.status().transactions.is_empty());
    assert_eq!(backend.peek::<i64>(shard, "accounts", "SELECT count(*) FROM {table}"), 1);
}

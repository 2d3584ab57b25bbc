//! The time for which decisions are kept (W21, and the second half of W2).

use std::sync::Arc;

use shard_runtime::{ErrorKind, Sharded as _};

use crate::{Account, Place, World, account, set_all};
use sharded_tests::postgres_server::Server;

/// Older than the day after which rows may be collected.
const OLD: &str = "25 hours";

#[test]
fn r35_a_transaction_that_was_decided_days_ago_is_committed_by_recovery() {
    let world = World::new();
    world.leave("t", 0, 1, 5, true);
    world.leave("t", 0, 2, 5, true);
    world.age(0, OLD);
    let cluster = world.open();
    assert_eq!(cluster.recover().unwrap().transactions(), ["t"]);
    assert_eq!([1, 2].map(|shard| (world.cents(shard), world.prepared(shard))), [(5, 0); 2]);
    assert_eq!(world.decisions(0), 0, "nothing is prepared for the old row any more");
}

#[test]
fn r35_a_row_is_kept_while_a_server_cannot_be_reached() {
    let mut other = Server::start_with(&["max_prepared_transactions=20"]);
    let server = crate::server();
    let world = World::on([&server.url(), &server.url(), &other.url()], None);
    let cluster = world.open();
    world.leave("t", 0, 1, 5, true);
    world.leave("t", 0, 2, 5, true);
    world.age(0, OLD);
    other.stop();
    cluster.recover().unwrap();
    assert_eq!((world.cents(1), world.decisions(0)), (5, 2), "the shard `c` was not searched");
    other.start_again();
    let recovered = cluster.recover().unwrap();
    assert!(recovered.transactions().contains(&"t".to_owned()));
    assert!(recovered.left().is_empty());
    assert_eq!((world.cents(2), world.decisions(0)), (5, 0));
}

#[test]
fn r35_rows_are_collected_only_if_they_are_old_and_nothing_is_prepared_for_them() {
    let world = World::new();
    let client = world.client(0);
    client.run("DELETE FROM sharded_unit");
    client.run("INSERT INTO sharded_unit VALUES ('old', now() - interval '25 hours'), ('new', now())");
    // The clock of the server jumps: a row from the future is no older than one of today.
    client.run("INSERT INTO sharded_unit VALUES ('future', now() + interval '25 hours')");
    let cluster = world.open();
    let left = || world.client(0).rows("SELECT id FROM sharded_unit ORDER BY id").concat();
    assert_eq!(left(), ["future", "new"]);
    // A participant that this cluster's recovery finds and cannot finish keeps its row at any age.
    let name = format!("sharded:{}:0:kept:9", world.cluster());
    world.client(1).run(&format!("BEGIN; SELECT FROM accounts FOR UPDATE; PREPARE TRANSACTION '{name}'"));
    world.client(0).run("INSERT INTO sharded_unit (id) VALUES ('kept')");
    world.age(0, "60 hours");
    cluster.recover().unwrap();
    assert_eq!(left(), ["kept"]);
    world.client(1).run(&format!("COMMIT PREPARED '{name}'"));
    cluster.recover().unwrap();
    assert!(left().is_empty());
}

/// A transaction that was prepared while each schema was its own participant is found when they are one database.
#[test]
fn r35_participants_are_finished_after_their_schemas_became_one_database() {
    let world = World::new();
    world.leave("decided", 0, 1, 5, true);
    world.leave("aborted", 1, 2, 6, false);
    let builder = crate::SHARDS
        .iter()
        .zip(&world.direct)
        .fold(shard_runtime::Cluster::builder(), |builder, (shard, url)| {
            builder.shard(*shard, format!("{url}?schema=w{}_{shard}", world.number))
        });
    let cluster = builder.open::<Account>().unwrap();
    let recovered = cluster.recover().unwrap();
    assert_eq!((recovered.transactions(), recovered.left().len()), (&["decided".to_owned()][..], 0));
    assert_eq!([0, 1, 2].map(|shard| (world.cents(shard), world.prepared(shard))), [(0, 0), (5, 0), (0, 0)]);
}

/// The owner of a transaction loses the reply to its commit. Before it reads the outcome, others finish the transaction, the
/// clock advances by a day, and the row is collected. The commit must not return that the transaction was aborted.
#[test]
fn r35_an_owner_whose_row_was_collected_is_in_doubt_and_not_aborted() {
    let server = crate::server();
    // The gate is before the decider: shards are declared the other way round.
    let world = Arc::new(World::on([&server.url(), &server.url(), &server.url()], None));
    let [a, b, c] = world.urls.clone();
    let builder = || {
        use std::time::Duration;
        let builder = shard_runtime::Cluster::builder().busy_timeout(Duration::from_secs(10));
        // Another cluster with its own schemas, whose first shard is behind the gate.
        [("a", &c), ("b", &a), ("c", &b)]
            .iter()
            .fold(builder, |builder, (shard, url)| builder.shard(*shard, url.replace("schema=w", "schema=v")))
    };
    let cluster = builder().create::<Account>().unwrap();
    let client = || {
        let client = crate::Client::connect(&server.url());
        client.run(&format!("SET search_path = v{}_c", world.number));
        client
    };
    let mut session = cluster.session();
    for (is_aged, expected) in [(false, None), (true, Some(ErrorKind::InDoubt))] {
        let id = 10 + i64::from(is_aged);
        session.add_all(Place::ALL.map(|place| account(id, place))).unwrap();
        session.flush().unwrap();
        let recover = {
            let direct = [&world.direct[2], &world.direct[0], &world.direct[1]].map(String::clone);
            let number = world.number;
            move || {
                let builder = shard_runtime::Cluster::builder();
                let schemas = ["c", "a", "b"];
                let shards = ["a", "b", "c"].iter().zip(&direct).zip(schemas);
                let builder = shards.fold(builder, |builder, ((shard, url), schema)| {
                    builder.shard(*shard, format!("{url}?schema=v{number}_{schema}"))
                });
                let other = builder.open::<Account>().unwrap();
                if is_aged {
                    let client = crate::Client::connect(&direct[0]);
                    client.run(&format!("SET search_path = v{number}_c"));
                    client.run("UPDATE sharded_unit SET at = at - interval '25 hours'");
                }
                other.recover().unwrap();
            }
        };
        world.gate.lose_reply("COMMIT", recover);
        let committed = session.commit();
        match expected {
            None => drop(committed.unwrap()),
            Some(kind) => {
                let error = committed.unwrap_err();
                assert_eq!(error.kind(), kind, "{error}");
                assert!(error.transaction_id().is_some());
                session.rollback();
            }
        }
        let there = client().text(&format!("SELECT count(*) FROM accounts WHERE id = {id}"));
        assert_eq!(there, "1", "the transaction is committed");
    }
}

/// The owner finishes its participant late, from another session; until then later decisions leave the row alone.
#[test]
fn r55_a_row_is_kept_until_its_participants_are_finished() {
    let world = World::new();
    let cluster = world.open();
    world.client(0).run("DELETE FROM sharded_unit");
    world.gate.refuse("COMMIT PREPARED");
    let mut session = cluster.session();
    assert_eq!(set_all(&mut session, 5).unwrap().pending().len(), 1);
    // Decisions of the same log that leave `c` alone.
    for cents in 6..9 {
        let both = Account::update().set(Account::CENTS, cents).filter(Account::ID.eq(1));
        session.execute(both.filter(Account::PLACE.is_in([Place::A, Place::B]))).unwrap();
        session.commit().unwrap();
    }
    assert_eq!((world.prepared(2), world.decisions(0)), (1, 2), "its own row, and that of the last decision");
    // The process that owns it is gone; another one recovers.
    drop((session, cluster));
    world.gate.allow();
    drop(world.open());
    assert_eq!((world.prepared(2), world.cents(2)), (0, 5));
}

#[test]
fn r55_the_decision_log_is_bounded_by_the_commits_themselves() {
    let world = World::new();
    let commits = std::env::var("SHARDED_COMMITS").map_or(400, |commits| commits.parse().expect("a number"));
    let cluster = world.open();
    const THREADS: i64 = 4;
    let most = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cluster, world, most) = (&cluster, &world, &most);
            scope.spawn(move || {
                let mut session = cluster.session();
                session.add_all(Place::ALL.map(|place| account(100 + thread, place))).unwrap();
                session.commit().unwrap();
                let own = Account::update().filter(Account::ID.eq(100 + thread)).all_shards();
                for commit in 0..commits / THREADS {
                    session.execute(own.clone().set(Account::CENTS, commit)).unwrap();
                    assert!(session.commit().unwrap().pending().is_empty());
                    if commit % (commits / 40).max(1) == 0 {
                        most.fetch_max(world.decisions(0), std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    // Each session may have decided once since the last one removed the finished rows.
    let (most, left) = (most.into_inner(), world.decisions(0));
    println!(
        "{commits} commits over three servers: at most {most} rows in the decision log, {left} at the end"
    );
    assert!(most <= 4 * THREADS as usize && left <= 2 * THREADS as usize, "{most} rows, {left} at the end");
}

#[test]
fn r55_the_log_is_bounded_beside_files_too() {
    let world = World::with_file();
    let commits = std::env::var("SHARDED_COMMITS").map_or(200, |commits| commits.parse().expect("a number"));
    let cluster = world.open();
    let mut session = cluster.session();
    for commit in 0..commits {
        assert!(set_all(&mut session, commit).unwrap().pending().is_empty());
    }
    drop((session, cluster));
    let file = world.urls[0].strip_prefix("sqlite:").unwrap();
    let control = std::path::Path::new(file).with_file_name("control.db");
    let control = rusqlite::Connection::open(control).unwrap();
    let count = |table: &str| -> i64 {
        control.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("sharded_redo"), count("sharded_prepared")), (0, 0));
    assert_eq!(world.decisions(1), 0, "files decide");
}

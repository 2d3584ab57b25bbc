//! The number of sequential round trips of a transaction over servers, and how it waits for locks.

use std::sync::atomic::{AtomicU64, Ordering};

use shard_runtime::{Cluster, ErrorKind, Session, Sharded as _, Stored};
use sharded_tests::waiting::soon;

use crate::rounds::Rounds;
use crate::{Account, BUSY_TIMEOUT, Client, Place, SHARDS, account, server, shard_url};

/// Three servers, each behind a proxy.
struct World {
    rounds: Rounds,
    cluster: Cluster,
    number: u64,
}

impl World {
    /// Each shard has the accounts 1 and 2.
    fn new() -> World {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (rounds, urls) = Rounds::before::<3>(&server().url());
        let builder = SHARDS
            .iter()
            .zip(urls)
            .fold(Cluster::builder().busy_timeout(BUSY_TIMEOUT), |builder, (shard, url)| {
                builder.shard(*shard, shard_url(&url, &format!("t{number}_"), shard))
            });
        let cluster = builder.create::<Account>().unwrap();
        let accounts = [1, 2].into_iter().flat_map(|id| Place::ALL.map(|place| account(id, place)));
        cluster.transaction(|session| session.add_all(accounts.clone()).map(drop)).unwrap();
        World { rounds, cluster, number }
    }

    fn client(&self, shard: usize) -> Client {
        let client = Client::connect(&server().url());
        client.run(&format!("SET search_path = t{}_{}", self.number, SHARDS[shard]));
        client
    }

    /// The cents of an account on each shard.
    fn cents(&self, id: i64) -> [i64; 3] {
        let sql = format!("SELECT cents FROM accounts WHERE id = {id}");
        [0, 1, 2].map(|shard| self.client(shard).text(&sql).parse().unwrap())
    }
}

/// Account 1 of each shard.
fn accounts(session: &mut Session) -> Vec<Stored<Account>> {
    session.all(Account::select().filter(Account::ID.eq(1)).all_shards()).unwrap()
}

fn change(session: &mut Session, rows: &mut [Stored<Account>], cents: i64) {
    for row in rows {
        row.cents = cents;
        session.update(row).unwrap();
    }
}

#[test]
fn r31_a_flush_goes_to_all_servers_in_one_round_trip() {
    let world = World::new();
    let mut session = world.cluster.session();
    let mut rows = accounts(&mut session);
    session.commit().unwrap();
    // The second time statements are prepared.
    for round in 0..2 {
        session.add_all(Place::ALL.map(|place| account(10 + round, place))).unwrap();
        change(&mut session, &mut rows, 5 + round);
        if round == 1 {
            world.rounds.expect(&[&[0, 1, 2]]);
        }
        session.flush().unwrap();
        if round == 1 {
            let [trip] = &world.rounds.finish()[..] else { panic!("one round trip") };
            for server in 0..3 {
                let sent: Vec<&str> =
                    trip.iter().filter(|(to, _)| *to == server).map(|(_, sql)| sql.as_str()).collect();
                let [begin, insert, update, limit] = sent[..] else { panic!("{sent:?}") };
                assert!(begin.starts_with("BEGIN") && begin.contains("lock_timeout"), "{begin}");
                assert!(insert.starts_with("INSERT") && update.starts_with("UPDATE"), "{sent:?}");
                assert!(limit.starts_with("SET LOCAL lock_timeout"), "{limit}");
            }
        }
        session.commit().unwrap();
        assert_eq!(world.cents(1), [5 + round; 3]);
        assert_eq!(world.cents(10 + round), [0; 3]);
    }
    // Within a transaction that has written before.
    for round in 0..2 {
        change(&mut session, &mut rows, 20 + round);
        session.flush().unwrap();
    }
    session.commit().unwrap();
    assert_eq!(world.cents(1), [21; 3]);
}

/// A commit sends its changes with the row of its decision, prepares, decides and finishes: a round trip each.
#[test]
fn r35_a_commit_over_servers_makes_four_round_trips() {
    let world = World::new();
    let mut session = world.cluster.session();
    let mut rows = accounts(&mut session);
    session.commit().unwrap();
    let decides = |sql: &str| sql.contains("sharded_unit");
    // The first time statements are prepared.
    for round in 0..2 {
        // All changes are sent by the commit.
        change(&mut session, &mut rows, 10 + round);
        if round == 1 {
            world.rounds.expect(&[&[0, 1, 2], &[1, 2], &[0], &[1, 2]]);
        }
        assert!(session.commit().unwrap().pending().is_empty());
        if round == 1 {
            let trips = world.rounds.finish();
            let decision: Vec<usize> =
                trips[0].iter().filter(|(_, sql)| decides(sql)).map(|(server, _)| *server).collect();
            assert_eq!(decision, [0], "{trips:#?}");
            let all = |trip: usize, word: &str| trips[trip].iter().all(|(_, sql)| sql.contains(word));
            assert!(all(1, "PREPARE TRANSACTION") && all(2, "COMMIT") && all(3, "COMMIT PREPARED"));
            assert!(!trips[1..].concat().iter().any(|(_, sql)| decides(sql)), "{trips:#?}");
        }
        // The server that decides was written before: its row goes beside the changes of the others.
        let (first, others) = rows.split_at_mut(1);
        change(&mut session, first, 20 + round);
        session.flush().unwrap();
        change(&mut session, others, 20 + round);
        if round == 1 {
            world.rounds.expect(&[&[0, 1, 2], &[1, 2], &[0], &[1, 2]]);
        }
        session.commit().unwrap();
        if round == 1 {
            let trips = world.rounds.finish();
            assert!(trips[0].iter().any(|(server, sql)| *server == 0 && decides(sql)), "{trips:#?}");
        }
        // Nothing is left to be sent: the row is a round trip of its own.
        crate::set(&mut session, 30 + round).unwrap();
        if round == 1 {
            world.rounds.expect(&[&[0], &[1, 2], &[0], &[1, 2]]);
        }
        session.commit().unwrap();
        if round == 1 {
            assert!(world.rounds.finish()[0].iter().any(|(_, sql)| decides(sql)));
        }
        // One server needs no row.
        change(&mut session, &mut rows[2..], 40 + round);
        if round == 1 {
            world.rounds.expect(&[&[2], &[2]]);
        }
        session.commit().unwrap();
        if round == 1 {
            assert!(!world.rounds.finish().concat().iter().any(|(_, sql)| decides(sql)));
        }
        assert_eq!(world.cents(1), [30 + round, 30 + round, 40 + round]);
    }
    assert_eq!(world.client(1).text("SELECT count(*) FROM sharded_unit"), "0");
}

/// A row that was sent with changes is removed by a later decision, and is undone with them.
#[test]
fn r55_rows_that_are_sent_with_changes_are_removed_and_undone() {
    let world = World::new();
    let decisions = || -> i64 { world.client(0).text("SELECT count(*) FROM sharded_unit").parse().unwrap() };
    let mut session = world.cluster.session();
    let mut rows = accounts(&mut session);
    session.commit().unwrap();
    for round in 1..=20 {
        change(&mut session, &mut rows, round);
        session.commit().unwrap();
        assert!((1..=2).contains(&decisions()), "{}", decisions());
    }
    let before = decisions();
    for (refuses, shard) in SHARDS.iter().enumerate() {
        // The last of them refuses the changes of a commit: the row is undone with the others.
        world.client(refuses).run("INSERT INTO accounts SELECT 9, place, 0 FROM accounts WHERE id = 1");
        session.add_all(Place::ALL.map(|place| account(9, place))).unwrap();
        let error = session.commit().unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Unique, Some(*shard)), "{error}");
        world.client(refuses).run("DELETE FROM accounts WHERE id = 9");
        assert_eq!(decisions(), before);
        // The transaction continues, and a row that is there belongs to it.
        change(&mut session, &mut rows[..2], 100 + refuses as i64);
        session.commit().unwrap();
        assert_eq!(decisions(), before);
    }
    assert_eq!(world.cents(1), [102, 102, 20]);
    assert_eq!(world.cents(2), [0; 3]);
}

/// While a session waits for a row on the first server it holds no row of a later server. Another session that locks both in
/// the cluster's order does not wait for it there.
#[test]
fn r38_a_flush_that_waits_for_a_lock_holds_none_of_a_later_server() {
    let world = World::new();
    for blocked in 0..3 {
        let cents = 100 + blocked as i64;
        let blocker = world.client(blocked);
        blocker.run("BEGIN; UPDATE accounts SET cents = 0 WHERE id = 1");
        let process = blocker.text("SELECT pg_backend_pid()");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut session = world.cluster.session();
                let mut rows = accounts(&mut session);
                session.commit().unwrap();
                change(&mut session, &mut rows, cents);
                session.commit().unwrap();
            });
            let waiting = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE {process} = ANY (pg_blocking_pids(pid))"
            );
            let looks = Client::connect(&server().url());
            let is_locked = |shard: usize| {
                let locks = "SELECT FROM accounts WHERE id = 1 FOR UPDATE NOWAIT";
                world.client(shard).try_run(locks).is_err()
            };
            soon("the writer waits, and holds what comes before", || {
                looks.text(&waiting) != "0"
                    && (0..blocked).all(is_locked)
                    && (blocked + 1..3).all(|shard| !is_locked(shard))
            });
            blocker.run("COMMIT");
            writer.join().unwrap();
        });
        assert_eq!(world.cents(1), [cents; 3]);
    }
}

/// The error is that of the first shard, and the changes that were sent to the others at the same time are undone.
#[test]
fn r32_a_flush_that_a_server_refuses_writes_nothing() {
    let world = World::new();
    let mut session = world.cluster.session();
    for written_before in [false, true] {
        if written_before {
            session.add_all(Place::ALL.map(|place| account(3, place))).unwrap();
            session.flush().unwrap();
        }
        for (refuses, shard) in SHARDS.iter().enumerate() {
            world.client(refuses).run("INSERT INTO accounts SELECT 9, place, 0 FROM accounts WHERE id = 1");
            session.add_all(Place::ALL.map(|place| account(9, place))).unwrap();
            let error = session.flush().unwrap_err();
            assert_eq!((error.kind(), error.shard()), (ErrorKind::Unique, Some(*shard)), "{error}");
            let there = session.all(Account::select().filter(Account::ID.eq(9)).all_shards());
            assert_eq!(there.unwrap().len(), 1);
            world.client(refuses).run("DELETE FROM accounts WHERE id = 9");
        }
        let rows = session.all(Account::select().filter(Account::ID.eq(3)).all_shards()).unwrap();
        assert_eq!(rows.len(), if written_before { 3 } else { 0 });
    }
    session.commit().unwrap();
    assert_eq!(world.cents(3), [0; 3]);
}

//! Sessions outside of `transaction` that deadlock over several databases. The youngest of those that wait for one another soon
//! fails with `Busy`, and the others continue. A deadlock with another process, or with a session of another handle of the
//! cluster, lasts until the busy timeout.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use shard_runtime::{Cluster, Error, ErrorKind, Session, Sharded as _};
use sharded_tests::postgres_server::Server;
use sharded_tests::waiting::soon;
use tempfile::TempDir;

use crate::{Account, BUSY_TIMEOUT, PLACES, add, ends_soon, fill, servers, shards_on, sum};

/// The first account of each place.
const FIRST: [i64; 3] = [1, 11, 21];

/// Sessions that each have locked a row, and then want the one of the next. Returns what became of each.
fn ring(clusters: &[&Cluster]) -> Vec<Result<(), Error>> {
    let all_have_one = Barrier::new(clusters.len());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clusters.len())
            .map(|number| {
                let (all_have_one, own) = (&all_have_one, FIRST[number]);
                let next = FIRST[(number + 1) % clusters.len()];
                let mut session = clusters[number].session();
                scope.spawn(move || {
                    add(&mut session, own, -1).unwrap();
                    all_have_one.wait();
                    let wanted = add(&mut session, next, 1);
                    match &wanted {
                        Ok(()) => drop(session.commit().unwrap()),
                        Err(_) => session.rollback(),
                    }
                    wanted
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// One of them fails at once, with an error that may be retried.
#[track_caller]
fn assert_one_fails(cluster: &Cluster, sessions: usize) {
    let ended = ends_soon(|| ring(&vec![cluster; sessions]));
    let failed: Vec<&Error> = ended.iter().filter_map(|ended| ended.as_ref().err()).collect();
    let [error] = failed[..] else { panic!("one fails, and not {failed:?}") };
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.is_retryable() && error.shard().is_some() && error.table().is_some(), "{error}");
    assert!(error.to_string().contains("deadlock over several databases"), "{error}");
    assert_eq!(sum(cluster), 3_000);
}

/// W26
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r38_one_of_two_plain_sessions_that_deadlock_over_servers_fails_at_once() {
    let servers = servers();
    let cluster = fill(shards_on(servers, "plain"));
    for _ in 0..3 {
        assert_one_fails(&cluster, 2);
        assert_one_fails(&cluster, 3);
    }
}

/// W26
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r38_one_of_two_plain_sessions_that_deadlock_over_a_file_and_servers_fails_at_once() {
    let [first, second, ..] = servers();
    let folder = TempDir::new().unwrap();
    let file = format!("sqlite:{}", folder.path().join("a.db").display());
    let urls =
        [file, format!("{}?schema=plain_mixed", first.url()), format!("{}?schema=plain_mixed", second.url())];
    let cluster = fill(
        PLACES.iter().zip(urls).fold(Cluster::builder(), |builder, (place, url)| builder.shard(*place, url)),
    );
    for sessions in [2, 3] {
        let ended = ends_soon(|| ring(&vec![&cluster; sessions]));
        let failed: Vec<&Error> = ended.iter().filter_map(|ended| ended.as_ref().err()).collect();
        let [error] = failed[..] else { panic!("one fails, and not {failed:?}") };
        assert!(error.kind() == ErrorKind::Busy && error.is_retryable(), "{error}");
        assert!(error.to_string().contains("deadlock"), "{error}");
        assert_eq!(sum(&cluster), 3_000);
    }
}

/// The failed statement is undone, and nothing else of its session: it may continue once the others have ended.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r38_a_session_that_a_deadlock_has_stopped_goes_on() {
    let servers = servers();
    let cluster = fill(shards_on(servers, "goes_on"));
    let (mut older, mut younger) = (cluster.session(), cluster.session());
    add(&mut older, 1, 1).unwrap();
    add(&mut younger, 11, 1).unwrap();
    ends_soon(|| {
        std::thread::scope(|scope| {
            // Their rows are read to be locked, and changed.
            let waiting = scope.spawn(|| lock(&mut older, 11).and_then(|()| add(&mut older, 11, -1)));
            let error = lock(&mut younger, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            assert_eq!(younger.all(Account::select().on_shard("c")).unwrap().len(), 10);
            younger.rollback();
            waiting.join().unwrap().unwrap();
        });
        older.commit().unwrap();
        lock(&mut younger, 1).and_then(|()| add(&mut younger, 1, 0)).unwrap();
        younger.commit().unwrap();
    });
    assert_eq!(sum(&cluster), 3_000);
}

fn lock(session: &mut Session, id: i64) -> Result<(), Error> {
    let place = PLACES[id as usize / 10];
    session.one(Account::select().on_shard(place).filter(Account::ID.eq(id)).for_update()).map(drop)
}

/// Long waits that are no deadlock end when the lock is free: a deadlock is looked for after 0.1, 1.1 and 2.1 seconds.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r38_long_waits_on_several_servers_are_no_deadlock() {
    let servers = servers();
    let cluster = fill(shards_on(servers, "patient"));
    let mut holder = cluster.session();
    FIRST.iter().for_each(|&id| add(&mut holder, id, 1).unwrap());
    let waiting: Vec<_> = FIRST
        .iter()
        .flat_map(|&id| [id, id])
        .map(|id| {
            let mut session = cluster.session();
            std::thread::spawn(move || {
                add(&mut session, (id + 10) % 30 + 1, 1)?;
                add(&mut session, id, -1)?;
                session.commit().map(drop)
            })
        })
        .collect();
    let long = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%patient%' \
                AND clock_timestamp() - query_start > interval '2.5 seconds'";
    let waits = |server: &Server| server.psql(long).trim().parse::<usize>().unwrap();
    soon("all have waited for long", || servers.iter().map(waits).sum::<usize>() == waiting.len());
    holder.commit().unwrap();
    waiting.into_iter().for_each(|waiting| waiting.join().unwrap().unwrap());
    assert_eq!(sum(&cluster), 3_003);
}

/// Sessions of two handles, as of two processes, do not see each other's waits: they end with the busy timeout.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r38_a_deadlock_of_two_processes_ends_with_the_busy_timeout() {
    let servers = servers();
    drop(fill(shards_on(servers, "handles")));
    let timeout = Duration::from_secs(2);
    let open = || shards_on(servers, "handles").busy_timeout(timeout).open::<Account>().unwrap();
    let (first, second) = (open(), open());
    let began = Instant::now();
    let ended = ring(&[&first, &second]);
    let took = began.elapsed();
    assert!(took >= timeout && took < timeout * 10, "{took:?}");
    let failed: Vec<&Error> = ended.iter().filter_map(|ended| ended.as_ref().err()).collect();
    assert!(!failed.is_empty());
    for error in failed {
        assert!(error.kind() == ErrorKind::Busy && error.is_retryable(), "{error}");
    }
    assert_eq!(sum(&first), 3_000);
}

/// Flushes of two handles, as of two processes: no server and no session notices that they wait for each other. They take locks
/// in the cluster's order, although a flush goes to all servers at the same time.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r38_flushes_over_servers_take_locks_in_one_order() {
    let servers = servers();
    let first = fill(shards_on(servers, "flushes"));
    let second = shards_on(servers, "flushes").busy_timeout(BUSY_TIMEOUT).open::<Account>().unwrap();
    let all = || Account::select().filter(Account::ID.is_in(FIRST)).all_shards();
    ends_soon(|| {
        std::thread::scope(|scope| {
            for thread in 0..4_i64 {
                let (cluster, all) = (if thread % 2 == 0 { &first } else { &second }, &all);
                scope.spawn(move || {
                    for round in 0..25 {
                        let mut session = cluster.session();
                        let mut rows = session.all(all()).unwrap();
                        // Its snapshots end.
                        session.commit().unwrap();
                        for row in &mut rows {
                            row.cents = 1_000 * (thread + 1) + round;
                            session.update(row).unwrap();
                        }
                        session.commit().unwrap();
                    }
                });
            }
        });
    });
    let cents: Vec<i64> = first.session().all(all()).unwrap().iter().map(|row| row.cents).collect();
    assert!(cents.len() == 3 && cents.iter().all(|other| *other == cents[0]), "{cents:?}");
}

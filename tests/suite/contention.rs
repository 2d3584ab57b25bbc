//! Sessions that lock the same shards: a bounded wait, then a typed error: R38.

use std::time::Duration;

use shard_runtime::{ErrorKind, Sharded};
use sharded_tests::waiting::spawn_until_it_waits;

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_mixture! {
    r38_a_writer_waits_and_then_fails_with_busy,
    r38_pending_changes_can_be_sent_again,
    r38_a_busy_bulk_write_has_no_effect,
    r38_connections_run_out_within_bounds,
    r38_a_short_lock_is_waited_for,
    readers_and_a_writer,
    connections_are_made_while_a_shard_is_written;
    only separate:
        r38_crossing_writers_both_fail_within_bounds;
    only Files:
        one_locked_shard_blocks_no_other_shard,
}

fn account(id: i64, number: i32) -> Account {
    Account { id, number, owner: "x".into() }
}

fn count(cluster: &Watched) -> u64 {
    cluster.session().one(Account::select().all_shards().count()).unwrap()
}

fn r38_a_writer_waits_and_then_fails_with_busy(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = backend.create::<Account>(&LETTERS);
    let mut first = cluster.session();
    // On SQLite any writer blocks, on PostgreSQL a writer of the same row.
    first.add(account(1, 1500)).unwrap();
    first.flush().unwrap();
    let mut second = cluster.session();
    second.add(account(1, 1600)).unwrap();
    let result = second.commit();
    assert_error(result, ErrorKind::Busy, &["shard `b`"]);
    first.commit().unwrap();
    second.rollback();
    second.add(account(2, 1600)).unwrap();
    second.commit().unwrap();
    assert_eq!(count(&cluster), 2);
}

fn r38_crossing_writers_both_fail_within_bounds(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = backend.create::<Account>(&LETTERS);
    let (mut first, mut second) = (cluster.session(), cluster.session());
    first.add(account(1, 5)).unwrap();
    first.flush().unwrap();
    second.add(account(2, 2500)).unwrap();
    second.flush().unwrap();
    // Each waits for the lock of the other.
    first.add(account(2, 2600)).unwrap();
    second.add(account(1, 6)).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(move || first.commit());
        let second = scope.spawn(move || second.commit());
        let results = [first.join().unwrap(), second.join().unwrap()];
        let committed = results.iter().filter(|result| result.is_ok()).count();
        assert!(committed < 2);
        // A loser's session was dropped: none of its rows is left.
        assert_eq!(count(&cluster), 2 * committed as u64);
        for error in results.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            assert!(matches!(error.shard(), Some("a" | "c")));
        }
    });
    // Nothing is locked.
    let mut session = cluster.session();
    session.add_all([account(11, 5), account(12, 1500), account(13, 2500)]).unwrap();
    session.commit().unwrap();
}

fn r38_pending_changes_can_be_sent_again(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = backend.create::<Account>(&LETTERS);
    let mut first = cluster.session();
    first.add(account(4, 2500)).unwrap();
    first.flush().unwrap();
    let mut second = cluster.session();
    second.add_all([account(2, 5), account(3, 1500), account(4, 2600)]).unwrap();
    assert_error(second.commit(), ErrorKind::Busy, &["shard `"]);
    assert_error(second.flush(), ErrorKind::Busy, &["shard `"]);
    first.rollback();
    // A refusal because of a lock loses no row: a second call of `commit` commits all of them.
    second.commit().unwrap();
    assert_eq!(count(&cluster), 3);
}

fn r38_a_busy_bulk_write_has_no_effect(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add_all([account(1, 5), account(2, 1500), account(3, 2500)]).unwrap();
    session.commit().unwrap();
    let mut holder = cluster.session();
    holder.execute(Account::update().set(Account::OWNER, "holder").on_shard("c")).unwrap();
    let update = || Account::update().set(Account::OWNER, "y").all_shards();
    assert_error(session.execute(update()), ErrorKind::Busy, &["shard `"]);
    holder.rollback();
    session.commit().unwrap();
    let changed = Account::select().filter(Account::OWNER.ne("x")).all_shards();
    assert_eq!(session.one(changed.count()).unwrap(), 0);
    assert_eq!(session.execute(update()).unwrap(), 3);
}

fn r38_connections_run_out_within_bounds(backend: &Backend) {
    backend.does_not_wait_long();
    // Two for sessions that use one database, and those that one of them may need in addition.
    let connections = 2 + backend.databases() - 1;
    let few = backend.builder(&LETTERS).connections(connections);
    let cluster = backend.create_with::<Account>(few);
    let mut holders = [cluster.session(), cluster.session()];
    for holder in &mut holders {
        holder.all(Account::select().on_shard("b")).unwrap();
    }
    let mut third = cluster.session();
    let result = third.all(Account::select().on_shard("b"));
    assert_error(result, ErrorKind::Busy, &["shard `b`", &format!("{connections} connections")]);
    holders[0].rollback();
    third.all(Account::select().on_shard("b")).unwrap();
}

fn r38_a_short_lock_is_waited_for(backend: &Backend) {
    let patient = backend.builder(&LETTERS);
    let cluster = Watched::over(|builder| builder.create::<Account>(), patient);
    let mut first = cluster.session();
    first.add(account(1, 5)).unwrap();
    first.flush().unwrap();
    std::thread::scope(|scope| {
        // It waits, except on a server: it writes another row.
        let second = spawn_until_it_waits(scope, || {
            let mut second = cluster.session();
            second.add(account(2, 6)).unwrap();
            second.commit()
        });
        first.commit().unwrap();
        second.join().unwrap().unwrap();
    });
    assert_eq!(count(&cluster), 2);
}

fn readers_and_a_writer(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = backend.create::<Account>(&LETTERS);
    let mut reader = cluster.session();
    reader.all(Account::select().all_shards()).unwrap();
    let mut writer = cluster.session();
    writer.add(account(1, 5)).unwrap();
    match backend.is_lasting() {
        true => drop(writer.commit().unwrap()),
        false => {
            // In memory a reader keeps writers waiting, with the same bound and the same error; a commit that
            // failed has to be acknowledged.
            assert_error(writer.commit(), ErrorKind::Busy, &["shard `a`", "commit, roll back or drop"]);
            reader.commit().unwrap();
            assert_error(writer.commit(), ErrorKind::TransactionAborted, &["call `rollback` first"]);
            writer.rollback();
            writer.add(account(1, 5)).unwrap();
            writer.commit().unwrap();
        }
    }
    reader.commit().unwrap();
    assert_eq!(reader.one(Account::select().all_shards().count()).unwrap(), 1);
}

fn one_locked_shard_blocks_no_other_shard(backend: &Backend) {
    let patient = backend.builder(&LETTERS).busy_timeout(Duration::from_secs(600)).connections(30);
    let cluster = patient.create::<Account>().unwrap();
    let lock = backend.raw("a");
    lock.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    std::thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..20).map(|_| scope.spawn(|| cluster.session().all(Account::select().on_shard("a")))).collect();
        // These do not wait until the others have waited for long enough.
        for _ in 0..5 {
            let mut session = cluster.session();
            session.all(Account::select().on_shard("b")).unwrap();
            session.add(account(1, 2500)).unwrap();
            session.flush().unwrap();
        }
        drop(lock);
        for thread in waiting {
            assert!(thread.join().unwrap().unwrap().is_empty());
        }
    });
}

fn connections_are_made_while_a_shard_is_written(backend: &Backend) {
    let patient = backend.builder(&LETTERS).busy_timeout(Duration::from_secs(600));
    let cluster = patient.create::<Account>().unwrap();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for id in 0..9 {
            let cluster = &cluster;
            threads.push(scope.spawn(move || {
                // All of them write the first shard first, and need the other only then.
                let mut session = cluster.session();
                session.add(account(id, 5))?;
                session.flush()?;
                session.add(account(100 + id, 2500))?;
                session.commit()
            }));
        }
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    assert_eq!(cluster.session().one(Account::select().all_shards().count()).unwrap(), 18);
}

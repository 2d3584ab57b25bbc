//! Reads that end early: after a time, and with what can be had: R29.

use std::fs;
use std::time::Duration;

use shard_runtime::{ErrorKind, Sharded, Sql, count};

use crate::backend::{Backend, Kind, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_backend! {
    r29_a_read_that_takes_too_long_is_stopped,
    r29_a_timeout_is_no_bound_for_what_is_quick,
    r29_what_answers_is_read_and_what_does_not_is_named,
    r29_a_partial_count_is_of_what_was_there,
    r29_a_wrong_statement_is_never_partial,
    r29_without_being_asked_for_nothing_is_partial,
}

fn made(backend: &Backend) -> Watched {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    let account = |id: i64| Account { id, number: (id % 3_000) as i32, owner: format!("{}", id % 7) };
    session.add_all((0..9_000).map(account)).unwrap();
    session.commit().unwrap();
    cluster
}

const ENDLESS: &str =
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) AS x FROM n";

fn r29_a_read_that_takes_too_long_is_stopped(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    session.set_timeout(Some(Duration::from_millis(30)));
    let texts = ["shard `b`", "timeout"];
    assert_error(session.all(Sql::new(ENDLESS).on_shard("b")), ErrorKind::TimedOut, &texts);
    // Queries of models as well: this one has no time at all.
    session.set_timeout(Some(Duration::ZERO));
    let by_owner = || Account::select().order_by(Account::OWNER.asc());
    assert_error(
        session.all(by_owner().on_shard("a")),
        ErrorKind::TimedOut,
        &["shard `a`", "table `accounts`"],
    );
    assert_error(session.all(by_owner().all_shards()), ErrorKind::TimedOut, &["shard `"]);
    let groups = Account::select().all_shards().group_by(Account::OWNER).aggregate(count());
    assert_error(session.all(groups), ErrorKind::TimedOut, &["shard `"]);
    // Writing is not bounded, and neither is the next session on the same connections.
    session.execute(Account::update().set(Account::OWNER, "x").all_shards()).unwrap();
    session.commit().unwrap();
    session.set_timeout(None);
    assert_eq!(session.all(by_owner().all_shards()).unwrap().len(), 9_000);
    assert_eq!(cluster.session().all(by_owner().all_shards()).unwrap().len(), 9_000);
}

fn r29_a_timeout_is_no_bound_for_what_is_quick(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    for timeout in [Duration::from_secs(600), Duration::MAX] {
        session.set_timeout(Some(timeout));
        assert_eq!(session.one(Account::select().all_shards().count()).unwrap(), 9_000);
        session.rollback();
    }
}

/// A cluster whose shard `b` is not there any more.
fn without_b(backend: &Backend) -> Option<Watched> {
    drop(made(backend));
    if backend.kind != Kind::Files {
        return None;
    }
    backend.does_not_wait_long();
    let cluster = backend.open::<Account>(&LETTERS).unwrap();
    fs::rename(backend.path("b"), backend.folder().join("away")).unwrap();
    Some(cluster)
}

fn r29_what_answers_is_read_and_what_does_not_is_named(backend: &Backend) {
    let Some(cluster) = without_b(backend) else { return };
    let mut session = cluster.session();
    let by_number = || Account::select().all_shards().order_by(Account::NUMBER.asc());
    let partial = session.all_that_answer(by_number().limit(4_000)).unwrap();
    assert_eq!(partial.rows.len(), 4_000);
    assert!(partial.rows.iter().all(|row| row.shard().name() != "b"));
    assert!(partial.rows.is_sorted_by_key(|row| row.number));
    let [missing] = partial.missing.as_slice() else { panic!("{:?}", partial.missing) };
    assert_eq!((missing.kind(), missing.shard()), (ErrorKind::Missing, Some("b")));
    let partial =
        session.all_that_answer(Sql::new("SELECT count(*) AS n FROM {accounts}").all_shards()).unwrap();
    assert_eq!((partial.rows.len(), partial.missing.len()), (2, 1));
    // A locked shard is another that may be missing, and one that is too slow.
    drop((session, cluster));
    fs::rename(backend.folder().join("away"), backend.path("b")).unwrap();
    let cluster = backend.open::<Account>(&LETTERS).unwrap();
    let lock = backend.raw("c");
    lock.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let mut session = cluster.session();
    let partial = session.all_that_answer(by_number()).unwrap();
    assert_eq!((partial.rows.len(), partial.missing[0].kind()), (6_000, ErrorKind::Busy));
    drop(lock);
    session.set_timeout(Some(Duration::ZERO));
    let partial = session.all_that_answer(by_number()).unwrap();
    assert!(partial.missing.iter().all(|error| error.kind() == ErrorKind::TimedOut));
    assert_eq!(partial.missing.len(), 3);
    session.set_timeout(None);
    let whole = session.all_that_answer(by_number()).unwrap();
    assert!(whole.rows.len() == 9_000 && whole.missing.is_empty());
}

fn r29_a_partial_count_is_of_what_was_there(backend: &Backend) {
    let Some(cluster) = without_b(backend) else { return };
    let mut session = cluster.session();
    let partial = session.all_that_answer(Account::select().all_shards().count()).unwrap();
    assert_eq!((partial.rows, partial.missing.len()), (vec![6_000], 1));
    let owners = Account::select().all_shards().group_by(Account::OWNER).aggregate(count());
    let partial = session.all_that_answer(owners).unwrap();
    assert_eq!(partial.rows.iter().map(|(_, rows)| rows).sum::<u64>(), 6_000);
    assert_eq!(partial.missing[0].shard(), Some("b"));
}

fn r29_a_wrong_statement_is_never_partial(backend: &Backend) {
    let cluster = made(backend);
    if backend.kind != Kind::Files {
        return;
    }
    backend.raw("b").execute_batch("ALTER TABLE accounts RENAME COLUMN owner TO holder").unwrap();
    let mut session = cluster.session();
    let result = session.all_that_answer(Account::select().all_shards());
    assert_error(result, ErrorKind::Schema, &["shard `b`", "column `owner`"]);
    let result = session.all_that_answer(Sql::new("SELECT no_such FROM {accounts}").all_shards());
    assert_error(result, ErrorKind::Schema, &["no_such"]);
    // And the next read is a whole one again.
    assert_error(session.all(Account::select().all_shards()), ErrorKind::Schema, &["shard `b`"]);
}

fn r29_without_being_asked_for_nothing_is_partial(backend: &Backend) {
    let Some(cluster) = without_b(backend) else { return };
    let mut session = cluster.session();
    let _ = session.all_that_answer(Account::select().all_shards()).unwrap();
    let result = session.all(Account::select().all_shards());
    assert_error(result, ErrorKind::Missing, &["shard `b`"]);
}

//! The rows of a query as an iterator: R28, R29.

use std::time::Duration;

use shard_runtime::{Cluster, ErrorKind, RetryPolicy, Sharded, Sql};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_backend! {
    r28_an_iterator_has_the_rows_of_all,
    r28_an_iterator_that_is_dropped_leaves_the_session,
    r28_an_iterator_is_in_the_transaction_of_the_session,
    r29_an_iterator_ends_with_its_error,
}

const ROWS: i64 = 3_000;

fn made(backend: &Backend) -> Watched {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    let account = |id: i64| Account { id, number: (id % 300) as i32, owner: format!("{}", id % 7) };
    session.add_all((0..ROWS).map(account)).unwrap();
    session.commit().unwrap();
    cluster
}

fn r28_an_iterator_has_the_rows_of_all(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    let by_number = || Account::select().all_shards().order_by(Account::NUMBER.desc());
    let all = session.all(by_number()).unwrap();
    let iterated: Vec<_> = session.iter(by_number()).map(Result::unwrap).collect();
    assert_eq!(iterated, all);
    let none = Account::select().filter(Account::NUMBER.lt(0)).all_shards();
    assert_eq!(session.iter(none).count(), 0);
    let count = session.iter(Account::select().all_shards().count()).next().unwrap().unwrap();
    assert_eq!(count, ROWS as u64);
}

fn r28_an_iterator_that_is_dropped_leaves_the_session(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    session.set_timeout(Some(Duration::from_secs(60)));
    let by_id = || Account::select().all_shards().order_by(Account::ID.asc());
    for taken in [0, 1, 100, 2_000] {
        let mut rows = session.iter(by_id());
        for id in 0..taken {
            assert_eq!(rows.next().unwrap().unwrap().id, id);
        }
        drop(rows);
        // The statements that were stopped are not in the way of others.
        assert_eq!(session.one(Account::select().all_shards().count()).unwrap(), ROWS as u64);
    }
    session.add(Account { id: ROWS, number: 1, owner: "new".into() }).unwrap();
    session.commit().unwrap();
    assert_eq!(cluster.session().one(Account::select().all_shards().count()).unwrap(), ROWS as u64 + 1);
}

fn r28_an_iterator_is_in_the_transaction_of_the_session(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    session.execute(Account::delete().filter(Account::NUMBER.ge(10)).all_shards()).unwrap();
    session.add(Account { id: ROWS, number: 5, owner: "pending".into() }).unwrap();
    assert_eq!(session.iter(Account::select().all_shards()).count(), 101);
    session.rollback();
    assert_eq!(session.iter(Account::select().all_shards()).count(), ROWS as usize);
}

fn r29_an_iterator_ends_with_its_error(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    let wrong = Sql::new("SELECT owner FROM {accounts} WHERE no_such_column = 1").all_shards();
    let mut rows = session.iter(wrong);
    assert!(rows.next().unwrap().is_err());
    assert!(rows.next().is_none());
    drop(rows);
    session.rollback();
    session.set_timeout(Some(Duration::ZERO));
    let mut rows = session.iter(Account::select().all_shards());
    assert_error(rows.next().unwrap(), ErrorKind::TimedOut, &["shard `"]);
    assert!(rows.next().is_none());
}

#[test]
fn r37_a_retry_policy_bounds_the_tries() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let create = |policy: RetryPolicy| {
        let shards = LETTERS.iter().map(|name| (*name, url(&format!("{name}.db"))));
        let builder = shards.fold(Cluster::builder(), |builder, (name, url)| builder.shard(name, url));
        builder.busy_timeout(Duration::from_millis(1)).retry(policy).create::<Account>().unwrap()
    };
    let cluster = create(RetryPolicy::default());
    let other = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let tries = |cluster: &Cluster| {
        let mut tries = 0;
        let failed = cluster.transaction(|session| {
            tries += 1;
            session.execute(Account::delete().all_shards())
        });
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Busy);
        tries
    };
    assert_eq!(tries(&cluster), 10);
    drop(cluster);
    other.execute_batch("ROLLBACK").unwrap();
    for (policy, expected) in [
        (RetryPolicy::none(), 1),
        (RetryPolicy { tries: 3, first_pause: Duration::ZERO, ..RetryPolicy::default() }, 3),
    ] {
        let cluster = create(policy);
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(tries(&cluster), expected);
        other.execute_batch("ROLLBACK").unwrap();
    }
}

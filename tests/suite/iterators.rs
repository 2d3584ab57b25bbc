//! The rows of a query as an iterator: R28, R29.

use std::time::Duration;

use shard_runtime::{Cluster, ErrorKind, RetryPolicy, Sharded, Sql};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
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
        // The stopped statements do not block others.
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
    for (policy, expected) in [
        (RetryPolicy::default(), 10),
        (RetryPolicy::none(), 1),
        (RetryPolicy::default().tries(3).first_pause(Duration::ZERO), 3),
    ] {
        let builder = Cluster::builder().retry(policy);
        let builder = LETTERS.iter().fold(builder, |builder, name| builder.shard(*name, "sqlite::memory:"));
        let cluster = builder.create::<Account>().unwrap();
        let account = Account { id: 1, number: 1, owner: "gone".into() };
        let row = cluster.transaction(|session| session.add(account.clone())).unwrap();
        cluster.transaction(|session| session.delete(&row)).unwrap();
        // A row that is gone may have been moved by another session, so that a retry may find it.
        let mut tries = 0;
        let failed = cluster.transaction(|session| {
            tries += 1;
            let mut row = row.clone();
            row.owner = "changed".into();
            session.update(&mut row)
        });
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(tries, expected);
    }
}

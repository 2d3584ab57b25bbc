//! Two handles of one row in one session: R59, on every kind of cluster.

use std::cell::Cell;

use shard_runtime::{Error, ErrorKind, Parent, Session, Sharded, Sql, Stored};

use crate::backend::{Backend, LETTERS};
use crate::runtimes::Runtime;

on_every_backend! {
    r59_a_second_handle_does_not_overwrite_the_first,
    r59_a_version_makes_every_column_count,
    r59_other_columns_of_a_row_do_not_matter,
    r59_delete_save_and_relocate,
    r59_lookups_reference_rows_and_children,
    r59_a_write_that_was_undone_does_not_count,
    r59_the_row_itself_decides_after_bulk_writes,
    r59_a_transaction_is_not_tried_again,
    r59_async_sessions_find_the_same,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "handle_rates", reference)]
struct Rate {
    #[id]
    id: i64,
    percent: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "handle_accounts")]
struct Account {
    #[id]
    id: i64,
    #[shard_key(list("x" => "a", "y" => "b", "z" => "c"))]
    place: String,
    #[lookup]
    number: Option<i64>,
    cents: i64,
    note: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "handle_entries")]
struct Entry {
    #[id]
    id: i64,
    #[shard_parent]
    account: Parent<Account>,
    cents: i64,
    #[version]
    version: i64,
}

type Models = (Rate, Account, Entry);

fn filled(backend: &Backend) -> crate::backend::Watched {
    let cluster = backend.create::<Models>(&LETTERS);
    let mut session = cluster.session();
    session.add(Rate { id: 1, percent: 10 }).unwrap();
    for (id, place) in [(1, "x"), (2, "y")] {
        let (place, note) = (place.to_owned(), String::new());
        let account = session.add(Account { id, place, number: Some(id), cents: 100, note }).unwrap();
        session.add(Entry { id, account: account.link(), cents: 100, version: 0 }).unwrap();
    }
    session.commit().unwrap();
    cluster
}

fn account(session: &mut Session, id: i64) -> Stored<Account> {
    session.one(Account::select().filter(Account::ID.eq(id)).all_shards()).unwrap()
}

fn entry(session: &mut Session, id: i64) -> Stored<Entry> {
    session.one(Entry::select().filter(Entry::ID.eq(id)).all_shards()).unwrap()
}

#[track_caller]
fn assert_stale<O: std::fmt::Debug>(result: Result<O, Error>, column: &str) {
    let error = result.expect_err("the handle is stale");
    assert_eq!(error.kind(), ErrorKind::Stale, "{error}");
    assert_eq!(error.column(), Some(column), "{error}");
    assert!(error.shard().is_some() && error.table().is_some(), "{error}");
    assert!(error.to_string().contains("call `reload`"), "{error}");
}

fn r59_a_second_handle_does_not_overwrite_the_first(backend: &Backend) {
    let cluster = filled(backend);
    for flushes in [false, true] {
        let mut session = cluster.session();
        let (mut a, mut b) = (account(&mut session, 1), account(&mut session, 1));
        let mut c = session.get::<Account>(1).unwrap().unwrap();
        let before = a.cents;
        a.cents -= 10;
        session.update(&mut a).unwrap();
        if flushes {
            session.flush().unwrap();
        }
        b.cents -= 5;
        assert_stale(session.update(&mut b), "cents");
        assert_eq!(b.cents, before - 5, "the handle keeps its change");
        c.cents -= 7;
        assert_stale(session.update(&mut c), "cents");
        // The first handle stays usable, and so does another one after it has read the row again.
        a.cents -= 1;
        session.update(&mut a).unwrap();
        session.reload(&mut b).unwrap();
        assert_eq!(b.cents, before - 11);
        b.cents -= 5;
        session.update(&mut b).unwrap();
        assert_stale(
            {
                a.cents += 1;
                session.update(&mut a)
            },
            "cents",
        );
        // A clone shares the row of its handle, and is another handle from then on.
        let mut d = b.clone();
        d.cents -= 1;
        session.update(&mut d).unwrap();
        assert_eq!(session.get::<Account>(1).unwrap().unwrap().cents, before - 17);
        session.commit().unwrap();
        assert_eq!(account(&mut cluster.session(), 1).cents, before - 17);
    }
}

fn r59_a_version_makes_every_column_count(backend: &Backend) {
    let cluster = filled(backend);
    for flushes in [false, true] {
        let mut session = cluster.session();
        let (mut a, mut b) = (entry(&mut session, 1), entry(&mut session, 1));
        let before = a.cents;
        a.cents -= 10;
        session.update(&mut a).unwrap();
        if flushes {
            session.flush().unwrap();
        }
        b.cents -= 5;
        let error = session.update(&mut b).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stale, "{error}");
        assert_eq!(session.delete(&b).unwrap_err().kind(), ErrorKind::Stale);
        a.cents -= 1;
        session.update(&mut a).unwrap();
        session.commit().unwrap();
        assert_eq!(entry(&mut cluster.session(), 1).cents, before - 11);
    }
}

fn r59_other_columns_of_a_row_do_not_matter(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let (mut a, mut b) = (account(&mut session, 1), account(&mut session, 1));
    let known = session.get::<Account>(1).unwrap().unwrap();
    assert_eq!(known.note, "");
    a.cents = 90;
    session.update(&mut a).unwrap();
    b.note = "seen".into();
    session.update(&mut b).unwrap();
    // The identity map never has a row that was not stored.
    let found = session.get::<Account>(1).unwrap().unwrap();
    assert_eq!((found.cents, found.note.as_str()), (90, "seen"));
    b.cents = 80;
    assert_stale(session.update(&mut b), "cents");
    a.note = "unseen".into();
    assert_stale(session.update(&mut a), "note");
    // Setting a column to its written value overwrites nothing.
    session.rollback();
    let (mut a, mut b) = (account(&mut session, 1), account(&mut session, 1));
    a.cents = 90;
    session.update(&mut a).unwrap();
    a.cents = 100;
    session.update(&mut a).unwrap();
    b.cents = 70;
    session.update(&mut b).unwrap();
    assert_eq!(account(&mut session, 1).cents, 70);
}

fn r59_delete_save_and_relocate(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let (mut a, b) = (account(&mut session, 1), account(&mut session, 1));
    let mut c = b.clone();
    a.cents = 90;
    session.update(&mut a).unwrap();
    assert_stale(session.delete(&b), "cents");
    // A row that moves keeps its written values; a handle changes only its own columns.
    assert_stale(session.relocate(&mut c, |row| row.cents += 1), "cents");
    session.relocate(&mut c, |row| row.place = "z".into()).unwrap();
    assert_eq!((c.cents, c.shard().name()), (90, "c"));
    a.cents = 80;
    let moved = session.update(&mut a).and_then(|()| session.flush()).unwrap_err();
    assert_eq!(moved.kind(), ErrorKind::NotFound);
    session.rollback();

    // `save` has no handle and writes every column: the handles that were read before are stale.
    let mut a = account(&mut session, 1);
    let saved = session.save(Account { cents: 50, ..(*a).clone() }).unwrap();
    a.cents = 90;
    assert_stale(session.update(&mut a), "cents");
    let mut saved = saved;
    saved.cents = 40;
    session.update(&mut saved).unwrap();
    // A handle that is removed is gone, not stale.
    session.delete(&saved).and_then(|()| session.delete(&saved)).unwrap_err();
    session.rollback();

    // A change on the same shard by `relocate`.
    let (mut a, mut b) = (account(&mut session, 2), account(&mut session, 2));
    session.relocate(&mut a, |row| row.cents = 60).unwrap();
    b.cents = 1;
    assert_stale(session.update(&mut b), "cents");
    a.cents = 59;
    session.update(&mut a).unwrap();
    session.commit().unwrap();
    assert_eq!(account(&mut session, 2).cents, 59);
}

fn r59_lookups_reference_rows_and_children(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let (mut a, mut b) = (account(&mut session, 1), account(&mut session, 1));
    a.number = Some(11);
    session.update(&mut a).unwrap();
    b.number = Some(12);
    assert_stale(session.update(&mut b), "number");
    a.number = None;
    session.update(&mut a).unwrap();

    let rate = |session: &mut Session| session.one(Rate::select()).unwrap();
    let (mut first, mut second) = (rate(&mut session), rate(&mut session));
    first.percent = 11;
    session.update(&mut first).unwrap();
    second.percent = 12;
    assert_stale(session.update(&mut second), "percent");
    assert_stale(session.delete(&second), "percent");
    first.percent = 13;
    session.update(&mut first).unwrap();
    session.reload(&mut second).unwrap();
    assert_eq!(second.percent, 13);

    let children = |session: &mut Session, a: &Stored<Account>| session.one(a.children::<Entry>()).unwrap();
    let (mut first, mut second) = (children(&mut session, &a), children(&mut session, &a));
    first.cents = 1;
    session.update(&mut first).unwrap();
    second.cents = 2;
    assert_eq!(session.update(&mut second).unwrap_err().kind(), ErrorKind::Stale);
    let with = Entry::select().filter(Entry::ID.eq(1)).all_shards().with_parent::<Account>();
    let (mut third, mut parent) = session.one(with).unwrap();
    third.cents = 3;
    session.update(&mut third).unwrap();
    assert_eq!(parent.number, None);
    parent.number = Some(15);
    session.update(&mut parent).unwrap();
    session.commit().unwrap();
    assert_eq!(entry(&mut session, 1).cents, 3);
    assert_eq!(account(&mut session, 1).number, Some(15));
}

fn r59_a_write_that_was_undone_does_not_count(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let (mut a, mut b) = (account(&mut session, 1), account(&mut session, 1));
    let (mut x, mut y) = (account(&mut session, 2), account(&mut session, 2));
    x.cents = 1;
    session.update(&mut x).unwrap();
    let undone = session.savepoint(|session| {
        a.cents = 90;
        session.update(&mut a)?;
        x.cents = 2;
        session.update(&mut x)?;
        session.flush()?;
        Err::<(), Error>(shard_runtime::ValueError::new("undone").into())
    });
    assert_eq!(undone.unwrap_err().kind(), ErrorKind::Value);
    b.cents = 80;
    session.update(&mut b).unwrap();
    // Writes before the savepoint still count.
    y.cents = 3;
    assert_stale(session.update(&mut y), "cents");
    session.rollback();
    let mut c = account(&mut session, 1);
    b.cents = 70;
    session.update(&mut b).unwrap();
    c.cents = 60;
    assert_stale(session.update(&mut c), "cents");
    session.commit().unwrap();
    assert_eq!(account(&mut session, 1).cents, 70);
}

fn r59_the_row_itself_decides_after_bulk_writes(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let (mut a, mut b) = (account(&mut session, 1), account(&mut session, 1));
    a.cents = 90;
    session.update(&mut a).unwrap();
    session.execute(Account::update().set(Account::CENTS, 70).all_shards()).unwrap();
    b.cents = 60;
    assert_stale(session.update(&mut b), "cents");
    // Read after the bulk update: its copy is the row.
    let mut c = account(&mut session, 1);
    c.cents = 65;
    session.update(&mut c).unwrap();
    let sql = Sql::new("UPDATE {handle_accounts} SET cents = 64 WHERE id = 1").on_shard("a");
    session.execute(sql).unwrap();
    let mut d = account(&mut session, 1);
    d.cents -= 1;
    session.update(&mut d).unwrap();
    // Removed and added again.
    session.execute(Entry::delete().filter(Entry::ID.eq(1)).all_shards()).unwrap();
    session.delete(&d).unwrap();
    let mut e = session.add(Account { cents: 5, ..(*d).clone() }).unwrap();
    e.cents = 6;
    session.update(&mut e).unwrap();
    assert_eq!(account(&mut session, 1).cents, 6);
    session.commit().unwrap();
}

fn r59_a_transaction_is_not_tried_again(backend: &Backend) {
    let cluster = filled(backend);
    let tries = Cell::new(0);
    let result = cluster.transaction(|session| {
        tries.set(tries.get() + 1);
        let (mut a, mut b) = (account(session, 1), account(session, 1));
        a.cents = 90;
        session.update(&mut a)?;
        b.cents = 80;
        session.update(&mut b)
    });
    assert_stale(result, "cents");
    assert_eq!(tries.get(), 1, "it would fail every time");
    assert_eq!(account(&mut cluster.session(), 1).cents, 100);
}

fn r59_async_sessions_find_the_same(backend: &Backend) {
    let cluster = filled(backend);
    for runtime in Runtime::ALL {
        runtime.block_on(async {
            let mut session = cluster.async_session();
            let select = || Account::select().filter(Account::NUMBER.eq(1));
            let mut a = session.one(select()).await.unwrap();
            let mut b = session.one(select()).await.unwrap();
            a.cents -= 10;
            session.update(&mut a).await.unwrap();
            b.cents -= 5;
            assert_stale(session.update(&mut b).await, "cents");
            session.reload(&mut b).await.unwrap();
            b.cents -= 5;
            session.update(&mut b).await.unwrap();
            assert_eq!(b.cents, 85);
            session.rollback().await;
        });
    }
}

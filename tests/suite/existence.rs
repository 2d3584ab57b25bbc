//! The existence of a row: it reads no more shards than necessary, and no more than one row of each (R14, R26, R27).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shard_runtime::{ErrorKind, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
    r27_the_first_shard_that_has_a_row_is_the_last_that_is_read,
    r27_a_row_on_any_shard_is_found,
    r12_existence_reads_the_shards_that_may_hold_a_row,
    r14_a_contradiction_is_no_row_and_reads_no_shard,
    r26_limit_and_offset_are_counted_in,
    r26_a_row_after_a_cursor,
    r23_rows_that_the_session_wrote_exist,
    r20_existence_is_explained,
    a_pin_to_no_shard_is_an_error,
    r29_a_shard_that_fails_is_named;
    only lasting:
        existence_reads_one_row,
}

/// Three accounts on each of the first two shards, none on the last.
fn accounts(backend: &Backend) -> Watched {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    let row = |id: i64| Account { id, number: (id * 300) as i32, owner: format!("owner {id}") };
    session.add_all((1..7).map(row)).unwrap();
    session.commit().unwrap();
    cluster
}

fn r27_the_first_shard_that_has_a_row_is_the_last_that_is_read(backend: &Backend) {
    let cluster = accounts(backend);
    let mut session = cluster.session();
    let owner =
        |id: i64| Account::select().filter(Account::OWNER.eq(format!("owner {id}"))).all_shards().exists();
    for (id, expected, shards) in
        [(1, true, &LETTERS[..1]), (4, true, &LETTERS[..2]), (9, false, &LETTERS[..])]
    {
        let (found, counts) = cluster.counted(|| session.one(owner(id)).unwrap());
        let once: Vec<(String, u64)> = shards.iter().map(|shard| ((*shard).to_owned(), 1)).collect();
        assert_eq!((found, counts), (expected, once), "owner {id}");
    }
}

fn r27_a_row_on_any_shard_is_found(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let anybody = || Account::select().all_shards().exists();
    assert!(!cluster.session().one(anybody()).unwrap());
    for (place, number) in [500, 1_500, 2_500].into_iter().enumerate() {
        let mut session = cluster.session();
        session.add(Account { id: 1, number, owner: "x".into() }).unwrap();
        session.flush().unwrap();
        let (found, asked) = cluster.asked(|| session.one(anybody()).unwrap());
        assert!(found, "{number}");
        assert_eq!(asked, LETTERS[..=place], "{number}");
    }
}

fn r12_existence_reads_the_shards_that_may_hold_a_row(backend: &Backend) {
    let cluster = accounts(backend);
    let mut session = cluster.session();
    let rich = Account::select().filter(Account::NUMBER.ge(2_000));
    let (found, asked) = cluster.asked(|| session.one(rich.exists()).unwrap());
    assert_eq!((found, asked), (false, vec!["c".to_owned()]));
    let on_b = || Account::select().on_shard("b");
    let (found, asked) = cluster.asked(|| session.one(on_b().exists()).unwrap());
    assert_eq!((found, asked), (true, vec!["b".to_owned()]));
    // A pin wins over the shards of the filter, and not over its condition on rows.
    let (found, asked) =
        cluster.asked(|| session.one(on_b().filter(Account::NUMBER.eq(300)).exists()).unwrap());
    assert_eq!((found, asked), (false, vec!["b".to_owned()]));
    let mut pinned = cluster.session_on_shard("c").unwrap();
    let (found, asked) = cluster.asked(|| pinned.one(Account::select().all_shards().exists()).unwrap());
    assert_eq!((found, asked), (false, vec!["c".to_owned()]));
}

fn r14_a_contradiction_is_no_row_and_reads_no_shard(backend: &Backend) {
    let cluster = accounts(backend);
    let contradictions = [
        Account::select().filter(Account::NUMBER.eq(300) & Account::NUMBER.eq(1_500)),
        Account::select().filter(Account::NUMBER.is_in([] as [i32; 0])),
        Account::select().all_shards().limit(0),
    ];
    for (place, query) in contradictions.into_iter().enumerate() {
        let (found, asked) = cluster.asked(|| cluster.session().one(query.exists()).unwrap());
        assert!(!found && asked.is_empty(), "contradiction {place}: {found}, asked {asked:?}");
    }
}

fn r26_limit_and_offset_are_counted_in(backend: &Backend) {
    let cluster = accounts(backend);
    let mut session = cluster.session();
    let mut exists = |offset, limit| {
        let query = Account::select().all_shards().order_by(Account::OWNER.desc()).offset(offset);
        cluster.asked(|| session.one(query.limit(limit).exists()).unwrap())
    };
    assert_eq!(exists(0, 5), (true, vec!["a".to_owned()]));
    assert_eq!(exists(2, 1), (true, vec!["a".to_owned()]));
    // The fourth row is the second shard's first, and there is no seventh.
    assert_eq!(exists(3, 9), (true, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(exists(5, 1), (true, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(exists(6, 1), (false, LETTERS.map(str::to_owned).to_vec()));
    assert_eq!(exists(2, 0), (false, vec![]));
}

fn r26_a_row_after_a_cursor(backend: &Backend) {
    let cluster = accounts(backend);
    let mut session = cluster.session();
    let query = Account::select().all_shards().order_by(Account::OWNER.asc());
    let rows = session.all(query.clone()).unwrap();
    let after = |place: usize| query.clone().after(&query.cursor(&rows[place]).unwrap()).exists();
    assert!(session.one(after(4)).unwrap());
    assert!(!session.one(after(5)).unwrap());
    let other = Account::select().all_shards().after(&query.cursor(&rows[0]).unwrap()).exists();
    assert_error(session.one(other), ErrorKind::Cursor, &["different query"]);
}

fn r23_rows_that_the_session_wrote_exist(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let perth = || City::select().filter(City::NAME.eq("Perth")).all_shards().exists();
    assert!(!session.one(perth()).unwrap());
    session.add(city(Continent::Oceania, "Perth")).unwrap();
    assert!(session.one(perth()).unwrap());
    session.rollback();
    assert!(!session.one(perth()).unwrap());
}

fn r20_existence_is_explained(backend: &Backend) {
    let cluster = accounts(backend);
    let explain = cluster.explain(&Account::select().all_shards().exists()).unwrap();
    assert_eq!(explain.shards(), LETTERS);
    assert_eq!(explain.merge(), Some("whether one of them has a row"));
    let one_row = |sql: &str| sql.starts_with("SELECT 1 FROM") && sql.contains("LIMIT");
    assert!(explain.statements().all(|(_, sql)| one_row(sql)), "{explain}");
    let on_one = cluster.explain(&Account::select().on_shard("b").exists().clone()).unwrap();
    assert_eq!((on_one.shards(), on_one.merge()), (vec!["b"], None));
}

fn existence_reads_one_row(backend: &Backend) {
    drop(accounts(backend));
    let read = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&read);
    let count = move |event: &shard_runtime::StatementEvent<'_>| {
        counter.fetch_add(event.rows, Ordering::Relaxed);
    };
    let cluster = backend.builder(&LETTERS).on_statement(count).open::<Account>().unwrap();
    assert!(cluster.session().one(Account::select().all_shards().exists()).unwrap());
    assert_eq!(read.load(Ordering::Relaxed), 1);
}

fn a_pin_to_no_shard_is_an_error(backend: &Backend) {
    let cluster = accounts(backend);
    let (result, asked) = cluster.asked(|| cluster.session().one(Account::select().on_shard("d").exists()));
    assert_error(result, ErrorKind::UnknownShard, &["`d`"]);
    assert!(asked.is_empty());
}

fn r29_a_shard_that_fails_is_named(backend: &Backend) {
    let cluster = accounts(backend);
    let no_row = || Account::select().filter(Account::OWNER.eq("nobody")).all_shards().exists();
    if backend.plant(&["b"], "accounts", "ALTER TABLE {table} RENAME TO away") {
        let mut session = cluster.session();
        // A row on an earlier shard is an answer; without one the answer of the shard is unknown.
        assert!(session.one(Account::select().all_shards().exists()).unwrap());
        assert_error(session.one(no_row()), ErrorKind::Schema, &["shard `b`", "table `accounts`"]);
    }
}

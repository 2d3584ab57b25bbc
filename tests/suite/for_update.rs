//! Reads with `for_update`: a value that is computed from a row and written back loses no other change: R20, R36, R38.

use shard_runtime::{Error, ErrorKind, Session, Sharded};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_backend! {
    r38_with_it_the_second_waits_and_then_reads_anew,
    r38_threads_lose_nothing,
    r38_a_session_that_cannot_lock_all_shards_locks_none,
    every_kind_of_reading_can_be_to_write,
    r20_it_is_explained;
    only lasting:
        r38_without_it_an_update_is_lost;
    only separate:
        r36_only_the_shards_that_are_read_are_locked;
    only on_disk:
        r36_nothing_is_written_where_nothing_is_changed,
}

fn account(id: i64, number: i32) -> Account {
    Account { id, number, owner: "0".into() }
}

fn filled(backend: &Backend) -> Watched {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add_all([account(1, 5), account(2, 1500), account(3, 2500)]).unwrap();
    session.commit().unwrap();
    cluster
}

/// Counts one further in an account's owner.
fn count_up(session: &mut Session, number: i32, for_update: bool) -> shard_runtime::Result<()> {
    let accounts = Account::select().filter(Account::NUMBER.eq(number));
    let mut row = session.one(if for_update { accounts.for_update() } else { accounts })?;
    row.owner = (row.owner.parse::<i64>().unwrap() + 1).to_string();
    session.update(&mut row)?;
    session.flush()
}

fn owner(cluster: &Watched, number: i32) -> String {
    cluster.session().one(Account::select().filter(Account::NUMBER.eq(number))).unwrap().owner.clone()
}

fn r38_without_it_an_update_is_lost(backend: &Backend) {
    let cluster = filled(backend);
    let (mut first, mut second) = (cluster.session(), cluster.session());
    let read = |session: &mut Session| session.one(Account::select().filter(Account::NUMBER.eq(5))).unwrap();
    let (mut mine, mut other) = (read(&mut first), read(&mut second));
    for (session, row) in [(&mut first, &mut mine), (&mut second, &mut other)] {
        row.owner = (row.owner.parse::<i64>().unwrap() + 1).to_string();
        session.update(row).unwrap();
        session.commit().unwrap();
    }
    assert_eq!(owner(&cluster, 5), "1", "this is what `for_update` is for");
}

fn r38_with_it_the_second_waits_and_then_reads_anew(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = filled(backend);
    let (mut first, mut second) = (cluster.session(), cluster.session());
    count_up(&mut first, 5, true).unwrap();
    let result = count_up(&mut second, 5, true);
    assert_error(result, ErrorKind::Busy, &["shard `a`", "table `accounts`"]);
    first.commit().unwrap();
    count_up(&mut second, 5, true).unwrap();
    second.commit().unwrap();
    assert_eq!(owner(&cluster, 5), "2");
    // Earlier reads of the second do not count: its snapshot ends when it begins to write.
    if backend.is_lasting() {
        second.all(Account::select().on_shard("a")).unwrap();
        count_up(&mut first, 5, true).unwrap();
        first.commit().unwrap();
        count_up(&mut second, 5, true).unwrap();
        second.commit().unwrap();
        assert_eq!(owner(&cluster, 5), "4");
    }
}

fn r38_threads_lose_nothing(backend: &Backend) {
    let cluster = filled(backend);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let both = |session: &mut Session| {
                        count_up(session, 5, true)?;
                        count_up(session, 2500, true)
                    };
                    cluster.transaction(both).unwrap();
                }
            });
        }
    });
    assert_eq!((owner(&cluster, 5), owner(&cluster, 2500)), ("80".to_owned(), "80".to_owned()));
}

fn r38_a_session_that_cannot_lock_all_shards_locks_none(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = filled(backend);
    let mut holder = cluster.session();
    holder.all(Account::select().on_shard("c").for_update()).unwrap();
    let mut second = cluster.session();
    let (result, asked) = cluster.asked(|| second.all(Account::select().all_shards().for_update()));
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    // On PostgreSQL rows are kept from others by being read.
    assert!(asked.is_empty() || backend.is_postgres("c"), "nothing is read before all is kept: {asked:?}");
    if backend.is_separate() {
        assert_eq!(error.shard(), Some("c"));
        // The shards before the third are free again.
        count_up(&mut holder, 5, true).unwrap();
        count_up(&mut holder, 1500, true).unwrap();
    }
    holder.commit().unwrap();
    assert_eq!(second.all(Account::select().all_shards().for_update()).unwrap().len(), 3);
}

fn r36_only_the_shards_that_are_read_are_locked(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = filled(backend);
    let mut holder = cluster.session();
    let (rows, asked) = cluster
        .asked(|| holder.all(Account::select().filter(Account::NUMBER.le(1500)).for_update()).unwrap());
    assert_eq!((rows.len(), asked), (2, vec!["a".to_owned(), "b".to_owned()]));
    let mut other = cluster.session();
    assert_error(count_up(&mut other, 1500, false), ErrorKind::Busy, &["shard `b`"]);
    other.rollback();
    count_up(&mut other, 2500, false).unwrap();
    other.commit().unwrap();
    // A plain read is not blocked.
    if backend.is_lasting() {
        assert_eq!(owner(&cluster, 5), "0");
    }
    // A read of no shard locks none.
    let mut nobody = cluster.session();
    let (found, asked) = cluster.asked(|| nobody.all(Account::select().all_shards().limit(0).for_update()));
    assert!(found.unwrap().is_empty() && asked.is_empty());
}

fn r36_nothing_is_written_where_nothing_is_changed(backend: &Backend) {
    let cluster = filled(backend);
    let raws: Vec<rusqlite::Connection> = LETTERS.iter().map(|shard| backend.raw(shard)).collect();
    let versions = || -> Vec<i64> {
        let version =
            |raw: &rusqlite::Connection| raw.pragma_query_value(None, "data_version", |row| row.get(0));
        raws.iter().map(|raw| version(raw).unwrap()).collect()
    };
    let before = versions();
    let mut session = cluster.session();
    session.all(Account::select().all_shards().for_update()).unwrap();
    session.commit().unwrap();
    assert_eq!(versions(), before);
}

fn every_kind_of_reading_can_be_to_write(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = filled(backend);
    let accounts = || Account::select().on_shard("b").for_update();
    type Read = fn(&mut Session, shard_runtime::Select<Account, shard_runtime::Routed>) -> Result<(), Error>;
    let reads: [Read; 5] = [
        |session, accounts| session.first(accounts).map(drop),
        |session, accounts| session.one(accounts.count()).map(drop),
        |session, accounts| session.one(accounts.exists()).map(drop),
        |session, accounts| session.all(accounts.columns(Account::OWNER)).map(drop),
        |session, accounts| session.one(accounts.aggregate(Account::NUMBER.max())).map(drop),
    ];
    for read in reads {
        let mut holder = cluster.session();
        read(&mut holder, accounts()).unwrap();
        assert_error(count_up(&mut cluster.session(), 1500, true), ErrorKind::Busy, &["shard `b`"]);
    }
    count_up(&mut cluster.session(), 1500, true).unwrap();
}

fn r20_it_is_explained(backend: &Backend) {
    let cluster = filled(backend);
    let explain = cluster.explain(&Account::select().filter(Account::NUMBER.eq(5)).for_update()).unwrap();
    assert_eq!(explain.shards(), ["a"]);
    let kept = match backend.is_postgres("a") {
        true => "locks the rows",
        false => "locks the database against other writers",
    };
    assert_eq!(explain.reason(), format!("number = 5; {kept}"));
}

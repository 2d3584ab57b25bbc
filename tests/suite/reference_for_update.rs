//! Reading rows of a reference table for update: no other session writes them on any shard meanwhile: R38.

use shard_runtime::{ErrorKind, Session, Sharded};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_backend! {
    r38_sessions_that_play_on_different_shards_exclude_each_other,
    r38_queries_that_are_pinned_to_different_shards_exclude_each_other,
    r38_a_session_that_only_writes_waits_too,
    r38_threads_lose_nothing;
    only Schemas Servers:
        other_rows_stay_unlocked,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "rates", reference)]
struct Rate {
    #[id]
    id: i64,
    percent: i64,
}

fn filled(backend: &Backend) -> Watched {
    let cluster = backend.create::<(Rate, Account)>(&LETTERS);
    let mut session = cluster.session();
    session.add_all([1, 2].map(|id| Rate { id, percent: 0 })).unwrap();
    session.commit().unwrap();
    cluster
}

/// Adds one to a rate that is read on a shard, or on the shard that the library chooses.
fn count_up(session: &mut Session, id: i64, shard: Option<&str>) -> shard_runtime::Result<()> {
    let rates = Rate::select().filter(Rate::ID.eq(id)).for_update();
    let mut rate = match shard {
        Some(shard) => session.one(rates.on_shard(shard)),
        None => session.one(rates),
    }?;
    rate.percent += 1;
    session.update(&mut rate)
}

/// Has a session read something on a shard, with a read that locks no writer out.
fn play(backend: &Backend, session: &mut Session, shard: &str) {
    if backend.is_lasting() {
        session.all(Account::select().on_shard(shard)).unwrap();
    }
}

#[track_caller]
fn assert_percent(cluster: &Watched, percent: i64) {
    for shard in LETTERS {
        let rate = cluster.session().one(Rate::select().filter(Rate::ID.eq(1)).on_shard(shard)).unwrap();
        assert_eq!(rate.percent, percent, "on {shard}");
    }
}

fn r38_sessions_that_play_on_different_shards_exclude_each_other(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = filled(backend);
    let (mut first, mut second) = (cluster.session(), cluster.session());
    play(backend, &mut first, "b");
    play(backend, &mut second, "c");
    count_up(&mut first, 1, None).unwrap();
    assert_error(count_up(&mut second, 1, None), ErrorKind::Busy, &["shard `a`", "table `rates`"]);
    first.commit().unwrap();
    count_up(&mut second, 1, None).unwrap();
    second.commit().unwrap();
    assert_percent(&cluster, 2);
}

fn r38_queries_that_are_pinned_to_different_shards_exclude_each_other(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = filled(backend);
    let (mut first, mut second) = (cluster.session(), cluster.session());
    let (_, asked) = cluster.asked(|| {
        let rate = Rate::select().filter(Rate::ID.eq(1)).on_shard("b").for_update();
        assert_eq!(first.one(rate).unwrap().shard().name(), "b");
    });
    // On servers the row is also locked on the shard on which all sessions lock it.
    assert_eq!(asked, if backend.is_postgres("a") { vec!["a", "b"] } else { vec!["b"] });
    for shard in [None, Some("a"), Some("b"), Some("c")] {
        assert_error(count_up(&mut second, 1, shard), ErrorKind::Busy, &["table `rates`"]);
    }
    count_up(&mut first, 1, Some("c")).unwrap();
    first.commit().unwrap();
    count_up(&mut second, 1, Some("c")).unwrap();
    second.commit().unwrap();
    assert_percent(&cluster, 2);
}

fn r38_a_session_that_only_writes_waits_too(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = filled(backend);
    let (mut reader, mut writer) = (cluster.session(), cluster.session());
    play(backend, &mut reader, "c");
    let mut known = writer.get::<Rate>(1).unwrap().unwrap();
    writer.rollback();
    count_up(&mut reader, 1, None).unwrap();
    known.percent = 50;
    assert_error(writer.update(&mut known), ErrorKind::Busy, &["shard `a`"]);
    assert_error(writer.delete(&known), ErrorKind::Busy, &["shard `a`"]);
    let all = Rate::update().set(Rate::PERCENT, 50).all_shards();
    assert_error(writer.execute(all), ErrorKind::Busy, &["shard `a`"]);
    reader.commit().unwrap();
    assert_percent(&cluster, 1);
    // A session that has written and not committed also blocks a reader.
    writer.rollback();
    writer.update(&mut known).unwrap();
    play(backend, &mut reader, "b");
    assert_error(count_up(&mut reader, 1, None), ErrorKind::Busy, &["shard `a`"]);
    writer.commit().unwrap();
    count_up(&mut reader, 1, None).unwrap();
    reader.commit().unwrap();
    assert_percent(&cluster, 51);
}

fn r38_threads_lose_nothing(backend: &Backend) {
    let cluster = filled(backend);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let cluster = &cluster;
            scope.spawn(move || {
                for round in 0..10 {
                    let (plays, pin) = (LETTERS[(thread + round) % 3], LETTERS[thread % 3]);
                    let count = |session: &mut Session| {
                        play(backend, session, plays);
                        count_up(session, 1, (round % 2 == 0).then_some(pin))
                    };
                    cluster.transaction(count).unwrap();
                }
            });
        }
    });
    assert_percent(&cluster, 40);
}

fn other_rows_stay_unlocked(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = filled(backend);
    let (mut first, mut second) = (cluster.session(), cluster.session());
    count_up(&mut first, 1, None).unwrap();
    count_up(&mut second, 2, Some("c")).unwrap();
    second.commit().unwrap();
    first.commit().unwrap();
    assert_percent(&cluster, 1);
}

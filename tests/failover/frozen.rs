//! Servers that are frozen: their kernel accepts connections, and no process answers.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use shard_runtime::{Cluster, ErrorKind, Session, Sharded};

use crate::builder;
use sharded_tests::postgres_server::Server;

/// As the crate's model, on three shards.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "notes")]
struct Note {
    #[id]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b", "c" => "c"))]
    home: String,
    text: String,
}

fn note(id: i64, home: &str) -> Note {
    Note { id, home: home.to_owned(), text: "x".to_owned() }
}

/// The rows of the shards that are on the server which answers: 20 MB, more than fit in the sockets' buffers.
const HEALTHY: usize = 4_000;

struct World {
    frozen: Server,
    healthy: Server,
    cluster: Cluster,
}

/// Shard `a` on a server that is to be frozen, `b` and `c` on another one.
fn world() -> World {
    let (frozen, healthy) = (Server::start(), Server::start());
    let (first, second) = (frozen.url(), healthy.url());
    let cluster = builder("", &[("a", &first), ("b", &second), ("c", &second)])
        .control(format!("{second}?schema=b"))
        .busy_timeout(Duration::from_secs(20))
        .create::<Note>()
        .unwrap();
    frozen.psql("INSERT INTO a.notes SELECT n, 'a', 'x' FROM generate_series(1, 10) n");
    healthy.psql(
        "INSERT INTO b.notes SELECT n, 'b', repeat('x', 5000) FROM generate_series(1000001, 1002000) n; \
         INSERT INTO c.notes SELECT n, 'c', repeat('x', 5000) FROM generate_series(2000001, 2002000) n",
    );
    World { frozen, healthy, cluster }
}

/// Runs something that must not take as long as it once did.
#[track_caller]
fn within<O>(bound: Duration, what: &str, run: impl FnOnce() -> O) -> O {
    let began = Instant::now();
    let done = run();
    let took = began.elapsed();
    assert!(took < bound, "{what} took {took:?}");
    done
}

fn assert_partial(session: &mut Session, timeout: Duration) {
    session.set_timeout(Some(timeout));
    let all = [Note::select().all_shards(), Note::select().all_shards().order_by(Note::ID.desc())];
    for query in all {
        let answered = within(timeout + Duration::from_secs(4), "a partial answer", || {
            session.all_available(query).unwrap()
        });
        assert_eq!(answered.rows.len(), HEALTHY);
        let missing: Vec<_> = answered.missing.iter().map(|error| (error.kind(), error.shard())).collect();
        assert_eq!(missing, [(ErrorKind::TimedOut, Some("a"))], "{:?}", answered.missing);
        session.rollback();
    }
    let counted = session.all_available(Note::select().all_shards().count()).unwrap();
    assert_eq!((counted.rows.as_slice(), counted.missing.len()), (&[HEALTHY as u64][..], 1));
    session.rollback();
}

fn count(session: &mut Session) -> u64 {
    session.one(Note::select().all_shards().count()).unwrap()
}

#[test]
fn r29_a_frozen_server_takes_no_time_from_the_others() {
    let World { frozen, cluster, healthy: _healthy } = world();
    let (mut session, mut reader, mut writer) = (cluster.session(), cluster.session(), cluster.session());
    // Connections of before, which are idle or in a transaction.
    assert_eq!(count(&mut session), HEALTHY as u64 + 10);
    session.commit().unwrap();
    assert_eq!(count(&mut reader), HEALTHY as u64 + 10);
    writer.add_all([note(-1, "a"), note(-2, "b")]).unwrap();
    writer.flush().unwrap();
    let mut knows = cluster.session();
    assert!(knows.get(Note::by_id(1).on("a".to_owned())).unwrap().is_some());
    frozen.freeze();
    // The transaction that a partial answer has lost returns no row any more, not even one that it has looked up.
    knows.set_timeout(Some(Duration::from_secs(2)));
    assert_eq!(knows.all_available(Note::select().all_shards()).unwrap().missing.len(), 1);
    let error = knows.get(Note::by_id(1).on("a".to_owned())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TransactionAborted, "{error}");
    drop(knows);
    assert_partial(&mut session, Duration::from_secs(2));
    // The pool has closed its connections to that server: from here on it is connected to.
    assert_partial(&mut cluster.session(), Duration::from_secs(2));
    // A plain read fails at its deadline: in a transaction, and if it has to connect first.
    let mut fresh = cluster.session();
    for (what, session) in [("in a transaction", &mut reader), ("without a connection", &mut fresh)] {
        session.set_timeout(Some(Duration::from_secs(1)));
        for query in [Note::select().on_shard("a"), Note::select().all_shards().on_shard("a")] {
            let error = within(Duration::from_secs(5), what, || session.all(query).unwrap_err());
            assert_eq!((error.kind(), error.shard()), (ErrorKind::TimedOut, Some("a")), "{error}");
            within(Duration::from_secs(5), "rolling back", || session.rollback());
        }
        // The other shards are read as before.
        session.set_timeout(None);
        assert_eq!(session.all(Note::select().on_shard("b")).unwrap().len(), HEALTHY / 2);
    }
    // Neither rolling back nor dropping a session that has written waits for the server.
    within(Duration::from_secs(5), "dropping a session", || drop(writer));
    frozen.thaw();
    assert_eq!(count(&mut cluster.session()), HEALTHY as u64 + 10);
    cluster.transaction(|session| session.add(note(-1, "a")).map(drop)).unwrap();
    assert_eq!(count(&mut cluster.session()), HEALTHY as u64 + 11);
}

#[test]
fn r29_a_frozen_server_does_not_keep_tasks() {
    let World { frozen, cluster, healthy: _healthy } = world();
    smol::block_on(async {
        let (mut session, mut other) = (cluster.async_session(), cluster.async_session());
        assert!(other.first(Note::select().on_shard("a")).await.unwrap().is_some());
        frozen.freeze();
        session.set_timeout(Some(Duration::from_secs(2)));
        let began = Instant::now();
        let answered = session.all_available(Note::select().all_shards()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        assert_eq!((answered.rows.len(), answered.missing.len()), (HEALTHY, 1), "{:?}", answered.missing);
        assert_eq!(answered.missing[0].shard(), Some("a"));
        // A task that does not wait any more is free at once, in any state of its session.
        let began = Instant::now();
        drop(other.all(Note::select().on_shard("a")).now_or_never());
        drop(other);
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        assert_eq!(session.all(Note::select().on_shard("b")).await.unwrap().len(), HEALTHY / 2);
        frozen.thaw();
        session.rollback().await;
        session.set_timeout(None);
        assert_eq!(session.one(Note::select().all_shards().count()).await.unwrap(), HEALTHY as u64 + 10);
    });
}

/// A deadline is for reading. A commit that was sent is waited for: its outcome would be unknown without need.
#[test]
fn r35_a_timeout_does_not_leave_a_commit_in_doubt() {
    let World { frozen, cluster, healthy: _healthy } = world();
    let mut session = cluster.session();
    session.set_timeout(Some(Duration::from_millis(200)));
    session.add_all([note(-1, "a"), note(-2, "b")]).unwrap();
    session.flush().unwrap();
    frozen.freeze();
    let (sender, ended) = channel();
    let committing = std::thread::spawn(move || sender.send(session.commit().map(drop)).unwrap());
    assert!(ended.recv_timeout(Duration::from_secs(1)).is_err(), "the server is frozen");
    frozen.thaw();
    ended.recv().unwrap().unwrap();
    committing.join().unwrap();
    assert_eq!(count(&mut cluster.session()), HEALTHY as u64 + 12);
}

//! Statements that are stopped before their end.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use shard_runtime::{Cluster, Error, ErrorKind, Session, Sharded, Sql};

use crate::{Note, builder, note};
use sharded_tests::postgres_server::Server;
use sharded_tests::waiting::soon;

/// How often a statement is left in a test.
const TIMES: usize = 24;

/// Most of them take less than this, on a busy machine. The wait that was there took half a second each time.
const MOST: Duration = Duration::from_millis(400);

#[track_caller]
fn assert_quick(mut took: Vec<Duration>) {
    took.sort_unstable();
    let median = took[took.len() / 2];
    assert!(median < MOST, "half of them took more than {median:?}: {took:?}");
}

fn filled(server: &Server) -> Cluster {
    let url = server.url();
    let cluster = builder("", &[("a", &url), ("b", &url)]).create::<Note>().unwrap();
    server.psql(
        "INSERT INTO a.notes SELECT n, 'a', 'x' FROM generate_series(1, 200000) n; \
         INSERT INTO b.notes SELECT n, 'b', 'x' FROM generate_series(1000001, 1001000) n",
    );
    cluster
}

/// A statement that would not survive a cancel request for the one before it.
fn is_not_cancelled(session: &mut Session) {
    let sleep = Sql::new("SELECT pg_sleep(0.002) IS NULL AS slept").on_shard("a");
    session.all(sleep).unwrap();
}

#[test]
fn r28_leaving_early_costs_no_wait() {
    let server = Server::start();
    let cluster = filled(&server);
    let mut session = cluster.session();
    session.add(note(-1, "a")).unwrap();
    session.flush().unwrap();
    let mut took = Vec::new();
    for round in 0..TIMES {
        let mut seen = 0;
        let leave = |_| {
            seen += 1;
            Ok(if seen > round % 3 * 100 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        let began = Instant::now();
        match round % 2 {
            0 => session.for_each(Note::select().on_shard("a"), leave).unwrap(),
            _ => session.for_each(Note::select().all_shards().order_by(Note::ID.asc()), leave).unwrap(),
        }
        took.push(began.elapsed());
        is_not_cancelled(&mut session);
    }
    assert_quick(took);
    // Earlier writes are kept, and the connection is the same.
    assert!(session.get(Note::by_id(-1).on_shard("a")).unwrap().is_some());
    session.commit().unwrap();
    // A visitor that fails leaves, too.
    let fails = |_| Err(Error::from(shard_runtime::ValueError::new("enough")));
    let mut took = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        let error = session.for_each(Note::select().on_shard("a"), fails).unwrap_err();
        took.push(began.elapsed());
        assert_eq!(error.kind(), ErrorKind::Value);
        is_not_cancelled(&mut session);
    }
    assert_quick(took);
}

#[test]
fn r28_streams_and_futures_that_are_dropped_cost_no_wait() {
    let server = Server::start();
    let cluster = filled(&server);
    smol::block_on(async {
        let mut session = cluster.async_session();
        session.add(note(-1, "a")).await.unwrap();
        session.flush().await.unwrap();
        let mut took = Vec::new();
        for _ in 0..TIMES {
            let began = Instant::now();
            let mut rows = session.stream(Note::select().on_shard("a"));
            assert!(rows.next().await.unwrap().is_ok());
            drop(rows);
            let endless = Sql::new("SELECT pg_sleep(600) IS NULL AS slept, 'left' AS what").on_shard("a");
            drop(session.all(endless).now_or_never());
            let next = |session: &mut Session| {
                is_not_cancelled(session);
                Ok(())
            };
            session.run(next).await.unwrap();
            took.push(began.elapsed());
        }
        assert_quick(took);
        assert!(session.get(Note::by_id(-1).on_shard("a")).await.unwrap().is_some());
    });
    let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%''left''%' \
                   AND pid <> pg_backend_pid()";
    soon("no statement is left running", || server.psql(running).trim() == "0");
}

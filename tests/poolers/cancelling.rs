//! Statements that are cancelled through a pooler: at a deadline, and because their future is dropped (W13, W27).
//!
//! The cancel request travels on its own connection. The pooler forwards it to the server connection that its client has at
//! that moment. Other clients share the server connections, and must never be hit.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use shard_runtime::{Cluster, Error, ErrorKind, Session, Sharded as _, Sql};

use crate::{Account, Kept, Models, World, account};

/// Longer than the tests may wait for a statement.
const SLEEP: &str = "SELECT pg_sleep(300) IS NULL AS slept";

const SLEEPERS: &str = "FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(300)%' \
    AND datname = current_database() AND pid <> pg_backend_pid()";

/// How many statements of this kind the server runs.
fn sleeping(world: &World) -> String {
    world.client("a").text(&format!("SELECT count(*) {SLEEPERS}"))
}

fn end_sleeping(world: &World) {
    world.client("a").text(&format!("SELECT count(pg_cancel_backend(pid)) {SLEEPERS}"));
}

/// A statement that would not survive the cancel request for the one before it, and its own answer.
fn is_not_cancelled(session: &mut Session, number: i64) -> Result<(), Error> {
    let sql = Sql::new("SELECT ?1 + count(*) AS number FROM (SELECT pg_sleep(0.01)) AS slept");
    let rows = session.all(sql.bind(number).on_shard("a"))?;
    assert_eq!(rows[0].get::<i64>("number").unwrap(), number + 1);
    Ok(())
}

/// Runs something while other clients of the pooler run short statements on the same few server connections. None of
/// these is cancelled.
fn beside_other_clients(world: &World, run: impl FnOnce()) {
    let (done, statements) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let client = world.pooled_client();
                while !done.load(Ordering::Relaxed) {
                    // Fails the test if it is cancelled.
                    client.run("BEGIN; SELECT pg_sleep(0.003); COMMIT");
                    client.run("SELECT pg_sleep(0.002)");
                    statements.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        done.store(true, Ordering::Relaxed);
        ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(statements.into_inner() > 0);
}

const ROUNDS: i64 = 20;

fn cancel_through(world: &World) {
    let cluster = world.builder("").create::<Models>().unwrap();
    let (mut committed, mut cancelled) = (0, 0);
    beside_other_clients(world, || {
        for round in 0..ROUNDS {
            match leave_statements(world, &cluster, round) {
                Ok(every) => {
                    committed += 1;
                    cancelled += i64::from(every);
                }
                // The pooler did not answer the cancel request in time: the connection was closed, with its transaction.
                Err(error) => assert_eq!(error.kind(), ErrorKind::TransactionAborted, "{error}"),
            }
        }
    });
    assert!(cancelled > ROUNDS / 2, "{cancelled} of {committed} of {ROUNDS}");
    // Nothing that was written before a deadline is lost, and nothing of a closed connection is there.
    let rows = ["a", "b"].map(|shard| world.count(shard, "email LIKE 'round %'"));
    assert_eq!(rows, [committed, committed]);
}

/// Runs into deadlines in a transaction that has written, which is committed, and in one that only reads. Returns whether the
/// server has ended both statements.
fn leave_statements(world: &World, cluster: &Cluster, round: i64) -> Result<bool, Error> {
    let (mut writer, mut reader) = (cluster.session(), cluster.session());
    let mut cancelled = true;
    writer.add(account("a", &format!("round {round} a")))?;
    writer.flush()?;
    for (session, has_written) in [(&mut writer, true), (&mut reader, false)] {
        session.set_timeout(Some(Duration::from_millis(30)));
        let began = Instant::now();
        let error = session.all(Sql::new(SLEEP).on_shard("a")).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!((error.kind(), error.shard()), (ErrorKind::TimedOut, Some("a")), "{error}");
        session.set_timeout(None);
        is_not_cancelled(session, round)?;
        if sleeping(world) != "0" {
            // The pooler did not answer in time. A session that has read nothing continues with another connection.
            assert!(!has_written, "the server has ended it");
            end_sleeping(world);
            cancelled = false;
        }
    }
    // A statement that ends at about its deadline: the request may come late.
    writer.set_timeout(Some(Duration::from_millis(4 + round as u64 % 5)));
    let short = Sql::new("SELECT pg_sleep(0.006) IS NULL AS slept").on_shard("a");
    if let Err(error) = writer.all(short) {
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
    writer.set_timeout(None);
    is_not_cancelled(&mut writer, round)?;
    // The end of a transaction follows a request at once, and the connection goes to another client.
    reader.set_timeout(Some(Duration::from_millis(10)));
    assert_eq!(reader.all(Sql::new(SLEEP).on_shard("b")).unwrap_err().kind(), ErrorKind::TimedOut);
    reader.rollback();
    writer.add(account("b", &format!("round {round} b")))?;
    writer.commit()?;
    Ok(cancelled)
}

fn drop_futures_through(world: &World) {
    let cluster = world.builder("").open::<Models>().unwrap();
    let mut committed = 0;
    beside_other_clients(world, || {
        smol::block_on(async {
            for round in 0..10 {
                let mut session = cluster.async_session();
                session.add(account("a", &format!("async {round}"))).await.unwrap();
                session.flush().await.unwrap();
                let mut asking = Box::pin(session.all(Sql::new(SLEEP).on_shard("a")));
                let wait = smol::Timer::after(Duration::from_millis(20 * (round % 3)));
                futures_util::future::select(asking.as_mut(), wait).map(drop).await;
                drop(asking);
                match session.all(Account::select().on_shard("a")).await {
                    Ok(found) => {
                        assert!(found.iter().any(|account| account.email == format!("async {round}")));
                        assert_eq!(sleeping(world), "0", "the server has ended it");
                        session.commit().await.unwrap();
                        committed += 1;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::TransactionAborted, "{error}"),
                }
            }
        });
    });
    assert!(committed > 5, "{committed}");
    assert_eq!(world.count("a", "email LIKE 'async %'"), committed);
}

#[test]
fn w13_statements_are_cancelled_behind_transaction_pooling() {
    // So few that every client has had every connection of the server.
    let settings = &["default_pool_size = 6", "server_round_robin = 1"];
    let world = World::new("transaction", Kept::Schemas, settings);
    cancel_through(&world);
    drop_futures_through(&world);
}

#[test]
fn w13_statements_are_cancelled_behind_session_pooling() {
    let world = World::new("session", Kept::Schemas, &["default_pool_size = 40"]);
    cancel_through(&world);
    drop_futures_through(&world);
}

/// A gate, which a relocation holds on both databases.
#[test]
fn w13_a_wait_for_a_gate_is_cancelled_behind_transaction_pooling() {
    let world = World::new("transaction", Kept::Databases, &["default_pool_size = 6"]);
    let cluster = world.builder("").create::<Models>().unwrap();
    let mut holder = cluster.session();
    let mut moved = holder.add(account("a", "moved")).unwrap();
    holder.commit().unwrap();
    holder.relocate(&mut moved, |account| account.home = "b".to_owned()).unwrap();
    let mut session = cluster.session();
    session.add(account("a", "before")).unwrap();
    session.flush().unwrap();
    session.set_timeout(Some(Duration::from_millis(100)));
    let began = Instant::now();
    let error = session.all(Account::select().all_shards().for_update()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    session.set_timeout(None);
    holder.commit().unwrap();
    let found = session.all(Account::select().all_shards().for_update());
    match found.and_then(|found| session.commit().map(|_| found.len())) {
        Ok(found) => assert_eq!((found, world.count("a", "email = 'before'")), (2, 1)),
        // The pooler did not answer a cancel request in time.
        Err(error) => assert_eq!(error.kind(), ErrorKind::TransactionAborted, "{error}"),
    }
    assert_eq!((world.count("a", "email = 'moved'"), world.count("b", "email = 'moved'")), (0, 1));
}

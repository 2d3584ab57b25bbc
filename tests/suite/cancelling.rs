//! Futures and sessions that are dropped. A verb that has not begun is not run, a read is stopped, and every other verb runs to
//! its end. `tests/torture` also drops commits at random.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use shard_runtime::{AsyncSession, Cluster, ErrorKind, Session, Sharded, Sql};

use crate::backend::{Backend, LETTERS, assert_error};
use crate::models::*;
use crate::runtimes::{Impatient, Runtime, poll_once};

on_every_backend! {
    a_verb_that_has_not_begun_is_not_run,
    a_verb_that_has_begun_runs_to_its_end,
    r29_a_read_whose_reader_is_gone_is_stopped,
    r29_many_steps_are_not_stopped,
    a_session_that_is_dropped_is_rolled_back_and_its_connections_are_free,
    r35_a_commit_that_is_left_comes_to_its_end,
    r35_commits_that_are_left_at_random_are_whole,
    r29_a_failure_that_no_future_returned_aborts_the_transaction,
    r28_rows_come_as_they_are_taken,
    r28_rows_that_are_dropped_stop_their_shards,
    a_stream_that_fails_returns_the_error_after_its_rows,
}

fn account(id: i64, number: i32) -> Account {
    Account { id, number, owner: "x".into() }
}

/// A row for each shard.
fn rows(id: i64) -> [Account; 3] {
    [5, 1_500, 2_500].map(|number| account(id, number))
}

fn count(cluster: &Cluster) -> u64 {
    cluster.session().one(Account::select().all_shards().count()).unwrap()
}

/// Signals that it has begun, and then waits until it may continue.
struct Gate {
    has_begun: Receiver<()>,
    let_go: Sender<()>,
}

fn gated<O>(
    run: impl FnOnce(&mut Session) -> shard_runtime::Result<O> + Send,
) -> (Gate, impl FnOnce(&mut Session) -> shard_runtime::Result<O> + Send) {
    let ((begun, has_begun), (let_go, gone)) = (channel(), channel());
    let run = move |session: &mut Session| {
        begun.send(()).unwrap();
        gone.recv().unwrap();
        run(session)
    };
    (Gate { has_begun, let_go }, run)
}

fn a_verb_that_has_not_begun_is_not_run(backend: &Backend) {
    let builder = backend.builder(&LETTERS).async_sessions(1);
    let cluster = builder.create::<Account>().unwrap();
    for runtime in Runtime::ALL {
        runtime.block_on(async {
            let mut holder = cluster.async_session();
            holder.add_all(rows(1)).await.unwrap();
            holder.flush().await.unwrap();
            let mut other = cluster.async_session();
            for row in rows(2) {
                other.add(row).await.unwrap();
            }
            let owner = Account::update().set(Account::OWNER, "y").all_shards();
            assert!(poll_once(other.execute(owner)).is_none());
            assert!(poll_once(other.commit()).is_none());
            assert!(poll_once(other.stream(Account::select().all_shards()).next()).is_none());
            holder.commit().await.unwrap();
            assert_eq!(count(&cluster), 3);
            // The session is back as it was: its rows are pending, and no row has another owner.
            let all = other.all(Account::select().all_shards()).await.unwrap();
            assert!(all.len() == 6 && all.iter().all(|account| account.owner == "x"));
            other.execute(Account::delete().all_shards()).await.unwrap();
            other.commit().await.unwrap();
        });
    }
}

fn a_verb_that_has_begun_runs_to_its_end(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    for runtime in Runtime::ALL {
        runtime.block_on(async {
            let mut session = cluster.async_session();
            session.add_all(rows(1)).await.unwrap();
            let owner = Account::update().set(Account::OWNER, "y").all_shards();
            let (gate, change) = gated(|session| session.execute(owner));
            let mut future = Box::pin(session.run(change));
            assert!(poll_once(&mut future).is_none());
            gate.has_begun.recv().unwrap();
            drop(future);
            // The next verb waits until it is over.
            let all = session.all(Account::select().all_shards());
            gate.let_go.send(()).unwrap();
            let all = all.await.unwrap();
            assert!(all.len() == 3 && all.iter().all(|account| account.owner == "y"));
            // It belongs to the transaction, and to nothing else.
            session.rollback().await;
            assert_eq!(count(&cluster), 0);
        });
    }
}

/// Of bigint, which PostgreSQL counts up for long enough.
const ENDLESS: &str = "WITH RECURSIVE n(x) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT x + 1 FROM n) SELECT max(x) AS x FROM n";

fn r29_a_read_whose_reader_is_gone_is_stopped(backend: &Backend) {
    let builder = backend.builder(&LETTERS).async_sessions(1).busy_timeout(Duration::from_secs(600));
    let cluster = builder.create::<Account>().unwrap();
    for runtime in Runtime::ALL {
        runtime.block_on(async {
            let mut session = cluster.async_session();
            session.add_all(rows(1)).await.unwrap();
            session.flush().await.unwrap();
            for milliseconds in [0, 1, 10, 30] {
                for endless in [Sql::new(ENDLESS).on_shard("b"), Sql::new(ENDLESS).all_shards()] {
                    let after = Duration::from_millis(milliseconds);
                    let nothing = Impatient::new(session.all(endless), 1, after).await;
                    assert!(nothing.is_none());
                }
                // Without being stopped it would continue for ever. Earlier writes are kept.
                assert_eq!(session.one(Account::select().all_shards().count()).await.unwrap(), 3);
            }
            // Nor is the thread kept by a session that is gone.
            let endless = session.first(Sql::new(ENDLESS).on_shard("a"));
            assert!(Impatient::new(endless, 1, Duration::from_millis(10)).await.is_none());
            drop(session);
            let mut other = cluster.async_session();
            assert_eq!(other.one(Account::select().all_shards().count()).await.unwrap(), 0);
        });
    }
}

fn r29_many_steps_are_not_stopped(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    Runtime::Smol.block_on(async {
        let mut session = cluster.async_session();
        let (gate, steps) = gated(|session| {
            session.add_all(rows(1))?;
            let found = session.all(Account::select().all_shards())?;
            session.add_all(rows(2))?;
            session.commit()?;
            Ok(found)
        });
        let mut future = Box::pin(session.run(steps));
        assert!(poll_once(&mut future).is_none());
        gate.has_begun.recv().unwrap();
        drop(future);
        gate.let_go.send(()).unwrap();
        session.rollback().await;
    });
    assert_eq!(count(&cluster), 6);
}

fn a_session_that_is_dropped_is_rolled_back_and_its_connections_are_free(backend: &Backend) {
    // There is one connection of each database for all sessions, and every wait for it ends.
    let builder =
        backend.builder(&LETTERS).connections(backend.databases()).busy_timeout(Duration::from_secs(600));
    let cluster = builder.create::<Account>().unwrap();
    for runtime in Runtime::ALL {
        runtime.block_on(async {
            for round in 0..10 {
                let mut session = cluster.async_session();
                session.add_all(rows(1)).await.unwrap();
                session.flush().await.unwrap();
                if round % 2 == 0 {
                    // It is away when it is dropped.
                    drop(poll_once(session.flush()));
                }
                drop(session);
                assert_eq!(
                    cluster.async_session().all(Account::select().all_shards()).await.unwrap().len(),
                    0
                );
            }
        });
        assert_eq!(count(&cluster), 0);
    }
}

fn r35_a_commit_that_is_left_comes_to_its_end(backend: &Backend) {
    let builder = backend.builder(&LETTERS).async_sessions(1).busy_timeout(Duration::from_secs(600));
    let cluster = builder.create::<Account>().unwrap();
    Runtime::Smol.block_on(async {
        let mut session = cluster.async_session();
        session.add_all(rows(1)).await.unwrap();
        let (gate, commit) = gated(Session::commit);
        let mut future = Box::pin(session.run(commit));
        assert!(poll_once(&mut future).is_none());
        gate.has_begun.recv().unwrap();
        drop(future);
        drop(session);
        gate.let_go.send(()).unwrap();
        // Its turn comes after that.
        let counted = cluster.async_session().one(Account::select().all_shards().count()).await;
        assert_eq!(counted.unwrap(), 3);
    });
}

/// A verb fails after its future was dropped. Without the abort, a later commit would store the other half of the transaction.
fn r29_a_failure_that_no_future_returned_aborts_the_transaction(backend: &Backend) {
    type Verb = fn(&mut Session) -> shard_runtime::Result<()>;
    let verbs: [Verb; 3] = [
        |session| session.commit().map(drop),
        |session| session.flush(),
        |session| session.one(Account::select().all_shards().count()).map(drop),
    ];
    let cluster = backend.create::<Account>(&LETTERS);
    cluster.transaction(|session| session.add(account(1, 5)).map(drop)).unwrap();
    for (verb, runtime) in verbs.into_iter().zip(Runtime::ALL.into_iter().cycle()) {
        runtime.block_on(async {
            let mut session = cluster.async_session();
            session.add(account(2, 1_500)).await.unwrap();
            session.flush().await.unwrap();
            session.add(account(1, 5)).await.unwrap();
            let (gate, run) = gated(verb);
            let mut future = Box::pin(session.run(run));
            assert!(poll_once(&mut future).is_none());
            gate.has_begun.recv().unwrap();
            drop(future);
            gate.let_go.send(()).unwrap();
            for _ in 0..2 {
                let text = ["after its future was dropped", "call `rollback` first", "shard `a`"];
                assert_error(session.commit().await, ErrorKind::TransactionAborted, &text);
            }
            let read = session.all(Account::select().all_shards()).await.map(drop);
            assert_error(read, ErrorKind::TransactionAborted, &["after its future was dropped"]);
            session.rollback().await;
            assert_eq!(session.one(Account::select().all_shards().count()).await.unwrap(), 1);
            session.rollback().await;

            // A future that returned its failure leaves the transaction as it was.
            session.add(account(2, 1_500)).await.unwrap();
            session.flush().await.unwrap();
            session.add(account(1, 5)).await.unwrap();
            assert_error(session.flush().await, ErrorKind::Unique, &["shard `a`"]);
            assert_eq!(session.one(Account::select().all_shards().count()).await.unwrap(), 2);
            session.rollback().await;
        });
    }
}

fn r35_commits_that_are_left_at_random_are_whole(backend: &Backend) {
    let builder = backend.builder(&LETTERS).async_sessions(1).busy_timeout(Duration::from_secs(600));
    let cluster = builder.create::<Account>().unwrap();
    let mut committed = 0;
    for runtime in Runtime::ALL {
        runtime.block_on(async {
            for round in 0..20_i64 {
                let id = 100 * runtime as i64 + round;
                let mut session = cluster.async_session();
                session.add_all(rows(id)).await.unwrap();
                let after = Duration::from_micros((round as u64 * 7_919) % 2_000);
                let told = Impatient::new(session.commit(), 1, after).await;
                match round % 2 {
                    0 => session.rollback().await,
                    _ => drop(session),
                }
                let mut other = cluster.async_session();
                let found =
                    other.all(Account::select().filter(Account::ID.eq(id)).all_shards()).await.unwrap();
                assert!(matches!(found.len(), 0 | 3), "{} rows of unit {id}", found.len());
                assert!(told.is_none_or(|told| told.is_ok() && found.len() == 3));
                committed += found.len();
            }
        });
    }
    assert_eq!(
        cluster.recover().unwrap().transactions(),
        Vec::<String>::new(),
        "something was left to be done"
    );
    assert_eq!(count(&cluster), committed as u64);
    assert!(committed > 0);
}

/// Nine thousand rows on three shards, and how many rows each statement since has read.
fn many(backend: &Backend) -> (Cluster, Arc<Mutex<Vec<u64>>>) {
    let read = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&read);
    let builder = backend.builder(&LETTERS).on_statement(move |event| {
        if event.sql.starts_with("SELECT") {
            told.lock().unwrap().push(event.rows);
        }
    });
    let cluster = builder.create::<Account>().unwrap();
    let mut session = cluster.session();
    session.add_all((0..9_000).map(|id| account(id, (id % 3_000) as i32))).unwrap();
    session.commit().unwrap();
    read.lock().unwrap().clear();
    (cluster, read)
}

fn r28_rows_come_as_they_are_taken(backend: &Backend) {
    let (cluster, read) = many(backend);
    for runtime in Runtime::ALL {
        runtime.block_on(async {
            let mut session = cluster.async_session();
            let by_id = Account::select().all_shards().order_by(Account::ID.asc());
            let mut accounts = session.stream(by_id.clone());
            for id in 0..1_000 {
                assert_eq!(accounts.next().await.unwrap().unwrap().id, id);
            }
            // The statements are not at their end, and will not come there automatically.
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(*read.lock().unwrap(), Vec::<u64>::new());
            let rest: Vec<_> = accounts.collect().await;
            assert!(rest.len() == 8_000 && rest.iter().all(Result::is_ok));
            assert_eq!(session.one(Account::select().all_shards().count()).await.unwrap(), 9_000);
            read.lock().unwrap().clear();
        });
    }
}

fn r28_rows_that_are_dropped_stop_their_shards(backend: &Backend) {
    let (cluster, read) = many(backend);
    for runtime in Runtime::ALL {
        runtime.block_on(async {
            let mut session: AsyncSession = cluster.async_session();
            for query in
                [Account::select().all_shards(), Account::select().all_shards().order_by(Account::ID.asc())]
            {
                let ten: Vec<_> = session.stream(query).take(10).collect().await;
                assert_eq!(ten.len(), 10);
                session.rollback().await;
                let read = std::mem::take(&mut *read.lock().unwrap());
                assert!(read.iter().sum::<u64>() < 4_000, "{read:?}");
            }
            // A stream that was never polled has read no shard.
            drop(session.stream(Account::select().all_shards()));
            assert!(session.first(Account::select().on_shard("b")).await.unwrap().is_some());
            assert_eq!(std::mem::take(&mut *read.lock().unwrap()).len(), 1);
        });
    }
}

fn a_stream_that_fails_returns_the_error_after_its_rows(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add_all(rows(1)).unwrap();
    session.commit().unwrap();
    let wrong = backend.plant(&["c"], "accounts", "UPDATE {table} SET number = 3000000000");
    Runtime::Smol.block_on(async {
        let mut session = cluster.async_session();
        let mut accounts = session.stream(Account::select().all_shards());
        for number in [5, 1_500] {
            assert_eq!(accounts.next().await.unwrap().unwrap().number, number);
        }
        let third = accounts.next().await.unwrap();
        match wrong {
            true => assert_error(third, ErrorKind::Value, &["shard `c`", "column `number`"]),
            false => assert_eq!(third.unwrap().number, 2_500),
        }
        assert!(accounts.next().await.is_none() && accounts.next().await.is_none());
        drop(accounts);
        let elsewhere = session.stream(Account::select().on_shard("no such")).next().await.unwrap();
        assert_error(elsewhere, ErrorKind::UnknownShard, &["no such"]);
        assert!(session.first(Account::select().on_shard("a")).await.unwrap().is_some());
    });
}

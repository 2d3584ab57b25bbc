//! Closures with an error type of the application, in sync and async sessions: visitors (R28), savepoints (R33), transactions
//! (R38) and lent connections (R32).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shard_runtime::sqlite::rusqlite;
use shard_runtime::{Error, ErrorKind, Session, Sharded, Sql, Stored, sqlite};

use crate::backend::{Backend, LETTERS, Watched};
use crate::models::*;
use crate::runtimes::Runtime;

on_every_dialect! {
    r28_a_visitor_fails_with_its_own_error,
    r28_an_async_session_visits_with_an_own_error,
    r33_a_part_that_fails_with_its_own_error_is_undone,
    r38_a_transaction_that_fails_with_its_own_error_is_rolled_back;
    only SQLite:
        r32_a_lent_connection_is_undone_after_an_own_error,
}

/// The application's error.
#[derive(Debug)]
enum Refused {
    Poor(i64),
    Database(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Database(error)
    }
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Refused::Database(error.into())
    }
}

fn account(id: i64) -> Account {
    Account { id, number: (id % 3) as i32 * 1_000, owner: "rich".into() }
}

fn made(backend: &Backend) -> Watched {
    let cluster = backend.create::<Account>(&LETTERS);
    cluster.transaction(|session| session.add_all((0..300).map(account))).unwrap();
    cluster
}

fn count(session: &mut Session) -> u64 {
    session.one(Account::select().all_shards().count()).unwrap()
}

/// Visits until an account that it refuses.
fn visit(session: &mut Session, refused: i64) -> (Result<(), Refused>, Vec<i64>) {
    let mut visited = Vec::new();
    let by_id = Account::select().all_shards().order_by(Account::ID.asc());
    let result = session.try_for_each(by_id, |row: Stored<Account>| {
        if row.id == refused {
            return Err(Refused::Poor(row.id));
        }
        visited.push(row.id);
        Ok(if row.id == 200 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    (result, visited)
}

fn r28_a_visitor_fails_with_its_own_error(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    for refused in [0, 1, 150, 200] {
        let (result, visited) = visit(&mut session, refused);
        assert!(matches!(result, Err(Refused::Poor(id)) if id == refused), "{result:?}");
        assert_eq!(visited, (0..refused).collect::<Vec<_>>());
        // Reading has stopped on every shard, and the session is in its transaction.
        assert_eq!(count(&mut session), 300);
    }
    let (result, visited) = visit(&mut session, 201);
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(visited.len(), 201);
    // Locks of a read whose visitor fails are released as after an error of a shard.
    let locked = Account::select().all_shards().for_update();
    let failed = session.try_for_each(locked, |row| Err::<ControlFlow<()>, _>(Refused::Poor(row.id)));
    assert!(matches!(failed, Err(Refused::Poor(_))), "{failed:?}");
    let mut other = cluster.session();
    other.execute(Account::update().set(Account::OWNER, "other").all_shards()).unwrap();
    other.rollback();
    // The session's own errors are converted.
    session.rollback();
    session.set_timeout(Some(Duration::ZERO));
    let (result, visited) = visit(&mut session, -1);
    assert!(matches!(result, Err(Refused::Database(error)) if error.kind() == ErrorKind::TimedOut));
    assert!(visited.is_empty());
}

fn r28_an_async_session_visits_with_an_own_error(backend: &Backend) {
    let cluster = made(backend);
    for runtime in Runtime::ALL {
        let done: Result<(), Refused> = runtime.block_on(async {
            let mut session = cluster.async_session();
            let failed = session.try_run(|session| visit(session, 150).0).await;
            assert!(matches!(failed, Err(Refused::Poor(150))), "{failed:?}");
            // The rows of a stream are visited by the caller's own loop.
            let by_id = Account::select().all_shards().order_by(Account::ID.asc());
            let mut rows = session.stream(by_id);
            while let Some(row) = rows.next().await {
                if row?.id == 150 {
                    return Err(Refused::Poor(150));
                }
            }
            Ok(())
        });
        assert!(matches!(done, Err(Refused::Poor(150))), "{done:?}");
    }
}

fn r33_a_part_that_fails_with_its_own_error_is_undone(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    let failed = session.try_savepoint(|session| {
        session.add_all((300..303).map(account))?;
        session.flush()?;
        Err::<(), _>(Refused::Poor(1))
    });
    assert!(matches!(failed, Err(Refused::Poor(1))), "{failed:?}");
    assert_eq!(count(&mut session), 300);
    Runtime::Smol.block_on(async {
        let mut session = cluster.async_session();
        let failed = session.try_savepoint(|session| {
            session.add_all((300..303).map(account))?;
            session.flush()?;
            Err::<(), _>(Refused::Poor(2))
        });
        assert!(matches!(failed.await, Err(Refused::Poor(2))));
        assert_eq!(session.one(Account::select().all_shards().count()).await.unwrap(), 300);
    });
}

fn r38_a_transaction_that_fails_with_its_own_error_is_rolled_back(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = made(backend);
    let failed = cluster.try_transaction(|session| {
        session.execute(Account::delete().all_shards())?;
        Err::<(), _>(Refused::Poor(3))
    });
    assert!(matches!(failed, Err(Refused::Poor(3))), "{failed:?}");
    // A conflict of the session leads to another try, an error of the application does not.
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let mut holder = cluster.session();
    holder.execute(Account::update().set(Account::OWNER, "held").on_shard("a")).unwrap();
    let written: Result<u64, Refused> = Runtime::Tokio.block_on(async {
        let write = cluster.async_try_transaction(move |session| {
            if counted.fetch_add(1, Ordering::SeqCst) == 4 {
                return Err(Refused::Poor(4));
            }
            Ok(session.execute(Sql::new("UPDATE {accounts} SET owner = 'new'").on_shard("a"))?)
        });
        let release = async {
            // A retry on a file runs the closure only once it has the lock.
            while tries.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            holder.rollback();
        };
        futures_util::future::join(write, release).await.0
    });
    assert_eq!(written.unwrap(), 100);
    tries.store(4, Ordering::SeqCst);
    let counted = Arc::clone(&tries);
    let refused: Result<(), Refused> =
        Runtime::Smol.block_on(cluster.async_try_transaction(move |session| {
            session.execute(Account::delete().all_shards())?;
            Err(Refused::Poor(counted.fetch_add(1, Ordering::SeqCst) as i64))
        }));
    assert!(matches!(refused, Err(Refused::Poor(4))), "{refused:?}");
    assert_eq!((tries.load(Ordering::SeqCst), count(&mut cluster.session())), (5, 300));
}

fn r32_a_lent_connection_is_undone_after_an_own_error(backend: &Backend) {
    let cluster = made(backend);
    let delete = format!("DELETE FROM {}", backend.table("a", "accounts"));
    let mut session = cluster.session();
    let failed = sqlite::try_with_connection(&mut session, "a", |raw| {
        Err::<(), _>(Refused::Poor(raw.execute(&delete, [])? as i64))
    });
    assert!(matches!(failed, Err(Refused::Poor(100))), "{failed:?}");
    assert_eq!(count(&mut session), 300);
    let converted = sqlite::try_with_connection(&mut session, "no such", |_| Ok::<_, Refused>(()));
    assert!(matches!(converted, Err(Refused::Database(error)) if error.kind() == ErrorKind::UnknownShard));
    session.rollback();
    Runtime::Smol.block_on(async {
        let mut session = cluster.async_session();
        let failed = sqlite::async_try_with_connection(&mut session, "a", move |raw| {
            Err::<(), _>(Refused::Poor(raw.execute(&delete, [])? as i64))
        });
        assert!(matches!(failed.await, Err(Refused::Poor(100))));
        assert_eq!(session.one(Account::select().all_shards().count()).await.unwrap(), 300);
    });
}

//! The work that an async session does on the task's own thread, without blocking: quick look-ups in files, and the end of a
//! session that has only read.

use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use futures_util::future::join;
use shard_runtime::{AsyncSession, Cluster, Sharded};

use crate::backend::{Backend, LETTERS};
use crate::models::*;
use crate::runtimes::Runtime;

on_every_sqlite! {
    a_second_get_is_answered_on_the_tasks_own_thread,
    a_write_goes_to_a_thread,
    an_end_without_writes_frees_the_connections_at_once,
}

on_some! {
    Memory: a_get_never_makes_the_task_wait_for_a_lock;
    Schemas: a_get_from_a_server_goes_to_a_thread
}

fn account(id: i64) -> Account {
    Account { id, number: 5, owner: "Ada".into() }
}

/// The threads that statements ran on.
type Threads = Arc<Mutex<Vec<ThreadId>>>;

/// A cluster with two accounts that notes the threads of all statements, after a session has read.
fn observed(backend: &Backend) -> (Cluster, Threads) {
    let threads = Threads::default();
    let noted = Arc::clone(&threads);
    let builder =
        backend.builder(&LETTERS).on_statement(move |_| noted.lock().unwrap().push(thread::current().id()));
    let cluster = builder.create::<Account>().unwrap();
    let mut session = cluster.session();
    session.add_all([account(1), account(2)]).unwrap();
    session.commit().unwrap();
    assert!(session.get(Account::by_id(1).on(5)).unwrap().is_some());
    session.rollback();
    threads.lock().unwrap().clear();
    (cluster, threads)
}

async fn owner(session: &mut AsyncSession, id: i64) -> String {
    session.get(Account::by_id(id).on(5)).await.unwrap().unwrap().owner.clone()
}

fn a_second_get_is_answered_on_the_tasks_own_thread(backend: &Backend) {
    let (cluster, threads) = observed(backend);
    Runtime::TokioHere.block_on(async {
        let mut session = cluster.async_session();
        for id in [1, 2, 1] {
            assert_eq!(owner(&mut session, id).await, "Ada");
        }
        session.commit().await.unwrap();
    });
    // The last one is in the identity map already.
    assert_eq!(*threads.lock().unwrap(), [thread::current().id(); 2]);
}

fn a_write_goes_to_a_thread(backend: &Backend) {
    let (cluster, threads) = observed(backend);
    Runtime::TokioHere.block_on(async {
        let mut session = cluster.async_session();
        session.add(account(3)).await.unwrap();
        assert_eq!(owner(&mut session, 3).await, "Ada");
        session.commit().await.unwrap();
    });
    let threads = threads.lock().unwrap();
    assert!(!threads.is_empty() && !threads.contains(&thread::current().id()), "{threads:?}");
}

fn a_get_from_a_server_goes_to_a_thread(backend: &Backend) {
    let (cluster, threads) = observed(backend);
    Runtime::TokioHere.block_on(async {
        let mut session = cluster.async_session();
        assert_eq!(owner(&mut session, 1).await, "Ada");
        session.commit().await.unwrap();
    });
    let threads = threads.lock().unwrap();
    assert!(!threads.is_empty() && !threads.contains(&thread::current().id()), "{threads:?}");
}

fn an_end_without_writes_frees_the_connections_at_once(backend: &Backend) {
    let (cluster, _) = observed(backend);
    let in_use = || cluster.stats().connections.in_use;
    Runtime::TokioHere.block_on(async {
        let mut session = cluster.async_session();
        for end in ["commit", "rollback", "drop"] {
            owner(&mut session, 1).await;
            assert_eq!(in_use(), 1, "{end}");
            match end {
                "commit" => drop(session.commit().await.unwrap()),
                "rollback" => session.rollback().await,
                _ => drop(std::mem::replace(&mut session, cluster.async_session())),
            }
            assert_eq!(in_use(), 0, "{end}");
        }
    });
}

/// The writer and the reader are tasks of one thread: if the reader blocked it, the writer could not end.
fn a_get_never_makes_the_task_wait_for_a_lock(backend: &Backend) {
    let (cluster, _) = observed(backend);
    Runtime::TokioHere.block_on(async {
        let (mut writer, mut reader) = (cluster.async_session(), cluster.async_session());
        let mut row = writer.get(Account::by_id(1).on(5)).await.unwrap().unwrap();
        row.owner = "Bea".into();
        writer.update(&mut row).await.unwrap();
        writer.flush().await.unwrap();
        let commit = async {
            // The reader came first.
            tokio::task::yield_now().await;
            writer.commit().await.unwrap();
        };
        let (read, ()) = join(owner(&mut reader, 1), commit).await;
        assert_eq!(read, "Bea");
    });
}

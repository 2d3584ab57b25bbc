//! The async session: every verb on every runtime, without blocking the caller's thread; many sessions, and
//! sessions that wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use shard_runtime::sqlite::rusqlite;
use shard_runtime::{
    AsyncSession, Cluster, Commit, Error, ErrorKind, Rows, Session, Sharded, Sql, Stored, With, sqlite,
};

use crate::backend::{Backend, CONTINENTS, Kind, LETTERS, Watched, assert_error, shards_of};
use crate::models::*;
use crate::runtimes::{Runtime, poll_once};

on_every_dialect! {
    every_verb_does_the_same_as_that_of_the_sync_session,
    a_setting_applies_to_the_next_verb,
    r46_an_async_session_moves_between_tasks,
    a_cluster_is_made_and_opened_without_blocking,
    r45_a_panic_ends_the_unit_of_work_and_nothing_else,
    a_thousand_sessions_take_turns,
    the_holder_of_a_lock_continues_while_all_others_wait_for_it,
    r38_waiting_for_a_slot_fails_after_the_timeout,
    sessions_that_begin_take_turns_in_order,
    a_transaction_is_tried_again_on_its_thread,
}

const fn send<T: Send>(value: T) -> T {
    value
}

/// A session on a cluster of the continents, with two cities and two reports, which are committed.
async fn weather(cluster: &Watched) -> shard_runtime::Result<(AsyncSession, Stored<City>, Stored<Report>)> {
    let mut session = cluster.async_session();
    let tokyo = send(session.add(city(Continent::Asia, "Tokyo"))).await?;
    session.add(city(Continent::Europe, "Bern")).await?;
    let warm = session.add(NewReport { city: tokyo.link(), temperature: 24.0 }).await?;
    session.add(NewReport { city: tokyo.link(), temperature: 19.0 }).await?;
    session.add(NewRemark { report: warm.link(), text: "humid".into() }).await?;
    session.commit().await?;
    Ok((session, tokyo, warm))
}

fn every_verb_does_the_same_as_that_of_the_sync_session(backend: &Backend) {
    for runtime in Runtime::ALL {
        let backend = Backend::new(backend.kind);
        let cluster = backend.create::<Weather>(&CONTINENTS);
        let (made, asked) = cluster.asked(|| runtime.block_on(weather(&cluster)));
        assert_eq!(asked, ["asia", "europe"]);
        let (mut session, tokyo, warm) = made.unwrap();

        let (found, asked) = cluster.asked(|| {
            runtime.block_on(async {
                let again = send(session.get(City::by_id(tokyo.id).on(Continent::Asia))).await?.unwrap();
                assert_eq!(again, tokyo);
                assert_eq!(session.get(&tokyo.link()).await?.unwrap(), tokyo);
                let children = tokyo.children::<Report>().order_by(Report::TEMPERATURE.asc());
                let reports = send(session.all(children.clone())).await?;
                assert_eq!(reports.iter().map(|report| report.temperature).collect::<Vec<_>>(), [19.0, 24.0]);
                assert_eq!(send(session.first(children)).await?.unwrap().temperature, 19.0);
                assert_eq!(session.parent(&warm).await?.name, "Tokyo");
                let cities = City::select().filter(City::CONTINENT.eq(Continent::Asia));
                let with = session.all_with::<With<Report, Remark>>(cities.clone()).await?;
                let [(_, reports)] = with.as_slice() else { panic!("{with:?}") };
                let remarks = reports.iter().map(|(_, remarks)| remarks.len()).sum::<usize>();
                assert_eq!((reports.len(), remarks), (2, 1));
                let partial = session.all_available(cities.clone()).await?;
                assert!(partial.rows.len() == 1 && partial.missing.is_empty());
                send(session.one(cities)).await
            })
        });
        assert_eq!((found.unwrap().name.as_str(), asked), ("Tokyo", vec!["asia".to_owned()]));

        let written: shard_runtime::Result<()> = runtime.block_on(async {
            let mut tokyo = tokyo;
            tokyo.name = "Edo".into();
            send(session.update(&mut tokyo)).await?;
            let mut stale = tokyo.clone();
            stale.name = "nobody's".into();
            session.reload(&mut stale).await?;
            assert_eq!(stale.name, "Edo");
            let grown =
                City::update().set(City::POPULATION, Some(5)).filter(City::CONTINENT.eq(Continent::Asia));
            assert_eq!(send(session.execute(grown)).await?, 1);
            let undone = session.savepoint(|session| {
                session.add(city(Continent::Europe, "Bonn"))?;
                session.add(city(Continent::Europe, "Bern"))?;
                Ok(())
            });
            assert_error(undone.await, ErrorKind::Unique, &["shard `europe`", "table `cities`"]);
            session.add_all(["Oslo", "Rome"].map(|name| city(Continent::Europe, name))).await?;
            session.flush().await?;
            let cold = session.one(tokyo.children::<Report>().filter(Report::TEMPERATURE.lt(20.0))).await?;
            session.delete(&cold).await?;
            let moved = session.relocate(&mut tokyo, |city| city.continent = Continent::SouthAmerica).await?;
            assert_eq!((moved.rows, tokyo.shard().name()), (3, "south_america"));
            let steps = session.run(|session| {
                session.add(city(Continent::NorthAmerica, "Lima, Ohio"))?;
                session.one(City::select().all_shards().count())
            });
            assert_eq!(send(steps).await?, 5);
            assert!(send(session.commit()).await?.pending().is_empty());
            session.add(city(Continent::NorthAmerica, "nowhere")).await?;
            session.flush().await?;
            session.rollback().await;
            let mut names = Vec::new();
            let mut rows: Rows<'_, Stored<City>> =
                send(session.stream(City::select().all_shards().order_by(City::NAME.asc())));
            while let Some(row) = rows.next().await {
                names.push(row?.name.clone());
            }
            assert_eq!(names, ["Bern", "Edo", "Lima, Ohio", "Oslo", "Rome"]);
            Ok(())
        });
        written.unwrap();
        drop(session);
        let mut session = cluster.session();
        assert_eq!(session.one(Report::select().on_shard("south_america")).unwrap().temperature, 24.0);
        assert_eq!(shards_of(&session.all(Remark::select().all_shards()).unwrap()), ["south_america"]);
    }
}

fn a_setting_applies_to_the_next_verb(backend: &Backend) {
    let cluster = backend.create::<(Company, Account)>(&LETTERS);
    let done: shard_runtime::Result<()> = Runtime::Smol.block_on(async {
        let mut session = cluster.async_session();
        let saved = session.save(Company { id: 5, name: "first".into() }).await?;
        session.save(Company { id: 5, name: "second".into() }).await?;
        assert_eq!(session.get::<Company>(5).await?.unwrap().name, "second");
        session.set_timeout(Some(Duration::ZERO));
        let accounts = || Account::select().all_shards();
        assert_error(session.all(accounts()).await, ErrorKind::TimedOut, &["shard `a`"]);
        session.set_timeout(None);
        assert_eq!(session.all(accounts()).await?.len(), 0);
        // Statements that cannot be repeated are committed with best effort only.
        session.set_commit(Commit::BestEffort);
        session
            .add_all((1..4).map(|id| Account { id, number: 1_000 * (id as i32 - 1), owner: "x".into() }))
            .await?;
        session.flush().await?;
        if backend.kind != Kind::Schemas {
            let table = backend.table("a", "accounts");
            let lent = sqlite::async_with_connection(&mut session, "a", move |raw: &rusqlite::Connection| {
                raw.execute(&format!("UPDATE {table} SET owner = hex(randomblob(4))"), [])
            });
            assert_eq!(lent.await?, 1);
        }
        session.commit().await?;
        assert_eq!(session.pinned_to(), None);

        let mut pinned = cluster.async_session_on_shard("b")?;
        assert_eq!(pinned.pinned_to().unwrap().name(), "b");
        let (found, asked) = {
            let before: Vec<u64> = cluster.shards().iter().map(|shard| shard.statements()).collect();
            let found = pinned.all(accounts()).await?;
            let after = cluster.shards().iter().zip(before);
            (found, after.filter(|(shard, before)| shard.statements() > *before).count())
        };
        assert_eq!((shards_of(&found), asked), (vec!["b"], 1));
        let elsewhere = pinned.add(Account { id: 9, number: 5, owner: "x".into() }).await;
        assert_error(elsewhere, ErrorKind::ContradictingPins, &["shard `a`"]);
        assert!(cluster.async_session_on_shard("no such").is_err());
        assert_eq!(saved.shard(), cluster.session().get::<Company>(5)?.unwrap().shard());
        Ok(())
    });
    done.unwrap();
}

fn r46_an_async_session_moves_between_tasks(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut session = cluster.async_session();
    let task = runtime.spawn(async move {
        session.add(city(Continent::Asia, "Tokyo")).await.unwrap();
        session.flush().await.unwrap();
        session
    });
    // Begun under one runtime, ended under another.
    let mut session = runtime.block_on(task).unwrap();
    smol::block_on(session.commit()).unwrap();
    assert_eq!(cluster.session().one(City::select().all_shards().count()).unwrap(), 1);
}

fn a_cluster_is_made_and_opened_without_blocking(backend: &Backend) {
    for runtime in Runtime::ALL {
        let backend = Backend::new(backend.kind);
        let opened: shard_runtime::Result<()> = runtime.block_on(async {
            let cluster = send(backend.builder(&CONTINENTS).async_create::<Weather>()).await?;
            let mut session = cluster.async_session();
            session.add(city(Continent::Asia, "Tokyo")).await?;
            session.commit().await?;
            drop((session, cluster));
            if backend.is_on_disk() {
                let cluster = send(backend.builder(&CONTINENTS).async_open::<Weather>()).await?;
                assert_eq!(cluster.async_session().one(City::select().all_shards()).await?.name, "Tokyo");
            }
            let none = Cluster::builder().shard("a", "no:such").async_open::<City>().await;
            assert_error(none, ErrorKind::Configuration, &["shard `a`"]);
            Ok(())
        });
        opened.unwrap();
    }
}

fn r45_a_panic_ends_the_unit_of_work_and_nothing_else(backend: &Backend) {
    let builder = backend.builder(&CONTINENTS).async_sessions(2).connections(8);
    let cluster = Watched::over(|builder| builder.create::<City>(), builder);
    // Without the hook that would print it.
    fn panics(thrown: Box<dyn std::any::Any + Send>) -> Result<(), Error> {
        std::panic::resume_unwind(thrown)
    }
    let done: shard_runtime::Result<()> = Runtime::Tokio.block_on(async {
        let mut session = cluster.async_session();
        // More often than there are threads and connections.
        for round in 0..6 {
            session.add(city(Continent::Asia, "Tokyo")).await?;
            session.add(city(Continent::Europe, "Bern")).await?;
            let failed: Result<(), Error> = session
                .run(move |session| {
                    session.flush()?;
                    panics(match round {
                        0 => Box::new(5_i64),
                        1 => Box::new("the caller's own fault".to_owned()),
                        _ => Box::new("the caller's own fault"),
                    })
                })
                .await;
            let said = if round == 0 { "panicked" } else { "the caller's own fault" };
            assert_error(failed, ErrorKind::TransactionAborted, &[said]);
            assert_error(
                session.commit().await,
                ErrorKind::TransactionAborted,
                &["call `rollback` first", said],
            );
            session.rollback().await;
            assert_eq!(session.one(City::select().all_shards().count()).await?, 0);
            session.rollback().await;
        }
        let failed = cluster.async_transaction(|session| -> Result<(), Error> {
            session.add(city(Continent::Asia, "Tokyo"))?;
            session.flush()?;
            panics(Box::new("again"))
        });
        assert_error(failed.await, ErrorKind::TransactionAborted, &["again"]);
        session.add(city(Continent::Asia, "Tokyo")).await?;
        session.commit().await?;
        Ok(())
    });
    done.unwrap();
    assert_eq!(cluster.session().one(City::select().all_shards().count()).unwrap(), 1);
}

fn a_thousand_sessions_take_turns(backend: &Backend) {
    const THREADS: usize = 16;
    let builder = backend.builder(&LETTERS).async_sessions(THREADS as u32).connections(3 * THREADS as u32);
    let cluster = builder.create::<Account>().unwrap();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let sessions = if backend.kind == Kind::Schemas { 300 } else { 1_000 };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let tasks = (0..sessions).map(|id| {
            let (cluster, now, most) = (cluster.clone(), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let mut session = cluster.async_session();
                let write = session.run(move |session| {
                    most.fetch_max(1 + now.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                    let added =
                        session.add(Account { id, number: (id % 3) as i32 * 1_000, owner: "x".into() });
                    let flushed = added.and_then(|_| session.flush());
                    now.fetch_sub(1, Ordering::SeqCst);
                    flushed
                });
                write.await?;
                let place = Account::NUMBER.eq((id % 3) as i32 * 1_000);
                assert!(session.one(Account::select().filter(place).count()).await? > 0);
                session.commit().await
            })
        });
        for task in join_all(tasks).await {
            task.unwrap().unwrap();
        }
    });
    assert_eq!(cluster.session().one(Account::select().all_shards().count()).unwrap(), sessions as u64);
    assert!((1..=THREADS).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}

/// Each unit holds the lock between two verbs, while all the others wait for it, each on a thread. Were a verb of the one
/// to wait for a thread, no session would continue until the waiting ones had timed out.
fn the_holder_of_a_lock_continues_while_all_others_wait_for_it(backend: &Backend) {
    let builder = backend.builder(&LETTERS).async_sessions(4).connections(3 * 4);
    let cluster = builder.busy_timeout(Duration::from_secs(600)).create::<Account>().unwrap();
    for runtime in [Runtime::Tokio, Runtime::TokioHere, Runtime::Smol] {
        let add = |id: i64| {
            let cluster = &cluster;
            async move {
                let mut session = cluster.async_session();
                session.add(Account { id, number: 5, owner: "first".into() }).await?;
                session.flush().await?;
                // Meanwhile the others get as far as the lock.
                let pause = |_: &mut Session| {
                    std::thread::sleep(Duration::from_millis(5));
                    Ok(())
                };
                session.run(pause).await?;
                let mut account = session.get(Account::by_id(id).on(5)).await?.unwrap();
                account.owner = "second".into();
                session.update(&mut account).await?;
                session.commit().await
            }
        };
        runtime.block_on(try_join_all((0..12).map(add))).unwrap();
        let written = Account::delete().filter(Account::OWNER.eq("second")).all_shards();
        let mut session = cluster.session();
        assert_eq!(session.execute(written).unwrap(), 12);
        session.commit().unwrap();
    }
}

fn r38_waiting_for_a_slot_fails_after_the_timeout(backend: &Backend) {
    backend.does_not_wait_long();
    let builder = backend.builder(&LETTERS).async_sessions(1);
    let cluster = backend.create_with::<Account>(builder);
    let done: shard_runtime::Result<()> = Runtime::Smol.block_on(async {
        let (mut holder, mut other) = (cluster.async_session(), cluster.async_session());
        holder.all(Account::select().on_shard("a")).await?;
        // The task that holds one session waits for the other: nothing else could end that.
        let refused = other.all(Account::select().on_shard("b")).await;
        assert_error(refused, ErrorKind::Busy, &["async session slot (limit 1)", "`async_sessions`"]);
        let refused = cluster.async_transaction(|session| session.flush()).await;
        assert_error(refused, ErrorKind::Busy, &["async session slot (limit 1)"]);
        // The holder continues, and once it has ended, so does the other.
        holder.all(Account::select().on_shard("c")).await?;
        holder.rollback().await;
        other.all(Account::select().on_shard("b")).await?;
        // A session without a running verb delays no other session.
        other.commit().await?;
        holder.add(Account { id: 1, number: 5, owner: "x".into() }).await?;
        other.all(Account::select().on_shard("b")).await?;
        drop(other);
        holder.commit().await?;
        Ok(())
    });
    done.unwrap();
    for wrong in [0, 10_001] {
        let result = backend.builder(&LETTERS).async_sessions(wrong).create::<Account>();
        assert_error(result, ErrorKind::Configuration, &[&wrong.to_string(), "async_sessions"]);
    }
}

fn sessions_that_begin_take_turns_in_order(backend: &Backend) {
    let builder = backend.builder(&LETTERS).async_sessions(1);
    let cluster = builder.create::<Account>().unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    Runtime::Smol.block_on(async {
        let mut holder = cluster.async_session();
        holder.all(Account::select().on_shard("a")).await.unwrap();
        let mut sessions: Vec<AsyncSession> = (0..20).map(|_| cluster.async_session()).collect();
        let begun = sessions.iter_mut().enumerate().map(|(number, session)| {
            let order = Arc::clone(&order);
            session.run(move |_| {
                order.lock().unwrap().push(number);
                Ok(())
            })
        });
        let mut waiting: Vec<_> = begun.map(Box::pin).collect();
        for future in &mut waiting {
            assert!(poll_once(future).is_none());
        }
        // A dropped waiter leaves the queue.
        drop(waiting.remove(7));
        holder.rollback().await;
        try_join_all(waiting).await.unwrap();
    });
    let expected: Vec<usize> = (0..20).filter(|number| *number != 7).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}

fn a_transaction_is_tried_again_on_its_thread(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = backend.create::<Account>(&LETTERS);
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let done: shard_runtime::Result<()> = Runtime::Tokio.block_on(async {
        let mut holder = cluster.async_session();
        holder.add(Account { id: 1, number: 5, owner: "x".into() }).await?;
        holder.commit().await?;
        // The row is locked against all other sessions.
        holder.execute(Account::update().set(Account::OWNER, "z").on_shard("a")).await?;
        let transaction = cluster.async_transaction(move |session| {
            let add = Sql::new("UPDATE {accounts} SET owner = 'y' WHERE id = 1").on_shard("a");
            let done = session.execute(add);
            counted.fetch_add(1, Ordering::SeqCst);
            done
        });
        // A retry on a file runs the closure only once it has the lock.
        let release = async {
            while tries.load(Ordering::SeqCst) < 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            holder.commit().await
        };
        let (changed, released) = futures_util::future::join(transaction, release).await;
        released?;
        assert_eq!(changed?, 1);
        let failed = cluster.async_transaction(|session| {
            session.execute(Account::delete().all_shards())?;
            Err::<(), Error>(session.get(Account::by_id(1).on_shard("no such")).unwrap_err())
        });
        assert_error(failed.await, ErrorKind::UnknownShard, &["no such"]);
        Ok(())
    });
    done.unwrap();
    assert!(tries.load(Ordering::SeqCst) >= 2);
    assert_eq!(cluster.session().one(Account::select().all_shards()).unwrap().owner, "y");
}

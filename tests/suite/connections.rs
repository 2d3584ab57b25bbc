//! One budget of connections for all databases of a cluster: R38.

use std::time::{Duration, Instant};

use shard_runtime::{ErrorKind, Session, Sharded};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::models::*;
use crate::runtimes::Runtime;

on_every_mixture! {
    fewer_than_one_of_each_database_are_refused,
    r38_a_holder_of_connections_can_get_the_rest,
    r38_many_readers_of_all_shards_take_turns,
    idle_connections_make_room_for_others,
    as_many_async_sessions_as_can_have_everything;
    only Files Memory Mixed Servers Everything:
        r38_crossing_readers_fail_within_bounds;
    only PostgreSQL:
        connections_stay_within_the_limit,
}

fn read(session: &mut Session, shard: &str) -> shard_runtime::Result<()> {
    session.all(Account::select().on_shard(shard)).map(drop)
}

fn with(backend: &Backend, connections: u32) -> Watched {
    backend.create_with::<Account>(backend.builder(&LETTERS).connections(connections))
}

fn fewer_than_one_of_each_database_are_refused(backend: &Backend) {
    let least = backend.databases();
    let few = backend.builder(&LETTERS).connections(least - 1).create::<Account>();
    let texts: &[&str] = if least == 1 { &["`connections`", "got 0"] } else { &["at least 3, got 2"] };
    assert_error(few, ErrorKind::Configuration, texts);
    let mut session = with(backend, least).session();
    session.all(Account::select().all_shards()).unwrap();
    session.add_all([1, 1500, 2500].map(|id| Account { id, number: id as i32, owner: "x".into() })).unwrap();
    session.commit().unwrap();
    assert_eq!(session.all(Account::select().all_shards()).unwrap().len(), 3);
}

fn r38_crossing_readers_fail_within_bounds(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = with(backend, 4);
    let (mut first, mut second) = (cluster.session(), cluster.session());
    read(&mut first, "a").unwrap();
    read(&mut second, "c").unwrap();
    // Either could have the other two, and not both.
    read(&mut first, "b").unwrap();
    for shard in ["b", "a"] {
        assert_error(
            read(&mut second, shard),
            ErrorKind::Busy,
            &[&format!("shard `{shard}`"), "4 connections"],
        );
    }
    assert_error(read(&mut cluster.session(), "b"), ErrorKind::Busy, &["shard `b`", "4 connections"]);
    read(&mut first, "c").unwrap();
    first.commit().unwrap();
    // It has held its connections all the time.
    second.all(Account::select().all_shards()).unwrap();
    drop(second);
    cluster.session().all(Account::select().all_shards()).unwrap();
}

fn r38_a_holder_of_connections_can_get_the_rest(backend: &Backend) {
    backend.does_not_wait_long();
    let least = backend.databases();
    let cluster = with(backend, least + 1);
    let mut holders: Vec<Session> = (0..2).map(|_| cluster.session()).collect();
    holders.iter_mut().for_each(|holder| read(holder, "a").unwrap());
    assert_error(read(&mut cluster.session(), "a"), ErrorKind::Busy, &["shard `a`", "connections"]);
    let everything = || Account::select().all_shards();
    holders[1].all(everything()).unwrap();
    holders[1].rollback();
    holders[0].all(everything()).unwrap();
    holders[0].rollback();
    // One that was dropped in the middle has given back all it had.
    drop(holders);
    let mut more: Vec<Session> = (0..2).map(|_| cluster.session()).collect();
    more.iter_mut().for_each(|holder| read(holder, "b").unwrap());
}

/// Each uses its own order, and they are more than the connections. If each took a free connection, all would soon hold one and
/// wait for another.
fn r38_many_readers_of_all_shards_take_turns(backend: &Backend) {
    let builder = backend.builder(&LETTERS).busy_timeout(Duration::from_secs(600));
    let cluster = builder.connections(backend.databases() + 2).create::<Account>().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let cluster = &cluster;
            scope.spawn(move || {
                for round in 0..15 {
                    let mut session = cluster.session();
                    for place in 0..LETTERS.len() {
                        let step = 1 + round % 2;
                        read(&mut session, LETTERS[(thread + step * place) % LETTERS.len()]).unwrap();
                    }
                    session.commit().unwrap();
                }
            });
        }
    });
}

fn idle_connections_make_room_for_others(backend: &Backend) {
    backend.does_not_wait_long();
    let connections = 6;
    let cluster = with(backend, connections);
    let at_once = connections - backend.databases() + 1;
    for shard in ["a", "b", "c", "a", "c"] {
        let mut sessions: Vec<Session> = (0..at_once).map(|_| cluster.session()).collect();
        sessions.iter_mut().for_each(|session| read(session, shard).unwrap());
        assert_error(read(&mut cluster.session(), shard), ErrorKind::Busy, &[&format!("shard `{shard}`")]);
    }
}

fn as_many_async_sessions_as_can_have_everything(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = with(backend, 2 * backend.databases());
    let done: shard_runtime::Result<()> = Runtime::Smol.block_on(async {
        let mut two = [cluster.async_session(), cluster.async_session()];
        for session in &mut two {
            session.all(Account::select().all_shards()).await?;
        }
        let third = cluster.async_session().all(Account::select().on_shard("a")).await;
        assert_error(third, ErrorKind::Busy, &["async session slot (limit 2)"]);
        Ok(())
    });
    done.unwrap();
}

/// Reads the number of connections from the server.
fn connections_stay_within_the_limit(backend: &Backend) {
    const CONNECTIONS: u32 = 5;
    let name = |shard: &str| backend.schema(shard);
    let builder = LETTERS.iter().fold(backend.builder(&[]), |builder, shard| {
        let name = if backend.is_postgres(shard) {
            format!("&application_name={}", name(shard))
        } else {
            String::new()
        };
        builder.shard(*shard, format!("{}{name}", backend.url(shard)))
    });
    let cluster = builder.connections(CONNECTIONS).create::<Account>().unwrap();
    let clients: Vec<_> = LETTERS.iter().filter(|shard| backend.is_postgres(shard)).collect();
    let clients: Vec<_> = clients.into_iter().map(|shard| (name(shard), backend.client(shard))).collect();
    let counted = || -> Vec<u32> {
        let count = |(name, client): &(String, crate::client::Client)| {
            let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
            client.text(&sql).parse().unwrap()
        };
        clients.iter().map(count).collect()
    };
    // A server hears a little later that a connection is closed. That to the control database is one more.
    let soon_at_most = |most: u32| {
        let began = Instant::now();
        while counted().iter().sum::<u32>() > most + 1 {
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", counted());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    soon_at_most(CONNECTIONS);
    for shard in ["b", "c", "b"] {
        let mut sessions: Vec<Session> = (0..3).map(|_| cluster.session()).collect();
        sessions.iter_mut().for_each(|session| read(session, shard).unwrap());
        soon_at_most(CONNECTIONS);
        let place = clients.iter().position(|(client, _)| *client == name(shard)).unwrap();
        assert!(counted()[place] >= 3, "they are of this shard now: {:?}", counted());
    }
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| cluster.session().all(Account::select().all_shards()).unwrap());
        }
    });
    soon_at_most(CONNECTIONS);
    drop(cluster);
    soon_at_most(0);
}

//! Rights, limits, and the kinds of errors that go with them (W31).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shard_runtime::{ErrorKind, Sharded as _};

use crate::{Account, Place, SHARDS, World, account, set, set_all, shard_url};
use sharded_tests::postgres_server::Server;

/// The URLs of a world, for another role.
fn urls_of(world: &World, role: &str) -> Vec<String> {
    let url = |place: usize| {
        let (_, rest) = world.direct[place].split_once('@').unwrap();
        shard_url(&format!("postgres://{role}:secret@{rest}"), &format!("w{}_", world.number), SHARDS[place])
    };
    (0..SHARDS.len()).map(url).collect()
}

fn builder(urls: &[String]) -> shard_runtime::Builder {
    let builder = shard_runtime::Cluster::builder().busy_timeout(Duration::from_secs(2));
    SHARDS.iter().zip(urls).fold(builder, |builder, (shard, url)| builder.shard(*shard, url))
}

/// Makes a role that has these rights on all tables of a world.
fn role(world: &World, rights: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let role = format!("role_{}_{}", world.number, COUNT.fetch_add(1, Ordering::Relaxed));
    let client = world.client(0);
    client.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'"));
    for shard in SHARDS {
        let schema = format!("w{}_{shard}", world.number);
        client.run(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO {role}"
        ));
    }
    role
}

#[test]
fn a_role_that_may_only_read_can_open_a_cluster_and_read() {
    let world = World::new();
    world.age(0, "25 hours");
    let reader = builder(&urls_of(&world, &role(&world, "SELECT"))).open::<Account>().unwrap();
    let mut session = reader.session();
    assert_eq!(session.one(Account::select().all_shards().count()).unwrap(), 3);
    let error = session.execute(Account::delete().filter(Account::PLACE.eq(Place::B))).unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Denied, Some("b")), "{error}");
    // It cannot finish participants of others, and returns their names.
    world.leave("t", 0, 1, 5, true);
    let recovered = reader.recover().unwrap();
    let left: Vec<_> =
        recovered.left().iter().map(|error| (error.kind(), error.shard(), error.transaction_id())).collect();
    assert_eq!(left, [(ErrorKind::Denied, Some("b"), Some("t"))]);
    builder(&urls_of(&world, &role(&world, "SELECT, INSERT"))).open::<Account>().unwrap();
}

#[test]
fn participants_of_another_role_are_left_and_named() {
    let world = World::new();
    world.leave("t", 0, 1, 5, true);
    let other = builder(&urls_of(&world, &role(&world, "ALL"))).open::<Account>().unwrap();
    let recovered = other.recover().unwrap();
    let [left] = recovered.left() else { panic!("{:?}", recovered.left()) };
    assert_eq!(
        (left.kind(), left.shard(), left.transaction_id()),
        (ErrorKind::Denied, Some("b"), Some("t")),
        "{left}"
    );
    assert!(left.to_string().contains("permission denied to finish prepared transaction"), "{left}");
    assert!(recovered.transactions().is_empty());
    // Everything else continues; the row that is locked is waited for in vain.
    other.transaction(|session| session.add(account(7, Place::B))).unwrap();
    assert_eq!(set(&mut other.session(), 1).unwrap_err().kind(), ErrorKind::Busy);
    // The role that has prepared it finishes it.
    assert_eq!(world.open().recover().unwrap().transactions(), ["t"]);
}

#[test]
fn create_needs_no_right_on_the_database_if_the_schemas_are_there() {
    let world = World::new();
    let role = role(&world, "ALL");
    let client = world.client(0);
    for shard in SHARDS {
        client.run(&format!("CREATE SCHEMA x{}_{shard} AUTHORIZATION {role}", world.number));
    }
    let urls: Vec<String> = urls_of(&world, &role)
        .iter()
        .map(|url| url.replace(&format!("schema=w{}", world.number), &format!("schema=x{}", world.number)))
        .collect();
    let cluster = builder(&urls).create::<Account>().unwrap();
    cluster.transaction(|session| session.add_all(Place::ALL.map(|place| account(1, place)))).unwrap();
    let missing: Vec<String> = urls.iter().map(|url| url.replace("schema=x", "schema=y")).collect();
    let error = builder(&missing).create::<Account>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[test]
fn a_server_without_a_free_slot_for_a_prepared_transaction_is_busy() {
    let server = Server::start_with(&["max_prepared_transactions=2"]);
    let world = World::on([&server.url(), &server.url(), &server.url()], None);
    // Another program has one of the two slots that a commit over three shards needs.
    world.client(0).run("CREATE TABLE t (); BEGIN; SELECT FROM t; PREPARE TRANSACTION 'other'");
    let cluster = world.builder().busy_timeout(Duration::from_secs(1)).open::<Account>().unwrap();
    let mut session = cluster.session();
    set(&mut session, 5).unwrap();
    let error = session.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    for text in ["max_prepared_transactions", "retry"] {
        assert!(error.to_string().contains(text), "{error}");
    }
    assert!(matches!(error.shard(), Some("b" | "c")), "{error}");
    session.rollback();
    assert_eq!((world.cents(1), world.prepared(1)), (0, 0));
}

#[test]
fn a_server_at_its_connection_limit_is_busy() {
    let server = Server::start_with(&["max_connections=8", "max_prepared_transactions=8"]);
    let world = World::on([&server.url(), &server.url(), &server.url()], None);
    let holders: Vec<_> = (0..8).map_while(|_| crate::Client::try_connect(&world.direct[0])).collect();
    let error = builder(&world.urls).open::<Account>().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("max_connections"), "{error}");
    drop(holders);
}

/// PostgreSQL closes the connection of a client that sends more than 1 GB at once.
#[test]
fn a_value_that_no_server_takes_is_a_value_error() {
    let world = World::new();
    let cluster = world.open();
    let mut session = cluster.session();
    // Zeros that are not touched take no memory.
    let bytes = vec![0_u8; 1 << 30];
    let sql = shard_runtime::Sql::new("UPDATE {accounts} SET cents = length(CAST(?1 AS bytea))");
    let sql = sql.bind(bytes).on_shard("b");
    let error = session.execute(sql).unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Value, Some("b")), "{error}");
    assert!(error.to_string().contains("1073741824 bytes"), "{error}");
    // The session and its connection are as they were.
    set_all(&mut session, 3).unwrap();
    assert_eq!(world.cents(1), 3);
}

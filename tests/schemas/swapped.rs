//! Schemas and databases that are replaced or dropped under a cluster are refused.

use super::*;

/// Exchanges two schemas.
fn swap(world: &World, a: &str, b: &str) {
    world.client().run(&format!(
        "ALTER SCHEMA {a} RENAME TO between; ALTER SCHEMA {b} RENAME TO {a}; ALTER SCHEMA between RENAME TO {b}"
    ));
}

#[test]
fn w30_a_schema_that_is_swapped_under_a_cluster_is_refused() {
    let server = server();
    let world = World::new(server);
    let cluster = world.filled();
    let refused = |result: shard_runtime::Result<()>, shard: &str| {
        let error = result.unwrap_err();
        // A write may meet a shard with a lookup's entry before.
        let shards = if shard.is_empty() { &["a", "b", "c"][..] } else { &[shard] };
        assert_eq!(error.kind(), ErrorKind::WrongDatabase, "{error}");
        assert!(error.shard().is_some_and(|shard| shards.contains(&shard)), "{error}");
        assert!(error.to_string().contains("URL"), "{error}");
    };
    let read = |shard: &str| cluster.session().all(Owner::select().on_shard(shard)).map(drop);
    let write = |id: i64, shard: &str| {
        let mut session = cluster.session();
        session.add(owner(id, shard))?;
        session.commit().map(drop)
    };
    read("a").unwrap();
    // One that is running and has read `c`.
    let mut session = cluster.session();
    session.all(Owner::select().on_shard("c")).unwrap();
    swap(&world, "s_a", "s_b");
    for shard in ["a", "b"] {
        refused(session.all(Owner::select().on_shard(shard)).map(drop), shard);
        refused(read(shard), shard);
        refused(write(50, shard), "");
        let raise = Owner::update().set(Owner::CENTS, 0).on_shard(shard);
        refused(cluster.transaction(|session| session.execute(raise.clone())).map(drop), shard);
        let sql = Sql::new("UPDATE owners SET cents = 0").on_shard(shard);
        refused(cluster.transaction(|session| session.execute(sql.clone())).map(drop), shard);
    }
    // The others continue, in the session that met it as well.
    assert_eq!(session.all(Owner::select().on_shard("c")).unwrap().len(), 1);
    read("d").unwrap();
    swap(&world, "s_a", "s_b");
    let client = world.client();
    assert_eq!(
        client.text("SELECT sum(cents) FROM (TABLE s_a.owners UNION ALL TABLE s_b.owners) AS rows"),
        "200"
    );
    assert_eq!(all_ids(&mut session), [1, 2, 3, 4]);
    session.rollback();
    // A row of another cluster, of no cluster, and no row.
    client.run("UPDATE s_a.sharded_shard SET cluster = 'other'; DELETE FROM s_b.sharded_shard; DROP SCHEMA s_c CASCADE");
    for shard in ["a", "b", "c"] {
        refused(read(shard), shard);
        refused(write(70, shard), "");
    }
    read("d").unwrap();
}

#[test]
fn w30_a_schema_that_is_swapped_in_mid_transaction_is_refused() {
    let server = server();
    let world = World::new(server);
    let cluster = world.filled();
    let mut session = cluster.session();
    session.add(owner(9, "c")).unwrap();
    session.flush().unwrap();
    swap(&world, "s_a", "s_b");
    session.add(owner(10, "a")).unwrap();
    // Lookups may have used it before: then the commit finds it.
    let error = session.flush().and_then(|()| session.commit().map(drop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongDatabase, "{error}");
    session.rollback();
    swap(&world, "s_a", "s_b");
    assert_eq!(all_ids(&mut session), [1, 2, 3, 4]);
}

/// If a schema is replaced under a running cluster, each later transaction notices it, also on a connection that has checked
/// the shard before.
#[test]
fn r40_each_transaction_that_reads_checks_the_shard() {
    let server = server();
    let world = World::new(server);
    drop(world.filled());
    let builder = LETTERS.iter().fold(Cluster::builder().connections(1), |builder, shard| {
        builder.shard(*shard, format!("{}?schema=s_{shard}", world.url))
    });
    let cluster = builder.open::<(Owner, Pet)>().unwrap();
    let swap = || {
        world.client().run(
            "BEGIN; ALTER SCHEMA s_a RENAME TO aside; ALTER SCHEMA s_b RENAME TO s_a; ALTER SCHEMA aside RENAME TO s_b; \
             COMMIT",
        );
    };
    let mut session = cluster.session();
    let read = |session: &mut Session| session.get(Owner::by_id(1).on_shard("a"));
    for round in 0..3 {
        assert!(read(&mut session).unwrap().is_some(), "{round}");
        session.rollback();
        swap();
        for shard in ["a", "b"] {
            let error = session.get(Owner::by_id(1).on_shard(shard)).unwrap_err();
            assert_eq!((error.kind(), error.shard()), (ErrorKind::WrongDatabase, Some(shard)), "{error}");
            session.rollback();
        }
        let mut fresh = cluster.session();
        assert_eq!(read(&mut fresh).unwrap_err().kind(), ErrorKind::WrongDatabase);
        let all = fresh.all(Owner::select().all_shards()).unwrap_err();
        assert_eq!(all.kind(), ErrorKind::WrongDatabase);
        assert!(fresh.get(Owner::by_id(3).on_shard("c")).unwrap().is_some());
        drop(fresh);
        swap();
    }
}

/// The database of a server, and not only a schema of it, is dropped.
#[test]
fn r47_a_dropped_database_is_not_made_again() {
    let server = server();
    let (first, second) = (World::new(server), World::new(server));
    let builder = || {
        Cluster::builder()
            .busy_timeout(Duration::from_secs(5))
            .without_prepared_transactions()
            .shard("a", format!("{}?schema=s_a", first.url))
            .shard("b", format!("{}?schema=s_b", second.url))
    };
    drop(builder().create::<Item>().unwrap());
    let cluster = builder().open::<Item>().unwrap();
    let drop_database = |world: &World| {
        let name = world.url.rsplit_once('/').unwrap().1;
        Client::connect(&server.url()).run(&format!("DROP DATABASE {name} WITH (FORCE)"));
    };
    drop_database(&second);
    let mut session = cluster.session();
    let read = session.all(Item::select().on_shard("b")).unwrap_err();
    assert_eq!((read.kind(), read.shard()), (ErrorKind::Missing, Some("b")), "{read}");
    session.rollback();
    assert!(session.all(Item::select().on_shard("a")).unwrap().is_empty());
    drop((session, cluster));
    for _ in 0..2 {
        for result in [builder().open::<Item>(), builder().create::<Item>()] {
            let error = result.map(drop).unwrap_err();
            assert_eq!((error.kind(), error.shard()), (ErrorKind::Missing, Some("b")), "{error}");
            let message = error.to_string();
            assert!(message.contains("restore it") && message.contains("replace_lost(\"b\")"), "{message}");
        }
    }
    // `create` makes no database; in an empty one it makes the shard on request.
    let name = second.url.rsplit_once('/').unwrap().1;
    Client::connect(&server.url()).run(&format!("CREATE DATABASE {name}"));
    let error = builder().create::<Item>().map(drop).unwrap_err();
    assert_eq!(error.shard(), Some("b"), "{error}");
    assert!(error.to_string().contains("replace_lost(\"b\")"), "{error}");
    let cluster = builder().replace_lost("b").create::<Item>().unwrap();
    assert!(cluster.session().all(Item::select().all_shards()).unwrap().is_empty());
    drop(cluster);
    // The first database holds control.
    drop_database(&first);
    let opened = builder().open::<Item>().map(drop).unwrap_err();
    assert_eq!(opened.kind(), ErrorKind::Missing, "{opened}");
    let created = builder().create::<Item>().map(drop).unwrap_err();
    assert_eq!((created.kind(), created.shard()), (ErrorKind::WrongDatabase, Some("b")), "{created}");
    for error in [opened, created] {
        assert!(error.to_string().contains("control database"), "{error}");
        assert!(error.to_string().contains("restore it"), "{error}");
    }
}

//! Statements that change a connection, and statements that the server or another program ends.

use super::*;

#[test]
fn w24_sql_does_not_change_a_connection_for_later_sessions() {
    let server = server();
    let world = World::new(server);
    drop(world.filled());
    let builder = LETTERS.iter().fold(Cluster::builder().connections(1), |builder, shard| {
        builder.shard(*shard, format!("{}?schema=s_{shard}", world.url))
    });
    let cluster = builder.open::<(Owner, Pet)>().unwrap();
    let mut session = cluster.session();
    for sql in [
        "SET search_path = s_b",
        "/* a */ set -- b\n session search_path to s_b",
        "SET ROLE pg_read_all_data",
        "SET SESSION AUTHORIZATION DEFAULT",
        "RESET ALL",
        "DISCARD ALL",
        "DEALLOCATE ALL",
        "PREPARE x AS SELECT 1",
        "PREPARE TRANSACTION 'x'",
        "LISTEN x",
        "LOAD 'plpgsql'",
        "COMMIT",
        "DECLARE x CURSOR WITH HOLD FOR SELECT 1",
        "CREATE TEMP TABLE owners (id bigint)",
    ] {
        let error = session.execute(Sql::new(sql).on_shard("a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Query, "{sql}: {error}");
        assert!(error.to_string().contains("connection"), "{sql}: {error}");
    }
    session.execute(Sql::new("SET LOCAL search_path = s_b").on_shard("a")).unwrap();
    session.add(owner(20, "a")).unwrap();
    session.commit().unwrap();
    assert_eq!(
        (world.ids("s_a"), world.ids("s_b")),
        (vec!["1".to_owned(), "20".to_owned()], vec!["2".to_owned()])
    );
    // A change that the text does not show is undone.
    let hidden = [
        "SELECT set_config('search_path', 's_b', false) AS said",
        "SELECT set_config('role', 'pg_read_all_data', false) AS said",
        "SELECT set_config('lock_timeout', '1', false) AS said",
        "SELECT set_config('synchronous_commit', 'off', false) AS said",
        "SELECT pg_advisory_lock(1)::text AS said",
        "SELECT set_config('my.setting', 'x', false) AS said",
    ];
    let state = "SELECT concat_ws(' ', current_user, current_setting('lock_timeout'), \
                 current_setting('synchronous_commit'), nullif(current_setting('my.setting', true), ''), \
                 (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())) AS state";
    let state = || {
        let mut session = cluster.session();
        let row = session.one(Sql::new(state).on_shard("a")).unwrap();
        row.get::<String>("state").unwrap()
    };
    let before = state();
    for sql in hidden {
        for ends in ["commit", "rollback", "write"] {
            let mut session = cluster.session();
            if ends == "write" {
                session
                    .execute(Owner::update().set(Owner::CENTS, 5).filter(Owner::ID.eq(1)).all_shards())
                    .unwrap();
            }
            session.all(Sql::new(sql).on_shard("a")).unwrap();
            match ends {
                "rollback" => session.rollback(),
                _ => drop(session.commit().unwrap()),
            }
            drop(session);
            assert_eq!(state().trim_end(), before.trim_end(), "{sql}, {ends}");
            let mut session = cluster.session();
            assert_eq!(all_ids(&mut session), [1, 2, 3, 4, 20]);
            session.rollback();
        }
    }
}

/// A limit that the server sets is no lock that another transaction holds: trying again does not help.
#[test]
fn a_statement_timeout_of_the_server_is_not_busy() {
    let server = server();
    let world = World::new(server);
    drop(world.filled());
    world.client().run(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = 300', current_database()); END $$",
    );
    let cluster = world.builder().open::<(Owner, Pet)>().unwrap();
    let mut session = cluster.session();
    let refused = |error: shard_runtime::Error| {
        assert_eq!((error.kind(), error.shard()), (ErrorKind::TimedOut, Some("a")), "{error}");
        assert!(!error.is_retryable() && error.to_string().contains("`statement_timeout`"), "{error}");
    };
    refused(session.all(Sql::new("SELECT pg_sleep(30)::text AS s").on_shard("a")).unwrap_err());
    session.rollback();
    let slow = "UPDATE owners SET cents = (SELECT 1 FROM (SELECT pg_sleep(30)) AS s)";
    refused(session.execute(Sql::new(slow).on_shard("a")).unwrap_err());
    session.rollback();
    // A lock that is not obtained is: the wait ends before the statement's time is over.
    let holder = world.client();
    holder.run("BEGIN; LOCK TABLE s_a.owners IN ACCESS EXCLUSIVE MODE");
    let update = Owner::update().set(Owner::CENTS, 5).filter(Owner::HOME.eq("a"));
    let busy = session.execute(update.clone()).unwrap_err();
    assert_eq!((busy.kind(), busy.shard()), (ErrorKind::Busy, Some("a")), "{busy}");
    session.rollback();
    let mut tries = 0;
    let changed = cluster.transaction(|session| {
        tries += 1;
        if tries == 2 {
            holder.run("COMMIT");
        }
        session.execute(update.clone())
    });
    assert_eq!((changed.unwrap(), tries), (1, 2));
}

/// Another program may cancel any statement; trying again helps.
#[test]
fn a_statement_that_another_program_cancels_is_busy() {
    let server = server();
    let world = World::new(server);
    let cluster = world.filled();
    for is_limited in [false, true] {
        let error = std::thread::scope(|scope| {
            let sleeping = scope.spawn(|| {
                let mut session = cluster.session();
                session.set_timeout(is_limited.then_some(Duration::from_secs(600)));
                session.all(Sql::new("SELECT pg_sleep(500)::text AS s").on_shard("a")).unwrap_err()
            });
            let client = world.client();
            let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(500)%' \
                          AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()";
            while client.text(cancel) == "0" {}
            sleeping.join().unwrap()
        });
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Busy, Some("a")), "{error}");
    }
}

/// The commit of a deferred constraint, a batch, and a prepared statement are cancelled, too.
#[test]
fn a_commit_that_another_program_cancels_is_busy() {
    let server = server();
    let world = World::new(server);
    let cluster = world.filled();
    world.client().run(
        "CREATE FUNCTION s_a.sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(501); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON s_a.owners DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
         EXECUTE FUNCTION s_a.sleep()",
    );
    let error = std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| {
            let mut session = cluster.session();
            session.execute(Owner::update().set(Owner::CENTS, 5).filter(Owner::HOME.eq("a"))).unwrap();
            session.commit().map(drop).unwrap_err()
        });
        let client = world.client();
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                      AND pid <> pg_backend_pid() AND datname = current_database()";
        while client.text(cancel) == "0" && !sleeping.is_finished() {}
        sleeping.join().unwrap()
    });
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Busy, Some("a")), "{error}");
}

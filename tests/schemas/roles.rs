//! Roles without some rights: generated ids stay above the rows, and a missing grant is named.

use super::*;

/// A model whose ids the application gives, and the same with ids that the cluster generates.
mod given {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "events")]
    pub struct Event {
        #[id]
        pub id: i64,
        #[shard_key(list("a" => "a", "b" => "b"))]
        pub home: String,
    }
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "events")]
struct Event {
    #[id(sequence)]
    id: i64,
    #[shard_key(list("a" => "a", "b" => "b"))]
    home: String,
}

/// In a cluster of the last release, control has no table of the skipped ids.
#[test]
fn r56_a_role_without_create_generates_ids_above_the_rows() {
    let server = server();
    let world = World::new(server);
    let builder = |login: &str| {
        let url = world.url.replace("//sharded:", &format!("//{login}:"));
        ["a", "b"].iter().fold(Cluster::builder().busy_timeout(Duration::from_secs(20)), |builder, shard| {
            builder.shard(*shard, format!("{url}?schema=s_{shard}"))
        })
    };
    let cluster = builder("sharded").create::<given::Event>().unwrap();
    let mut session = cluster.session();
    session.add(given::Event { id: 41, home: "b".into() }).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let client = world.client();
    client.run(&format!(
        "DROP TABLE s_a.sharded_skipped_ids; CREATE ROLE without_create LOGIN PASSWORD '{}'; \
         GRANT USAGE ON SCHEMA s_a, s_b TO without_create; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA s_a, s_b TO without_create",
        server.password()
    ));
    let cluster = builder("without_create").open::<Event>().unwrap();
    let mut session = cluster.session();
    let event = session.add(NewEvent { home: "a".into() }).unwrap();
    assert_eq!(event.id, 42);
    session.commit().unwrap();
    // Only operations that need the table fail.
    let error = session.add_with_id(5_000, NewEvent { home: "a".into() }).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let message = error.to_string();
    let sql = message.split_once("CREATE TABLE").unwrap_or_else(|| panic!("{message}")).1;
    assert!(message.contains("GRANT") && message.contains("without_create"), "{message}");
    session.rollback();
    cluster.advance_ids::<Event>(100).unwrap();
    assert!(session.add(NewEvent { home: "a".into() }).unwrap().id > 100);
    session.commit().unwrap();
    // The SQL of the message is the remedy.
    client.run(&format!("CREATE TABLE{sql}"));
    session.add_with_id(5_000, NewEvent { home: "a".into() }).unwrap();
    session.commit().unwrap();
}

/// The role may look the table of the skipped ids up, and may neither read nor write it.
#[test]
fn r56_a_role_without_rights_on_the_skipped_ids_generates_ids_above_the_rows() {
    let server = server();
    let world = World::new(server);
    let builder = |login: &str| {
        let url = world.url.replace("//sharded:", &format!("//{login}:"));
        ["a", "b"].iter().fold(Cluster::builder().busy_timeout(Duration::from_secs(20)), |builder, shard| {
            builder.shard(*shard, format!("{url}?schema=s_{shard}"))
        })
    };
    let cluster = builder("sharded").create::<given::Event>().unwrap();
    let mut session = cluster.session();
    session.add(given::Event { id: 41, home: "b".into() }).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    let client = world.client();
    client.run(&format!(
        "CREATE ROLE without_skipped LOGIN PASSWORD '{}'; GRANT USAGE ON SCHEMA s_a, s_b TO without_skipped; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA s_a, s_b TO without_skipped; \
         REVOKE ALL ON s_a.sharded_skipped_ids FROM without_skipped; \
         REVOKE UPDATE ON s_a.sharded_sequence FROM without_skipped",
        server.password()
    ));
    // A role that generates no ids opens the cluster.
    let cluster = builder("without_skipped").open::<Event>().unwrap();
    assert_eq!(cluster.session().one(Event::select().all_shards().count()).unwrap(), 1);
    drop(cluster);
    client.run("GRANT UPDATE ON s_a.sharded_sequence TO without_skipped");
    let cluster = builder("without_skipped").open::<Event>().unwrap();
    let mut session = cluster.session();
    assert_eq!(session.add(NewEvent { home: "a".into() }).unwrap().id, 42);
    session.commit().unwrap();
    let error = session.add_with_id(5_000, NewEvent { home: "a".into() }).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let message = error.to_string();
    assert!(!message.contains("CREATE TABLE"), "{message}");
    let grant = message.split_once("GRANT").unwrap_or_else(|| panic!("{message}")).1;
    session.rollback();
    // The SQL of the message is the remedy.
    client.run(&format!("GRANT{grant}"));
    session.add_with_id(5_000, NewEvent { home: "a".into() }).unwrap();
    session.commit().unwrap();
}

/// Two processes may make the table of the skipped ids at once.
#[test]
fn r56_a_table_of_skipped_ids_that_another_process_is_making_is_waited_for() {
    let server = server();
    let world = World::new(server);
    let builder =
        ["a", "b"].iter().fold(Cluster::builder().busy_timeout(Duration::from_secs(60)), |builder, shard| {
            builder.shard(*shard, format!("{}?schema=s_{shard}", world.url))
        });
    let cluster = builder.create::<Event>().unwrap();
    let client = world.client();
    client.run("DROP TABLE s_a.sharded_skipped_ids");
    client.run(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('sharded ids \"s_a\".\"sharded_skipped_ids\"', 0)); \
         CREATE TABLE s_a.sharded_skipped_ids (name TEXT NOT NULL, first bigint NOT NULL, last bigint NOT NULL)",
    );
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| {
            let mut session = cluster.session();
            session.add_with_id(5_000, NewEvent { home: "a".into() }).map(drop)?;
            session.commit().map(drop)
        });
        let watching = world.client();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                       AND datname = current_database()";
        while watching.text(waiting) == "0" && !adding.is_finished() {}
        client.run("COMMIT");
        adding.join().unwrap().unwrap();
    });
}

/// A role that may read each shard's record, and not the one of the control database.
#[test]
fn r40_the_error_of_a_role_that_may_not_read_the_recorded_layout_names_the_grant() {
    let server = server();
    let world = World::new(server);
    let builder = |login: &str| {
        let url = world.url.replace("//sharded:", &format!("//{login}:"));
        let builder = Cluster::builder().control(format!("{url}?schema=s_control"));
        LETTERS
            .iter()
            .fold(builder, |builder, shard| builder.shard(*shard, format!("{url}?schema=s_{shard}")))
    };
    drop(builder("sharded").create::<(Owner, Pet)>().unwrap());
    world.client().run(&format!(
        "CREATE ROLE without_record LOGIN PASSWORD '{}'; \
         GRANT USAGE ON SCHEMA s_control, s_a, s_b, s_c, s_d TO without_record; \
         GRANT SELECT ON ALL TABLES IN SCHEMA s_control, s_a, s_b, s_c, s_d TO without_record; \
         REVOKE ALL ON s_control.sharded_state FROM without_record",
        server.password()
    ));
    let builder = builder("without_record");
    let error = builder.open::<(Owner, Pet)>().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let message = error.to_string();
    assert!(message.contains("GRANT SELECT") && message.contains("s_control"), "{message}");
}

//! Migrations of three schemas of a PostgreSQL server. The migrating process is killed, the server is stopped hard, an index is
//! left invalid, or the server has no free connection.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shard_runtime::{Builder, Cluster, ErrorKind, Pace};
use sharded_tests::postgres_server::Server;
use sharded_tests::waiting::soon;

use crate::client::Client;
use crate::models::{SHARDS, fill, one, two};
use crate::{injected, migrate_with, process, steps};

/// A builder of these shards as schemas of a database.
pub fn builder(url: &str, shards: &[&str]) -> Builder {
    let builder = Cluster::builder().busy_timeout(Duration::from_secs(20));
    shards.iter().fold(builder, |builder, shard| builder.shard(*shard, format!("{url}?schema={shard}")))
}

/// Makes a cluster of the first release in a database, with a table of another program in each schema.
pub fn create(url: &str, shards: &[&str]) {
    fill(builder(url, shards));
    let client = Client::connect(url);
    shards.iter().for_each(|shard| client.run(&format!("CREATE TABLE {shard}.log (text text)")));
}

/// The structure of the schemas, the state of the migration and the rows, by shard.
pub fn dumps(url: &str, shards: &[&str]) -> Vec<Vec<String>> {
    let client = Client::connect(url);
    let dump = |shard: &&str| {
        let of = |select: &str| {
            let rows = client.rows(&select.replace("{s}", shard));
            rows.into_iter().map(|row| row.join(" ")).collect::<Vec<_>>()
        };
        let mut all = Vec::new();
        for select in [
            "SELECT 'column', table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns \
             WHERE table_schema = '{s}' AND table_name NOT LIKE 'sharded%' ORDER BY table_name, ordinal_position",
            "SELECT 'table', tablename FROM pg_tables WHERE schemaname = '{s}' ORDER BY 2",
            "SELECT 'index', pg_get_indexdef(indexrelid), indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid \
             WHERE relnamespace = '{s}'::regnamespace ORDER BY 2",
            "SELECT 'trigger', tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid \
             WHERE NOT tgisinternal AND relnamespace = '{s}'::regnamespace ORDER BY 2",
            "SELECT 'function', proname FROM pg_proc WHERE pronamespace = '{s}'::regnamespace ORDER BY 2",
            "SELECT 'constraint', conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint \
             WHERE connamespace = '{s}'::regnamespace ORDER BY 2",
            "SELECT 'step', step, name, phase, rows, error FROM {s}.sharded_migration ORDER BY step",
            "SELECT 'users', u.* FROM {s}.users u ORDER BY id",
            "SELECT 'posts', p.* FROM {s}.posts p ORDER BY id",
            "SELECT 'notes', n.* FROM {s}.notes n ORDER BY id",
            "SELECT 'log', text FROM {s}.log ORDER BY text",
        ] {
            all.extend(of(select));
        }
        all
    };
    shards.iter().map(dump).collect()
}

/// A server with a cluster in a database that is copied for each try, and what a migration makes of it.
pub struct Tries {
    server: Mutex<Server>,
    pub expected: Vec<Vec<String>>,
    tries: usize,
}

impl Tries {
    pub fn new() -> Self {
        let server = Server::start_with(&[
            "max_connections=60",
            "autovacuum=off",
            "jit=off",
            // A server process notices within a statement that its client is gone.
            "client_connection_check_interval=50ms",
        ]);
        server.psql("CREATE DATABASE made");
        let mut tries = Tries { server: Mutex::new(server), expected: Vec::new(), tries: 0 };
        create(&tries.url("made"), &SHARDS);
        let undisturbed = tries.next();
        assert!(process("in_a_process_of_its_own", &undisturbed, &[], None).status().unwrap().success());
        tries.expected = dumps(&undisturbed, &SHARDS);
        tries
    }

    fn url(&self, database: &str) -> String {
        let url = self.server.lock().unwrap().url();
        format!("{}/{database}", url.rsplit_once('/').unwrap().0)
    }

    pub fn next(&mut self) -> String {
        self.tries += 1;
        let name = format!("t{}", self.tries);
        self.server.lock().unwrap().psql(&format!("CREATE DATABASE {name} TEMPLATE made"));
        self.url(&name)
    }

    /// Continues after a migration that has stopped, and compares.
    pub fn finish(&self, url: &str, what: &str) {
        // The earlier release can be started at any moment before the contract.
        if let Err(error) = builder(url, &SHARDS).open::<one::Models>().map(drop) {
            assert!(error.to_string().contains("newer release"), "{what}: {error}");
        }
        migrate_with(&|| builder(url, &SHARDS), usize::MAX);
        for (shard, (found, expected)) in SHARDS.iter().zip(dumps(url, &SHARDS).iter().zip(&self.expected)) {
            assert_eq!(found, expected, "{what}: shard {shard}");
        }
        builder(url, &SHARDS).open::<two::Models>().unwrap();
        let name = url.rsplit_once('/').unwrap().1;
        self.server.lock().unwrap().psql(&format!("DROP DATABASE {name} WITH (FORCE)"));
    }
}

#[test]
fn r53_three_schemas_are_migrated_as_one_big_table() {
    let tries = Tries::new();
    tries.server.lock().unwrap().psql("CREATE DATABASE one");
    let one = tries.url("one");
    create(&one, &SHARDS[..1]);
    migrate_with(&|| builder(&one, &SHARDS[..1]), usize::MAX);
    let rows = |dumps: &[Vec<String>]| {
        let is_row = |line: &&String| line.starts_with("users ") || line.starts_with("log ");
        let mut rows: Vec<String> = dumps.iter().flatten().filter(is_row).cloned().collect();
        rows.sort();
        rows
    };
    let expected = rows(&dumps(&one, &SHARDS[..1]));
    assert!(expected.len() > 60);
    assert_eq!(rows(&tries.expected), expected);
}

#[test]
fn r53_a_kill_before_any_statement_on_a_server_is_continued() {
    let mut tries = Tries::new();
    let mut killed = 0;
    for at in (0..).step_by(steps(23)) {
        let url = tries.next();
        if process("in_a_process_of_its_own", &url, &[], Some(at)).status().unwrap().success() {
            break;
        }
        killed += 1;
        tries.finish(&url, &format!("killed before statement {at}"));
    }
    println!("killed before {killed} statements on a server");
    assert!(killed > 5, "only {killed}");
}

#[test]
fn r53_a_kill_at_any_system_call_to_a_server_is_continued() {
    let mut tries = Tries::new();
    let mut killed = 0;
    // Killed before a statement is sent, and before its answer is read: then the server has run it, or runs it.
    for call in ["sendto", "recvfrom"] {
        let mut of_this_call = 0;
        for time in calls().step_by(steps(301)) {
            println!("{call} {time}");
            let url = tries.next();
            let behind = injected(call, &format!("signal=KILL:when={time}"));
            if process("in_a_process_of_its_own", &url, &behind, None).status().unwrap().success() {
                break;
            }
            of_this_call += 1;
            tries.finish(&url, &format!("killed at {call} {time}"));
        }
        println!("{call}: {of_this_call} kills");
        killed += of_this_call;
    }
    assert!(killed > 4, "only {killed}");
}

#[test]
fn r53_a_server_that_stops_in_the_middle_is_continued() {
    let mut tries = Tries::new();
    let mut stopped = 0;
    for at in (0..).step_by(steps(41)) {
        let url = tries.next();
        let events = AtomicUsize::new(0);
        let migrate = |contracts: bool| {
            let migration = builder(&url, &SHARDS).migrate::<two::Models>(&two::migrations())?;
            let migration = migration.pace(Pace::rows(4));
            let migration = if contracts { migration.contract() } else { migration };
            migration.run(|_| {
                if events.fetch_add(1, Ordering::Relaxed) == at {
                    tries.server.lock().unwrap().stop();
                }
            })
        };
        match migrate(false).and_then(|_| migrate(true)) {
            Ok(_) => break,
            Err(error) => {
                assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::ConnectionLost | ErrorKind::TimedOut | ErrorKind::Missing
                    ),
                    "stopped at {at}: {:?}: {error}",
                    error.kind()
                );
            }
        }
        stopped += 1;
        tries.server.lock().unwrap().start_again();
        tries.finish(&url, &format!("the server was stopped at {at}"));
    }
    println!("the server was stopped {stopped} times");
    assert!(stopped > 3, "only {stopped}");
}

/// The calls at which the process is killed: those from `SHARDED_FROM` to before `SHARDED_UNTIL`, so that a run with
/// `SHARDED_STEPS=all` can be made in parts.
fn calls() -> std::ops::Range<usize> {
    let of = |name: &str| std::env::var(name).ok().map(|call| call.parse().unwrap());
    of("SHARDED_FROM").unwrap_or(1)..of("SHARDED_UNTIL").unwrap_or(usize::MAX)
}

/// A role that may only add rows adds one while its arrival is recorded, and the backfill does not miss it.
#[test]
fn r53_a_role_without_rights_adds_rows_during_a_backfill() {
    let mut tries = Tries::new();
    let url = tries.next();
    let client = Client::connect(&url);
    client.run("CREATE ROLE adds; GRANT USAGE ON SCHEMA a TO adds; GRANT INSERT ON a.users TO adds");
    let migrate = || builder(&url, &SHARDS).migrate::<two::Models>(&two::migrations()).unwrap();
    let once = std::sync::Once::new();
    let adds = || client.run("SET ROLE adds; INSERT INTO a.users (id, name, fax) VALUES (-1, 'late', '')");
    migrate()
        .run(|progress| {
            // The first shard has run all steps.
            if progress.shard == "b" {
                once.call_once(adds);
            }
        })
        .unwrap();
    client.run("RESET ROLE");
    assert_eq!(client.text("SELECT full_name || nickname FROM a.users WHERE id = -1"), "late+");
}

#[test]
fn r53_an_index_that_a_kill_leaves_invalid_is_made_again() {
    let mut tries = Tries::new();
    let url = tries.next();
    // CREATE INDEX CONCURRENTLY waits for this snapshot, when the index is there and not yet valid.
    let old = Client::connect(&url);
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    old.text("SELECT count(*) FROM pg_class");
    let mut migrates = process("in_a_process_of_its_own", &url, &[], None).spawn().unwrap();
    let client = Client::connect(&url);
    let invalid = || client.text("SELECT count(*) FROM pg_index WHERE NOT indisvalid");
    let builds = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE%INDEX CONCURRENTLY%' AND state = 'active' \
                  AND wait_event = 'virtualxid' AND datname = current_database()";
    soon("an index waits for the snapshot", || invalid() == "1" && client.text(builds) == "1");
    migrates.kill().unwrap();
    migrates.wait().unwrap();
    soon("the server notices that the client is gone", || client.text(builds) == "0");
    assert_eq!(invalid(), "1");
    old.run("ROLLBACK");
    drop((old, client));
    tries.finish(&url, "killed while an index was made");
}

#[test]
fn r53_a_server_without_a_connection_left_stops_a_migration() {
    let first = Server::start_with(&["autovacuum=off"]);
    let full =
        Server::start_with(&["max_connections=8", "superuser_reserved_connections=0", "autovacuum=off"]);
    let builder = || {
        let builder = Cluster::builder().busy_timeout(Duration::from_millis(300));
        builder.shard("a", first.url()).shard("b", full.url())
    };
    fill(builder());
    for url in [first.url(), full.url()] {
        Client::connect(&url).run("CREATE TABLE log (text text)");
    }
    let migrate = || builder().migrate::<two::Models>(&two::migrations()).unwrap();
    let others = Mutex::new(Vec::new());
    let stopped = migrate().run(|_| {
        let mut others = others.lock().unwrap();
        while let Some(other) = Client::try_connect(&full.url()) {
            others.push(other);
        }
    });
    let error = stopped.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Busy, Some("b")), "{error}");
    assert!(error.to_string().contains("max_connections") && error.is_retryable(), "{error}");
    // Neither can a new one begin, until there are connections again.
    let begun = builder().migrate::<two::Models>(&two::migrations()).map(drop).unwrap_err();
    assert_eq!((begun.kind(), begun.shard()), (ErrorKind::Busy, Some("b")), "{begun}");
    others.lock().unwrap().clear();
    soon("the server has ended the other connections", || {
        let opened = builder().open::<one::Models>();
        opened.is_ok()
    });
    migrate().run(|_| {}).unwrap();
    migrate().contract().run(|_| {}).unwrap();
    let status = builder().open::<two::Models>().unwrap().migration_status().unwrap();
    assert!(status.shards.iter().all(|of| of.version == 6) && !status.has_failed(), "{status}");
}

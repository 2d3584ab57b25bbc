//! A migration of two databases of a server on which a killed program has left prepared participants: they are finished first.

use std::collections::BTreeMap;
use std::time::Duration;

use shard_runtime::{Builder, Cluster};
use sharded_tests::postgres_server::Server;

use crate::client::Client;
use crate::models::{fill, one, two};
use crate::{CLUSTER, injected, process, steps};

const DATABASES: [&str; 2] = ["a", "b"];

fn at(url: &str, database: &str) -> String {
    format!("{}/{database}", url.rsplit_once('/').unwrap().0)
}

fn builder(url: &str) -> Builder {
    let builder = Cluster::builder().busy_timeout(Duration::from_secs(20));
    DATABASES.iter().fold(builder, |builder, database| builder.shard(*database, at(url, database)))
}

/// Adds 40 users, which are on both shards, in one transaction: what the test starts and kills.
#[test]
#[ignore = "started by other tests"]
fn writes_on_both_databases() {
    let cluster = builder(&std::env::var(CLUSTER).expect("started by a test")).open::<one::Models>().unwrap();
    let mut session = cluster.session();
    let user = |id| one::User { id, name: format!("user {id}"), fax: String::new() };
    session.add_all((1_000..1_040).map(user)).unwrap();
    session.commit().unwrap();
}

/// Makes both databases anew, with a cluster of the first release.
fn make(server: &Server) {
    for database in DATABASES {
        server.psql(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE); CREATE DATABASE {database}"));
    }
    fill(builder(&server.url()));
}

fn writes(server: &Server, behind: &[String]) -> bool {
    let mut writes = process("prepared::writes_on_both_databases", &server.url(), behind, None);
    writes.status().unwrap().success()
}

/// Returns how often the thread that writes sends something to a server.
fn sends(server: &Server) -> usize {
    make(server);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log").display().to_string();
    assert!(writes(server, &["strace", "-f", "-o", &log, "-e", "trace=sendto"].map(str::to_owned)));
    let log = std::fs::read_to_string(log).unwrap();
    let mut sends = BTreeMap::<&str, usize>::new();
    for line in log.lines().filter(|line| line.contains("sendto(")) {
        *sends.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
    }
    sends.into_values().max().unwrap()
}

#[test]
fn r53_prepared_participants_are_finished_before_a_migration() {
    let server = Server::start_with(&["autovacuum=off", "jit=off"]);
    let (mut left, mut committed, mut tries) = (0, 0, 0);
    // The commit is at the end.
    let last = sends(&server);
    let first = if steps(2) == 1 { 1 } else { last.saturating_sub(7) };
    for time in first..=last {
        make(&server);
        if writes(&server, &injected("sendto", &format!("signal=KILL:when={time}"))) {
            continue;
        }
        tries += 1;
        let prepared =
            || server.psql("SELECT count(*) FROM pg_prepared_xacts").trim().parse::<usize>().unwrap();
        if prepared() == 0 {
            continue;
        }
        left += 1;
        for database in DATABASES {
            Client::connect(&at(&server.url(), database)).run("CREATE TABLE log (text text)");
        }
        let migrate = || builder(&server.url()).migrate::<two::Models>(&two::migrations()).unwrap();
        migrate().run(|_| {}).unwrap();
        migrate().contract().run(|_| {}).unwrap();
        assert_eq!(prepared(), 0, "killed at {time}");
        let counts = DATABASES.map(|database| {
            let client = Client::connect(&at(&server.url(), database));
            let count = |filter: &str| {
                let sql = format!("SELECT count(*) FROM users WHERE id >= 1000 AND {filter}");
                client.text(&sql).parse::<i64>().unwrap()
            };
            assert_eq!(count("nickname IS NULL"), 0, "killed at {time}");
            count("full_name = 'user ' || id")
        });
        let all: i64 = counts.iter().sum();
        assert!(all == 0 || all == 40 && counts.iter().all(|count| *count > 0), "{time}: {counts:?}");
        committed += usize::from(all > 0);
    }
    println!("{tries} kills, {left} left prepared participants, {committed} of them were decided");
    assert!(left > 0, "no kill left prepared participants");
}

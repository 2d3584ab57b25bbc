//! Migrations beside other processes: a migrator that waits for one that is killed, and one that finds a transaction of a killed
//! program.

use std::path::Path;

use shard_runtime::{Pace, migrate::StepPhase};
use sharded_tests::waiting::soon;

use crate::models::{SHARDS, builder, one, two};
use crate::{CLUSTER, Tries, dumps, injected, migrate_telling, process, servers};

/// A file that tells the test how far a process is.
const TELLS: &str = "SHARDED_MIGRATION_TELLS";

fn tell() {
    std::fs::write(std::env::var(TELLS).expect("started by a test"), "").unwrap();
}

fn builder_of(cluster: &str) -> shard_runtime::Builder {
    match cluster.starts_with("postgres:") {
        true => servers::builder(cluster, &SHARDS),
        false => builder(Path::new(cluster), &SHARDS),
    }
}

/// Migrates, and stays in the middle of a backfill.
#[test]
#[ignore = "started by other tests"]
fn stays_in_its_backfill() {
    let cluster = std::env::var(CLUSTER).expect("started by a test");
    migrate_telling(&|| builder_of(&cluster), |progress| {
        let is_there =
            progress.shard == "b" && progress.phase == StepPhase::Backfill && progress.sql.is_none();
        if is_there && progress.rows > 4 {
            tell();
            loop {
                std::thread::park();
            }
        }
    });
}

/// Migrates, after another migrator.
#[test]
#[ignore = "started by other tests"]
fn waits_for_another() {
    let cluster = std::env::var(CLUSTER).expect("started by a test");
    migrate_telling(&|| builder_of(&cluster), |progress| {
        if progress.name.contains("waits for another migrator") {
            tell();
        }
    });
}

/// Kills a migrator in its backfill while another one waits, which then comes to its end.
fn kill_the_first(cluster: &str, folder: &Path) {
    let start = |test: &str| {
        let told = folder.join(format!("{test}.told"));
        let mut process = process(&format!("processes::{test}"), cluster, &[], None);
        let process = process.env(TELLS, &told).spawn().unwrap();
        soon(test, || told.exists());
        process
    };
    let mut first = start("stays_in_its_backfill");
    let mut second = start("waits_for_another");
    assert!(first.try_wait().unwrap().is_none() && second.try_wait().unwrap().is_none());
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait().unwrap().success(), "the second migrator");
}

#[test]
fn r53_a_migrator_that_waits_continues_after_one_that_is_killed() {
    let mut tries = Tries::new();
    let folder = tries.next();
    let tells = tempfile::tempdir().unwrap();
    kill_the_first(folder.to_str().unwrap(), tells.path());
    assert_eq!(dumps(&folder, &SHARDS), tries.expected);
    tries.finish(&folder, "after the second migrator");
}

#[test]
fn r53_a_migrator_of_a_server_that_waits_continues_after_one_that_is_killed() {
    let mut tries = servers::Tries::new();
    let url = tries.next();
    let tells = tempfile::tempdir().unwrap();
    kill_the_first(&url, tells.path());
    assert_eq!(servers::dumps(&url, &SHARDS), tries.expected);
    tries.finish(&url, "after the second migrator");
}

/// Adds 40 users, which are on all files, in one transaction.
#[test]
#[ignore = "started by other tests"]
fn writes_on_all_files() {
    let cluster = builder_of(&std::env::var(CLUSTER).expect("started by a test"));
    let mut session = cluster.open::<one::Models>().unwrap().session();
    let user = |id| one::User { id, name: format!("user {id}"), fax: String::new() };
    session.add_all((1_000..1_040).map(user)).unwrap();
    session.commit().unwrap();
}

/// A decided transaction is applied by the migration, to the columns as they were when it was decided.
#[test]
fn r53_a_decided_transaction_is_applied_before_files_are_migrated() {
    let mut tries = Tries::new();
    let (mut kills, mut left) = (0, 0);
    for time in 1.. {
        let folder = tries.next();
        let behind = injected("fdatasync,fsync", &format!("signal=KILL:when={time}"));
        let cluster = folder.to_str().unwrap();
        if process("processes::writes_on_all_files", cluster, &behind, None).status().unwrap().success() {
            break;
        }
        kills += 1;
        let count = |shard: &str, sql: &str| -> i64 {
            let raw = rusqlite::Connection::open(folder.join(format!("{shard}.db"))).unwrap();
            raw.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        let of_users = "SELECT count(*) FROM users WHERE id >= 1000";
        // Records of parts that are decided; a part is missing if its file does not have the rows.
        let decided = count("control", "SELECT count(*) FROM sharded_redo");
        let stored = SHARDS.map(|shard| count(shard, of_users));
        left += usize::from(decided > 0 && stored.contains(&0));
        let migrate = || builder(&folder, &SHARDS).migrate::<two::Models>(&two::migrations()).unwrap();
        migrate().pace(Pace::rows(7)).run(|_| {}).unwrap();
        let error = builder(&folder, &SHARDS).open::<one::Models>().map(drop);
        assert!(error.is_ok(), "killed at {time}: {error:?}");
        migrate().contract().run(|_| {}).unwrap();
        assert_eq!(count("control", "SELECT count(*) FROM sharded_redo"), 0, "killed at {time}");
        let whole = "SELECT count(*) FROM users WHERE id >= 1000 AND full_name = 'user ' || id AND nickname = '+' AND level = 3";
        let migrated = SHARDS.map(|shard| count(shard, whole));
        let all: i64 = migrated.iter().sum();
        assert!(all == 40 || all == 0, "killed at {time}: {migrated:?}");
        assert!(all == 40 || decided == 0, "killed at {time}: {migrated:?}");
        assert_eq!(SHARDS.map(|shard| count(shard, of_users)), migrated, "killed at {time}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
    println!("{kills} kills, {left} left a decided transaction that some files did not have");
    assert!(left > 0, "no kill left a decided transaction");
}

//! Decided transactions whose owner is gone before every shard had its part, R35. The next process that opens the cluster,
//! writes to the shard, or calls `recover` finishes them. The owner is simulated here by a record in the control database. Real
//! owners are killed in `tests/torture`.

use shard_runtime::{Cluster, Durability, ErrorKind, Sharded, Sql};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::models::*;

on_some! {
    Files:
        r35_opening_finishes_decided_transactions,
        r35_a_writer_finishes_decided_transactions_before_it_reads,
        r35_tables_are_made_after_decided_transactions,
        r35_applied_statements_are_not_applied_again,
        r35_records_are_done_one_after_another,
        r35_a_shard_that_is_older_than_its_cluster_is_refused,
        r35_a_damaged_record_is_named_and_nothing_is_written,
        r35_recover_leaves_a_locked_shard_to_its_session,
        r35_a_shard_that_fails_after_the_decision_is_finished_later,
}

/// Only a cluster of several files has decisions.
fn made(backend: &Backend) -> Watched {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add_all([account(1, "a"), account(1, "b"), account(1, "c")]).unwrap();
    session.commit().unwrap();
    // Its record goes with the next decision, or now.
    assert!(cluster.recover().unwrap().transactions().is_empty());
    cluster
}

/// An account on a shard, with no cents.
fn account(id: i64, shard: &str) -> Account {
    let number = match shard {
        "a" => 5,
        "b" => 1_005,
        _ => 2_005,
    };
    Account { id, number, owner: "0".into() }
}

/// A record of a unit as its owner would have left it: on each shard one more for the first account's owner.
fn plant(backend: &Backend, unit: &str, parts: &[(&str, i64)]) {
    let control = rusqlite::Connection::open(backend.folder().join("control.db")).unwrap();
    for (shard, base) in parts {
        // One run, with one parameter: the integer 1.
        let runs: &[u8] = &[1, 3, 1, 0, 0, 0, 0, 0, 0, 0];
        let sql = "UPDATE accounts SET owner = owner + ?1 WHERE id = 1";
        let insert = "INSERT INTO sharded_redo VALUES (?1, ?2, ?3, 1, ?4, ?5)";
        control.execute(insert, (unit, shard, base, sql, runs)).unwrap();
    }
}

fn records(backend: &Backend) -> i64 {
    let control = rusqlite::Connection::open(backend.folder().join("control.db")).unwrap();
    control.query_row("SELECT count(*) FROM sharded_redo", [], |row| row.get(0)).unwrap()
}

fn owner(backend: &Backend, shard: &str) -> String {
    backend.peek(shard, "accounts", "SELECT owner FROM {table} WHERE id = 1")
}

fn version(backend: &Backend, shard: &str) -> i64 {
    backend.peek(shard, "sharded_shard", "SELECT version FROM {table}")
}

fn r35_opening_finishes_decided_transactions(backend: &Backend) {
    let cluster = made(backend);
    drop(cluster);
    assert_eq!(LETTERS.map(|shard| version(backend, shard)), [1, 1, 1]);
    plant(backend, "u", &[("a", 1), ("c", 1)]);
    let cluster = backend.open::<Account>(&LETTERS).unwrap();
    assert_eq!(LETTERS.map(|shard| owner(backend, shard)), ["1", "0", "1"]);
    assert_eq!(records(backend), 0);
    assert_eq!(cluster.recover().unwrap().transactions(), ["u"]);
    assert_eq!(cluster.recover().unwrap().transactions(), ["u"], "it is told again, and done once");
    assert_eq!(owner(backend, "a"), "1");
}

fn r35_tables_are_made_after_decided_transactions(backend: &Backend) {
    let cluster = made(backend);
    drop(cluster);
    plant(backend, "u", &[("a", 1), ("c", 1)]);
    let control = rusqlite::Connection::open(backend.folder().join("control.db")).unwrap();
    let sql = "INSERT INTO accounts (id, number, owner) SELECT 2, number, owner FROM accounts WHERE id = ?1";
    control.execute("UPDATE sharded_redo SET sql = ?1", [sql]).unwrap();
    let cluster = backend.builder(&LETTERS).create::<(Account, Company)>().unwrap();
    assert_eq!(cluster.session().one(Account::select().all_shards().count()).unwrap(), 5);
    assert_eq!(LETTERS.map(|shard| version(backend, shard)), [3, 1, 3], "once for the unit, once to be sure");
}

fn r35_a_writer_finishes_decided_transactions_before_it_reads(backend: &Backend) {
    let cluster = made(backend);
    // Another process dies while this one has the cluster open.
    plant(backend, "u", &[("a", 1), ("b", 1)]);
    let mut session = cluster.session();
    let read = |session: &mut shard_runtime::Session, shard: &str| {
        session.get(Account::by_id(1).on_shard(shard)).unwrap().unwrap().owner.clone()
    };
    assert_eq!(read(&mut session, "a"), "0", "who only reads sees it later");
    // A rollback undoes also the participants that the transaction has finished; the next session finishes them.
    let rename = || Sql::new("UPDATE {accounts} SET owner = owner || '!' WHERE id = 1").on_shard("a");
    session.execute(rename()).unwrap();
    assert_eq!(read(&mut session, "a"), "1!");
    session.rollback();
    assert_eq!((owner(backend, "a"), version(backend, "a")), ("0".to_owned(), 1));
    session.execute(rename()).unwrap();
    session.add(account(2, "b")).unwrap();
    session.commit().unwrap();
    assert_eq!(["a", "b"].map(|shard| owner(backend, shard)), ["1!", "1"]);
    assert_eq!(["a", "b"].map(|shard| version(backend, shard)), [3, 3], "one for each of the units");
    session.rollback();
    assert_eq!(cluster.recover().unwrap().transactions(), ["u"]);
    assert_eq!(records(backend), 0);
}

fn r35_applied_statements_are_not_applied_again(backend: &Backend) {
    let cluster = made(backend);
    // The owner died after the commits of `a` and `b`, and before that of `c`.
    plant(backend, "u", &[("a", 0), ("b", 0), ("c", 1)]);
    let mut session = cluster.session();
    for shard in LETTERS {
        session.add(account(2, shard)).unwrap();
        session.commit().unwrap();
    }
    assert_eq!(LETTERS.map(|shard| owner(backend, shard)), ["0", "0", "1"]);
    assert_eq!(cluster.recover().unwrap().transactions(), ["u"]);
    assert_eq!(LETTERS.map(|shard| owner(backend, shard)), ["0", "0", "1"]);
}

fn r35_records_are_done_one_after_another(backend: &Backend) {
    let cluster = made(backend);
    // The second unit's owner had finished the first one's part, and died before it was committed.
    plant(backend, "second", &[("a", 2), ("b", 1)]);
    plant(backend, "first", &[("a", 1)]);
    assert_eq!(cluster.recover().unwrap().transactions().len(), 2);
    assert_eq!(LETTERS.map(|shard| owner(backend, shard)), ["2", "1", "0"]);
    assert_eq!(records(backend), 0);
}

fn r35_a_shard_that_is_older_than_its_cluster_is_refused(backend: &Backend) {
    let cluster = made(backend);
    plant(backend, "u", &[("b", 3)]);
    let texts = ["shard `b`", "version 1", "begins at 3", "older"];
    let mut session = cluster.session();
    session.add(account(2, "b")).unwrap();
    assert_error(session.commit(), ErrorKind::WrongDatabase, &texts);
    session.rollback();
    assert_error(cluster.recover(), ErrorKind::WrongDatabase, &texts);
    drop((session, cluster));
    assert_error(backend.open::<Account>(&LETTERS).map(drop), ErrorKind::WrongDatabase, &texts);
    assert_eq!((version(backend, "b"), records(backend)), (1, 1));
}

fn r35_a_damaged_record_is_named_and_nothing_is_written(backend: &Backend) {
    let cluster = made(backend);
    plant(backend, "u", &[("b", 1)]);
    let control = rusqlite::Connection::open(backend.folder().join("control.db")).unwrap();
    control.execute("UPDATE sharded_redo SET runs = x'0103'", []).unwrap();
    assert_error(cluster.recover(), ErrorKind::Corrupt, &["shard `b`", "record"]);
    let mut session = cluster.session();
    session.add(account(2, "b")).unwrap();
    assert_error(session.commit(), ErrorKind::Corrupt, &["shard `b`", "record"]);
    session.rollback();
    session.add(account(2, "a")).unwrap();
    session.commit().unwrap();
    assert_eq!((version(backend, "b"), owner(backend, "b")), (1, "0".to_owned()));
}

fn r35_recover_leaves_a_locked_shard_to_its_session(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = made(backend);
    let mut holder = cluster.session();
    holder.add(account(2, "b")).unwrap();
    holder.flush().unwrap();
    plant(backend, "u", &[("a", 1), ("b", 0)]);
    assert!(cluster.recover().unwrap().transactions().is_empty());
    assert_eq!((owner(backend, "a"), records(backend)), ("1".to_owned(), 2));
    holder.commit().unwrap();
    assert_eq!(cluster.recover().unwrap().transactions(), ["u"]);
}

const FOLDER: &str = "SHARDED_SUITE_RECOVERING";

fn r35_a_shard_that_fails_after_the_decision_is_finished_later(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    session.add_all((10..2_010).map(|id| account(id, "b"))).unwrap();
    session.commit().unwrap();
    drop((session, cluster));
    // This test binary again, as a process that may not make any file longer than 400 KiB. The changes on `b` are longer, and
    // the record is not.
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 800; exec \"$0\" --exact --ignored recovering::in_a_process_that_may_write_little"])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, backend.folder())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    let cluster = backend.open::<Account>(&LETTERS).unwrap();
    let renamed = Account::select().filter(Account::OWNER.starts_with("xx")).all_shards().count();
    assert_eq!(cluster.session().one(renamed).unwrap(), 2_001);
    assert_eq!(LETTERS.map(|shard| owner(backend, shard))[0], "changed");
    assert_eq!(records(backend), 0);
}

#[test]
#[ignore = "runs in a process of its own"]
fn in_a_process_that_may_write_little() {
    let folder = std::env::var(FOLDER).unwrap();
    let builder = Cluster::builder().durability(Durability::Normal);
    let builder = LETTERS
        .iter()
        .fold(builder, |builder, shard| builder.shard(*shard, format!("sqlite:{folder}/{shard}.db")));
    let cluster = builder.open::<Account>().unwrap();
    let mut session = cluster.session();
    session.execute(Account::update().set(Account::OWNER, "changed").on_shard("a")).unwrap();
    session.execute(Account::update().set(Account::OWNER, "x".repeat(1_000)).on_shard("b")).unwrap();
    let committed = session.commit().unwrap();
    let [pending] = committed.pending() else { panic!("{committed:?}") };
    assert_eq!(pending.shard(), Some("b"));
    assert!(matches!(pending.kind(), ErrorKind::Io | ErrorKind::Full), "{pending}");
    // It is decided; the session continues, and sees the stored rows.
    let changed =
        |owner: &str| Account::select().filter(Account::OWNER.starts_with(owner)).all_shards().count();
    assert_eq!(session.one(changed("changed")).unwrap(), 1);
    assert_eq!(session.one(changed("xx")).unwrap(), 0);
}

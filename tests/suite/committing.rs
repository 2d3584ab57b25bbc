//! Commits: that of one shard is its database's own, R34; one over several shards is all or nothing, R35, or best effort on
//! request. Kills are in `recovering` and `tests/torture`.

use shard_runtime::{Commit, ErrorKind, Session, Sharded, Sql, sqlite};

use crate::backend::{Backend, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_mixture! {
    r34_a_commit_of_one_shard_is_the_databases_own,
    r35_a_commit_over_several_shards_leaves_no_record;
    only lasting:
        a_commit_that_fails_everywhere_leaves_nothing,
        after_a_failed_commit_the_session_waits_for_a_rollback;
    only Files:
        r35_a_commit_that_fails_on_one_shard_leaves_nothing_on_any,
        r35_a_constraint_is_found_that_was_deferred_after_a_commit,
        r35_statements_that_cannot_be_repeated_are_committed_alone,
        r35_an_error_of_the_best_effort_names_the_shards,
}

/// A company whose shard is this one.
fn company_on(cluster: &Watched, shard: &str) -> i64 {
    company_after(cluster, shard, 0)
}

/// The first company from this id on whose shard is this one.
fn company_after(cluster: &Watched, shard: &str, first: i64) -> i64 {
    let company = |id| Company { id, name: String::new() };
    let home = cluster.shards().require(shard).unwrap().index();
    (first..).find(|id| company(*id).shard_chooser(cluster.shards()).unwrap() == home).unwrap()
}

/// A cluster whose shard `shard` looks at a campaign's company only when it commits.
fn late_checks(backend: &Backend, shard: &str) -> Watched {
    let cluster = backend.create::<Advertising>(&LETTERS);
    defer(backend, shard);
    cluster
}

fn defer(backend: &Backend, shard: &str) {
    if backend.is_lasting() && backend.is_postgres(shard) {
        let late =
            "ALTER TABLE {table} ALTER CONSTRAINT campaigns_company_id_fkey DEFERRABLE INITIALLY DEFERRED";
        backend.plant(&[shard], "campaigns", late);
        return;
    }
    let sql = format!(
        "DROP TABLE {{table}}; CREATE TABLE {{table}} (id INTEGER PRIMARY KEY, company_id INTEGER NOT NULL \
         REFERENCES {} (id) DEFERRABLE INITIALLY DEFERRED, title TEXT NOT NULL) STRICT",
        backend.table(shard, "companies")
    );
    backend.plant(&[shard], "campaigns", &sql);
}

/// Adds a company to each of these shards, and to the last of them a campaign without a company, which is noticed at
/// the commit.
fn doomed(cluster: &Watched, session: &mut Session, shards: &[&str], fails: &str) {
    for shard in shards {
        let id = company_on(cluster, shard);
        session.add(Company { id, name: (*shard).into() }).unwrap();
    }
    let no_row = company_on(cluster, fails) + 1_000_000;
    let no_row = (no_row..)
        .find(|id| {
            let company = Company { id: *id, name: String::new() };
            company.shard_chooser(cluster.shards()).unwrap()
                == cluster.shards().require(fails).unwrap().index()
        })
        .unwrap();
    session.add(NewCampaign { company_id: no_row, title: "of nobody".into() }).unwrap();
}

fn count(cluster: &Watched, shard: &str) -> u64 {
    cluster.session().one(Company::select().on_shard(shard).count()).unwrap()
}

fn r34_a_commit_of_one_shard_is_the_databases_own(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    let id = company_on(&cluster, "b");
    session.add(Company { id, name: "x".into() }).unwrap();
    let (_, counts) = cluster.counted(|| session.commit().unwrap());
    assert_eq!(counts, [("b".to_owned(), 1)]);
    if backend.is_on_disk() {
        // No journal, no mark, nothing but the row.
        assert_eq!(records(backend), 0);
        assert_eq!(backend.peek::<i64>("b", "sharded_shard", "SELECT version FROM {table}"), 0);
        for shard in LETTERS {
            let tables = "SELECT group_concat(name ORDER BY name) FROM sqlite_schema WHERE type = 'table' \
                          AND name NOT LIKE 'sqlite%' AND name LIKE '%sharded%'";
            let own: String = backend.peek(shard, "companies", tables);
            assert_eq!(own.matches("sharded_shard").count(), if backend.is_separate() { 1 } else { 3 });
            let known = ["sharded_shard", "sharded_layout", "sharded_state"];
            assert!(own.split(',').all(|table| known.iter().any(|known| table.ends_with(known))), "{own}");
        }
    }
}

fn a_commit_that_fails_everywhere_leaves_nothing(backend: &Backend) {
    let cluster = late_checks(backend, "b");
    let mut session = cluster.session();
    doomed(&cluster, &mut session, &["b"], "b");
    session.flush().unwrap();
    assert_error(
        session.commit(),
        ErrorKind::ForeignKey,
        &["shard `b`", "campaigns", "company_id", "companies"],
    );
    drop(session);
    assert_eq!(count(&cluster, "b"), 0);
}

/// The connections have searched the schema before, also one that was undone, whose version the next one has again.
fn r35_a_constraint_is_found_that_was_deferred_after_a_commit(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    for shard in ["a", "b"] {
        session.add(Company { id: company_on(&cluster, shard), name: "before".into() }).unwrap();
    }
    session.commit().unwrap();
    let undone = "CREATE TABLE undone (id INTEGER)";
    sqlite::with_connection(&mut session, "b", |connection| connection.execute_batch(undone)).unwrap();
    session.rollback();
    defer(backend, "b");
    for shard in ["a", "c"] {
        let id = company_after(&cluster, shard, company_on(&cluster, shard) + 1);
        session.add(Company { id, name: "doomed".into() }).unwrap();
    }
    doomed(&cluster, &mut session, &[], "b");
    assert_error(session.commit(), ErrorKind::ForeignKey, &["shard `b`", "campaigns", "company_id"]);
    drop(session);
    assert_eq!(["a", "b", "c"].map(|shard| count(&cluster, shard)), [1, 1, 0]);
}

fn r35_a_commit_that_fails_on_one_shard_leaves_nothing_on_any(backend: &Backend) {
    let cluster = late_checks(backend, "b");
    let mut session = cluster.session();
    doomed(&cluster, &mut session, &LETTERS, "b");
    let names = ["shard `b`", "table `campaigns`", "company_id", "companies"];
    assert_error(session.commit(), ErrorKind::ForeignKey, &names);
    assert_error(session.commit(), ErrorKind::TransactionAborted, &["call `rollback` first"]);
    session.rollback();
    assert_eq!(LETTERS.map(|shard| count(&cluster, shard)), [0, 0, 0]);
    assert_eq!(records(backend), 0);
    session
        .add_all(LETTERS.map(|shard| Company { id: company_on(&cluster, shard), name: "x".into() }))
        .unwrap();
    assert!(session.commit().unwrap().pending().is_empty());
    assert_eq!(LETTERS.map(|shard| count(&cluster, shard)), [1, 1, 1]);
}

/// The decision records that there are.
fn records(backend: &Backend) -> i64 {
    let control = rusqlite::Connection::open(backend.folder().join("control.db")).unwrap();
    control.query_row("SELECT count(*) FROM sharded_redo", [], |row| row.get(0)).unwrap()
}

fn r35_a_commit_over_several_shards_leaves_no_record(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    for round in 0..5 {
        for shard in LETTERS {
            session
                .add(Company { id: company_after(&cluster, shard, round * 1_000), name: "x".into() })
                .unwrap();
        }
        assert!(session.commit().unwrap().pending().is_empty());
    }
    assert_eq!(LETTERS.map(|shard| count(&cluster, shard)), [5, 5, 5]);
    drop(session);
    if backend.is_on_disk() {
        // The last one's record goes with the next decision, or with the cluster.
        let decided = backend.is_separate();
        assert_eq!(records(backend) > 0, decided);
        drop(cluster);
        assert_eq!(records(backend), 0);
        let versions =
            LETTERS.map(|shard| backend.peek::<i64>(shard, "sharded_shard", "SELECT version FROM {table}"));
        assert_eq!(versions, if decided { [5, 5, 5] } else { [0, 0, 0] });
    }
}

fn r35_statements_that_cannot_be_repeated_are_committed_alone(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    let ids = LETTERS.map(|shard| company_on(&cluster, shard));
    session.add_all(ids.map(|id| Company { id, name: "x".into() })).unwrap();
    session.commit().unwrap();

    let chance = || Sql::new("UPDATE {companies} SET name = hex(randomblob(4))").on_shard("a");
    let rename = || Company::update().set(Company::NAME, "renamed").on_shard("b");
    let lent = |session: &mut Session, sql: &'static str| {
        sqlite::with_connection(session, "c", |raw| raw.execute_batch(sql)).unwrap();
    };
    // Alone each is committed.
    assert_eq!(session.execute(chance()).unwrap(), 1);
    session.commit().unwrap();
    lent(&mut session, "UPDATE companies SET name = 'lent'");
    session.commit().unwrap();
    // With another shard neither is; and the session can be used on.
    session.execute(chance()).unwrap();
    session.execute(rename()).unwrap();
    assert_error(session.commit(), ErrorKind::Query, &["shard `a`", "`randomblob`", "Commit::BestEffort"]);
    session.rollback();
    for sql in ["UPDATE companies SET name = 'again'", "CREATE TABLE other (id)"] {
        session.execute(rename()).unwrap();
        lent(&mut session, sql);
        assert_error(session.commit(), ErrorKind::Query, &["shard `c`", "with_connection"]);
        assert_error(session.commit(), ErrorKind::Query, &["shard `c`", "with_connection"]);
        session.rollback();
    }
    assert_eq!(
        session.one(Company::select().filter(Company::NAME.eq("renamed")).all_shards().count()).unwrap(),
        0
    );
    // A connection that was lent to read is no hindrance, and nothing is with best effort.
    session.execute(rename()).unwrap();
    lent(&mut session, "SELECT * FROM companies");
    session.commit().unwrap();
    session.set_commit(Commit::BestEffort);
    session.execute(chance()).unwrap();
    session.execute(rename()).unwrap();
    session.commit().unwrap();
}

fn r35_an_error_of_the_best_effort_names_the_shards(backend: &Backend) {
    let cluster = late_checks(backend, "b");
    let mut session = cluster.session();
    session.set_commit(Commit::BestEffort);
    doomed(&cluster, &mut session, &LETTERS, "b");
    let error = session.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PartialCommit, "{error}");
    let message = error.to_string();
    for text in ["committed on a", "failed on b", "not tried on c"] {
        assert!(message.contains(text), "`{text}` is missing in: {message}");
    }
    drop(session);
    assert_eq!(["a", "b", "c"].map(|shard| count(&cluster, shard)), [1, 0, 0]);
    assert_eq!(records(backend), 0);
}

fn after_a_failed_commit_the_session_waits_for_a_rollback(backend: &Backend) {
    let cluster = late_checks(backend, "b");
    let mut session = cluster.session();
    doomed(&cluster, &mut session, &["b"], "b");
    assert_error(session.commit(), ErrorKind::ForeignKey, &["shard `b`"]);
    let id = company_on(&cluster, "b");
    let ((), asked) = cluster.asked(|| {
        let texts = [
            "call `rollback` first",
            if backend.is_postgres("b") { "foreign key" } else { "refers to a row" },
        ];
        assert_error(session.commit(), ErrorKind::TransactionAborted, &texts);
        let company = Company { id, name: String::new() };
        assert_error(session.add(company), ErrorKind::TransactionAborted, &texts);
        assert_error(session.get::<Company>(id), ErrorKind::TransactionAborted, &texts);
        assert_error(session.all(Company::select().all_shards()), ErrorKind::TransactionAborted, &texts);
        assert_error(session.execute(Company::delete().all_shards()), ErrorKind::TransactionAborted, &texts);
        assert_error(session.flush(), ErrorKind::TransactionAborted, &texts);
    });
    assert!(asked.is_empty());
    session.rollback();
    session.add(Company { id, name: String::new() }).unwrap();
    session.commit().unwrap();
    assert_eq!(count(&cluster, "b"), 1);
}

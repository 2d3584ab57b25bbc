//! Commits: one shard's is its database's own, R34; over several shards they go one after another, in the
//! cluster's order, and an error says how far they came.

use shard_runtime::{ErrorKind, Session, Sharded};

use crate::backend::{Backend, Kind, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_backend! {
    r34_a_commit_of_one_shard_is_the_databases_own,
    a_commit_that_fails_everywhere_leaves_nothing,
    a_commit_that_fails_in_between_says_how_far_it_came,
    after_a_failed_commit_the_session_waits_for_a_rollback,
}

/// A company whose shard is this one.
fn company_on(cluster: &Watched, shard: &str) -> i64 {
    let company = |id| Company { id, name: String::new() };
    let home = cluster.shard(shard).unwrap().index();
    (0..).find(|id| company(*id).shard_chooser(cluster.shards()).unwrap() == home).unwrap()
}

/// A cluster whose shard `shard` looks at a campaign's company only when it commits.
fn late_checks(backend: &Backend, shard: &str) -> Watched {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let sql = format!(
        "DROP TABLE {{table}}; CREATE TABLE {{table}} (id INTEGER PRIMARY KEY, company_id INTEGER NOT NULL \
         REFERENCES {} (id) DEFERRABLE INITIALLY DEFERRED, title TEXT NOT NULL) STRICT",
        backend.table(shard, "companies")
    );
    backend.plant(&[shard], "campaigns", &sql);
    cluster
}

/// Adds a company to each of these shards, and to the last of them a campaign of nobody, which is noticed at
/// the commit.
fn doomed(cluster: &Watched, session: &mut Session, shards: &[&str], fails: &str) {
    for shard in shards {
        let id = company_on(cluster, shard);
        session.add(Company { id, name: (*shard).into() }).unwrap();
    }
    let nobody = company_on(cluster, fails) + 1_000_000;
    let nobody = (nobody..)
        .find(|id| {
            let company = Company { id: *id, name: String::new() };
            company.shard_chooser(cluster.shards()).unwrap() == cluster.shard(fails).unwrap().index()
        })
        .unwrap();
    session.add(NewCampaign { company_id: nobody, title: "of nobody".into() }).unwrap();
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
        for shard in LETTERS {
            let tables = "SELECT group_concat(name ORDER BY name) FROM sqlite_schema WHERE type = 'table' \
                          AND name NOT LIKE 'sqlite%' AND name LIKE '%sharded%'";
            let own: String = backend.peek(shard, "companies", tables);
            assert_eq!(own.matches("sharded_shard").count(), if backend.is_separate() { 1 } else { 3 });
            let known = ["sharded_shard", "sharded_layout"];
            assert!(own.split(',').all(|table| known.iter().any(|known| table.ends_with(known))), "{own}");
        }
    }
}

fn a_commit_that_fails_everywhere_leaves_nothing(backend: &Backend) {
    if !backend.is_on_disk() {
        return;
    }
    let cluster = late_checks(backend, "b");
    let mut session = cluster.session();
    doomed(&cluster, &mut session, &["b"], "b");
    session.flush().unwrap();
    assert_error(session.commit(), ErrorKind::ForeignKey, &["shard `b`"]);
    drop(session);
    assert_eq!(count(&cluster, "b"), 0);
}

fn a_commit_that_fails_in_between_says_how_far_it_came(backend: &Backend) {
    if backend.kind != Kind::Files {
        return; // in one database it is all or nothing already
    }
    let cluster = late_checks(backend, "b");
    let mut session = cluster.session();
    doomed(&cluster, &mut session, &LETTERS, "b");
    let error = session.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PartialCommit, "{error}");
    let message = error.to_string();
    for text in ["committed on a", "failed on b", "not tried on c"] {
        assert!(message.contains(text), "`{text}` is missing in: {message}");
    }
    drop(session);
    assert_eq!(["a", "b", "c"].map(|shard| count(&cluster, shard)), [1, 0, 0]);
}

fn after_a_failed_commit_the_session_waits_for_a_rollback(backend: &Backend) {
    if !backend.is_on_disk() {
        return;
    }
    let cluster = late_checks(backend, "b");
    let mut session = cluster.session();
    doomed(&cluster, &mut session, &["b"], "b");
    assert_error(session.commit(), ErrorKind::ForeignKey, &["shard `b`"]);
    let id = company_on(&cluster, "b");
    let ((), asked) = cluster.asked(|| {
        let texts = ["rolled back", "FOREIGN KEY"];
        assert_error(session.commit(), ErrorKind::Aborted, &texts);
        let company = Company { id, name: String::new() };
        assert_error(session.add(company), ErrorKind::Aborted, &texts);
        assert_error(session.get::<Company>(id), ErrorKind::Aborted, &texts);
        assert_error(session.all(Company::select().all_shards()), ErrorKind::Aborted, &texts);
        assert_error(session.execute(Company::delete().all_shards()), ErrorKind::Aborted, &texts);
        assert_error(session.flush(), ErrorKind::Aborted, &texts);
    });
    assert!(asked.is_empty());
    session.rollback();
    session.add(Company { id, name: String::new() }).unwrap();
    session.commit().unwrap();
    assert_eq!(count(&cluster, "b"), 1);
}

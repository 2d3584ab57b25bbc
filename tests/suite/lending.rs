//! The driver's own connection, lent inside a session's transaction.

use shard_runtime::sqlite::rusqlite;
use shard_runtime::{Error, ErrorKind, Sharded, sqlite};

use crate::backend::{Backend, CONTINENTS, Watched, assert_error};
use crate::models::*;

on_every_sqlite! {
    writes_of_a_lent_connection_belong_to_the_session,
    r23_a_lent_connection_sees_pending_changes_and_clears_the_identity_map,
    r32_a_closure_that_fails_has_no_effect,
    a_closure_that_leaves_the_transaction_ends_the_unit,
    errors_are_the_closures_own,
    the_loan_is_counted,
}

/// One city in Asia and one in Europe.
fn made(backend: &Backend) -> Watched {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    session.add_all([city(Continent::Asia, "Tokyo"), city(Continent::Europe, "Bern")]).unwrap();
    session.commit().unwrap();
    cluster
}

fn names(cluster: &Watched) -> Vec<String> {
    let rows = cluster.session().all(City::select().all_shards().order_by(City::NAME.asc())).unwrap();
    rows.into_iter().map(|city| city.name.clone()).collect()
}

fn writes_of_a_lent_connection_belong_to_the_session(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    let rename = format!("UPDATE {} SET name = ?1 WHERE name = 'Tokyo'", backend.table("asia", "cities"));
    for (commit, after) in [(false, ["Bern", "Tokyo"]), (true, ["Bern", "Edo"])] {
        let changed =
            sqlite::with_connection(&mut session, "asia", |raw| raw.execute(&rename, ["Edo"])).unwrap();
        assert_eq!(changed, 1);
        match commit {
            true => drop(session.commit().unwrap()),
            false => session.rollback(),
        }
        assert_eq!(names(&cluster), after);
    }
}

fn r23_a_lent_connection_sees_pending_changes_and_clears_the_identity_map(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    let delhi = session.add(city(Continent::Asia, "Delhi")).unwrap();
    session.add(city(Continent::Europe, "waits on")).unwrap();
    assert_eq!(session.get::<City>(delhi.id).unwrap().unwrap().population, None);
    let (count, asked) = cluster.asked(|| {
        let table = backend.table("asia", "cities");
        sqlite::with_connection(&mut session, "asia", |raw| {
            raw.execute(&format!("UPDATE {table} SET population = 7"), [])?;
            raw.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
        })
    });
    assert_eq!((count.unwrap(), asked), (2, vec!["asia".to_owned()]));
    assert_eq!(session.get::<City>(delhi.id).unwrap().unwrap().population, Some(7));
}

fn r32_a_closure_that_fails_has_no_effect(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    session.add(city(Continent::Asia, "Delhi")).unwrap();
    let table = backend.table("asia", "cities");
    let failed = sqlite::with_connection(&mut session, "asia", |raw| {
        raw.execute_batch(&format!("SAVEPOINT mine; DELETE FROM {table}"))?;
        raw.execute(&format!("INSERT INTO {table} VALUES (1, 'Asia', NULL, NULL)"), [])
    });
    assert_error(failed, ErrorKind::NotNull, &["shard `asia`"]);
    // The session remains usable, with its earlier writes.
    session.commit().unwrap();
    assert_eq!(names(&cluster), ["Bern", "Delhi", "Tokyo"]);
}

fn a_closure_that_leaves_the_transaction_ends_the_unit(backend: &Backend) {
    for leaving in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN", "ROLLBACK; BEGIN IMMEDIATE", "ROLLBACK; nonsense"]
    {
        let backend = &Backend::new(backend.kind);
        let cluster = made(backend);
        let mut session = cluster.session();
        session.add_all([city(Continent::Asia, "lost?"), city(Continent::Europe, "lost")]).unwrap();
        session.flush().unwrap();
        let before = session.first(City::select().on_shard("europe")).unwrap().unwrap();
        let left = sqlite::with_connection(&mut session, "asia", |raw| raw.execute_batch(leaving));
        let kind =
            if leaving.ends_with("nonsense") { ErrorKind::Database } else { ErrorKind::TransactionAborted };
        assert_error(left, kind, &["shard `asia`"]);
        let all = || City::select().all_shards();
        assert_error(session.all(all()), ErrorKind::TransactionAborted, &["call `rollback` first"]);
        assert_error(session.commit(), ErrorKind::TransactionAborted, &[]);
        assert_error(session.delete(&before), ErrorKind::TransactionAborted, &[]);
        let lent = sqlite::with_connection(&mut session, "asia", |_| Ok(()));
        assert_error(lent, ErrorKind::TransactionAborted, &[]);
        session.rollback();
        // Writes that were committed by hand stay; shards that share a database share its transaction.
        let stays = leaving.starts_with("COMMIT");
        let shared = backend.url("asia").contains("prefix");
        let expected: &[&str] = match (stays, shared) {
            (true, true) => &["Bern", "Tokyo", "lost", "lost?"],
            (true, false) => &["Bern", "Tokyo", "lost?"],
            (false, _) => &["Bern", "Tokyo"],
        };
        assert_eq!(names(&cluster), expected, "{leaving}");
        session.add(city(Continent::Asia, "again")).unwrap();
        session.commit().unwrap();
        assert!(names(&cluster).contains(&"again".to_owned()));
    }
}

fn errors_are_the_closures_own(backend: &Backend) {
    // The program's name for an error is not looked up in a database in memory: this session has locked it.
    backend.waits(600_000);
    let cluster = made(backend);
    let mut session = cluster.session();
    let ((), asked) = cluster.asked(|| {
        let lent = sqlite::with_connection(&mut session, "atlantis", |_| Ok(()));
        assert_error(lent, ErrorKind::UnknownShard, &["`atlantis`", "south_america"]);
    });
    assert!(asked.is_empty());
    let table = backend.table("asia", "cities");
    type Closure<'c> = &'c dyn Fn(&rusqlite::Connection) -> rusqlite::Result<i64>;
    let query = |sql: String| move |raw: &rusqlite::Connection| raw.query_row(&sql, [], |row| row.get(0));
    let cases: [(Closure<'_>, ErrorKind); 6] = [
        (&query(format!("SELECT id FROM {table} WHERE name = 'nowhere'")), ErrorKind::NotFound),
        (&query(format!("SELECT name FROM {table}")), ErrorKind::Value),
        (&query("SELECT 1; SELECT 2".to_owned()), ErrorKind::Query),
        (&query("SELECT * FROM nowhere".to_owned()), ErrorKind::Schema),
        (&query("BEGIN".to_owned()), ErrorKind::Database),
        (&|raw| raw.query_row("SELECT ?1", [1, 2], |row| row.get(0)), ErrorKind::Query),
    ];
    for (closure, kind) in cases {
        assert_error(sqlite::with_connection(&mut session, "asia", closure), kind, &["shard `asia`"]);
    }
    let converted = sqlite::try_with_connection(&mut session, "asia", |_| {
        Err::<(), Error>(Error::from(rusqlite::Error::InvalidQuery))
    });
    assert_error(converted, ErrorKind::Query, &[]);
    session.commit().unwrap();
}

fn the_loan_is_counted(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    let (lent, counts) = cluster.counted(|| {
        sqlite::with_connection(&mut session, "asia", |raw| raw.execute_batch("SELECT 1; SELECT 2"))
    });
    lent.unwrap();
    assert_eq!(counts, [("asia".to_owned(), 1)]);
}

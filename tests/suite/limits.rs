//! Reads that end early: after a timeout, and with a partial answer: R29.

use std::fs;
use std::ops::ControlFlow;
use std::time::Duration;

use shard_runtime::{ErrorKind, Sharded, Sql, count};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
    r29_a_read_that_takes_too_long_is_stopped,
    r29_a_timeout_does_not_end_quick_reads,
    r29_a_partial_answer_locks_no_rows,
    r28_a_shard_that_is_not_needed_is_not_read;
    only Files:
        r29_shards_that_answer_are_read_and_others_are_named,
        r29_a_partial_count_is_of_the_shards_that_answered,
        r29_a_wrong_statement_is_never_partial,
        r29_results_are_partial_only_on_request,
        r29_look_ups_and_children_are_bounded_too,
        r29_look_ups_are_made_at_once_where_they_were_slow_again_and_again,
        r28_a_shard_that_is_not_needed_may_fail,
}

fn made(backend: &Backend) -> Watched {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    let account = |id: i64| Account { id, number: (id % 3_000) as i32, owner: format!("{}", id % 7) };
    session.add_all((0..9_000).map(account)).unwrap();
    session.commit().unwrap();
    cluster
}

const ENDLESS: &str =
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) AS x FROM n";

fn r29_a_read_that_takes_too_long_is_stopped(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    session.set_timeout(Some(Duration::from_millis(30)));
    let texts = ["shard `b`", "timeout"];
    assert_error(session.all(Sql::new(ENDLESS).on_shard("b")), ErrorKind::TimedOut, &texts);
    // Queries of models as well: this one has no time at all.
    session.set_timeout(Some(Duration::ZERO));
    let by_owner = || Account::select().order_by(Account::OWNER.asc());
    assert_error(
        session.all(by_owner().on_shard("a")),
        ErrorKind::TimedOut,
        &["shard `a`", "table `accounts`"],
    );
    assert_error(session.all(by_owner().all_shards()), ErrorKind::TimedOut, &["shard `"]);
    let groups = Account::select().all_shards().group_by(Account::OWNER).aggregate(count());
    assert_error(session.all(groups), ErrorKind::TimedOut, &["shard `"]);
    // Writing is not bounded, and neither is the next session on the same connections.
    session.execute(Account::update().set(Account::OWNER, "x").all_shards()).unwrap();
    session.commit().unwrap();
    session.set_timeout(None);
    assert_eq!(session.all(by_owner().all_shards()).unwrap().len(), 9_000);
    assert_eq!(cluster.session().all(by_owner().all_shards()).unwrap().len(), 9_000);
}

fn r29_a_timeout_does_not_end_quick_reads(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    for timeout in [Duration::from_secs(600), Duration::MAX] {
        session.set_timeout(Some(timeout));
        assert_eq!(session.one(Account::select().all_shards().count()).unwrap(), 9_000);
        session.rollback();
    }
}

/// A cluster whose shard `b` is not there any more.
fn without_b(backend: &Backend) -> Watched {
    drop(made(backend));
    backend.does_not_wait_long();
    let cluster = backend.open::<Account>(&LETTERS).unwrap();
    fs::rename(backend.path("b"), backend.folder().join("away")).unwrap();
    cluster
}

fn r29_shards_that_answer_are_read_and_others_are_named(backend: &Backend) {
    let cluster = without_b(backend);
    let mut session = cluster.session();
    let by_number = || Account::select().all_shards().order_by(Account::NUMBER.asc());
    let partial = session.all_available(by_number().limit(4_000)).unwrap();
    assert_eq!(partial.rows.len(), 4_000);
    assert!(partial.rows.iter().all(|row| row.shard().name() != "b"));
    assert!(partial.rows.is_sorted_by_key(|row| row.number));
    let [missing] = partial.missing.as_slice() else { panic!("{:?}", partial.missing) };
    assert_eq!((missing.kind(), missing.shard()), (ErrorKind::Missing, Some("b")));
    let partial =
        session.all_available(Sql::new("SELECT count(*) AS n FROM {accounts}").all_shards()).unwrap();
    assert_eq!((partial.rows.len(), partial.missing.len()), (2, 1));
    // A locked shard is another that may be missing, and one that is too slow.
    drop((session, cluster));
    fs::rename(backend.folder().join("away"), backend.path("b")).unwrap();
    let cluster = backend.open::<Account>(&LETTERS).unwrap();
    let lock = backend.raw("c");
    lock.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let mut session = cluster.session();
    let partial = session.all_available(by_number()).unwrap();
    assert_eq!((partial.rows.len(), partial.missing[0].kind()), (6_000, ErrorKind::Busy));
    drop(lock);
    session.set_timeout(Some(Duration::ZERO));
    let partial = session.all_available(by_number()).unwrap();
    assert!(partial.missing.iter().all(|error| error.kind() == ErrorKind::TimedOut));
    assert_eq!(partial.missing.len(), 3);
    session.set_timeout(None);
    let whole = session.all_available(by_number()).unwrap();
    assert!(whole.rows.len() == 9_000 && whole.missing.is_empty());
}

fn r29_a_partial_count_is_of_the_shards_that_answered(backend: &Backend) {
    let cluster = without_b(backend);
    let mut session = cluster.session();
    let partial = session.all_available(Account::select().all_shards().count()).unwrap();
    assert_eq!((partial.rows, partial.missing.len()), (vec![6_000], 1));
    let owners = Account::select().all_shards().group_by(Account::OWNER).aggregate(count());
    let partial = session.all_available(owners).unwrap();
    assert_eq!(partial.rows.iter().map(|(_, rows)| rows).sum::<u64>(), 6_000);
    assert_eq!(partial.missing[0].shard(), Some("b"));
}

fn r29_a_wrong_statement_is_never_partial(backend: &Backend) {
    let cluster = made(backend);
    backend.raw("b").execute_batch("ALTER TABLE accounts RENAME COLUMN owner TO holder").unwrap();
    let mut session = cluster.session();
    let result = session.all_available(Account::select().all_shards());
    assert_error(result, ErrorKind::Schema, &["shard `b`", "column `owner`"]);
    let result = session.all_available(Sql::new("SELECT no_such FROM {accounts}").all_shards());
    assert_error(result, ErrorKind::Schema, &["no_such"]);
    // And the next read is a whole one again.
    assert_error(session.all(Account::select().all_shards()), ErrorKind::Schema, &["shard `b`"]);
}

/// Before any statement: a shard that does not answer could not be locked.
fn r29_a_partial_answer_locks_no_rows(backend: &Backend) {
    let cluster = made(backend);
    let mut session = cluster.session();
    session.set_timeout(Some(Duration::from_secs(60)));
    let rows = || Account::select().all_shards().for_update();
    let ((), asked) = cluster.asked(|| {
        let refused = |error| {
            assert_error(Err::<(), _>(error), ErrorKind::Query, &["accounts", "`for_update`", "`all`"])
        };
        refused(session.all_available(rows()).unwrap_err());
        refused(session.all_available(rows().order_by(Account::ID.asc()).limit(3)).unwrap_err());
        refused(session.all_available(rows().count()).unwrap_err());
        refused(session.all_available(rows().aggregate(Account::NUMBER.max())).unwrap_err());
        refused(session.all_available(rows().group_by(Account::OWNER).aggregate(count())).unwrap_err());
    });
    assert_eq!(asked, [""; 0]);
    assert_eq!(session.all(rows()).unwrap().len(), 9_000);
}

fn r29_results_are_partial_only_on_request(backend: &Backend) {
    let cluster = without_b(backend);
    let mut session = cluster.session();
    let _ = session.all_available(Account::select().all_shards()).unwrap();
    let result = session.all(Account::select().all_shards());
    assert_error(result, ErrorKind::Missing, &["shard `b`"]);
}

/// Makes every read of a shard's table take this number of steps, or for ever; `false` if there is no way behind the library's
/// back.
fn slow_down(backend: &Backend, shard: &str, table: &str, steps: Option<u32>) {
    let end = steps.map_or_else(String::new, |steps| format!("WHERE x < {steps}"));
    let count =
        format!("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n {end}) SELECT max(x) FROM n");
    backend
        .raw(shard)
        .execute_batch(&format!(
            "ALTER TABLE {table} RENAME TO fast; CREATE VIEW {table} AS SELECT * FROM fast WHERE ({count}) > 0"
        ))
        .unwrap();
}

fn r29_look_ups_and_children_are_bounded_too(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let quito = session.add(city(Continent::SouthAmerica, "Quito")).unwrap();
    let report = session.add(NewReport { city: tokyo.link(), temperature: 1.0 }).unwrap();
    session.commit().unwrap();
    slow_down(backend, "asia", "cities", None);
    session.set_timeout(Some(Duration::from_millis(30)));
    let texts = ["shard `asia`", "table `cities`", "timeout"];
    assert_error(session.get::<City>(tokyo.id), ErrorKind::TimedOut, &texts);
    let pinned = City::by_id(tokyo.id).on(Continent::Asia);
    assert_error(session.get(pinned), ErrorKind::TimedOut, &texts);
    assert_error(session.parent(&report), ErrorKind::TimedOut, &texts);
    assert_error(session.reload(&mut tokyo.clone()), ErrorKind::TimedOut, &texts);
    assert_error(session.all_with::<Report>(City::select().all_shards()), ErrorKind::TimedOut, &texts);
    // Others are quick, and the session remains usable, with no limit on its writes.
    assert_eq!(session.get(City::by_id(quito.id).on_shard("south_america")).unwrap().unwrap(), quito);
    assert_eq!(session.all(tokyo.children::<Report>()).unwrap(), [report]);
    drop(session);
    backend.raw("asia").execute_batch("DROP VIEW cities; ALTER TABLE fast RENAME TO cities").unwrap();
    slow_down(backend, "asia", "reports", None);
    let mut session = cluster.session();
    session.set_timeout(Some(Duration::from_millis(30)));
    let with = session.all_with::<Report>(City::select().all_shards());
    assert_error(with, ErrorKind::TimedOut, &["shard `asia`", "table `reports`", "timeout"]);
    // A timeout of zero ends every verb that reads a shard.
    session.set_timeout(Some(Duration::ZERO));
    assert_error(session.get(&quito.link()), ErrorKind::TimedOut, &["shard `south_america`", "timeout"]);
    let (with, asked) = cluster.asked(|| session.all_with::<Report>(City::select().on_shard("europe")));
    assert_error(with, ErrorKind::TimedOut, &["shard `europe`", "timeout"]);
    assert!(asked.is_empty());
}

fn r29_look_ups_are_made_at_once_where_they_were_slow_again_and_again(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let reno = session.add(city(Continent::NorthAmerica, "Reno")).unwrap();
    let lima = session.add(city(Continent::SouthAmerica, "Lima")).unwrap();
    session.commit().unwrap();
    // Reads the first shard's row in a session of its own.
    let get = |id: i64| {
        let (found, asked) = cluster.asked(|| cluster.session().get::<City>(id).unwrap());
        (found.map(|city| city.name.clone()), asked)
    };
    let reno_alone = (Some("Reno".to_owned()), vec!["north_america".to_owned()]);
    assert_eq!(get(reno.id), reno_alone, "in turn");
    for shard in CONTINENTS {
        slow_down(backend, shard, "cities", Some(100_000));
    }
    let slow: Vec<_> = (0..20).map(|_| get(reno.id)).collect();
    assert_eq!(slow[..8], vec![reno_alone.clone(); 8]);
    let everybody = CONTINENTS.map(str::to_owned).to_vec();
    assert_eq!(slow[19], (Some("Reno".to_owned()), everybody.clone()), "at once");
    assert_eq!(get(lima.id), (Some("Lima".to_owned()), everybody.clone()));
    assert_eq!(get(-1), (None, everybody));
    for shard in CONTINENTS {
        backend.raw(shard).execute_batch("DROP VIEW cities; ALTER TABLE fast RENAME TO cities").unwrap();
    }
    // And in turn again, once they are quick.
    assert!((0..1_000).any(|_| get(reno.id) == reno_alone));
}

/// Cities in Asia and in South America.
fn two_and_one(backend: &Backend) -> Watched {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    use Continent::*;
    session.add_all([city(Asia, "Tokyo"), city(Asia, "Delhi"), city(SouthAmerica, "Lima")]).unwrap();
    session.commit().unwrap();
    cluster
}

fn r28_a_shard_that_is_not_needed_is_not_read(backend: &Backend) {
    let cluster = two_and_one(backend);
    let mut session = cluster.session();
    let all = || City::select().all_shards();
    let (up_to_asia, everybody) = (&CONTINENTS[..2], &CONTINENTS[..]);
    let cases = [
        (all().limit(1), 1, up_to_asia),
        (all().limit(2), 2, up_to_asia),
        (all().limit(3), 3, everybody),
        (all().limit(1).offset(1), 1, up_to_asia),
        (all().limit(1).offset(2), 1, everybody),
        (all(), 3, everybody),
        // The least of all may be anywhere.
        (all().order_by(City::NAME.asc()).limit(1), 1, everybody),
    ];
    for (query, rows, expected) in cases {
        let (found, asked) = cluster.asked(|| session.all(query).unwrap());
        assert_eq!(
            (found.len(), asked.iter().map(String::as_str).collect::<Vec<_>>()),
            (rows, expected.to_vec())
        );
    }
    let asked = |run: &mut dyn FnMut()| cluster.asked(run).1;
    assert_eq!(asked(&mut || drop(session.first(all()).unwrap().unwrap())), up_to_asia);
    assert_eq!(asked(&mut || drop(session.first(all().columns(City::NAME)).unwrap().unwrap())), up_to_asia);
    assert_eq!(asked(&mut || drop(session.one(all()).unwrap_err())), up_to_asia);
    let mut seen = 0;
    let stop = |_| {
        seen += 1;
        Ok(if seen < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    };
    let (_, counts) = cluster.counted(|| session.for_each(all(), stop).unwrap());
    // The executor cannot foresee that the visitor stops so soon, and servers are read at once.
    let expected = if backend.is_postgres("asia") { everybody } else { up_to_asia };
    assert_eq!(counts, expected.iter().map(|shard| (shard.to_string(), 1)).collect::<Vec<_>>());
    // Without rows on the shards before, the last is read too.
    assert_eq!(
        asked(&mut || assert!(session.first(Report::select().all_shards()).unwrap().is_none())),
        everybody
    );
}

fn r28_a_shard_that_is_not_needed_may_fail(backend: &Backend) {
    drop(two_and_one(backend));
    let cluster = backend.open::<Weather>(&CONTINENTS).unwrap();
    fs::rename(backend.path("europe"), backend.folder().join("away")).unwrap();
    let mut session = cluster.session();
    let all = || City::select().all_shards();
    assert_eq!(session.all(all().limit(2)).unwrap().len(), 2);
    let whole = session.all_available(all().limit(2)).unwrap();
    assert!(whole.rows.len() == 2 && whole.missing.is_empty(), "nothing is missing in it");
    assert_error(session.all(all().limit(3)), ErrorKind::Missing, &["shard `europe`"]);
    let partial = session.all_available(all().limit(3)).unwrap();
    assert_eq!((partial.rows.len(), partial.missing.len()), (3, 1));
}

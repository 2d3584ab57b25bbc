//! Many rows at once: large flushes, which go to several databases at the same time, and `add_all` of more rows than one batch:
//! R31, R32, R36. `tests/fan_out.rs` checks that they run on workers.

use shard_runtime::{ErrorKind, Session, Sharded, Stored};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_backend! {
    r31_a_large_flush_is_a_statement_per_shard_and_table,
    r32_a_failing_row_of_a_large_flush_leaves_nothing_on_any_shard,
    r32_of_several_shards_that_fail_the_first_gives_the_error,
    r31_counted_ids_of_many_rows_are_those_that_are_stored,
    r31_batches_follow_pending_changes,
    r32_a_row_that_is_placed_nowhere_undoes_all,
    r36_portions_touch_only_their_shards,
    r35_many_rows_are_one_unit_over_several_shards;
    only on_disk:
        r32_a_large_flush_that_ends_a_transaction_ends_the_unit;
    only Files Memory:
        r38_a_shard_that_is_locked_undoes_all,
}

on_every_backend_at_length! {
    r31_many_rows_keep_the_order_in_which_they_were_given,
    r32_a_failing_row_of_a_later_portion_undoes_all,
}

/// How many rows are of one batch at most.
const PORTION: i64 = 16_384;

/// The account with this id, on the shard with this place.
fn account(id: i64, shard: i32) -> Account {
    Account { id, number: 1_000 * shard, owner: format!("owner {id}") }
}

/// Accounts with these ids, on every shard in turn.
fn on_all(ids: impl IntoIterator<Item = i64>) -> impl Iterator<Item = Account> {
    ids.into_iter().map(|id| account(id, (id % 3) as i32))
}

fn count(session: &mut Session) -> u64 {
    session.one(Account::select().all_shards().count()).unwrap()
}

fn r31_a_large_flush_is_a_statement_per_shard_and_table(backend: &Backend) {
    let cluster = backend.create::<(Account, Company)>(&LETTERS);
    for has_written in [false, true] {
        let mut session = cluster.session();
        if has_written {
            session.add_all(on_all([10_001, 10_002, 10_003])).unwrap();
            session.flush().unwrap();
        }
        session.add_all(on_all(0..6_000)).unwrap();
        session.add_all((0..3_000).map(|id| Company { id, name: String::new() })).unwrap();
        let ((), counts) = cluster.counted(|| session.flush().unwrap());
        assert_eq!(counts, LETTERS.map(|shard| (shard.to_owned(), 2)));
        let all = session.all(Account::select().filter(Account::ID.lt(6_000)).all_shards()).unwrap();
        assert_eq!(all.len(), 6_000);
        assert!(all.iter().all(|row| **row == account(row.id, (row.id % 3) as i32)));
        assert!(all.iter().all(|row| row.shard().index() as i64 == row.id % 3));
        session.rollback();
        assert_eq!(count(&mut session), 0);
    }
}

fn r32_a_failing_row_of_a_large_flush_leaves_nothing_on_any_shard(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add(account(3_001, 1)).unwrap();
    session.commit().unwrap();
    for has_written in [false, true] {
        if has_written {
            session.add_all(on_all(9_000..9_003)).unwrap();
            session.flush().unwrap();
        }
        // In the middle of the batch of the shard in the middle.
        session.add_all(on_all(0..6_000)).unwrap();
        session.add_all(on_all(6_000..6_003)).unwrap();
        assert_error(session.flush(), ErrorKind::Unique, &["shard `b`", "table `accounts`", "id 3001"]);
        assert_eq!(count(&mut session), if has_written { 4 } else { 1 });
        session.flush().unwrap(); // none of them waits any more
        session.add(account(5, 2)).unwrap();
        session.commit().unwrap();
        assert_eq!(count(&mut session), if has_written { 5 } else { 2 });
        let fifth = Account::select().filter(Account::ID.eq(5)).all_shards();
        let fifth = session.one(fifth).unwrap();
        session.delete(&fifth).unwrap();
        session.commit().unwrap();
    }
}

fn r32_of_several_shards_that_fail_the_first_gives_the_error(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add_all([account(5_998, 1), account(2, 2)]).unwrap();
    session.commit().unwrap();
    for _ in 0..8 {
        // The last row of `b` is refused, and the first of `c`: the error names `b`, whichever fails first.
        session.add_all(on_all(0..6_000)).unwrap();
        assert_error(session.flush(), ErrorKind::Unique, &["shard `b`", "id 5998"]);
    }
    assert_eq!(count(&mut session), 2);
}

fn r32_a_large_flush_that_ends_a_transaction_ends_the_unit(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let refuse = "CREATE TRIGGER {shard}_refuse BEFORE INSERT ON {table} WHEN NEW.id = 3001 \
                  BEGIN SELECT RAISE(ROLLBACK, 'not today'); END";
    backend.plant(&["b"], "accounts", refuse);
    let mut session = cluster.session();
    session.add(account(9_000, 0)).unwrap();
    session.flush().unwrap();
    session.add_all(on_all(0..6_000)).unwrap();
    let error = session.flush().unwrap_err();
    assert!(error.shard() == Some("b") && error.to_string().contains("not today"), "{error}");
    assert_error(session.flush(), ErrorKind::TransactionAborted, &["not today"]);
    session.rollback();
    assert_eq!(count(&mut session), 0);
    session.add_all(on_all(0..3_000)).unwrap();
    session.commit().unwrap();
    assert_eq!(count(&mut session), 3_000);
}

fn r31_many_rows_keep_the_order_in_which_they_were_given(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let rows = 2 * PORTION as usize + 500;
    let all = (0..rows).map(|number| city(Continent::ALL[number * 7 % 5], &number.to_string()));
    let (cities, counts) = cluster.counted(|| session.add_all(all).unwrap());
    // A statement for each batch and shard; then nothing waits.
    assert_eq!(counts, CONTINENTS.map(|shard| (shard.to_owned(), 3)));
    let ((), counts) = cluster.counted(|| session.flush().unwrap());
    assert!(counts.is_empty(), "{counts:?}");
    assert_eq!(cities.len(), rows);
    assert!(cities.iter().enumerate().all(|(number, city)| city.name == number.to_string()));
    assert!(cities.is_sorted_by(|a, b| a.id < b.id));
    session.commit().unwrap();
    let by_id = City::select().all_shards().order_by(City::ID.asc());
    assert!(cluster.session().all(by_id).unwrap() == cities);
}

fn r31_counted_ids_of_many_rows_are_those_that_are_stored(backend: &Backend) {
    let cluster = backend.create::<(City, Report)>(&CONTINENTS);
    let mut session = cluster.session();
    let places = Continent::ALL.map(|continent| city(continent, &format!("{continent:?}")));
    let cities = session.add_all(places).unwrap(); // they wait: their children come after them
    // Of less than a batch, and of more.
    let mut before: Vec<Stored<Report>> = Vec::new();
    for rows in [5_000, PORTION as usize + 4_000] {
        let new = |number: usize| NewReport { city: cities[number % 5].link(), temperature: number as f64 };
        let reports = session.add_all((0..rows).map(new)).unwrap();
        assert!(reports.iter().enumerate().all(|(number, report)| report.temperature == number as f64));
        before.extend(reports);
        for shard in CONTINENTS {
            let here = before.iter().filter(|report| report.shard().name() == shard);
            let ids: Vec<i64> = here.map(|report| report.id).collect();
            assert!(ids.iter().copied().eq(1..=ids.len() as i64), "{shard}");
        }
    }
    session.commit().unwrap();
    let mut session = cluster.session();
    for shard in CONTINENTS {
        let stored = session.all(Report::select().on_shard(shard).order_by(Report::ID.asc())).unwrap();
        let here = before.iter().filter(|report| report.shard().name() == shard);
        assert!(here.eq(stored.iter()), "{shard}");
    }
}

fn r31_batches_follow_pending_changes(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..10).map(|id| Company { id, name: String::new() })).unwrap();
    let campaign = |number: i64| NewCampaign { company_id: number % 10, title: number.to_string() };
    let campaigns = session.add_all((0..=PORTION).map(campaign)).unwrap();
    assert_eq!(campaigns.len() as i64, PORTION + 1);
    session.commit().unwrap();
    let written = session.one(Campaign::select().all_shards().count()).unwrap();
    assert_eq!(written as i64, PORTION + 1);
}

/// A cluster with an account on each shard, and a session that has written another and has one waiting.
fn in_use(backend: &Backend) -> (Watched, Session) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add_all(on_all([100_000, 100_001, 100_002])).unwrap();
    session.commit().unwrap();
    session.add(account(200_000, 0)).unwrap();
    session.flush().unwrap();
    session.add(account(200_001, 2)).unwrap();
    (cluster, session)
}

fn goes_on(cluster: &Watched, mut session: Session) {
    assert_eq!(count(&mut session), 5);
    session.add(account(200_002, 1)).unwrap();
    session.commit().unwrap();
    assert_eq!(count(&mut cluster.session()), 6);
}

fn r32_a_failing_row_of_a_later_portion_undoes_all(backend: &Backend) {
    let (cluster, mut session) = in_use(backend);
    let rows = || on_all((0..2 * PORTION).chain([100_001]).chain(2 * PORTION..2 * PORTION + 9));
    let texts = ["shard `c`", "table `accounts`", "id 100001"]; // 100,001 is one of `c`
    assert_error(session.add_all(rows()), ErrorKind::Unique, &texts);
    // As of a session that has written nothing.
    let mut other = cluster.session();
    session.rollback();
    assert_error(other.add_all(rows()), ErrorKind::Unique, &texts);
    assert_eq!(count(&mut other), 3);
    drop((other, session, cluster));

    let backend = Backend::new(backend.kind);
    let (cluster, mut session) = in_use(&backend);
    assert_error(session.add_all(rows()), ErrorKind::Unique, &texts);
    goes_on(&cluster, session);
}

fn r32_a_row_that_is_placed_nowhere_undoes_all(backend: &Backend) {
    let cluster = backend.create::<(Account, Device)>(&LETTERS);
    let mut session = cluster.session();
    session.add(device(1, "a1")).unwrap();
    let rows = |last: i64| {
        let serial = move |id| {
            if id == last { "x".to_owned() } else { format!("{}{id}", ["a", "b", "c"][id as usize % 3]) }
        };
        (2..PORTION + 1_000).map(move |id| device(id, &serial(id)))
    };
    // In the first batch no row was sent yet, and the changes stay pending.
    let (result, asked) = cluster.asked(|| session.add_all(rows(900)));
    assert_error(result, ErrorKind::UnmappedKey, &["table `devices`", "serial"]);
    assert!(asked.is_empty());
    assert_error(
        session.add_all(rows(PORTION + 900)),
        ErrorKind::UnmappedKey,
        &["table `devices`", "serial"],
    );
    assert_eq!(session.one(Device::select().all_shards().count()).unwrap(), 1);
    session.commit().unwrap();
    assert_eq!(session.one(Device::select().all_shards().count()).unwrap(), 1);
}

fn r38_a_shard_that_is_locked_undoes_all(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = backend.create::<Account>(&LETTERS);
    let mut other = cluster.session();
    other.add(account(-1, 2)).unwrap();
    other.flush().unwrap();
    let mut session = cluster.session();
    // The first batch is written on `a`, and the second cannot be on `c`.
    let rows = || (0..PORTION + 100).map(|id| account(id, if id < PORTION { 0 } else { 2 }));
    assert_error(session.add_all(rows()), ErrorKind::Busy, &["shard `c`"]);
    let ((), asked) = cluster.asked(|| session.flush().unwrap());
    assert!(asked.is_empty(), "nothing waits");
    let on_a = Account::select().on_shard("a").count();
    assert_eq!(session.one(on_a).unwrap(), 0);
    session.rollback();
    other.rollback();
    assert_eq!(session.add_all(rows()).unwrap().len() as i64, PORTION + 100);
    session.commit().unwrap();
    assert_eq!(count(&mut session) as i64, PORTION + 100);
}

fn r36_portions_touch_only_their_shards(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    let rows = (0..PORTION + 10).map(|id| account(id, 2));
    let (_, asked) = cluster.asked(|| session.add_all(rows).unwrap());
    assert_eq!(asked, ["c"]);
    if backend.is_separate() {
        // Other sessions can write the others.
        backend.does_not_wait_long();
        let mut other = cluster.session();
        other.add_all([account(1, 0), account(2, 1)]).unwrap();
        other.commit().unwrap();
    }
    session.commit().unwrap();
    assert!(count(&mut session) as i64 >= PORTION + 10);
}

fn r35_many_rows_are_one_unit_over_several_shards(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add_all(on_all(0..PORTION + 5_000)).unwrap();
    if backend.is_on_disk() {
        assert_eq!(count(&mut cluster.session()), 0); // who writes in memory keeps readers waiting
    }
    session.commit().unwrap();
    assert_eq!(count(&mut cluster.session()) as i64, PORTION + 5_000);
    session.add_all(on_all(2 * PORTION..4 * PORTION)).unwrap();
    session.rollback();
    assert_eq!(count(&mut session) as i64, PORTION + 5_000);
}

//! Reference tables, complete on every shard, are read on one and written on all: R15, R18, R19, R21 to R23, R32, R33, R37.

use std::ops::ControlFlow;

use shard_runtime::{ErrorKind, Session, Sharded, Sql, Stored, count, sqlite};

use crate::backend::{Backend, Kind, LETTERS, Watched, assert_error};

on_every_mixture! {
    a_row_is_added_on_every_shard_by_one_commit,
    a_read_uses_the_first_shard,
    a_read_uses_a_shard_that_the_session_uses,
    a_read_uses_the_named_shard,
    every_kind_of_read_uses_one_shard,
    pages_go_on_wherever_they_are_read,
    sql_reads_the_named_shard,
    r14_contradictions_read_no_shard,
    r21_a_row_is_one_wherever_it_is_read,
    r23_a_row_in_the_identity_map_is_not_read_again,
    pending_changes_are_seen_on_every_shard,
    a_row_is_updated_and_deleted_on_every_shard,
    a_row_is_saved_on_every_shard,
    r37_bulk_writes_count_the_tables_rows,
    r32_a_row_that_is_refused_is_on_no_shard,
    r33_a_savepoint_is_undone_on_every_shard,
    a_rollback_undoes_every_shard,
    a_version_is_raised_on_every_shard,
    r19_a_write_is_not_pinned,
    a_pinned_session_reads_its_shard_and_writes_none,
    shards_that_differ_are_named,
    r20_the_reason_is_given;
    only SQLite: reading_to_write_keeps_others_from_every_shard, views_over_all_shards_have_each_row_once,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "currencies", reference, unique(name))]
struct Currency {
    #[id]
    code: String,
    name: String,
    decimals: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "countries", reference)]
struct Country {
    #[id(sequence)]
    id: i64,
    name: String,
    #[version]
    version: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "clerks")]
struct Clerk {
    #[id]
    #[shard_key(range("a" => ..1000, "b" => 1000..2000, "c" => 2000..))]
    number: i32,
}

fn currency(code: &str, name: &str, decimals: i64) -> Currency {
    Currency { code: code.to_owned(), name: name.to_owned(), decimals }
}

fn empty(backend: &Backend) -> Watched {
    backend.create::<(Currency, Country, Clerk)>(&LETTERS)
}

/// Four currencies, and a clerk on each shard.
fn filled(backend: &Backend) -> Watched {
    let cluster = empty(backend);
    let mut session = cluster.session();
    let rows = [("CHF", "franc", 2), ("EUR", "euro", 2), ("JPY", "yen", 0), ("USD", "dollar", 2)];
    session.add_all(rows.map(|(code, name, decimals)| currency(code, name, decimals))).unwrap();
    session.add_all([5, 1005, 2005].map(|number| Clerk { number })).unwrap();
    session.commit().unwrap();
    cluster
}

fn codes(rows: &[Stored<Currency>]) -> Vec<&str> {
    rows.iter().map(|row| row.code.as_str()).collect()
}

/// The rows of each shard, read from each of them.
fn on_each(cluster: &Watched) -> Vec<Vec<(String, String, i64)>> {
    let on = |shard: &&str| {
        let columns = (Currency::CODE, Currency::NAME, Currency::DECIMALS);
        let all = Currency::select().on_shard(*shard).order_by(Currency::CODE.asc());
        cluster.session().all(all.columns(columns)).unwrap()
    };
    LETTERS.iter().map(on).collect()
}

#[track_caller]
fn assert_on_each(cluster: &Watched, expected: &[(&str, &str, i64)]) {
    let owned = |(code, name, decimals): &(&str, &str, i64)| (code.to_string(), name.to_string(), *decimals);
    let expected: Vec<_> = expected.iter().map(owned).collect();
    for (shard, found) in LETTERS.iter().zip(on_each(cluster)) {
        assert_eq!(found, expected, "on {shard}");
    }
}

const ALL: [(&str, &str, i64); 4] =
    [("CHF", "franc", 2), ("EUR", "euro", 2), ("JPY", "yen", 0), ("USD", "dollar", 2)];

fn a_row_is_added_on_every_shard_by_one_commit(backend: &Backend) {
    let cluster = empty(backend);
    let mut session = cluster.session();
    let (added, asked) = cluster.asked(|| session.add(currency("EUR", "euro", 2)).unwrap());
    assert!(asked.is_empty());
    assert_eq!(added.shard().name(), "a");
    session.add_all([currency("USD", "dollar", 2), currency("JPY", "yen", 0)]).unwrap();
    let (committed, counts) = cluster.counted(|| session.commit().unwrap());
    assert!(committed.pending().is_empty());
    assert_eq!(counts, LETTERS.map(|shard| (shard.to_owned(), 1)));
    assert_on_each(&cluster, &[("EUR", "euro", 2), ("JPY", "yen", 0), ("USD", "dollar", 2)]);
    // The cluster's ids are one on all shards.
    let country = session.add(NewCountry { name: "Peru".into() }).unwrap();
    session.commit().unwrap();
    for shard in LETTERS {
        let found = session.one(Country::select().on_shard(shard)).unwrap();
        assert_eq!((found.id, found.version), (country.id, 1));
    }
}

fn a_read_uses_the_first_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    for _ in 0..2 {
        let (rows, counts) = cluster.counted(|| session.all(Currency::select()).unwrap());
        assert_eq!(rows.len(), 4);
        assert_eq!(counts, [("a".to_owned(), 1)]);
    }
}

fn a_read_uses_a_shard_that_the_session_uses(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.all(Clerk::select().on(2500)).unwrap();
    // One database is in play as a whole.
    let is_one = matches!(backend.kind, Kind::Prefixed | Kind::Schemas);
    let (_, asked) = cluster.asked(|| session.all(Currency::select()).unwrap());
    assert_eq!(asked, [if is_one { "a" } else { "c" }]);
    session.add(Clerk { number: 1500 }).unwrap();
    session.flush().unwrap();
    let (_, asked) = cluster.asked(|| session.all(Currency::select()).unwrap());
    assert_eq!(asked, [if is_one { "a" } else { "b" }]);
    session.rollback();
    let (_, asked) = cluster.asked(|| session.all(Currency::select()).unwrap());
    assert_eq!(asked, ["a"]);
}

fn a_read_uses_the_named_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let pinned = || Currency::select().on_shard("b");
    let (rows, asked) = cluster.asked(|| session.all(pinned()).unwrap());
    assert_eq!((rows.len(), asked), (4, vec!["b".to_owned()]));
    assert_eq!(rows[0].shard().name(), "b");
    let (_, asked) = cluster.asked(|| session.one(pinned().count()).unwrap());
    assert_eq!(asked, ["b"]);
    // Every shard may be read, and one is enough.
    let mut session = cluster.session();
    let (rows, asked) = cluster.asked(|| session.all(Currency::select().all_shards()).unwrap());
    assert_eq!((rows.len(), asked), (4, vec!["a".to_owned()]));
    let (found, asked) =
        cluster.asked(|| session.get(Currency::by_id("EUR".to_owned()).on_shard("c")).unwrap());
    assert_eq!((found.unwrap().name.as_str(), asked), ("euro", vec!["c".to_owned()]));
    assert_error(session.all(Currency::select().on_shard("d")), ErrorKind::UnknownShard, &["`d`"]);
}

fn every_kind_of_read_uses_one_shard(backend: &Backend) {
    let cluster = filled(backend);
    let read = |read: &dyn Fn(&mut Session)| {
        let mut session = cluster.session();
        let ((), counts) = cluster.counted(|| read(&mut session));
        assert_eq!(counts, [("a".to_owned(), 1)]);
    };
    let two = || Currency::select().filter(Currency::DECIMALS.eq(2));
    read(&|session| assert_eq!(session.one(Currency::select().count()).unwrap(), 4));
    read(&|session| {
        assert_eq!(session.one(Currency::select().aggregate(Currency::DECIMALS.sum())).unwrap(), Some(6))
    });
    read(&|session| {
        assert_eq!(session.one(Currency::select().aggregate(Currency::DECIMALS.avg())).unwrap(), Some(1.5))
    });
    read(&|session| assert!(session.one(two().exists()).unwrap()));
    read(&|session| {
        let by_name = two().order_by(Currency::NAME.desc()).limit(2).offset(1);
        assert_eq!(codes(&session.all(by_name).unwrap()), ["EUR", "USD"]);
    });
    read(&|session| {
        let groups = Currency::select().group_by(Currency::DECIMALS).aggregate(count());
        assert_eq!(session.all(groups).unwrap(), [(0, 1), (2, 3)]);
    });
    read(&|session| {
        let names = two().order_by(Currency::NAME.asc()).columns(Currency::NAME);
        assert_eq!(session.all(names).unwrap(), ["dollar", "euro", "franc"]);
    });
    read(&|session| {
        let decimals = Currency::select().columns(Currency::DECIMALS).distinct();
        assert_eq!(session.all(decimals).unwrap(), [0, 2]);
    });
    read(&|session| {
        let mut seen = Vec::new();
        let visit = |row: Stored<Currency>| {
            seen.push(row.code.clone());
            Ok(if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        session.for_each(Currency::select().order_by(Currency::CODE.asc()), visit).unwrap();
        assert_eq!(seen, ["CHF", "EUR"]);
    });
    read(&|session| {
        let found = session.get::<Currency>("JPY".to_owned()).unwrap().unwrap();
        assert_eq!(found.name, "yen");
    });
    read(&|session| assert!(session.get::<Currency>("ZZZ".to_owned()).unwrap().is_none()));
}

fn pages_go_on_wherever_they_are_read(backend: &Backend) {
    let cluster = filled(backend);
    let by_decimals = || Currency::select().order_by(Currency::DECIMALS.asc());
    let mut session = cluster.session();
    session.all(Clerk::select().on(2500)).unwrap();
    let (page, asked) = cluster.asked(|| session.all(by_decimals().limit(2)).unwrap());
    assert_eq!(codes(&page), ["JPY", "CHF"]);
    assert_eq!(asked, [if matches!(backend.kind, Kind::Prefixed | Kind::Schemas) { "a" } else { "c" }]);
    let token = by_decimals().cursor(&page[1]).unwrap().to_string();
    let rest = by_decimals().after(&token.parse().unwrap());
    let (page, asked) = cluster.asked(|| cluster.session().all(rest.clone()).unwrap());
    assert_eq!((codes(&page), asked), (vec!["EUR", "USD"], vec!["a".to_owned()]));
    // The other way round, from a shard before to one behind.
    let cursor = by_decimals().cursor(&page[0]).unwrap();
    assert_eq!(codes(&session.all(by_decimals().after(&cursor)).unwrap()), ["USD"]);
    let distinct = || by_decimals().columns(Currency::DECIMALS).distinct();
    let first = session.first(distinct().with_cursor()).unwrap().unwrap();
    let rest = by_decimals().after(&first.1).columns(Currency::DECIMALS).distinct();
    assert_eq!((first.0, cluster.session().all(rest).unwrap()), (0, vec![2]));
}

fn sql_reads_the_named_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let sum = || Sql::new("SELECT count(*) AS rows FROM {currencies} WHERE decimals = ?1").bind(2);
    let (rows, asked) = cluster.asked(|| session.all(sum().on_shard("b")).unwrap());
    assert_eq!((rows[0].get::<i64>("rows").unwrap(), asked), (3, vec!["b".to_owned()]));
    let raised = Sql::new("UPDATE {currencies} SET decimals = 3 WHERE code = 'EUR'");
    assert_eq!(session.execute(raised.all_shards()).unwrap(), 3);
    session.commit().unwrap();
    assert_on_each(&cluster, &[ALL[0], ("EUR", "euro", 3), ALL[2], ALL[3]]);
}

fn r14_contradictions_read_no_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let none: [&str; 0] = [];
    let no_row = || Currency::CODE.is_in(none);
    let (rows, asked) = cluster.asked(|| session.all(Currency::select().filter(no_row())).unwrap());
    assert!(rows.is_empty() && asked.is_empty());
    let (rows, asked) = cluster.asked(|| session.all(Currency::select().limit(0)).unwrap());
    assert!(rows.is_empty() && asked.is_empty());
    let update = || Currency::update().set(Currency::DECIMALS, 1).filter(no_row());
    let (rows, asked) = cluster.asked(|| session.execute(update()).unwrap());
    assert!(rows == 0 && asked.is_empty());
    assert!(cluster.explain(&update()).unwrap().to_string().contains("a contradiction"));
}

fn r21_a_row_is_one_wherever_it_is_read(backend: &Backend) {
    let cluster = filled(backend);
    let on = |shard: &str| {
        let euro = Currency::select().filter(Currency::CODE.eq("EUR")).on_shard(shard);
        cluster.session().one(euro).unwrap()
    };
    let [a, b, c] = LETTERS.map(on);
    assert_eq!((a.shard().name(), b.shard().name()), ("a", "b"));
    assert!(a == b && b == c);
    let other = Backend::new(backend.kind);
    let elsewhere = filled(&other).session().get::<Currency>("EUR".to_owned()).unwrap().unwrap();
    assert!(a != elsewhere);
    assert_error(cluster.session().delete(&elsewhere), ErrorKind::UnknownShard, &["another cluster"]);
    // Another handle finds out a change through the first, from whichever shard it was read.
    let mut session = cluster.session();
    let (mut b, mut c) = (b, c);
    b.decimals = 3;
    session.update(&mut b).unwrap();
    assert_eq!(session.get::<Currency>("EUR".to_owned()).unwrap().unwrap().decimals, 3);
    session.reload(&mut c).unwrap();
    assert_eq!(c.decimals, 3);
    // R59: the handle that was read before the change is stale.
    assert_error(session.delete(&a), ErrorKind::Stale, &["EUR", "reload"]);
    session.delete(&c).unwrap();
    assert!(session.get::<Currency>("EUR".to_owned()).unwrap().is_none());
    assert_error(session.update(&mut change(c, 4)), ErrorKind::NotFound, &["EUR"]);
    session.commit().unwrap();
    assert_on_each(&cluster, &[ALL[0], ALL[2], ALL[3]]);
}

fn change(mut row: Stored<Currency>, decimals: i64) -> Stored<Currency> {
    row.decimals = decimals;
    row
}

fn r23_a_row_in_the_identity_map_is_not_read_again(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.all(Clerk::select().on(2500)).unwrap();
    session.get::<Currency>("EUR".to_owned()).unwrap().unwrap(); // on `c`, or on `a` where that is one database
    session.all(Clerk::select().on(1)).unwrap(); // and now `a` comes first
    let (again, asked) = cluster.asked(|| session.get::<Currency>("EUR".to_owned()).unwrap().unwrap());
    assert!(asked.is_empty());
    let located = Currency::by_id("EUR".to_owned()).on_shard("b");
    let (located, asked) = cluster.asked(|| session.get(located).unwrap().unwrap());
    assert!(asked.is_empty() && located == again);
    session.execute(Currency::update().set(Currency::DECIMALS, 5)).unwrap();
    assert_eq!(session.get::<Currency>("EUR".to_owned()).unwrap().unwrap().decimals, 5);
    session.rollback();
    assert_eq!(session.get::<Currency>("EUR".to_owned()).unwrap().unwrap().decimals, 2);
}

fn pending_changes_are_seen_on_every_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.add(currency("GBP", "pound", 2)).unwrap();
    session.add(Clerk { number: 7 }).unwrap();
    assert_eq!(session.all(Clerk::select().on(2500)).unwrap().len(), 1); // which waits for nothing
    let (count, counts) = cluster.counted(|| session.one(Currency::select().count()).unwrap());
    // Written on all shards, and read on one.
    let written = |shard: &str| counts.iter().any(|(name, _)| name == shard);
    assert!(count == 5 && LETTERS.into_iter().all(written), "{counts:?}");
    for shard in LETTERS {
        assert_eq!(session.one(Currency::select().on_shard(shard).count()).unwrap(), 5);
    }
    assert_eq!(session.get::<Currency>("GBP".to_owned()).unwrap().unwrap().name, "pound");
    session.commit().unwrap();
    assert_eq!(cluster.session().one(Currency::select().count()).unwrap(), 5);
}

fn a_row_is_updated_and_deleted_on_every_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let mut euro = session.get::<Currency>("EUR".to_owned()).unwrap().unwrap();
    euro.decimals = 3;
    let ((), counts) = cluster.counted(|| session.update(&mut euro).unwrap());
    assert_eq!(counts, LETTERS.map(|shard| (shard.to_owned(), 1)));
    let yen = session.get::<Currency>("JPY".to_owned()).unwrap().unwrap();
    let ((), counts) = cluster.counted(|| session.delete(&yen).unwrap());
    assert_eq!(counts, LETTERS.map(|shard| (shard.to_owned(), 1)));
    session.commit().unwrap();
    assert_on_each(&cluster, &[ALL[0], ("EUR", "euro", 3), ALL[3]]);
    assert_error(session.delete(&yen), ErrorKind::NotFound, &["JPY"]);
    euro.code = "EURO".into();
    assert_error(session.update(&mut euro), ErrorKind::ShardKeyChanged, &["currencies", "code"]);
}

fn a_row_is_saved_on_every_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let (saved, counts) = cluster.counted(|| session.save(currency("EUR", "euro", 4)).unwrap());
    assert_eq!(counts, LETTERS.map(|shard| (shard.to_owned(), 1)));
    assert_eq!(saved.decimals, 4);
    session.save(currency("GBP", "pound", 2)).unwrap();
    session.commit().unwrap();
    assert_on_each(&cluster, &[ALL[0], ("EUR", "euro", 4), ("GBP", "pound", 2), ALL[2], ALL[3]]);
}

fn r37_bulk_writes_count_the_tables_rows(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let raise =
        Currency::update().set(Currency::DECIMALS, Currency::DECIMALS + 1).filter(Currency::DECIMALS.eq(2));
    let (rows, counts) = cluster.counted(|| session.execute(raise).unwrap());
    assert_eq!(rows, 3);
    assert_eq!(counts, LETTERS.map(|shard| (shard.to_owned(), 1)));
    assert_eq!(session.execute(Currency::delete().filter(Currency::CODE.eq("JPY"))).unwrap(), 1);
    session.commit().unwrap();
    assert_on_each(&cluster, &[("CHF", "franc", 3), ("EUR", "euro", 3), ("USD", "dollar", 3)]);
    assert_eq!(session.execute(Currency::delete()).unwrap(), 3);
    session.commit().unwrap();
    assert_on_each(&cluster, &[]);
}

fn r32_a_row_that_is_refused_is_on_no_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.add(currency("GBP", "pound", 2)).unwrap();
    session.add(currency("ZZZ", "euro", 0)).unwrap(); // the name is taken
    assert_error(session.one(Currency::select().count()), ErrorKind::Unique, &["currencies", "name"]);
    // Neither waits any more, on no shard.
    let ((), asked) = cluster.asked(|| session.flush().unwrap());
    assert!(asked.is_empty());
    let mut yen = session.get::<Currency>("JPY".to_owned()).unwrap().unwrap();
    yen.name = "franc".into();
    assert_error(session.update(&mut yen), ErrorKind::Unique, &["currencies", "name"]);
    session.add(Clerk { number: 6 }).unwrap();
    session.commit().unwrap();
    assert_on_each(&cluster, &ALL);
    assert_eq!(session.one(Clerk::select().all_shards().count()).unwrap(), 4);
}

fn r33_a_savepoint_is_undone_on_every_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let mut euro = session.get::<Currency>("EUR".to_owned()).unwrap().unwrap();
    session.add(currency("GBP", "pound", 2)).unwrap();
    let undone = session.savepoint(|session| {
        session.add(currency("INR", "rupee", 2))?;
        euro.decimals = 9;
        session.update(&mut euro)?;
        session.execute(Currency::delete().filter(Currency::CODE.eq("JPY")))?;
        session.one(Currency::select().filter(Currency::CODE.eq("ZZZ"))).map(drop)
    });
    assert_error(undone, ErrorKind::NotFound, &[]);
    assert_eq!(session.one(Currency::select().count()).unwrap(), 5);
    session.update(&mut euro).unwrap(); // what was undone counts as changed
    session.commit().unwrap();
    assert_on_each(&cluster, &[ALL[0], ("EUR", "euro", 9), ("GBP", "pound", 2), ALL[2], ALL[3]]);
}

fn a_rollback_undoes_every_shard(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    session.execute(Currency::delete()).unwrap();
    session.add(currency("GBP", "pound", 2)).unwrap();
    session.flush().unwrap();
    session.add(currency("INR", "rupee", 2)).unwrap();
    session.rollback();
    session.commit().unwrap();
    assert_on_each(&cluster, &ALL);
}

fn a_version_is_raised_on_every_shard(backend: &Backend) {
    let cluster = empty(backend);
    let mut session = cluster.session();
    let mut mine = session.add(NewCountry { name: "Peru".into() }).unwrap();
    session.commit().unwrap();
    let mut other = cluster.session().one(Country::select().on_shard("c")).unwrap();
    mine.name = "Perú".into();
    session.update(&mut mine).unwrap();
    session.commit().unwrap();
    assert_eq!(mine.version, 2);
    other.name = "Piru".into();
    assert_error(
        session.update(&mut other),
        ErrorKind::Stale,
        &["countries", "found 2", "expected version 1"],
    );
    assert_error(session.delete(&other), ErrorKind::Stale, &["countries"]);
    session.rollback();
    assert_eq!(session.execute(Country::update().set(Country::NAME, "P")).unwrap(), 1);
    session.commit().unwrap();
    for shard in LETTERS {
        let found = session.one(Country::select().on_shard(shard)).unwrap();
        assert_eq!((found.name.as_str(), found.version), ("P", 3));
    }
    session.reload(&mut other).unwrap();
    session.delete(&other).unwrap();
    session.commit().unwrap();
    assert_eq!(session.one(Country::select().on_shard("b").count()).unwrap(), 0);
}

fn r19_a_write_is_not_pinned(backend: &Backend) {
    let cluster = filled(backend);
    let mut session = cluster.session();
    let update = || Currency::update().set(Currency::DECIMALS, 1).on_shard("b");
    let said = ["currencies", "every shard", "pin"];
    assert_error(session.execute(update()), ErrorKind::Query, &said);
    assert_error(session.execute(Currency::delete().on_shard("b")), ErrorKind::Query, &said);
    assert_error(cluster.explain(&update()), ErrorKind::Query, &said);
    session.commit().unwrap();
    assert_on_each(&cluster, &ALL);
}

fn a_pinned_session_reads_its_shard_and_writes_none(backend: &Backend) {
    let cluster = filled(backend);
    let mut euro = cluster.session().get::<Currency>("EUR".to_owned()).unwrap().unwrap();
    let mut session = cluster.session_on_shard("b").unwrap();
    let (rows, asked) = cluster.asked(|| session.all(Currency::select()).unwrap());
    assert_eq!((rows.len(), asked), (4, vec!["b".to_owned()]));
    let (found, asked) = cluster.asked(|| session.get::<Currency>("EUR".to_owned()).unwrap());
    assert_eq!((found.as_ref(), asked), (Some(&euro), vec!["b".to_owned()]));
    assert_error(
        session.all(Currency::select().on_shard("c")),
        ErrorKind::ContradictingPins,
        &["currencies", "`c`"],
    );
    // A row of a reference table is of every shard, wherever it was read.
    session.reload(&mut euro).unwrap();
    let said = ["currencies", "every shard", "`b`"];
    assert_error(session.add(currency("GBP", "pound", 2)), ErrorKind::ContradictingPins, &said);
    assert_error(session.save(currency("GBP", "pound", 2)), ErrorKind::ContradictingPins, &said);
    assert_error(session.delete(&euro), ErrorKind::ContradictingPins, &said);
    euro.decimals = 7;
    assert_error(session.update(&mut euro), ErrorKind::ContradictingPins, &said);
    assert_error(session.execute(Currency::delete()), ErrorKind::ContradictingPins, &said);
    let to_write = Currency::select().for_update();
    assert_error(session.all(to_write), ErrorKind::ContradictingPins, &said);
    session.commit().unwrap();
    assert_on_each(&cluster, &ALL);
}

fn reading_to_write_keeps_others_from_every_shard(backend: &Backend) {
    backend.does_not_wait_long();
    let cluster = filled(backend);
    let mut session = cluster.session();
    let euro = Currency::select().filter(Currency::CODE.eq("EUR")).for_update();
    let (_, counts) = cluster.counted(|| session.one(euro.clone()).unwrap());
    assert_eq!(counts, [("a".to_owned(), 1)]);
    for number in [5, 1005, 2005] {
        let mut other = cluster.session();
        other.add(Clerk { number: number + 1 }).unwrap();
        assert_error(other.flush(), ErrorKind::Busy, &[]);
    }
    let reason = cluster.explain(&euro).unwrap().reason().to_owned();
    assert_eq!(reason, "reference table: any shard; locks the database against other writers");
}

fn shards_that_differ_are_named(backend: &Backend) {
    let cluster = filled(backend);
    // Written by hand on one shard only, which nothing but SQL can do.
    let mut session = cluster.session();
    let mut yen = session.get::<Currency>("JPY".to_owned()).unwrap().unwrap();
    session.execute(Sql::new("DELETE FROM {currencies} WHERE code = 'JPY'").on_shard("b")).unwrap();
    session.commit().unwrap();
    let said = ["currencies", "do not hold the same rows", "1 on a, 0 on b, 1 on c"];
    yen.decimals = 1;
    assert_error(session.update(&mut yen), ErrorKind::ReferenceDiverged, &said);
    assert_error(session.delete(&yen), ErrorKind::ReferenceDiverged, &said);
    let update = Currency::update().set(Currency::DECIMALS, 1);
    assert_error(
        session.execute(update),
        ErrorKind::ReferenceDiverged,
        &["currencies", "4 on a, 3 on b, 4 on c"],
    );
    assert_error(session.execute(Currency::delete()), ErrorKind::ReferenceDiverged, &["3 on b"]);
    // Nothing of it is left on any shard, and the session continues.
    session.add(Clerk { number: 8 }).unwrap();
    session.commit().unwrap();
    let [a, b, c] = <[_; 3]>::try_from(on_each(&cluster)).unwrap();
    assert!(a == c && a.len() == 4 && b.len() == 3);
    // Saved, it is on all of them again.
    session.save(currency("JPY", "yen", 0)).unwrap();
    session.commit().unwrap();
    assert_on_each(&cluster, &ALL);
}

fn r20_the_reason_is_given(backend: &Backend) {
    let cluster = filled(backend);
    let table = backend.table("a", "currencies");
    let all = cluster.explain(&Currency::select().filter(Currency::DECIMALS.eq(2))).unwrap();
    assert_eq!((all.shards(), all.reason()), (vec!["a"], "reference table: any shard"));
    assert!(all.is_pushed_down());
    let pinned = cluster.explain(&Currency::select().on_shard("c").count()).unwrap();
    assert_eq!((pinned.shards(), pinned.reason()), (vec!["c"], "pinned to c"));
    let delete = cluster.explain(&Currency::delete()).unwrap();
    assert_eq!((delete.shards(), delete.reason()), (LETTERS.to_vec(), "reference table: every shard"));
    let id = cluster.explain(&Currency::by_id("EUR".to_owned())).unwrap();
    assert_eq!((id.shards(), id.reason()), (vec!["a"], "reference table: any shard"));
    assert!(id.to_string().contains(&table), "{id}");
    let groups =
        cluster.explain(&Currency::select().group_by(Currency::DECIMALS).aggregate(count())).unwrap();
    assert_eq!((groups.shards(), groups.merge()), (vec!["a"], None));
}

fn views_over_all_shards_have_each_row_once(backend: &Backend) {
    let cluster = filled(backend);
    let everything = sqlite::attached(&cluster).unwrap();
    let sql = "SELECT count(*) FROM currencies, clerks";
    let count: i64 = everything.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 4 * 3);
}

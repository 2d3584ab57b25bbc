//! Keyset paging: every page costs the same, and together they are the whole: R26.

use shard_runtime::{Cursor, ErrorKind, Order, Routed, Select, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_mixture! {
    r26_pages_are_the_whole_whatever_the_order,
    r26_a_page_reads_only_its_rows,
    r26_rows_that_come_between_pages_are_found_where_they_belong,
    r26_a_cursor_is_of_its_query,
    r26_a_cursor_needs_an_order,
    r26_a_page_of_one_shard,
}

/// Cities whose names and populations are full of ties, some without a population.
fn cities(backend: &Backend) -> Watched {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let row = |place: usize| NewCity {
        population: [None, Some(0), Some(1), Some(2)][place % 4],
        ..city(Continent::ALL[place * 7 % 5], &format!("{:03}", place * 37 % 60))
    };
    session.add_all((0..60).map(row)).unwrap();
    session.commit().unwrap();
    cluster
}

type Cities = Select<City, Routed>;

fn paged(cluster: &Watched, query: &Cities, limit: u64) -> Vec<i64> {
    let mut read = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let page = after.iter().fold(query.clone(), |query, cursor| query.after(cursor)).limit(limit);
        let rows = cluster.session().all(page).unwrap();
        let Some(last) = rows.last() else { return read };
        // As a client would send it back.
        after = Some(query.cursor(last).unwrap().to_string().parse().unwrap());
        read.extend(rows.iter().map(|city| city.id));
        assert!(rows.len() <= limit as usize && read.len() <= 60, "{read:?}");
    }
}

fn r26_pages_are_the_whole_whatever_the_order(backend: &Backend) {
    let cluster = cities(backend);
    let (population, name) = (City::POPULATION, City::NAME);
    type Orders = &'static [fn() -> Order<City>];
    let orders: [Orders; 9] = [
        &[|| City::POPULATION.asc()],
        &[|| City::POPULATION.desc()],
        &[|| City::POPULATION.asc().nulls_last()],
        &[|| City::POPULATION.desc().nulls_first()],
        &[|| City::POPULATION.desc().nulls_first(), || City::CONTINENT.asc()],
        &[|| City::CONTINENT.desc(), || City::POPULATION.asc().nulls_last()],
        &[|| City::NAME.desc()],
        &[|| City::ID.desc()],
        &[|| City::CONTINENT.asc(), || City::ID.asc(), || City::NAME.desc()],
    ];
    for (place, order) in orders.iter().enumerate() {
        for filtered in [false, true] {
            let all = City::select().all_shards();
            let some = if filtered { all.filter(population.is_null() | name.gt("030")) } else { all };
            let query = order.iter().fold(some, |query, order| query.order_by(order()));
            let whole: Vec<i64> =
                cluster.session().all(query.clone()).unwrap().iter().map(|city| city.id).collect();
            for limit in [1, 7, 60] {
                assert_eq!(paged(&cluster, &query, limit), whole, "order {place}, limit {limit}");
            }
        }
    }
}

fn r26_a_page_reads_only_its_rows(backend: &Backend) {
    let cluster = cities(backend);
    let query = City::select().all_shards().order_by(City::ID.asc());
    let tenth = cluster.session().all(query.clone().limit(10)).unwrap().pop().unwrap();
    let page = query.clone().after(&query.cursor(&tenth).unwrap()).limit(5);
    let explain = cluster.explain(&page).unwrap();
    assert!(
        explain.statements().all(|(_, sql)| sql.contains("LIMIT") && !sql.contains("OFFSET")),
        "{explain}"
    );
    if backend.is_on_disk() {
        // The search in the index begins at the page.
        for (shard, sql) in explain.statements() {
            let sql =
                (1..=9).rev().fold(sql.to_owned(), |sql, place| sql.replace(&format!("?{place}"), "10"));
            let raw = backend.raw(shard);
            let mut plan = raw.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps: Vec<String> =
                plan.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            assert!(steps.iter().any(|step| step.contains("SEARCH") && step.contains("rowid>")), "{steps:?}");
            assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:?}");
        }
    }
}

fn r26_rows_that_come_between_pages_are_found_where_they_belong(backend: &Backend) {
    let cluster = cities(backend);
    let query = City::select().all_shards().order_by(City::NAME.asc());
    let mut session = cluster.session();
    let page = session.all(query.clone().limit(20)).unwrap();
    let cursor = query.cursor(&page[19]).unwrap();
    // One before the page's end, one right after it, and the page's last row is gone: the place remains.
    session.add_all([city(Continent::Asia, "000 new"), city(Continent::Europe, "019 new")]).unwrap();
    session.delete(&page[19]).unwrap();
    session.commit().unwrap();
    let next = session.all(query.clone().after(&cursor).limit(2)).unwrap();
    assert_eq!(next.iter().map(|city| city.name.as_str()).collect::<Vec<_>>(), ["019 new", "020"]);
    let (rest, _) = cluster.counted(|| session.one(query.after(&cursor).count()).unwrap());
    assert_eq!(rest, 41);
}

fn r26_a_cursor_is_of_its_query(backend: &Backend) {
    let cluster = cities(backend);
    let by_name = || City::select().all_shards().order_by(City::NAME.asc());
    let row = cluster.session().first(by_name()).unwrap().unwrap();
    let cursor = by_name().cursor(&row).unwrap();
    let others = [
        City::select().all_shards().order_by(City::NAME.desc()),
        City::select().all_shards().order_by(City::POPULATION.asc()),
        by_name().order_by(City::ID.asc()),
        by_name().filter(City::POPULATION.gt(0)),
        by_name().on(Continent::Asia),
    ];
    for (place, other) in others.into_iter().enumerate() {
        let (result, asked) = cluster.asked(|| cluster.session().all(other.after(&cursor)));
        assert_error(result, ErrorKind::Cursor, &["table `cities`", "cursor", "different query"]);
        assert!(asked.is_empty(), "{place}");
    }
    // Limits may differ from page to page.
    assert_eq!(cluster.session().all(by_name().limit(3).after(&cursor).limit(5)).unwrap().len(), 5);
    assert_error("no cursor".parse::<Cursor>(), ErrorKind::Cursor, &["`no cursor`"]);
    // Another shard's name of the same length.
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let name = row.shard().name();
    let changed = cursor.to_string().replace(&hex(name), &hex(&name.to_uppercase()));
    let changed = by_name().after(&changed.parse().unwrap());
    assert_error(cluster.session().all(changed), ErrorKind::Cursor, &["table `cities`", "names a shard"]);
}

fn r26_a_cursor_needs_an_order(backend: &Backend) {
    let cluster = cities(backend);
    let query = City::select().all_shards();
    let row = cluster.session().first(query.clone()).unwrap().unwrap();
    assert_error(query.cursor(&row), ErrorKind::Query, &["table `cities`", "order_by"]);
}

fn r26_a_page_of_one_shard(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..9).map(|id| Account { id, number: 1_500, owner: format!("{}", id / 3) })).unwrap();
    session.commit().unwrap();
    let query = Account::select().filter(Account::NUMBER.eq(1_500)).order_by(Account::OWNER.desc());
    let page = session.all(query.clone().limit(4)).unwrap();
    let after = query.cursor(&page[3]).unwrap();
    let (next, asked) = cluster.asked(|| session.all(query.after(&after)).unwrap());
    assert_eq!(next.iter().map(|account| account.id).collect::<Vec<_>>(), [4, 5, 0, 1, 2]);
    assert_eq!(asked, ["b"]);
}

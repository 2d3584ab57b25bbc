//! One order, one limit and one offset over all shards: R25 and R26; rows by column name: R30.

use shard_runtime::{Order, Session, Sharded};

use crate::backend::{Backend, CONTINENTS, Watched, assert_error};
use crate::models::*;

on_every_mixture! {
    r25_order_is_global,
    r25_nulls_are_where_the_query_says,
    r25_text_is_ordered_by_bytes,
    r25_floats_and_negative_numbers_are_ordered_by_size,
    r25_ties_are_broken_by_the_next_column_then_by_shard_then_by_arrival,
    r25_ties_do_not_depend_on_the_index,
    r25_without_an_order_rows_come_shard_by_shard,
    r26_limit_and_offset_are_of_the_whole,
    r26_one_shard_gets_limit_and_offset_untouched,
    r26_several_shards_get_limit_plus_offset,
    r26_great_bounds_are_no_overflow,
    r26_first_and_one;
    only lasting:
        r30_columns_in_another_order_do_not_shift_data,
        r30_a_missing_column_names_shard_table_and_column,
}

fn add(session: &mut Session, rows: &[(Continent, &str, Option<i64>)]) {
    let new = |(continent, name, population): &(Continent, &str, Option<i64>)| NewCity {
        population: *population,
        ..city(*continent, name)
    };
    session.add_all(rows.iter().map(new)).unwrap();
    session.commit().unwrap();
}

fn names(cluster: &Watched, orders: Vec<Order<City>>) -> Vec<String> {
    let query = orders.into_iter().fold(City::select().all_shards(), |query, order| query.order_by(order));
    let mut session = cluster.session();
    session.all(query).unwrap().iter().map(|city| city.name.clone()).collect()
}

use Continent::*;

/// Rows whose order by population alternates between the shards.
const ALTERNATING: &[(Continent, &str, Option<i64>)] = &[
    (NorthAmerica, "e", Some(5)),
    (NorthAmerica, "a", Some(1)),
    (Asia, "b", Some(2)),
    (Asia, "none 1", None),
    (Asia, "f", Some(6)),
    (Europe, "c", Some(3)),
    (Europe, "none 2", None),
    (SouthAmerica, "g", Some(7)),
    (SouthAmerica, "d", Some(4)),
];

fn r25_order_is_global(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    add(&mut cluster.session(), ALTERNATING);
    assert_eq!(
        names(&cluster, vec![City::POPULATION.asc().nulls_last()])[..7],
        ["a", "b", "c", "d", "e", "f", "g"]
    );
    assert_eq!(names(&cluster, vec![City::POPULATION.desc()])[..7], ["g", "f", "e", "d", "c", "b", "a"]);
    assert_eq!(names(&cluster, vec![City::NAME.desc()])[..3], ["none 2", "none 1", "g"]);
}

fn r25_nulls_are_where_the_query_says(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    add(&mut cluster.session(), ALTERNATING);
    let nulls = ["none 1", "none 2"];
    let column = City::POPULATION;
    for order in [column.asc(), column.asc().nulls_first(), column.desc().nulls_first()] {
        assert_eq!(names(&cluster, vec![order])[..2], nulls);
    }
    for order in [column.desc(), column.desc().nulls_last(), column.asc().nulls_last()] {
        assert_eq!(names(&cluster, vec![order])[7..], nulls);
    }
    // It is written into the SQL, on every shard, of every column that can hold one.
    let explain = cluster.explain(&City::select().all_shards().order_by(column.asc())).unwrap();
    assert!(explain.statements().all(|(_, sql)| sql.contains("NULLS FIRST")));
    // One shard alone has the same order.
    let asia = City::select().on(Asia).order_by(column.asc().nulls_last());
    assert_eq!(cluster.session().all(asia).unwrap()[2].name, "none 1");
}

fn r25_text_is_ordered_by_bytes(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let texts = ["Zürich", "aachen", "Aachen", "é", "z", "", "Ä", "𐍈", "\u{FFFD}", "B"];
    let rows: Vec<_> = texts
        .iter()
        .zip([Asia, Europe, NorthAmerica, SouthAmerica, Oceania].iter().cycle())
        .map(|(text, continent)| (*continent, *text, None))
        .collect();
    add(&mut cluster.session(), &rows);
    let mut sorted = texts;
    sorted.sort_unstable();
    assert_eq!(names(&cluster, vec![City::NAME.asc()]), sorted);
    sorted.reverse();
    assert_eq!(names(&cluster, vec![City::NAME.desc()]), sorted);
}

fn r25_floats_and_negative_numbers_are_ordered_by_size(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = session.add_all([Asia, Europe].map(|continent| city(continent, "x"))).unwrap();
    let temperatures =
        [0.5, -0.0, f64::INFINITY, 1e300, -1.0, 0.0, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5.0, -1e-300];
    for (temperature, city) in temperatures.iter().zip(cities.iter().cycle()) {
        session.add(NewReport { city: city.link(), temperature: *temperature }).unwrap();
    }
    session.commit().unwrap();
    let rows = session.all(Report::select().all_shards().order_by(Report::TEMPERATURE.asc())).unwrap();
    let found: Vec<f64> = rows.iter().map(|row| row.temperature).collect();
    let mut sorted = temperatures;
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
    assert_eq!(found, sorted); // -0.0 == 0.0
}

fn r25_ties_are_broken_by_the_next_column_then_by_shard_then_by_arrival(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let rows = [
        (SouthAmerica, "s2", Some(1)),
        (SouthAmerica, "s1", Some(1)),
        (Asia, "a2", Some(1)),
        (Asia, "a1", Some(1)),
        (Europe, "e", Some(2)),
        (NorthAmerica, "n", Some(1)),
    ];
    add(&mut cluster.session(), &rows);
    let population = || City::POPULATION.asc();
    for _ in 0..3 {
        assert_eq!(names(&cluster, vec![population()]), ["n", "a2", "a1", "s2", "s1", "e"]);
    }
    assert_eq!(names(&cluster, vec![population(), City::NAME.asc()]), ["a1", "a2", "n", "s1", "s2", "e"]);
    assert_eq!(
        names(&cluster, vec![City::POPULATION.desc(), City::CONTINENT.desc(), City::NAME.asc()]),
        ["e", "s1", "s2", "n", "a1", "a2"]
    );
}

fn r25_ties_do_not_depend_on_the_index(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    // Two values only: nearly everything is a tie, and the names run against the ids.
    let cities = (0..40).map(|position| NewCity {
        population: Some(position % 2),
        ..city(if position % 3 == 0 { Europe } else { Asia }, &format!("{:02}", 40 - position))
    });
    session.add_all(cities).unwrap();
    session.commit().unwrap();
    let pages = |session: &mut Session| {
        let mut read = Vec::new();
        for page in 0..8 {
            let query =
                City::select().all_shards().order_by(City::POPULATION.desc()).limit(5).offset(5 * page);
            read.extend(session.all(query).unwrap().iter().map(|city| city.id));
            session.commit().unwrap();
            // An index comes between one page and the next, by which the database may read in another order.
            backend.plant(
                &["asia"],
                "cities",
                "CREATE INDEX IF NOT EXISTS \"another {shard}\" ON {table} (population, name)",
            );
        }
        read
    };
    let read = pages(&mut session);
    let mut distinct = read.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 40, "{read:?}");
    assert_eq!(pages(&mut session), read);
    let whole = session.all(City::select().all_shards().order_by(City::POPULATION.desc())).unwrap();
    assert!(whole.iter().map(|city| city.id).eq(read));
}

fn r25_without_an_order_rows_come_shard_by_shard(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    add(&mut cluster.session(), ALTERNATING);
    let expected = ["e", "a", "b", "none 1", "f", "c", "none 2", "g", "d"];
    assert_eq!(names(&cluster, vec![]), expected);
    let query = City::select().all_shards().limit(4).offset(3);
    let found: Vec<String> =
        cluster.session().all(query).unwrap().iter().map(|city| city.name.clone()).collect();
    assert_eq!(found, expected[3..7]);
}

fn r26_limit_and_offset_are_of_the_whole(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    add(&mut cluster.session(), ALTERNATING);
    let whole = names(&cluster, vec![City::NAME.asc()]);
    let mut session = cluster.session();
    for (limit, offset) in (0..11).flat_map(|limit| (0..11).map(move |offset| (limit, offset))) {
        let query = City::select().all_shards().order_by(City::NAME.asc()).limit(limit).offset(offset);
        let count = session.one(query.clone().count()).unwrap();
        let page: Vec<String> = session.all(query).unwrap().iter().map(|city| city.name.clone()).collect();
        let expected: Vec<String> =
            whole.iter().skip(offset as usize).take(limit as usize).cloned().collect();
        assert_eq!(page, expected, "limit {limit} offset {offset}");
        assert_eq!(count, expected.len() as u64, "limit {limit} offset {offset}");
    }
    let rest = City::select().all_shards().order_by(City::NAME.asc()).offset(7);
    assert_eq!(session.all(rest.clone()).unwrap().len(), 2);
    assert_eq!(session.one(rest.count()).unwrap(), 2);
}

fn bounds(cluster: &Watched, query: shard_runtime::Select<City, shard_runtime::Routed>) -> Vec<(bool, bool)> {
    let explain = cluster.explain(&query).unwrap();
    explain.statements().map(|(_, sql)| (sql.contains("LIMIT"), sql.contains("OFFSET"))).collect()
}

fn r26_one_shard_gets_limit_and_offset_untouched(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    add(&mut cluster.session(), ALTERNATING);
    let query = || City::select().on(Asia).order_by(City::NAME.asc()).limit(1).offset(1);
    assert_eq!(bounds(&cluster, query()), [(true, true)]);
    assert_eq!(cluster.session().one(query()).unwrap().name, "f");
}

fn r26_several_shards_get_limit_plus_offset(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let rows: Vec<String> = (0..100).map(|number| format!("{number:03}")).collect();
    let rows: Vec<_> = rows
        .iter()
        .zip([NorthAmerica, Asia, Europe, SouthAmerica].iter().cycle())
        .map(|(name, continent)| (*continent, name.as_str(), None))
        .collect();
    add(&mut cluster.session(), &rows);
    let query = || City::select().all_shards().order_by(City::NAME.asc()).limit(5).offset(10);
    assert_eq!(bounds(&cluster, query()), [(true, false); 4]);
    let found = cluster.session().all(query()).unwrap();
    assert!(found.iter().map(|city| city.name.as_str()).eq(["010", "011", "012", "013", "014"]));
}

fn r26_great_bounds_are_no_overflow(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    add(&mut cluster.session(), ALTERNATING);
    let mut session = cluster.session();
    for query in [City::select().all_shards(), City::select().on(Asia)] {
        let whole = session.all(query.clone()).unwrap();
        for great in [u64::MAX, i64::MAX as u64 + 1, i64::MAX as u64] {
            assert_eq!(session.all(query.clone().limit(great)).unwrap(), whole);
            assert_eq!(session.all(query.clone().limit(great).offset(1)).unwrap(), whole[1..]);
            assert!(session.all(query.clone().offset(great)).unwrap().is_empty());
            assert!(session.all(query.clone().limit(great).offset(great)).unwrap().is_empty());
            assert_eq!(session.one(query.clone().limit(great).count()).unwrap(), whole.len() as u64);
            assert_eq!(session.one(query.clone().offset(great).count()).unwrap(), 0);
        }
    }
}

fn r26_first_and_one(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    add(&mut cluster.session(), ALTERNATING);
    let mut session = cluster.session();
    let sorted = || City::select().all_shards().order_by(City::NAME.asc());
    assert_eq!(session.first(sorted()).unwrap().unwrap().name, "a");
    assert_eq!(session.first(sorted().offset(3)).unwrap().unwrap().name, "d");
    assert!(session.first(sorted().offset(9)).unwrap().is_none());
    assert_eq!(session.one(sorted().offset(8)).unwrap().name, "none 2");
    assert_eq!(session.one(sorted().limit(1)).unwrap().name, "a");
    assert_error(session.one(sorted()), shard_runtime::ErrorKind::ManyRows, &["more than one"]);
    let none = sorted().filter(City::NAME.eq("z"));
    assert_error(session.one(none), shard_runtime::ErrorKind::NotFound, &["no row"]);
}

fn r30_columns_in_another_order_do_not_shift_data(backend: &Backend) {
    drop(backend.create::<Account>(&["a", "b", "c"]));
    let table = backend.table("b", "accounts");
    let sql = format!(
        "DROP TABLE {table}; CREATE TABLE {table} (owner TEXT NOT NULL, extra TEXT DEFAULT 'x', \
         number INTEGER NOT NULL, id INTEGER PRIMARY KEY) STRICT"
    );
    backend.run("b", &sql);
    let cluster = backend.open::<Account>(&["a", "b", "c"]).unwrap();
    let mut session = cluster.session();
    let accounts: Vec<Account> = [(1, 10), (2, 1500), (3, 2500)]
        .map(|(id, number)| Account { id, number, owner: format!("owner of {id}") })
        .to_vec();
    session.add_all(accounts.clone()).unwrap();
    session.commit().unwrap();
    let found = session.all(Account::select().all_shards().order_by(Account::NUMBER.asc())).unwrap();
    assert!(found.iter().map(|account| (**account).clone()).eq(accounts.clone()));
    assert_eq!(*session.get::<Account>(2).unwrap().unwrap(), accounts[1]);
    let mut second = session.get::<Account>(2).unwrap().unwrap();
    second.owner = "changed".into();
    session.update(&mut second).unwrap();
    session.commit().unwrap();
    let row: String = backend.peek("b", "accounts", "SELECT owner || number || id || extra FROM {table}");
    assert_eq!(row, "changed15002x");
}

fn r30_a_missing_column_names_shard_table_and_column(backend: &Backend) {
    let cluster = backend.create::<Account>(&["a", "b", "c"]);
    let drop_column = "ALTER TABLE {table} DROP COLUMN owner";
    backend.plant(&["b"], "accounts", drop_column);
    // While the cluster is open, and when it is opened.
    let mut session = cluster.session();
    let texts = ["shard `b`", "table `accounts`", "column `owner`"];
    let kind = shard_runtime::ErrorKind::Schema;
    assert_error(session.all(Account::select().all_shards()), kind, &texts);
    assert_error(session.get(Account::by_id(1).on_shard("b")), kind, &texts);
    assert!(session.all(Account::select().on_shard("c")).unwrap().is_empty(), "the session goes on");
    session.add(Account { id: 1, number: 1500, owner: "x".into() }).unwrap();
    assert_error(session.flush(), kind, &texts);
    drop(session);
    assert_error(backend.open::<Account>(&["a", "b", "c"]), kind, &texts);
}

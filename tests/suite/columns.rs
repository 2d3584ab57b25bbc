//! Some columns only, distinct ones, and answers that are read row by row: R25, R26, R28.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shard_runtime::{ErrorKind, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
    some_columns_are_read,
    a_link_is_a_column,
    r25_columns_that_are_ordered_by_need_not_be_read,
    r25_distinct_rows_come_once_over_all_shards,
    r26_bounds_of_distinct_rows_are_of_the_whole,
    distinct_rows_are_ordered_by_selected_columns,
    a_column_that_does_not_fit_is_named,
    r28_rows_are_visited_until_the_visitor_has_enough;
    only lasting:
        r28_columns_that_are_not_selected_are_not_read,
}

/// Six cities: two names are on two shards, and two populations.
fn cities(backend: &Backend) -> Watched {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let new = |continent, name, population| NewCity { population, ..city(continent, name) };
    let rows = [
        new(Continent::Asia, "Tripoli", Some(3)),
        new(Continent::Oceania, "Perth", Some(2)),
        new(Continent::Europe, "Perth", Some(1)),
        new(Continent::Europe, "Tripoli", None),
        new(Continent::SouthAmerica, "Quito", Some(3)),
        new(Continent::NorthAmerica, "Quito", None),
    ];
    session.add_all(rows).unwrap();
    session.commit().unwrap();
    cluster
}

fn some_columns_are_read(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let asia = City::select().on(Continent::Asia).order_by(City::NAME.asc());
    let both = asia.clone().columns((City::NAME, City::CONTINENT, City::POPULATION));
    let (rows, asked) = cluster.asked(|| session.all(both).unwrap());
    let expected = [("Perth", Continent::Oceania, Some(2)), ("Tripoli", Continent::Asia, Some(3))];
    assert_eq!(rows, expected.map(|(name, continent, population)| (name.to_owned(), continent, population)));
    assert_eq!(asked, ["asia"]);
    assert!(cluster.sql().iter().all(|(_, sql)| !sql.contains("\"id\",")), "only what is asked for");
    // One column is no tuple, tuples may be nested, and a column may be read twice.
    assert_eq!(session.all(asia.clone().columns(City::NAME)).unwrap(), ["Perth", "Tripoli"]);
    let nested = asia.columns((City::POPULATION, (City::NAME, City::NAME)));
    let (population, (name, again)) = session.first(nested).unwrap().unwrap();
    assert_eq!((population, name.as_str(), again.as_str()), (Some(2), "Perth", "Perth"));
}

fn a_link_is_a_column(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.add(NewReport { city: tokyo.link(), temperature: 20.0 }).unwrap();
    let (link, temperature) =
        session.one(Report::select().all_shards().columns((Report::CITY, Report::TEMPERATURE))).unwrap();
    assert_eq!((link.clone(), temperature), (tokyo.link(), 20.0));
    let (city, asked) = cluster.asked(|| session.get(&link).unwrap().unwrap());
    assert_eq!((city.name.as_str(), asked), ("Tokyo", vec!["asia".to_owned()]));
}

fn r25_columns_that_are_ordered_by_need_not_be_read(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let by_population = City::select().all_shards().order_by(City::POPULATION.desc().nulls_first());
    let names = by_population.order_by(City::CONTINENT.asc()).columns(City::NAME).clone();
    let found = session.all(names).unwrap();
    assert_eq!(found, ["Tripoli", "Quito", "Tripoli", "Quito", "Perth", "Perth"]);
}

fn r25_distinct_rows_come_once_over_all_shards(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let all = || City::select().all_shards();
    let (names, counts) = cluster.counted(|| session.all(all().columns(City::NAME).distinct()).unwrap());
    assert_eq!(names, ["Perth", "Quito", "Tripoli"]);
    assert!(counts.len() == 4 && counts.iter().all(|(_, statements)| *statements == 1));
    let populations =
        all().order_by(City::POPULATION.desc().nulls_first()).columns(City::POPULATION).distinct();
    assert_eq!(session.all(populations).unwrap(), [None, Some(3), Some(2), Some(1)]);
    let pairs = all().columns((City::NAME, City::POPULATION)).distinct();
    assert_eq!(session.all(pairs).unwrap().len(), 6);
    // Rows of one shard are computed by that shard.
    let (names, asked) = cluster.asked(|| {
        let on = City::select().filter(City::CONTINENT.is_in([Continent::Asia, Continent::Oceania]));
        session.all(on.columns(City::CONTINENT).distinct()).unwrap()
    });
    assert_eq!((names, asked), (vec![Continent::Asia, Continent::Oceania], vec!["asia".to_owned()]));
}

fn r26_bounds_of_distinct_rows_are_of_the_whole(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let page = |offset, limit| {
        City::select().all_shards().offset(offset).limit(limit).columns(City::NAME).distinct()
    };
    assert_eq!(session.all(page(0, 2)).unwrap(), ["Perth", "Quito"]);
    assert_eq!(session.all(page(1, 2)).unwrap(), ["Quito", "Tripoli"]);
    assert_eq!(session.all(page(2, 9)).unwrap(), ["Tripoli"]);
    assert_eq!(session.first(page(2, 9)).unwrap().as_deref(), Some("Tripoli"));
    let (none, asked) = cluster.asked(|| session.all(page(0, 0)).unwrap());
    assert!(none.is_empty() && asked.is_empty());
    let explain = cluster.explain(&page(1, 2)).unwrap();
    assert_eq!(explain.merge(), Some("merged by name, each once, 1 rows left out, 2 rows kept"));
    assert!(
        explain.statements().all(|(_, sql)| sql.starts_with("SELECT DISTINCT \"name\" FROM")),
        "{explain}"
    );
}

fn distinct_rows_are_ordered_by_selected_columns(backend: &Backend) {
    let cluster = cities(backend);
    let query = City::select().all_shards().order_by(City::POPULATION.asc()).columns(City::NAME).distinct();
    let (result, asked) = cluster.asked(|| cluster.session().all(query));
    assert_error(result, ErrorKind::Query, &["table `cities`", "column `population`", "distinct"]);
    assert!(asked.is_empty());
}

fn a_column_that_does_not_fit_is_named(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    if backend.plant(&["europe"], "cities", "INSERT INTO {table} VALUES (1, 'Atlantis', 'x', 1)") {
        let query = City::select().on_shard("europe").columns((City::NAME, City::CONTINENT));
        let texts = ["shard `europe`", "table `cities`", "column `continent`", "Atlantis"];
        assert_error(cluster.session().all(query), ErrorKind::Value, &texts);
    }
}

fn r28_rows_are_visited_until_the_visitor_has_enough(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..300).map(|id| Account { id, number: (id as i32) * 10, owner: "x".into() })).unwrap();
    session.commit().unwrap();
    let by_number = || Account::select().all_shards().order_by(Account::NUMBER.desc());
    let mut seen = Vec::new();
    session
        .for_each(by_number(), |account| {
            seen.push(account.number);
            Ok(if seen.len() < 120 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
        .unwrap();
    assert!(seen.iter().copied().eq((0..120).map(|place| 2_990 - 10 * place)));
    // The visitor's error is the answer's, and the session continues.
    let result = session.for_each(by_number(), |account| {
        u8::try_from(account.number)
            .map(|_| ControlFlow::Continue(()))
            .map_err(|error| shard_runtime::ValueError::new(error.to_string()).into())
    });
    assert_error(result, ErrorKind::Value, &["out of range"]);
    let mut count = 0;
    session
        .for_each(by_number().columns(Account::ID), |_| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(count, 300);
}

fn r28_columns_that_are_not_selected_are_not_read(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..300).map(|id| Account { id, number: (id as i32) * 10, owner: "x".into() })).unwrap();
    session.commit().unwrap();
    let read = Arc::new(AtomicU64::new(0));
    drop(session);
    let counter = Arc::clone(&read);
    let watched = backend
        .builder(&LETTERS)
        .on_statement(move |event| {
            counter.fetch_add(event.rows, Ordering::Relaxed);
        })
        .open::<Account>()
        .unwrap();
    let by_number = Account::select().all_shards().order_by(Account::NUMBER.asc());
    watched.session().for_each(by_number, |_| Ok(ControlFlow::Break(()))).unwrap();
    // One row of each shard, to find the first.
    assert_eq!(read.load(Ordering::Relaxed), 3);
}

//! Aggregates are merged, never concatenated: R27.

use shard_runtime::{ErrorKind, Sharded, Stored};

use crate::backend::{Backend, CONTINENTS, Watched, assert_error};
use crate::models::*;

on_every_mixture! {
    r27_counts_are_added,
    r27_sums_and_means_are_of_all_rows,
    r27_least_and_greatest_of_all_shards,
    r27_empty_shards_contribute_nothing,
    r27_aggregates_ask_only_the_shards_they_must,
    r27_a_sum_that_does_not_fit_is_an_error,
    r27_a_sum_fits_where_the_whole_does,
    r27_infinities_are_summed_as_in_one_table,
}

/// One report on Asia's shard, three on South America's, none elsewhere.
fn reports(backend: &Backend) -> Watched {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let quito = session.add(city(Continent::SouthAmerica, "Quito")).unwrap();
    for (city, temperature) in [(&tokyo, 80.0), (&quito, 10.0), (&quito, -20.0), (&quito, 30.0)] {
        session.add(NewReport { city: city.link(), temperature }).unwrap();
    }
    session.commit().unwrap();
    cluster
}

fn r27_counts_are_added(backend: &Backend) {
    let cluster = reports(backend);
    let mut session = cluster.session();
    let count = || Report::select().all_shards().count();
    let (count, counts) = cluster.counted(|| session.one(count()).unwrap());
    assert_eq!(count, 4);
    assert!(counts.len() == 4 && counts.iter().all(|(_, statements)| *statements == 1));
    let cold = Report::select().filter(Report::TEMPERATURE.lt(20.0)).all_shards();
    assert_eq!(session.one(cold.count()).unwrap(), 2);
}

fn r27_sums_and_means_are_of_all_rows(backend: &Backend) {
    let cluster = reports(backend);
    let mut session = cluster.session();
    let all = || Report::select().all_shards();
    assert_eq!(session.one(all().aggregate(Report::TEMPERATURE.sum())).unwrap(), Some(100.0));
    // Not the mean of the shards' means, which is 43.3.
    assert_eq!(session.one(all().aggregate(Report::TEMPERATURE.avg())).unwrap(), Some(25.0));
    assert_eq!(session.one(all().aggregate(Report::ID.avg())).unwrap(), Some(1.75));
    assert_eq!(session.one(all().aggregate(Report::ID.sum())).unwrap(), Some(7));
    let south = Report::select().on(Continent::SouthAmerica);
    assert_eq!(session.one(south.aggregate(Report::TEMPERATURE.avg())).unwrap(), Some(20.0 / 3.0));
}

fn r27_least_and_greatest_of_all_shards(backend: &Backend) {
    let cluster = reports(backend);
    let mut session = cluster.session();
    let all = || Report::select().all_shards();
    assert_eq!(session.one(all().aggregate(Report::TEMPERATURE.min())).unwrap(), Some(-20.0));
    assert_eq!(session.one(all().aggregate(Report::TEMPERATURE.max())).unwrap(), Some(80.0));
    assert_eq!(
        session.one(City::select().all_shards().aggregate(City::NAME.min())).unwrap().as_deref(),
        Some("Quito")
    );
    assert_eq!(
        session.one(City::select().all_shards().aggregate(City::NAME.max())).unwrap().as_deref(),
        Some("Tokyo")
    );
}

fn r27_empty_shards_contribute_nothing(backend: &Backend) {
    let cluster = reports(backend);
    let mut session = cluster.session();
    let none = || Report::select().filter(Report::TEMPERATURE.gt(1000.0)).all_shards();
    assert_eq!(session.one(none().count()).unwrap(), 0);
    assert_eq!(session.one(none().aggregate(Report::TEMPERATURE.sum())).unwrap(), None);
    assert_eq!(session.one(none().aggregate(Report::TEMPERATURE.avg())).unwrap(), None);
    assert_eq!(session.one(none().aggregate(Report::TEMPERATURE.min())).unwrap(), None);
    assert_eq!(session.one(none().aggregate(Report::TEMPERATURE.max())).unwrap(), None);
    // Nor do rows without a value.
    assert_eq!(session.one(City::select().all_shards().aggregate(City::POPULATION.avg())).unwrap(), None);
    session.execute(City::update().set(City::POPULATION, Some(6)).on(Continent::Asia)).unwrap();
    assert_eq!(
        session.one(City::select().all_shards().aggregate(City::POPULATION.avg())).unwrap(),
        Some(6.0)
    );
    assert_eq!(session.one(City::select().all_shards().aggregate(City::POPULATION.sum())).unwrap(), Some(6));
    assert_eq!(session.one(City::select().all_shards().aggregate(City::POPULATION.min())).unwrap(), Some(6));
}

fn r27_aggregates_ask_only_the_shards_they_must(backend: &Backend) {
    let cluster = reports(backend);
    let mut session = cluster.session();
    let asia = || Report::select().on(Continent::Asia);
    assert_eq!(cluster.asked(|| session.one(asia().count()).unwrap()), (1, vec!["asia".to_owned()]));
    let (sum, asked) = cluster.asked(|| session.one(asia().aggregate(Report::TEMPERATURE.sum())).unwrap());
    assert_eq!((sum, asked), (Some(80.0), vec!["asia".to_owned()]));
    let no_row =
        City::select().filter(City::CONTINENT.eq(Continent::Asia) & City::CONTINENT.eq(Continent::Europe));
    let (sum, asked) = cluster.asked(|| session.one(no_row.aggregate(City::POPULATION.sum())).unwrap());
    assert_eq!((sum, asked), (None, vec![]));
}

fn r27_a_sum_that_does_not_fit_is_an_error(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let huge = |continent, name| NewCity { population: Some(i64::MAX), ..city(continent, name) };
    session.add_all([huge(Continent::Asia, "x"), huge(Continent::Europe, "y")]).unwrap();
    let all = || City::select().all_shards();
    let texts = ["table `cities`", "column `population`"];
    assert_error(session.one(all().aggregate(City::POPULATION.sum())), ErrorKind::Value, &texts);
    assert_eq!(session.one(all().aggregate(City::POPULATION.max())).unwrap(), Some(i64::MAX));
    // On one shard the database itself fails.
    session.add(huge(Continent::Asia, "z")).unwrap();
    let asia = City::select().on(Continent::Asia);
    let texts = ["shard `asia`", "table `cities`"];
    assert_error(session.one(asia.aggregate(City::POPULATION.sum())), ErrorKind::Value, &texts);
    assert_eq!(session.one(all().count()).unwrap(), 3, "the session goes on");
}

fn r27_a_sum_fits_where_the_whole_does(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let with = |continent, population| NewCity { population: Some(population), ..city(continent, "x") };
    // The shards' sums come in an order in which each but the last two is out of bounds.
    let rows = [
        with(Continent::NorthAmerica, i64::MAX),
        with(Continent::Asia, i64::MAX),
        with(Continent::Europe, i64::MIN),
        with(Continent::SouthAmerica, i64::MIN),
    ];
    session.add_all(rows).unwrap();
    let all = || City::select().all_shards();
    assert_eq!(session.one(all().aggregate(City::POPULATION.sum())).unwrap(), Some(-2));
    assert_eq!(session.one(all().aggregate(City::POPULATION.min())).unwrap(), Some(i64::MIN));
    assert_eq!(session.one(all().aggregate(City::POPULATION.max())).unwrap(), Some(i64::MAX));
}

fn r27_infinities_are_summed_as_in_one_table(backend: &Backend) {
    let cluster = reports(backend);
    let mut session = cluster.session();
    let tokyo = session.one(City::select().filter(City::CONTINENT.eq(Continent::Asia))).unwrap();
    let quito = session.one(City::select().filter(City::CONTINENT.eq(Continent::SouthAmerica))).unwrap();
    let mut with = |city: &Stored<City>, temperature| {
        session.add(NewReport { city: city.link(), temperature }).unwrap();
        let all = || Report::select().all_shards();
        (
            session.one(all().aggregate(Report::TEMPERATURE.sum())).unwrap(),
            session.one(all().aggregate(Report::TEMPERATURE.avg())).unwrap(),
        )
    };
    let infinite = (Some(f64::INFINITY), Some(f64::INFINITY));
    assert_eq!(with(&tokyo, f64::INFINITY), infinite);
    assert_eq!(with(&quito, 1.0), infinite);
    // NaN is no value: the sum is NULL, on whichever shards the two infinities are.
    assert_eq!(with(&quito, f64::NEG_INFINITY), (None, None));
    assert_eq!(with(&tokyo, f64::NEG_INFINITY), (None, None));
    let all = || Report::select().all_shards();
    assert_eq!(session.one(all().aggregate(Report::TEMPERATURE.max())).unwrap(), Some(f64::INFINITY));
    assert_eq!(session.one(all().aggregate(Report::TEMPERATURE.min())).unwrap(), Some(f64::NEG_INFINITY));
}

//! Some columns as a small struct: R25, R26, R27, R30.

use shard_runtime::{ErrorKind, Parent, Projection, Sharded, count};

use crate::backend::{Backend, CONTINENTS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
    columns_are_read_into_a_struct,
    a_struct_is_a_column_beside_others,
    r25_a_struct_needs_no_column_that_it_is_ordered_by,
    r25_distinct_structs_come_once,
    r27_rows_are_grouped_by_a_struct,
    a_link_is_read_into_a_struct,
    r30_a_column_of_a_struct_that_does_not_fit_is_named,
}

#[derive(Projection, Clone, Debug, PartialEq)]
#[sharded(model = City)]
struct Place {
    name: String,
    #[sharded(column = population)]
    inhabitants: Option<i64>,
}

fn place(name: &str, inhabitants: impl Into<Option<i64>>) -> Place {
    Place { name: name.to_owned(), inhabitants: inhabitants.into() }
}

/// Perth is on two shards with one population, and on one of them there are two cities.
fn cities(backend: &Backend) -> Watched {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let new = |(continent, name, population)| NewCity { population, ..city(continent, name) };
    let rows = [
        (Continent::Oceania, "Perth", Some(2)),
        (Continent::Europe, "Perth", Some(2)),
        (Continent::Europe, "Paris", Some(9)),
        (Continent::SouthAmerica, "Quito", None),
    ];
    session.add_all(rows.map(new)).unwrap();
    session.commit().unwrap();
    cluster
}

fn columns_are_read_into_a_struct(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let europe = City::select().on(Continent::Europe).order_by(City::NAME.asc()).columns(Place::COLUMNS);
    let (rows, asked) = cluster.asked(|| session.all(europe.clone()).unwrap());
    assert_eq!((rows, asked), (vec![place("Paris", 9), place("Perth", 2)], vec!["europe".to_owned()]));
    let explain = cluster.explain(&europe).unwrap();
    let columns = |sql: &str| sql.starts_with("SELECT \"name\", \"population\" FROM");
    assert!(explain.statements().all(|(_, sql)| columns(sql)), "{explain}");
}

fn a_struct_is_a_column_beside_others(backend: &Backend) {
    let cluster = cities(backend);
    let columns = (City::CONTINENT, Place::COLUMNS, City::NAME);
    let query = City::select().all_shards().order_by(City::NAME.desc()).columns(columns);
    let row = cluster.session().first(query).unwrap();
    assert_eq!(row, Some((Continent::SouthAmerica, place("Quito", None), "Quito".to_owned())));
}

fn r25_a_struct_needs_no_column_that_it_is_ordered_by(backend: &Backend) {
    let cluster = cities(backend);
    let by_continent = City::select().all_shards().order_by(City::CONTINENT.desc()).order_by(City::ID.desc());
    let rows = cluster.session().all(by_continent.columns(Place::COLUMNS)).unwrap();
    assert_eq!(rows, [place("Quito", None), place("Perth", 2), place("Paris", 9), place("Perth", 2)]);
}

fn r25_distinct_structs_come_once(backend: &Backend) {
    let cluster = cities(backend);
    let distinct =
        || City::select().all_shards().order_by(City::POPULATION.desc()).columns(Place::COLUMNS).distinct();
    let (rows, counts) = cluster.counted(|| cluster.session().all(distinct()).unwrap());
    assert_eq!(rows, [place("Paris", 9), place("Perth", 2), place("Quito", None)]);
    assert!(counts.len() == 4 && counts.iter().all(|(_, statements)| *statements == 1));
}

fn r27_rows_are_grouped_by_a_struct(backend: &Backend) {
    let cluster = cities(backend);
    let groups = City::select().all_shards().group_by(Place::COLUMNS).aggregate(count());
    let rows = cluster.session().all(groups.order_by(count().desc()).limit(2)).unwrap();
    assert_eq!(rows, [(place("Perth", 2), 2), (place("Paris", 9), 1)]);
}

#[derive(Projection, Debug, PartialEq)]
#[sharded(model = Report)]
struct Link {
    city: Parent<City>,
}

fn a_link_is_read_into_a_struct(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.add(NewReport { city: tokyo.link(), temperature: 20.0 }).unwrap();
    let link = session.one(Report::select().all_shards().columns(Link::COLUMNS)).unwrap();
    assert_eq!(link, Link { city: tokyo.link() });
}

fn r30_a_column_of_a_struct_that_does_not_fit_is_named(backend: &Backend) {
    #[derive(Projection, Debug)]
    #[sharded(model = City)]
    struct Where {
        #[expect(dead_code, reason = "only read")]
        name: String,
        #[expect(dead_code, reason = "only read")]
        continent: Continent,
    }
    let cluster = backend.create::<City>(&CONTINENTS);
    if backend.plant(&["europe"], "cities", "INSERT INTO {table} VALUES (1, 'Atlantis', 'x', 1)") {
        let query = City::select().on_shard("europe").columns(Where::COLUMNS);
        let texts = ["shard `europe`", "table `cities`", "column `continent`", "Atlantis"];
        assert_error(cluster.session().all(query), ErrorKind::Value, &texts);
    }
}

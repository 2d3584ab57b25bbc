//! Pages of some columns, of distinct rows, and of rows with their parents: R26.

use shard_runtime::{
    Cursor, ErrorKind, Projection, Routed, Select, Sharded,
    query::{ColumnList, Columns},
};

use crate::backend::{Backend, CONTINENTS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
    r26_pages_of_columns_are_the_whole,
    r26_pages_of_distinct_rows_are_the_whole,
    r26_pages_of_rows_with_their_parents_are_the_whole,
    r26_a_cursor_of_columns_is_one_of_the_rows,
    r26_a_cursor_of_distinct_rows_is_of_their_columns,
    r26_pages_of_a_pinned_session,
    r26_pages_of_one_parents_children,
    r26_a_cursor_beside_columns_needs_an_order,
    r26_a_cursor_query_reads_selected_ordered_and_id_columns,
}

/// Cities full of ties, some without a population.
fn cities(backend: &Backend) -> Watched {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let row = |place: usize| NewCity {
        population: [None, Some(0), Some(1), Some(2)][place % 4],
        ..city(Continent::ALL[place * 7 % 5], &format!("{:02}", place * 37 % 40))
    };
    session.add_all((0..40).map(row)).unwrap();
    session.commit().unwrap();
    cluster
}

/// All pages of a query, each begun after the last row of the one before it.
fn paged<C: ColumnList<City>>(
    cluster: &Watched,
    query: &Select<City, Routed>,
    limit: u64,
    columns: impl Fn(Select<City, Routed>) -> Columns<City, Routed, C>,
) -> Vec<C::Output> {
    let mut read = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let page = columns(query.clone().limit(limit));
        let page = after.iter().fold(page, Columns::after).with_cursor();
        let rows = cluster.session().all(page).unwrap();
        assert!(rows.len() <= limit as usize && read.len() <= 40);
        let Some((_, last)) = rows.last() else { return read };
        after = Some(last.to_string().parse().unwrap());
        read.extend(rows.into_iter().map(|(row, _)| row));
    }
}

#[derive(Projection, Clone, Debug, PartialEq)]
#[sharded(model = City)]
struct Place {
    name: String,
    population: Option<i64>,
}

fn r26_pages_of_columns_are_the_whole(backend: &Backend) {
    let cluster = cities(backend);
    let all = || City::select().all_shards();
    let orders = [
        all().order_by(City::POPULATION.asc()),
        all().order_by(City::POPULATION.desc().nulls_first()).order_by(City::CONTINENT.desc()),
        all().order_by(City::NAME.desc()),
        all().order_by(City::ID.desc()),
        all().order_by(City::CONTINENT.asc()).filter(City::POPULATION.is_null() | City::NAME.gt("20")),
    ];
    for (place, query) in orders.iter().enumerate() {
        let rows = cluster.session().all(query.clone()).unwrap();
        for limit in [1, 7, 40] {
            // Neither the columns of the order nor the id need be read.
            let names = paged(&cluster, query, limit, |page| page.columns(City::NAME));
            assert!(rows.iter().map(|row| &row.name).eq(&names), "order {place}, limit {limit}: {names:?}");
        }
        let places = paged(&cluster, query, 9, |page| page.columns(Place::COLUMNS));
        let place_of = |row: &City| Place { name: row.name.clone(), population: row.population };
        assert_eq!(places, rows.iter().map(|row| place_of(row)).collect::<Vec<_>>());
    }
}

fn r26_pages_of_distinct_rows_are_the_whole(backend: &Backend) {
    let cluster = cities(backend);
    let all = || City::select().all_shards();
    let columns = (City::POPULATION, City::CONTINENT);
    let orders = [
        all(),
        all().order_by(City::POPULATION.desc()),
        all().order_by(City::POPULATION.desc().nulls_first()).order_by(City::CONTINENT.desc()),
        all().order_by(City::CONTINENT.asc()),
    ];
    for (place, query) in orders.iter().enumerate() {
        let distinct = |page: Select<City, Routed>| page.columns(columns).distinct();
        let whole = cluster.session().all(distinct(query.clone())).unwrap();
        assert_eq!(whole.len(), 20);
        for limit in [1, 3, 20] {
            assert_eq!(paged(&cluster, query, limit, distinct), whole, "order {place}, limit {limit}");
        }
    }
}

fn r26_pages_of_rows_with_their_parents_are_the_whole(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    for place in 0..4 {
        let city = session.add(city(Continent::ALL[place], &place.to_string())).unwrap();
        let new = |at: i32| NewReport { city: city.link(), temperature: f64::from(at % 3) };
        session.add_all((0..5).map(new)).unwrap();
    }
    session.commit().unwrap();
    let query = || Report::select().all_shards().order_by(Report::TEMPERATURE.desc());
    let whole = session.all(query().with_parent()).unwrap();
    let mut read = Vec::new();
    let mut page = session.all(query().limit(3).with_parent()).unwrap();
    while let Some(last) = page.last() {
        let after = query().with_parent().cursor(&last.0).unwrap();
        read.append(&mut page);
        page = session.all(query().limit(3).with_parent().after(&after)).unwrap();
    }
    let ids = |rows: &[(shard_runtime::Stored<Report>, shard_runtime::Stored<City>)]| -> Vec<(i64, String)> {
        rows.iter().map(|(report, city)| (report.id, city.name.clone())).collect()
    };
    assert_eq!((read.len(), ids(&read)), (20, ids(&whole)));
    let unordered = Report::select().all_shards().with_parent();
    assert_error(unordered.cursor(&whole[0].0), ErrorKind::Query, &["table `reports`", "order_by"]);
}

fn r26_a_cursor_of_columns_is_one_of_the_rows(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let query = || City::select().all_shards().order_by(City::POPULATION.desc());
    let rows = session.all(query()).unwrap();
    let names = session.all(query().columns(City::NAME).with_cursor().clone()).unwrap();
    for place in [0, 13, 39] {
        let of_columns = session.all(query().after(&names[place].1)).unwrap();
        let of_rows = session.all(query().after(&query().cursor(&rows[place]).unwrap())).unwrap();
        assert_eq!(of_columns, rows[place + 1..]);
        assert_eq!(of_columns, of_rows);
    }
}

fn r26_a_cursor_of_distinct_rows_is_of_their_columns(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let query = || City::select().all_shards().order_by(City::POPULATION.desc());
    let distinct = || query().columns(City::POPULATION).distinct();
    let (_, of_distinct) = session.first(distinct().with_cursor()).unwrap().unwrap();
    let (_, of_rows) = session.first(query().columns(City::POPULATION).with_cursor()).unwrap().unwrap();
    let both = query().columns((City::POPULATION, City::NAME)).distinct();
    let ((first, second), asked) = cluster.asked(|| {
        let first = session.all(distinct().after(&of_rows)).map(drop);
        (first, session.all(query().after(&of_distinct)).map(drop))
    });
    let third = session.all(both.after(&of_distinct));
    for result in [first, second, third.map(drop)] {
        assert_error(result, ErrorKind::Cursor, &["table `cities`", "different query"]);
    }
    assert!(asked.is_empty());
    // Distinct rows cannot be ordered by columns that are not selected, and so have no pages.
    let wrong = query().columns(City::NAME).distinct().with_cursor();
    assert_error(session.all(wrong), ErrorKind::Query, &["column `population`", "distinct"]);
}

fn r26_pages_of_a_pinned_session(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session_on_shard("asia").unwrap();
    let query = || City::select().all_shards().order_by(City::NAME.asc());
    let whole = session.all(query()).unwrap();
    let after = query().cursor(&whole[2]).unwrap();
    let (rest, asked) = cluster.asked(|| session.all(query().after(&after)).unwrap());
    assert_eq!((&rest[..], asked), (&whole[3..], vec!["asia".to_owned()]));
    let (_, after) = session.all(query().limit(3).columns(City::ID).with_cursor()).unwrap().remove(2);
    assert_eq!(session.all(query().after(&after)).unwrap(), whole[3..]);
}

fn r26_pages_of_one_parents_children(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let new = |at: i32| NewReport { city: tokyo.link(), temperature: f64::from(at) };
    session.add_all((0..5).map(new)).unwrap();
    let query = || tokyo.children::<Report>().order_by(Report::TEMPERATURE.asc());
    let (_, end) = session.all(query().limit(2).columns(Report::ID).with_cursor()).unwrap().remove(1);
    let (rest, asked) =
        cluster.asked(|| session.all(query().after(&end).columns(Report::TEMPERATURE)).unwrap());
    assert_eq!((rest, asked), (vec![2.0, 3.0, 4.0], vec!["asia".to_owned()]));
}

fn r26_a_cursor_beside_columns_needs_an_order(backend: &Backend) {
    let cluster = cities(backend);
    let query = City::select().all_shards().columns(City::NAME).with_cursor();
    let (result, asked) = cluster.asked(|| cluster.session().all(query));
    assert_error(result, ErrorKind::Query, &["table `cities`", "order_by"]);
    assert!(asked.is_empty());
}

fn r26_a_cursor_query_reads_selected_ordered_and_id_columns(backend: &Backend) {
    let cluster = cities(backend);
    let query = City::select().all_shards().order_by(City::POPULATION.asc()).columns(City::NAME);
    let explain = cluster.explain(&query.with_cursor()).unwrap();
    let columns = |sql: &str| sql.starts_with("SELECT \"name\", \"population\", \"id\" FROM");
    assert!(explain.statements().all(|(_, sql)| columns(sql)), "{explain}");
}

//! Children joined with their parents: one statement per shard, and order, limit and offset of the whole answer
//! (R21, R24 to R26).

use shard_runtime::{ErrorKind, Session, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS, assert_error};
use crate::models::*;

on_every_dialect! {
    r24_rows_with_their_parents_are_one_statement_per_shard,
    r25_joined_rows_are_in_the_order_of_the_query,
    r26_bounds_of_joined_rows_are_global,
    r21_parents_of_one_id_on_two_shards_are_not_mixed,
    r24_grandparents_are_joined_too,
    r23_pending_changes_are_joined,
    r14_joins_that_read_no_shard,
    joined_rows_of_one_parent_share_it,
    joined_rows_are_changed_like_others,
    rows_with_bare_parents,
    joins_are_explained,
    first_and_one_of_joined_rows,
    filters_and_joins_combine,
    r30_errors_name_the_parents_table_and_column,
}

/// Cities of every continent, three reports each, warmer from city to city.
fn weather(session: &mut Session) {
    for (place, continent) in Continent::ALL.into_iter().enumerate() {
        let name = format!("{continent:?}");
        let city = session.add(NewCity { population: Some(place as i64), ..city(continent, &name) }).unwrap();
        for degrees in 0..3 {
            let temperature = f64::from(degrees * 10) + place as f64;
            session.add(NewReport { city: city.link(), temperature }).unwrap();
        }
    }
    session.commit().unwrap();
}

fn r24_rows_with_their_parents_are_one_statement_per_shard(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let all = || Report::select().all_shards();
    let (joined, counts) = cluster.counted(|| session.all(all().with_parent()).unwrap());
    assert_eq!(counts, CONTINENTS.map(|shard| (shard.to_owned(), 1)));
    assert_eq!(joined.len(), 15);
    // The rows and their parents are the same as if they are read one by one, and in the same order.
    assert_eq!(
        joined.iter().map(|(report, _)| report.clone()).collect::<Vec<_>>(),
        session.all(all()).unwrap()
    );
    for (report, city) in &joined {
        assert_eq!(&session.parent(report).unwrap(), city);
        assert_eq!(report.shard(), city.shard());
    }
    let asia = Report::select().filter(Report::has_parent(City::CONTINENT.eq(Continent::Asia)));
    let (joined, counts) = cluster.counted(|| session.all(asia.with_parent()).unwrap());
    assert_eq!((joined.len(), counts), (3, vec![("asia".to_owned(), 1)]));
    // Grandchildren come with their parents, not with those of their parents.
    let report = &joined[0].0;
    session.add(NewRemark { report: report.link(), text: "x".into() }).unwrap();
    let (remark, parent) = session.one(Remark::select().all_shards().with_parent()).unwrap();
    assert_eq!((remark.text.as_str(), &parent), ("x", report));
}

fn r24_grandparents_are_joined_too(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let reports = session.all(Report::select().all_shards().order_by(Report::ID.asc())).unwrap();
    let remark = |place: usize| NewRemark { report: reports[place].link(), text: format!("{place:02}") };
    session.add_all((0..reports.len()).chain(0..4).map(remark)).unwrap();
    let query = || Remark::select().all_shards().order_by(Remark::TEXT.desc()).offset(2).limit(9);
    let joined = || query().with_parent().with_parent();
    let (rows, counts) = cluster.counted(|| session.all(joined()).unwrap());
    assert_eq!(counts, CONTINENTS.map(|shard| (shard.to_owned(), 1)));
    assert!(rows.iter().map(|(remark, ..)| remark.clone()).eq(session.all(query()).unwrap()));
    for (remark, report, city) in &rows {
        assert_eq!((&session.parent(remark).unwrap(), &session.parent(report).unwrap()), (report, city));
    }
    let explained = cluster.explain(&joined()).unwrap();
    assert_eq!(explained.shards(), CONTINENTS);
    assert!(explained.to_string().matches("JOIN").count() >= 2, "{explained}");
    // Pages continue after a remark, and a condition that narrows remarks narrows the join.
    let after = joined().cursor(&rows[3].0).unwrap();
    let rest = session.all(query().offset(0).limit(5).with_parent().with_parent().after(&after)).unwrap();
    assert_eq!(rest, rows[4..]);
    let asia = Remark::has_parent(Report::has_parent(City::CONTINENT.eq(Continent::Asia)));
    let asked =
        cluster.asked(|| session.all(Remark::select().filter(asia).with_parent().with_parent()).unwrap());
    assert_eq!(asked.1, ["asia"]);
    assert!(asked.0.iter().all(|(.., city)| city.continent == Continent::Asia) && !asked.0.is_empty());
}

fn r25_joined_rows_are_in_the_order_of_the_query(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let warmest = Report::select().all_shards().order_by(Report::TEMPERATURE.desc());
    let joined = session.all(warmest.with_parent()).unwrap();
    assert!(joined.is_sorted_by(|(a, _), (b, _)| a.temperature > b.temperature));
    assert!(joined.iter().all(|(report, city)| report.temperature as i64 % 10 == city.population.unwrap()));
    // `id` is a column of both: the rows' own is meant.
    let by_id =
        || Report::select().all_shards().order_by(Report::ID.desc()).order_by(Report::TEMPERATURE.asc());
    let joined = session.all(by_id().with_parent()).unwrap();
    assert!(joined.iter().map(|(report, _)| report).eq(&session.all(by_id()).unwrap()));
}

fn r26_bounds_of_joined_rows_are_global(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let page = Report::select().all_shards().order_by(Report::TEMPERATURE.asc()).limit(4).offset(3);
    let joined = session.all(page.clone().with_parent()).unwrap();
    assert!(joined.iter().map(|(report, _)| report).eq(&session.all(page).unwrap()));
    assert!(joined.iter().map(|(report, _)| report.temperature).eq([3.0, 4.0, 10.0, 11.0]));
    let one_shard =
        Report::select().on(Continent::Asia).order_by(Report::TEMPERATURE.desc()).limit(2).offset(1);
    let joined = session.all(one_shard.with_parent()).unwrap();
    assert!(joined.iter().map(|(report, _)| report.temperature).eq([21.0, 12.0]));
    assert!(joined.iter().map(|(_, city)| city.continent).eq([Continent::Asia, Continent::Oceania]));
    // Without an order the rows are those that come without their parents.
    let some = Report::select().on(Continent::Asia).limit(4);
    let joined = session.all(some.clone().with_parent()).unwrap();
    assert!(joined.iter().map(|(report, _)| report).eq(&session.all(some).unwrap()));
}

fn r21_parents_of_one_id_on_two_shards_are_not_mixed(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    // Each shard counts its own reports from 1.
    for report in session.all(Report::select().all_shards().filter(Report::ID.eq(1))).unwrap() {
        let text = report.shard().name().to_owned();
        session.add(NewRemark { report: report.link(), text }).unwrap();
    }
    let joined = session.all(Remark::select().all_shards().with_parent()).unwrap();
    assert_eq!(joined.len(), 4);
    for (remark, report) in &joined {
        assert_eq!((report.id, report.shard().name()), (1, remark.text.as_str()));
        assert_eq!(remark.report, report.link());
    }
}

fn r23_pending_changes_are_joined(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    session.add(Company { id: 1, name: "one".into() }).unwrap();
    session.add(NewCampaign { company_id: 1, title: "x".into() }).unwrap();
    let (campaign, company) = session.one(Campaign::select().all_shards().with_parent()).unwrap();
    assert_eq!((campaign.title.as_str(), company.name.as_str()), ("x", "one"));
}

fn r14_joins_that_read_no_shard(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let ((), asked) = cluster.asked(|| {
        assert!(session.all(Report::select().all_shards().limit(0).with_parent()).unwrap().is_empty());
        let never =
            Report::has_parent(City::CONTINENT.eq(Continent::Asia) & City::CONTINENT.eq(Continent::Oceania));
        assert!(session.all(Report::select().filter(never).with_parent()).unwrap().is_empty());
        let two = Report::select().on_shard("asia").on_shard("europe").with_parent();
        assert_error(session.all(two), ErrorKind::ContradictingPins, &["`reports`"]);
    });
    assert!(asked.is_empty());
}

fn joined_rows_of_one_parent_share_it(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let joined = session.all(Report::select().all_shards().with_parent()).unwrap();
    for (a, b) in joined.iter().flat_map(|a| joined.iter().map(move |b| (a, b))) {
        assert_eq!(std::ptr::eq(&*a.1, &*b.1), a.0.city == b.0.city);
    }
}

fn joined_rows_are_changed_like_others(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let on_asia = || Report::select().on(Continent::Asia).order_by(Report::ID.asc()).with_parent();
    let mut joined = session.all(on_asia()).unwrap();
    joined[0].1.name = "Tokyo".into();
    assert_eq!(joined[1].1.name, "Asia", "a row that is written through is copied first");
    session.update(&mut joined[0].1).unwrap();
    joined[0].0.temperature = -40.0;
    session.update(&mut joined[0].0).unwrap();
    let again = session.all(on_asia()).unwrap();
    assert_eq!((again[0].0.temperature, again[0].1.name.as_str()), (-40.0, "Tokyo"));
    assert_eq!(again[1].1.name, "Tokyo");
}

fn rows_with_bare_parents(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    for id in 0..6 {
        session.add(Company { id, name: format!("company {id}") }).unwrap();
        session.add(NewCampaign { company_id: id, title: format!("campaign {id}") }).unwrap();
    }
    session.commit().unwrap();
    let all = Campaign::select().all_shards().order_by(Campaign::COMPANY_ID.asc());
    let joined = session.all(all.with_parent()).unwrap();
    assert!(joined.iter().map(|(campaign, _)| campaign.company_id).eq(0..6));
    assert!(joined.iter().all(|(campaign, company)| campaign.company_id == company.id));
    let (joined, counts) = cluster.counted(|| {
        session.all(Campaign::select().filter(Campaign::COMPANY_ID.eq(4)).with_parent()).unwrap()
    });
    assert_eq!((joined.len(), joined[0].1.name.as_str(), counts.len()), (1, "company 4", 1));
}

fn joins_are_explained(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let query = Report::select()
        .all_shards()
        .filter(Report::TEMPERATURE.gt(1.0) & Report::has_parent(City::CONTINENT.ne(Continent::Europe)))
        .order_by(Report::TEMPERATURE.desc())
        .limit(3)
        .with_parent();
    let (explain, asked) = cluster.asked(|| cluster.explain(&query).unwrap());
    assert!(asked.is_empty());
    assert_eq!(explain.shards(), ["north_america", "asia", "south_america"]);
    assert_eq!(explain.merge(), Some("merged by temperature, 3 rows kept"));
    assert!(explain.statements().all(|(_, sql)| sql.contains(" JOIN ") && sql.contains(" IN (SELECT ")));
}

fn first_and_one_of_joined_rows(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let warmest = Report::select().all_shards().order_by(Report::TEMPERATURE.desc()).with_parent();
    let (report, city) = session.first(warmest.clone()).unwrap().unwrap();
    assert_eq!((report.temperature, city.continent), (24.0, Continent::SouthAmerica));
    assert_error(session.one(warmest), ErrorKind::ManyRows, &[]);
    let none = Report::select().on_shard("asia").filter(Report::TEMPERATURE.lt(-1.0)).with_parent();
    assert_error(session.one(none.clone()), ErrorKind::NotFound, &[]);
    assert!(session.first(none).unwrap().is_none());
}

fn filters_and_joins_combine(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    for report in session.all(Report::select().all_shards().filter(Report::TEMPERATURE.ge(20.0))).unwrap() {
        session.add(NewRemark { report: report.link(), text: "hot".into() }).unwrap();
    }
    // A parent above and children below, in a statement that has the parent's table in it already.
    let filter = Report::has_parent(City::POPULATION.ge(2) & City::has_child(Report::TEMPERATURE.lt(4.0)))
        & Report::has_child(Remark::TEXT.eq("hot"));
    let query = Report::select().all_shards().filter(filter).order_by(Report::TEMPERATURE.asc());
    let joined = session.all(query.with_parent()).unwrap();
    assert!(joined.iter().map(|(report, _)| report.temperature).eq([22.0, 23.0]));
    assert!(joined.iter().map(|(_, city)| city.continent).eq([Continent::Oceania, Continent::Europe]));
}

fn r30_errors_name_the_parents_table_and_column(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    weather(&mut cluster.session());
    if backend.plant(&["europe"], "cities", "UPDATE {table} SET continent = 'Nowhere'") {
        let mut session = cluster.session();
        let texts = ["shard `europe`", "table `cities`", "column `continent`", "Nowhere"];
        let joined = Report::select().all_shards().with_parent();
        assert_error(session.all(joined), ErrorKind::Value, &texts);
        let rows = session.all(Report::select().on(Continent::Asia).with_parent()).unwrap();
        assert_eq!(rows.len(), 6, "the session is usable on");
    }
}

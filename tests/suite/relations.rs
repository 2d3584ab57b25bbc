//! Filters over parents and children, which run inside each shard: R12 to R20 for relations.

use shard_runtime::{Cluster, ErrorKind, Filter, Parent, Session, Sharded, Stored, Unrouted};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
    r08_the_parents_key_narrows_its_children,
    r08_the_key_narrows_grandchildren,
    r08_a_bare_parents_id_narrows_both,
    r12_children_narrow_their_parent,
    r12_negation_narrows_only_where_it_is_exact,
    r14_contradictions_over_relations_read_no_shard,
    r17_columns_of_one_name_are_distinguished,
    r19_pins_win_over_relations,
    r20_relations_are_explained,
    r23_pending_changes_are_found_through_relations,
    r05_an_unplaced_key_of_the_parent_is_an_error,
    r37_bulk_writes_through_relations,
    r43_deep_relations_are_errors_or_answers,
    null_is_neither_true_nor_false_in_a_relation,
    no_child_at_all,
    aggregates_see_relations,
    unknown_models_in_relations_are_refused,
}

on_every_dialect_at_length! {
    long_lists_in_relations_are_split,
}

/// Five cities, one without reports; Tokyo's and London's reports have remarks.
fn weather(session: &mut Session) -> Vec<Stored<City>> {
    use Continent::*;
    let places = [(Asia, "Tokyo"), (Oceania, "Sydney"), (Europe, "London"), (NorthAmerica, "Toronto")];
    let mut cities = Vec::new();
    for (place, (continent, name)) in places.into_iter().enumerate() {
        let population = (name != "Sydney").then_some(place as i64);
        let city = session.add(NewCity { population, ..city(continent, name) }).unwrap();
        for temperature in [10.0, 20.0 + place as f64] {
            let report = session.add(NewReport { city: city.link(), temperature }).unwrap();
            if place % 2 == 0 {
                let text = format!("{name} at {temperature}");
                session.add(NewRemark { report: report.link(), text }).unwrap();
            }
        }
        cities.push(city);
    }
    cities.push(session.add(city(SouthAmerica, "Quito")).unwrap());
    session.commit().unwrap();
    cities
}

fn names(cluster: &Watched, filter: Filter<City, Unrouted>) -> (Vec<String>, Vec<String>) {
    let query = City::select().all_shards().filter(filter).order_by(City::NAME.asc());
    let (rows, asked) = cluster.asked(|| cluster.session().all(query).unwrap());
    (rows.iter().map(|city| city.name.clone()).collect(), asked)
}

fn r08_the_parents_key_narrows_its_children(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    // Narrowed by its type, so that it runs without `all_shards`.
    let asian = Report::select().filter(Report::has_parent(City::CONTINENT.eq(Continent::Asia)));
    let (reports, counts) = cluster.counted(|| session.all(asian).unwrap());
    assert!(reports.iter().map(|report| report.temperature).eq([10.0, 20.0]));
    assert_eq!(counts, [("asia".to_owned(), 1)]);
    let either = City::CONTINENT.is_in([Continent::Europe, Continent::NorthAmerica]);
    let warm = Report::select().filter(Report::has_parent(either) & Report::TEMPERATURE.gt(15.0));
    let warm = warm.order_by(Report::TEMPERATURE.desc());
    let (reports, asked) = cluster.asked(|| session.all(warm).unwrap());
    assert!(reports.iter().map(|report| report.temperature).eq([23.0, 22.0]));
    assert_eq!(asked, ["north_america", "europe"]);
    // A query without the key reads every shard, and its type shows it.
    let named: Filter<Report, Unrouted> = Report::has_parent(City::NAME.eq("Tokyo"));
    let (reports, asked) =
        cluster.asked(|| session.all(Report::select().filter(named).all_shards()).unwrap());
    assert_eq!((reports.len(), asked.len()), (2, 4));
}

fn r08_the_key_narrows_grandchildren(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = weather(&mut session);
    let european = Remark::has_parent(Report::has_parent(City::CONTINENT.eq(Continent::Europe)));
    let (remarks, counts) = cluster.counted(|| session.all(Remark::select().filter(european)).unwrap());
    assert!(remarks.iter().map(|remark| remark.text.as_str()).eq(["London at 10", "London at 22"]));
    assert_eq!(counts, [("europe".to_owned(), 1)]);
    let warm = Report::CITY.eq(&cities[0]) & Report::TEMPERATURE.gt(15.0);
    let (remarks, counts) =
        cluster.counted(|| session.all(Remark::select().filter(Remark::has_parent(warm))).unwrap());
    assert!(remarks.iter().map(|remark| remark.text.as_str()).eq(["Tokyo at 20"]));
    assert_eq!(counts, [("asia".to_owned(), 1)]);
    // And from the grandparent down.
    let (found, asked) =
        names(&cluster, City::has_child(Report::has_child(Remark::TEXT.starts_with("London"))));
    assert_eq!((found, asked.len()), (vec!["London".to_owned()], 4));
    let (found, _) = names(&cluster, City::has_child(!Report::has_child(Remark::TEXT.like("%"))));
    assert_eq!(found, ["Sydney", "Toronto"]);
}

fn r08_a_bare_parents_id_narrows_both(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    for id in 0..6 {
        session.add(Company { id, name: format!("company {id}") }).unwrap();
        for title in ["x", "y"] {
            let campaign = session.add(NewCampaign { company_id: id, title: title.into() }).unwrap();
            session.add(NewAdvert { campaign: campaign.link(), clicks: id as u32 }).unwrap();
        }
    }
    session.commit().unwrap();
    for id in 0..6 {
        let home = vec![(session.get::<Company>(id).unwrap().unwrap().shard().name().to_owned(), 1)];
        let of_company = Campaign::select().filter(Campaign::has_parent(Company::ID.eq(id)));
        let (found, counts) = cluster.counted(|| session.all(of_company).unwrap());
        assert_eq!((found.len(), counts), (2, home.clone()));
        let with_campaign = Company::select()
            .filter(Company::has_child(Campaign::COMPANY_ID.eq(id) & Campaign::TITLE.eq("x")));
        let (found, counts) = cluster.counted(|| session.all(with_campaign).unwrap());
        assert_eq!((found[0].id, found.len(), counts), (id, 1, home.clone()));
        let adverts = Advert::select().filter(Advert::has_parent(Campaign::COMPANY_ID.eq(id)));
        let (found, counts) = cluster.counted(|| session.all(adverts).unwrap());
        assert!(found.len() == 2 && found.iter().all(|advert| i64::from(advert.clicks) == id));
        assert_eq!(counts, home);
        // The child's column and the parent's id are one value.
        let other = Campaign::has_parent(Company::ID.eq(id)) & Campaign::COMPANY_ID.eq(id + 1);
        let (found, asked) = cluster.asked(|| session.all(Campaign::select().filter(other)).unwrap());
        assert!(found.is_empty() && asked.is_empty());
    }
}

fn r12_children_narrow_their_parent(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = weather(&mut session);
    let (found, asked) = names(&cluster, City::has_child(Report::TEMPERATURE.gt(20.5)));
    assert_eq!((found, asked.len()), (vec!["London".into(), "Sydney".into(), "Toronto".into()], 4));
    for city in &cities {
        let query = City::select().filter(City::has_child(Report::CITY.eq(city)));
        let (found, counts) = cluster.counted(|| session.all(query).unwrap());
        assert_eq!(found.len(), usize::from(city.name != "Quito"));
        assert_eq!(counts, [(city.shard().name().to_owned(), 1)]);
    }
    // A condition on the parent's key narrows its children, and the reason names the key.
    let query = City::has_child(Report::has_parent(City::CONTINENT.eq(Continent::Asia)));
    let (found, asked) = cluster.asked(|| session.all(City::select().filter(query)).unwrap());
    assert_eq!((found.len(), asked), (1, vec!["asia".to_owned()]));
}

fn r12_negation_narrows_only_where_it_is_exact(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    // There is one parent: not in Asia is elsewhere. Oceania is on the shard of Asia.
    let elsewhere = !Report::has_parent(City::CONTINENT.ne(Continent::Europe));
    let query = Report::select().filter(elsewhere).all_shards();
    let (found, asked) = cluster.asked(|| session.all(query).unwrap());
    assert_eq!((found.len(), asked), (2, vec!["europe".to_owned()]));
    let no_asia = !Report::has_parent(City::CONTINENT.is_in([Continent::Asia, Continent::Oceania]));
    let query = Report::select().filter(no_asia).all_shards();
    let (found, asked) = cluster.asked(|| session.all(query).unwrap());
    assert_eq!((found.len(), asked.join(" ")), (4, "north_america europe south_america".to_owned()));
    // There may be no child: a row without a child in Asia may be on any shard.
    let (found, asked) =
        names(&cluster, !City::has_child(Report::has_parent(City::CONTINENT.eq(Continent::Asia))));
    assert_eq!((found.join(" "), asked.len()), ("London Quito Sydney Toronto".to_owned(), 4));
    // A double negation is the condition itself.
    let (found, asked) =
        names(&cluster, !!City::has_child(Report::has_parent(City::CONTINENT.eq(Continent::Asia))));
    assert_eq!((found.join(" "), asked), ("Tokyo".to_owned(), vec!["asia".to_owned()]));
}

fn r14_contradictions_over_relations_read_no_shard(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = weather(&mut session);
    let continent = |continent| Report::has_parent(City::CONTINENT.eq(continent));
    let never = [
        // Two continents of one shard: still no parent is in both.
        continent(Continent::Asia) & continent(Continent::Oceania),
        Report::has_parent(City::CONTINENT.is_in(Vec::<Continent>::new())),
        // A link to a city of another shard than the continent's.
        Report::CITY.eq(&cities[2]) & continent(Continent::Asia),
        continent(Continent::Asia)
            & Report::has_parent(City::has_child(Report::has_parent(City::CONTINENT.eq(Continent::Oceania)))),
    ];
    for filter in never {
        let (count, asked) =
            cluster.asked(|| session.one(Report::select().filter(filter.clone()).count()).unwrap());
        assert_eq!((count, asked.len()), (0, 0));
        let (deleted, asked) =
            cluster.asked(|| session.execute(Report::delete().filter(filter.clone())).unwrap());
        assert_eq!((deleted, asked.len()), (0, 0));
    }
    let nothing = City::has_child(Report::CITY.is_in(Vec::<Parent<City>>::new()));
    assert!(names(&cluster, nothing.into()).1.is_empty());
}

fn r17_columns_of_one_name_are_distinguished(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = weather(&mut session);
    // `id` is a column of all three, and the reports are in two conditions.
    let tokyo = &cities[0];
    let reports = session.all(tokyo.children::<Report>().order_by(Report::ID.asc())).unwrap();
    let sibling = Report::has_parent(City::has_child(Report::ID.eq(reports[0].id)));
    let found =
        session.all(Report::select().filter(sibling & Report::ID.ne(reports[0].id)).on(Continent::Asia));
    assert_eq!(found.unwrap(), reports[1..]);
    let other_id = tokyo.id + 1_000;
    assert_eq!(names(&cluster, City::ID.eq(other_id) & City::has_child(Report::ID.ge(0))).0.len(), 0);
    let again = City::has_child(
        Report::ID.eq(reports[0].id)
            & Report::has_parent(City::NAME.eq("Tokyo") & City::has_child(Report::ID.eq(reports[1].id))),
    );
    assert_eq!(names(&cluster, again).0, ["Tokyo"]);
}

fn r19_pins_win_over_relations(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let asian = || Report::has_parent(City::CONTINENT.eq(Continent::Asia));
    let (count, asked) = cluster
        .asked(|| session.one(Report::select().filter(asian()).on(Continent::Europe).count()).unwrap());
    assert_eq!((count, asked), (0, vec!["europe".to_owned()]));
    let (count, asked) =
        cluster.asked(|| session.one(Report::select().filter(asian()).on_shard("asia").count()).unwrap());
    assert_eq!((count, asked), (2, vec!["asia".to_owned()]));
    session.commit().unwrap();
    // A city of Asia in Europe's database, with a report: the pin finds it.
    let plant = "INSERT INTO {table} (id, continent, name) VALUES (-1, 'Asia', 'astray')";
    if backend.plant(&["europe"], "cities", plant) {
        let plant = "INSERT INTO {table} (id, city_id, temperature) VALUES (77, -1, 1.5)";
        backend.plant(&["europe"], "reports", plant);
        let astray = session.all(Report::select().filter(asian()).on_shard("europe")).unwrap();
        assert_eq!((astray.len(), astray[0].id), (1, 77));
    }
    // A contradiction is one with a pin too.
    let never = asian() & Report::has_parent(City::CONTINENT.eq(Continent::Europe));
    let (_, asked) = cluster.asked(|| session.all(Report::select().filter(never).on_shard("asia")).unwrap());
    assert!(asked.is_empty());
}

fn r20_relations_are_explained(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let reason = |filter: Filter<Report, Unrouted>| {
        let explain = cluster.explain(&Report::select().filter(filter)).unwrap();
        (explain.reason().to_owned(), explain.shards().join(" "))
    };
    let continent = |continent| Report::has_parent(City::CONTINENT.eq(continent));
    let (asked, ()) = (cluster.asked(|| ()).1, ());
    assert!(asked.is_empty());
    assert_eq!(
        reason(continent(Continent::Asia).into()),
        ("cities.continent = Asia".to_owned(), "asia".to_owned())
    );
    assert_eq!(
        reason((continent(Continent::Asia) | continent(Continent::Europe)).into()),
        ("cities.continent IN (Asia, Europe)".to_owned(), "asia europe".to_owned())
    );
    assert_eq!(reason(Report::has_parent(City::NAME.eq("x"))).0, "no key: all shards");
    let never = continent(Continent::Asia) & continent(Continent::Europe);
    assert_eq!(reason(never.into()), ("a contradiction: no shard".to_owned(), String::new()));
    let query = City::select().on(Continent::Asia).filter(City::has_child(Report::TEMPERATURE.gt(30.0)));
    let explain = cluster.explain(&query).unwrap();
    let (_, sql) = explain.statements().next().unwrap();
    assert!(sql.contains("EXISTS (SELECT 1 FROM"), "{sql}");
    let (reports, cities) = (backend.table("asia", "reports"), backend.table("asia", "cities"));
    let within = format!(
        r#"WHERE EXISTS (SELECT 1 FROM {reports} AS sharded_1 WHERE sharded_1."city_id" = {cities}."id" AND (sharded_1."temperature" > "#
    );
    assert!(sql.ends_with(&format!("{within}{}))", backend.param("asia", 1))), "{sql}");
}

fn r23_pending_changes_are_found_through_relations(backend: &Backend) {
    let cluster = backend.create::<(City, Reading)>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let london = session.add(city(Continent::Europe, "London")).unwrap();
    session.commit().unwrap();
    // The table that is read has no pending changes, but the table of the condition has some.
    session.add(NewReading { city: tokyo.link(), value: 7 }).unwrap();
    let read = City::select().filter(City::has_child(Reading::VALUE.eq(7))).all_shards();
    assert_eq!(session.all(read).unwrap(), [tokyo]);
    session.add(NewReading { city: london.link(), value: 8 }).unwrap();
    session.commit().unwrap();
    let paris = session.add(city(Continent::Europe, "Paris")).unwrap();
    session.add(NewReading { city: paris.link(), value: 9 }).unwrap();
    let of_paris = Reading::select().filter(Reading::has_parent(City::NAME.eq("Paris"))).all_shards();
    assert_eq!(session.one(of_paris).unwrap().value, 9);
}

fn r05_an_unplaced_key_of_the_parent_is_an_error(backend: &Backend) {
    let cluster = backend.create::<(Shop, Sale)>(&LETTERS);
    let mut session = cluster.session();
    let at = |region: &str| Sale::select().filter(Sale::has_parent(Shop::REGION.eq(region)));
    let texts = ["table `shops`", "column `region`", "West"];
    let (result, asked) = cluster.asked(|| session.all(at("West")));
    assert_error(result, ErrorKind::UnmappedKey, &texts);
    assert!(asked.is_empty());
    let (result, asked) = cluster.asked(|| session.all(at("South")).unwrap());
    assert_eq!((result.len(), asked), (0, vec!["b".to_owned()]));
    // A value that cannot be stored is an error under NOT and in a contradiction as well.
    let bad = !Shop::has_child(Sale::has_parent(Shop::REGION.eq("\0")));
    let never = Shop::select().filter(bad & Shop::REGION.is_in(Vec::<String>::new()));
    assert_error(session.all(never), ErrorKind::Value, &["table `shops`", "column `region`"]);
}

fn r37_bulk_writes_through_relations(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let update = Report::update()
        .set(Report::TEMPERATURE, 99.0)
        .filter(Report::has_parent(City::CONTINENT.eq(Continent::Europe)));
    let (changed, asked) = cluster.asked(|| session.execute(update).unwrap());
    assert_eq!((changed, asked.as_slice()), (2, ["europe".to_owned()].as_slice()));
    let hot = City::update()
        .set(City::POPULATION, Some(1_000))
        .filter(City::has_child(Report::TEMPERATURE.gt(90.0)));
    assert_eq!(session.execute(hot.all_shards()).unwrap(), 1);
    // Parents without remarks lose their reports; one table is written and in the condition of one statement.
    let silent = !Report::has_parent(City::has_child(Report::has_child(Filter::<Remark, _>::everything())));
    assert_eq!(session.execute(Report::delete().filter(silent).all_shards()).unwrap(), 4);
    let childless = !City::has_child(Filter::<Report, _>::everything());
    assert_eq!(session.execute(City::delete().filter(childless).all_shards()).unwrap(), 3);
    assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 2);
}

fn r43_deep_relations_are_errors_or_answers(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let nested = |pairs: usize| {
        let deepest: Filter<City, Unrouted> = City::NAME.eq("Tokyo");
        (0..pairs).fold(deepest, |filter, _| !City::has_child(!Report::has_parent(filter)))
    };
    for pairs in [1, 3, 5] {
        let query = City::select().filter(nested(pairs) & City::NAME.eq("Tokyo")).on(Continent::Asia);
        assert_eq!(session.all(query).unwrap().len(), 1, "{pairs}");
    }
    for pairs in [20, 1_000, 50_000] {
        let query = City::select().filter(nested(pairs)).all_shards();
        assert_error(session.all(query), ErrorKind::Query, &["nested", "250"]);
    }
}

fn null_is_neither_true_nor_false_in_a_relation(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session); // Sydney's population is not known
    let mut count = |filter: Filter<Report, Unrouted>| {
        session.one(Report::select().filter(filter).all_shards().count()).unwrap()
    };
    let many = || City::POPULATION.ge(2);
    assert_eq!(count(Report::has_parent(many())), 4);
    assert_eq!(count(Report::has_parent(!many())), 2, "Sydney is not known to be small");
    assert_eq!(count(!Report::has_parent(many())), 4, "nor has it a parent that is known to be large");
    assert_eq!(count(Report::has_parent(City::POPULATION.is_null())), 2);
    assert_eq!(count(!Report::has_parent(many() | !many())), 2);
}

fn no_child_at_all(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    weather(&mut cluster.session());
    assert_eq!(names(&cluster, !City::has_child(Filter::<Report, _>::everything())).0, ["Quito"]);
    let without_remarks = !City::has_child(Report::has_child(Filter::<Remark, _>::everything()));
    assert_eq!(names(&cluster, without_remarks).0, ["Quito", "Sydney", "Toronto"]);
    assert_eq!(names(&cluster, City::has_child(Filter::<Report, _>::everything())).0.len(), 4);
    let of_any = Report::select().filter(Report::has_parent(Filter::<City, _>::everything())).all_shards();
    assert_eq!(cluster.session().one(of_any.count()).unwrap(), 8);
}

fn aggregates_see_relations(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let asian = || Report::select().filter(Report::has_parent(City::CONTINENT.eq(Continent::Asia)));
    assert_eq!(session.one(asian().aggregate(Report::TEMPERATURE.max())).unwrap(), Some(20.0));
    assert_eq!(session.one(asian().limit(1).count()).unwrap(), 1);
    let known = Report::select().filter(Report::has_parent(!City::POPULATION.is_null())).all_shards();
    assert_eq!(
        session.one(known.aggregate(Report::TEMPERATURE.avg())).unwrap(),
        Some((30.0 + 32.0 + 33.0) / 6.0)
    );
}

fn long_lists_in_relations_are_split(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    let companies = (0..60).map(|id| Company { id, name: String::new() });
    session.add_all(companies).unwrap();
    let campaigns = (0..60).map(|id| NewCampaign { company_id: id, title: String::new() });
    session.add_all(campaigns).unwrap();
    session.commit().unwrap();
    let ids = || (0..100_000).rev().filter(|id| id % 2 == 0 || *id > 50);
    let found = Company::select().filter(Company::has_child(Campaign::COMPANY_ID.is_in(ids())));
    let (count, counts) = cluster.counted(|| session.one(found.count()).unwrap());
    assert_eq!((count, counts.iter().map(|(_, count)| *count).collect::<Vec<_>>()), (35, vec![1, 1, 1]));
    let found = Campaign::select().filter(Campaign::has_parent(Company::ID.is_in(ids())));
    assert_eq!(session.one(found.count()).unwrap(), 35);
}

fn unknown_models_in_relations_are_refused(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let query = City::select().filter(City::has_child(Report::TEMPERATURE.gt(1.0))).all_shards();
    assert_error(session.all(query.clone()), ErrorKind::UnknownModel, &["`Report`", "table `reports`"]);
    assert_error(cluster.explain(&query).map(drop), ErrorKind::UnknownModel, &["`Report`"]);
    let delete = City::delete().filter(City::has_child(Report::TEMPERATURE.gt(1.0))).all_shards();
    assert_error(session.execute(delete), ErrorKind::UnknownModel, &["`Report`"]);
}

/// A child whose rows wait to be written.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "readings")]
struct Reading {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    city: Parent<City>,
    value: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "sales")]
struct Sale {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    shop: Parent<Shop>,
}

/// A table whose name with its shard's prefix is that of a subquery's table.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "1")]
struct First {
    #[id]
    #[shard_key(hash)]
    id: i64,
    name: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "PARENT")]
struct Second {
    #[id]
    id: i64,
    #[shard_parent(First)]
    first: i64,
    name: String,
}

#[test]
fn r42_tables_may_be_called_as_subqueries_are() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?prefix=sharded_", folder.path().join("all.db").display());
    let cluster = Cluster::builder().shard("a", url).create::<(First, Second)>().unwrap();
    let mut session = cluster.session();
    for id in [1, 2] {
        session.add(First { id, name: "first".into() }).unwrap();
        session.add(Second { id: id + 10, first: id, name: format!("{id}") }).unwrap();
    }
    let found = session.all(First::select().filter(First::has_child(Second::NAME.eq("2"))).all_shards());
    assert_eq!(found.unwrap().iter().map(|first| first.id).collect::<Vec<_>>(), [2]);
    let found = session.all(Second::select().filter(Second::FIRST.eq(2)).with_parent()).unwrap();
    assert_eq!((found[0].0.id, found[0].1.id), (12, 2));
}

//! Groups that are each on one shard: conditions, order and limit are pushed down only if the shard evaluates them exactly as
//! the merge would (R27, R20).

use shard_runtime::{ErrorKind, Explain, Sharded, count};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
    r27_conditions_on_groups_of_the_key_are_pushed_down,
    r27_conditions_on_groups_that_span_shards_are_not,
    r27_one_shard_does_all_of_it,
    r27_whole_groups_are_merged_by_their_measures,
    r27_conditions_that_a_shard_evaluates_differently_are_not_pushed_down,
    r27_conditions_compare_values_of_every_kind,
    r27_a_part_of_the_key_is_not_the_key,
    r27_groups_by_a_link_are_whole,
    r43_a_condition_on_no_value_reads_no_shard,
}

/// Cities of five continents on four shards; Oceania has no population, Asia and Oceania share a shard.
fn cities(backend: &Backend) -> Watched {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    use Continent::*;
    let rows = [
        (Asia, "a", Some(10)),
        (Asia, "b", Some(20)),
        (Oceania, "a", None),
        (Europe, "a", Some(5)),
        (Europe, "b", Some(7)),
        (Europe, "c", Some(18)),
        (NorthAmerica, "a", Some(-1)),
        (SouthAmerica, "b", Some(30)),
    ];
    let new = |(continent, name, population)| NewCity { population, ..city(continent, name) };
    session.add_all(rows.map(new)).unwrap();
    session.commit().unwrap();
    cluster
}

fn every_statement(explain: &Explain, texts: &[&str]) -> bool {
    explain.statements().all(|(_, sql)| texts.iter().all(|text| sql.contains(text)))
}

/// How SQL adds the populations.
fn sum(backend: &Backend) -> &'static str {
    match backend.is_postgres("asia") {
        true => "sum(\"population\")::bigint",
        false => "sum(\"population\")",
    }
}

fn no_statement(explain: &Explain, text: &str) -> bool {
    explain.statements().all(|(_, sql)| !sql.contains(text))
}

fn r27_conditions_on_groups_of_the_key_are_pushed_down(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    use Continent::*;
    let population = City::POPULATION;
    let continents = || City::select().all_shards().group_by(City::CONTINENT).aggregate(count());
    let large = || continents().having(count().ge(2)).having(population.avg().gt(9.5)).limit(1);
    let explain = cluster.explain(&large()).unwrap();
    assert_eq!(explain.merge(), Some("merged by continent, groups pushed down whole"));
    let mean = match backend.is_postgres("asia") {
        true => "avg(\"population\"::double precision) >",
        false => "total(\"population\") / count(\"population\") >",
    };
    assert!(every_statement(&explain, &["HAVING count(*) >=", mean, "LIMIT"]), "{explain}");
    let (found, counts) = cluster.counted(|| session.all(large()).unwrap());
    assert_eq!(found, [(Asia, 2)]);
    assert!(counts.len() == 4 && counts.iter().all(|(_, statements)| *statements == 1));
    assert_eq!(session.all(large().offset(1)).unwrap(), [(Europe, 3)]);
    // Every measure that a shard makes whole, and none holds without a value.
    assert_eq!(
        session.all(continents().having(population.sum().eq(30))).unwrap(),
        [(Asia, 2), (Europe, 3), (SouthAmerica, 1)]
    );
    assert_eq!(
        session.all(continents().having(population.min().le(5))).unwrap(),
        [(Europe, 3), (NorthAmerica, 1)]
    );
    assert_eq!(session.all(continents().having(population.max().ne(20))).unwrap().len(), 3);
    assert_eq!(
        session.all(continents().having(City::NAME.max().lt("b"))).unwrap(),
        [(NorthAmerica, 1), (Oceania, 1)]
    );
    assert_eq!(session.all(continents().having(City::NAME.count_distinct().gt(2))).unwrap(), [(Europe, 3)]);
}

fn r27_conditions_on_groups_that_span_shards_are_not(backend: &Backend) {
    let cluster = cities(backend);
    let names = City::select().all_shards().group_by(City::NAME).aggregate(count()).having(count().ge(3));
    let names = names.order_by(count().desc()).limit(5);
    let explain = cluster.explain(&names).unwrap();
    let how = "merged by name, groups of one key together, then left out by their measures, \
               then ordered by their measures";
    assert_eq!(explain.merge(), Some(how));
    assert!(no_statement(&explain, "HAVING") && no_statement(&explain, "LIMIT"), "{explain}");
    assert_eq!(cluster.session().all(names).unwrap(), [("a".to_owned(), 4), ("b".to_owned(), 3)]);
}

fn r27_one_shard_does_all_of_it(backend: &Backend) {
    let cluster = cities(backend);
    let asia =
        City::select().on(Continent::Asia).group_by(City::NAME).aggregate(count()).having(count().ge(1));
    let asia = asia.order_by(City::POPULATION.sum().desc()).limit(1);
    let explain = cluster.explain(&asia).unwrap();
    let order = format!("ORDER BY {} DESC NULLS LAST, \"name\"", sum(backend));
    assert!(every_statement(&explain, &["HAVING count(*) >=", &order, "LIMIT"]), "{explain}");
    let (found, asked) = cluster.asked(|| cluster.session().all(asia.offset(1)).unwrap());
    assert_eq!((found, asked), (vec![("a".to_owned(), 2)], vec!["asia".to_owned()]));
}

fn r27_whole_groups_are_merged_by_their_measures(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    use Continent::*;
    let population = City::POPULATION;
    let continents = || City::select().all_shards().group_by(City::CONTINENT).aggregate(());
    let unmeasured = cluster.explain(&continents()).unwrap();
    assert_eq!(unmeasured.merge(), Some("merged by continent, groups pushed down whole"));
    let by_sum = continents().order_by(population.sum().desc()).limit(4);
    let explain = cluster.explain(&by_sum).unwrap();
    assert_eq!(explain.merge(), Some("merged by sum(population), continent, groups pushed down whole"));
    let order = format!("ORDER BY {} DESC NULLS LAST", sum(backend));
    assert!(every_statement(&explain, &[&order, "LIMIT"]), "{explain}");
    let mut ordered = |query| -> Vec<Continent> {
        session.all(query).unwrap().into_iter().map(|(continent, ())| continent).collect()
    };
    assert_eq!(ordered(by_sum), [Asia, Europe, SouthAmerica, NorthAmerica]);
    // Equal groups come by their columns, and those without a value first or last.
    assert_eq!(
        ordered(continents().order_by(population.sum().asc())),
        [Oceania, NorthAmerica, Asia, Europe, SouthAmerica]
    );
    let by_count = continents().order_by(count().desc()).order_by(City::CONTINENT.desc());
    assert_eq!(ordered(by_count.limit(3)), [Europe, Asia, SouthAmerica]);
    let by_names = continents().order_by(City::NAME.count_distinct().desc()).order_by(population.max().asc());
    assert_eq!(ordered(by_names), [Europe, Asia, Oceania, NorthAmerica, SouthAmerica]);
}

fn r27_conditions_that_a_shard_evaluates_differently_are_not_pushed_down(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let population = City::POPULATION;
    let continents = || City::select().all_shards().group_by(City::CONTINENT).aggregate(count());
    let uneven = continents().having(population.variance().gt(48.5)).having(count().lt(9)).limit(1);
    let explain = cluster.explain(&uneven).unwrap();
    let how = "merged by continent, groups pushed down whole, then left out by their measures";
    assert_eq!(explain.merge(), Some(how));
    assert!(
        every_statement(&explain, &["HAVING count(*) <"]) && no_statement(&explain, "LIMIT"),
        "{explain}"
    );
    assert_eq!(session.all(uneven.offset(1)).unwrap(), [(Continent::Europe, 3)]);
    let by_mean = continents().order_by(population.avg().desc()).limit(2);
    let explain = cluster.explain(&by_mean).unwrap();
    assert!(explain.merge().unwrap().ends_with("then ordered by their measures"), "{explain}");
    assert_eq!(session.all(by_mean).unwrap(), [(Continent::SouthAmerica, 1), (Continent::Asia, 2)]);
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "readings", insert(derive(Clone)))]
struct Reading {
    #[id(sequence)]
    id: i64,
    #[shard_key(hash)]
    sensor: i64,
    place: i64,
    read: jiff::Timestamp,
    tag: uuid::Uuid,
    works: bool,
    raw: Vec<u8>,
}

fn r27_conditions_compare_values_of_every_kind(backend: &Backend) {
    let cluster = backend.create::<Reading>(&LETTERS);
    let mut session = cluster.session();
    let at = |second| jiff::Timestamp::from_second(second).unwrap();
    let new = |sensor: i64| NewReading {
        sensor,
        place: sensor,
        read: at(sensor),
        tag: uuid::Uuid::from_u128(sensor as u128),
        works: sensor > 4,
        raw: vec![sensor as u8],
    };
    session.add_all((1..9).map(new)).unwrap();
    // Groups by the key, which are pushed down, and groups that span shards, which are not.
    let by_key = || Reading::select().all_shards().group_by(Reading::SENSOR).aggregate(());
    let by_place = || Reading::select().all_shards().group_by(Reading::PLACE).aggregate(());
    let conditions = || {
        [
            Reading::READ.max().gt(at(4)),
            Reading::TAG.min().ge(uuid::Uuid::from_u128(5)),
            Reading::WORKS.min().eq(true),
            Reading::WORKS.max().ne(false),
            Reading::RAW.max().gt(vec![4]),
        ]
    };
    let wanted: Vec<(i64, ())> = (5..9).map(|sensor| (sensor, ())).collect();
    for (position, (key, other)) in conditions().into_iter().zip(conditions()).enumerate() {
        let (pushed, merged) = (by_key().having(key), by_place().having(other));
        assert!(every_statement(&cluster.explain(&pushed).unwrap(), &["HAVING"]), "{position}");
        assert!(no_statement(&cluster.explain(&merged).unwrap(), "HAVING"), "{position}");
        assert_eq!(session.all(pushed).unwrap(), wanted, "{position}, pushed down");
        assert_eq!(session.all(merged).unwrap(), wanted, "{position}, after the merge");
    }
}

fn r27_a_part_of_the_key_is_not_the_key(backend: &Backend) {
    let cluster = backend.create::<Event>(&LETTERS);
    let mut session = cluster.session();
    let new = |day: i64| NewEvent { tenant: 1, day: day.to_string(), what: "x".into() };
    session.add_all((0..20).map(new)).unwrap();
    let events = || Event::select().all_shards();
    let tenants = events().group_by(Event::TENANT).aggregate(count()).having(count().eq(20));
    assert!(no_statement(&cluster.explain(&tenants).unwrap(), "HAVING"));
    assert_eq!(session.all(tenants).unwrap(), [(1, 20)]);
    let days =
        events().group_by((Event::DAY, Event::WHAT, Event::TENANT)).aggregate(count()).having(count().eq(1));
    let explain = cluster.explain(&days).unwrap();
    assert!(every_statement(&explain, &["HAVING"]), "{explain}");
    assert_eq!(session.all(days).unwrap().len(), 20);
}

fn r27_groups_by_a_link_are_whole(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    for (continent, reports) in [(Continent::Asia, 1), (Continent::Europe, 3), (Continent::NorthAmerica, 2)] {
        let city = session.add(city(continent, "x")).unwrap();
        session
            .add_all((0..reports).map(|at| NewReport { city: city.link(), temperature: at.into() }))
            .unwrap();
    }
    let by_city = Report::select().all_shards().group_by(Report::CITY).aggregate(count());
    let many = by_city.having(count().gt(1)).order_by(Report::TEMPERATURE.max().desc()).limit(2);
    let explain = cluster.explain(&many).unwrap();
    assert!(
        every_statement(&explain, &["HAVING", "ORDER BY max(\"temperature\") DESC", "LIMIT"]),
        "{explain}"
    );
    let found = session.all(many).unwrap();
    let shards: Vec<(&str, u64)> = found.iter().map(|(city, rows)| (city.shard().name(), *rows)).collect();
    assert_eq!(shards, [("europe", 3), ("north_america", 2)]);
}

fn r43_a_condition_on_no_value_reads_no_shard(backend: &Backend) {
    let cluster = cities(backend);
    let none = City::select().all_shards().group_by(City::NAME).aggregate(());
    let none = none.having(City::POPULATION.avg().gt(f64::NAN));
    let (result, asked) = cluster.asked(|| cluster.session().all(none));
    assert_error(result, ErrorKind::Value, &["table `cities`", "column `population`", "NaN"]);
    assert!(asked.is_empty());
}

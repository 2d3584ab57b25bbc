//! Groups and measures are merged, never concatenated: R27.

use shard_runtime::{ErrorKind, Sharded, Stored, count};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
    r27_groups_of_several_shards_are_merged,
    r27_having_and_limit_apply_after_the_merge,
    r27_groups_are_ordered_by_columns_and_by_measures,
    r27_groups_by_the_key_stay_on_their_shards,
    r27_groups_by_a_link_are_of_one_shard_each,
    r27_values_are_counted_once_over_all_shards,
    r27_variances_are_of_all_rows,
    r27_several_measures_of_all_rows_are_one_statement_a_shard,
    r27_groups_of_nothing,
    r27_groups_are_ordered_by_their_columns,
    r27_groups_have_no_limit_of_rows,
}

/// Twelve cities, whose names are on several shards.
fn cities(backend: &Backend) -> Watched {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let row = |(continent, name, population)| NewCity { population, ..city(continent, name) };
    use Continent::*;
    let rows = [
        (Asia, "Tripoli", Some(10)),
        (Asia, "Perth", None),
        (Oceania, "Perth", Some(30)),
        (Oceania, "Hamilton", Some(40)),
        (Europe, "Perth", Some(50)),
        (Europe, "Paris", Some(60)),
        (Europe, "Toledo", Some(70)),
        (NorthAmerica, "Paris", Some(80)),
        (NorthAmerica, "Toledo", None),
        (NorthAmerica, "Hamilton", Some(40)),
        (SouthAmerica, "Toledo", Some(10)),
        (SouthAmerica, "Quito", None),
    ];
    session.add_all(rows.map(row)).unwrap();
    session.commit().unwrap();
    cluster
}

fn r27_groups_of_several_shards_are_merged(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let population = City::POPULATION;
    let names = City::select().all_shards().group_by(City::NAME).aggregate((
        count(),
        population.sum(),
        population.avg(),
        population.min(),
        population.max(),
    ));
    let (found, counts) = cluster.counted(|| session.all(names).unwrap());
    assert!(counts.len() == 4 && counts.iter().all(|(_, statements)| *statements == 1), "{counts:?}");
    let expected = [
        ("Hamilton", (2, Some(80), Some(40.0), Some(40), Some(40))),
        ("Paris", (2, Some(140), Some(70.0), Some(60), Some(80))),
        ("Perth", (3, Some(80), Some(40.0), Some(30), Some(50))),
        ("Quito", (1, None, None, None, None)),
        ("Toledo", (3, Some(80), Some(40.0), Some(10), Some(70))),
        ("Tripoli", (1, Some(10), Some(10.0), Some(10), Some(10))),
    ];
    assert_eq!(found, expected.map(|(name, measures)| (name.to_owned(), measures)));
    // NULL is a group of its own.
    let populations = City::select().all_shards().group_by(population).aggregate(count());
    let found = session.all(populations).unwrap();
    assert_eq!((found[0], found[1], found.len()), ((None, 3), (Some(10), 2), 8));
}

fn r27_having_and_limit_apply_after_the_merge(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    // No shard has two cities of one name, the whole has.
    let names = || City::select().all_shards().group_by(City::NAME).aggregate(count()).having(count().ge(2));
    let found = session.all(names()).unwrap();
    assert_eq!(
        found,
        [("Hamilton", 2), ("Paris", 2), ("Perth", 3), ("Toledo", 3)].map(|(n, c)| (n.to_owned(), c))
    );
    assert_eq!(session.all(names().limit(2).offset(1)).unwrap()[..], found[1..3]);
    assert_eq!(session.first(names().offset(3)).unwrap().unwrap(), found[3]);
    // A condition on a measure that is not read, and two of them; a measure without a value meets none.
    let sum = City::POPULATION.sum();
    let rich = names().having(sum.gt(79)).having(sum.ne(140));
    assert_eq!(session.all(rich).unwrap().len(), 3);
    let poor = City::select().all_shards().group_by(City::NAME).aggregate(()).having(sum.lt(50));
    assert_eq!(session.all(poor).unwrap(), [("Tripoli".to_owned(), ())]);
}

fn r27_groups_are_ordered_by_columns_and_by_measures(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let names = || City::select().all_shards().group_by(City::NAME).aggregate(count());
    let mut ordered =
        |query| -> Vec<String> { session.all(query).unwrap().into_iter().map(|(name, _)| name).collect() };
    assert_eq!(ordered(names().order_by(City::NAME.desc()).limit(2)), ["Tripoli", "Toledo"]);
    let by_count = || names().order_by(count().desc());
    assert_eq!(ordered(by_count()), ["Perth", "Toledo", "Hamilton", "Paris", "Quito", "Tripoli"]);
    assert_eq!(ordered(by_count().order_by(City::NAME.desc()).limit(3)), ["Toledo", "Perth", "Paris"]);
    let by_mean = names().order_by(City::POPULATION.avg().asc()).limit(3).offset(1);
    assert_eq!(ordered(by_mean), ["Tripoli", "Hamilton", "Perth"]);
}

fn r27_groups_by_the_key_stay_on_their_shards(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let continents = || City::select().all_shards().group_by(City::CONTINENT);
    let found = session.all(continents().aggregate((count(), City::NAME.count_distinct()))).unwrap();
    let expected = [
        (Continent::Asia, (2, 2)),
        (Continent::Europe, (3, 3)),
        (Continent::NorthAmerica, (3, 3)),
        (Continent::Oceania, (2, 2)),
        (Continent::SouthAmerica, (2, 2)),
    ];
    assert_eq!(found, expected);
    // Narrowed to one shard, that shard does all of it.
    let asia = City::select().filter(City::CONTINENT.eq(Continent::Asia)).group_by(City::CONTINENT);
    let (found, asked) = cluster.asked(|| session.all(asia.aggregate(count())).unwrap());
    assert_eq!((found, asked), (vec![(Continent::Asia, 2)], vec!["asia".to_owned()]));
}

fn r27_groups_by_a_link_are_of_one_shard_each(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let quito = session.add(city(Continent::SouthAmerica, "Quito")).unwrap();
    let mut report = |city: &Stored<City>| {
        let report = session.add(NewReport { city: city.link(), temperature: 1.0 }).unwrap();
        session.add(NewRemark { report: report.link(), text: city.name.clone() }).unwrap();
        session.add(NewRemark { report: report.link(), text: "again".into() }).unwrap();
        report
    };
    let (in_tokyo, in_quito) = (report(&tokyo), report(&quito));
    assert_eq!(in_tokyo.id, in_quito.id, "the same id, on two shards");
    let remarks = Remark::select().all_shards().group_by(Remark::REPORT).aggregate(count());
    let found = session.all(remarks).unwrap();
    assert_eq!(found, [(in_tokyo.link(), 2), (in_quito.link(), 2)]);
    assert_eq!(
        session.one(Remark::select().all_shards().aggregate(Remark::TEXT.count_distinct())).unwrap(),
        3
    );
}

fn r27_values_are_counted_once_over_all_shards(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let distinct =
        (City::NAME.count_distinct(), City::CONTINENT.count_distinct(), City::POPULATION.count_distinct());
    assert_eq!(session.one(City::select().all_shards().aggregate(distinct)).unwrap(), (6, 5, 7));
    // Values of the key, and of one shard, are counted on their shards.
    let explain = cluster.explain(&City::select().all_shards().aggregate(distinct)).unwrap();
    assert!(explain.statements().all(|(_, sql)| sql.contains("count(DISTINCT \"continent\")")), "{explain}");
    let europe = City::select().on(Continent::Europe).aggregate(City::NAME.count_distinct());
    assert!(cluster.explain(&europe).unwrap().statements().all(|(_, sql)| sql.contains("DISTINCT")));
    assert_eq!(session.one(europe).unwrap(), 3);
}

fn r27_variances_are_of_all_rows(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let population = City::POPULATION;
    let all = City::select().all_shards().aggregate((population.variance(), population.stddev()));
    let (Some(variance), Some(deviation)) = session.one(all).unwrap() else { panic!("no value") };
    let values = [10.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 40.0, 10.0_f64];
    let mean = values.iter().sum::<f64>() / 9.0;
    let expected = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 8.0;
    assert!((variance - expected).abs() < 1e-9, "{variance} is not {expected}");
    assert!((deviation * deviation - expected).abs() < 1e-9);
    // One row has none.
    let asia = City::select().filter(City::NAME.eq("Tripoli")).all_shards();
    assert_eq!(session.one(asia.aggregate(population.variance())).unwrap(), None);
}

fn r27_several_measures_of_all_rows_are_one_statement_a_shard(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let all = City::select().all_shards().aggregate((count(), City::POPULATION.sum(), City::NAME.max()));
    let (found, counts) = cluster.counted(|| session.one(all).unwrap());
    assert_eq!(found, (12, Some(390), Some("Tripoli".to_owned())));
    assert!(counts.len() == 4 && counts.iter().all(|(_, statements)| *statements == 1), "{counts:?}");
}

fn r27_groups_of_nothing(backend: &Backend) {
    let cluster = cities(backend);
    let mut session = cluster.session();
    let nothing =
        || City::select().filter(City::CONTINENT.eq(Continent::Asia) & City::CONTINENT.eq(Continent::Europe));
    let ((groups, whole), asked) = cluster.asked(|| {
        let groups = session.all(nothing().group_by(City::NAME).aggregate(count())).unwrap();
        let measures =
            (count(), City::NAME.count_distinct(), City::POPULATION.sum(), City::POPULATION.stddev());
        (groups, session.one(nothing().aggregate(measures)).unwrap())
    });
    assert!(groups.is_empty() && asked.is_empty());
    assert_eq!(whole, (0, 0, None, None));
    let no_group = City::select().all_shards().group_by(City::NAME).aggregate(count()).limit(0);
    let (groups, asked) = cluster.asked(|| session.all(no_group).unwrap());
    assert!(groups.is_empty() && asked.is_empty());
}

fn r27_groups_are_ordered_by_their_columns(backend: &Backend) {
    let cluster = cities(backend);
    let groups = City::select().all_shards().group_by(City::NAME).aggregate(count()).order_by(City::ID.asc());
    let (result, asked) = cluster.asked(|| cluster.session().all(groups));
    assert_error(result, ErrorKind::Query, &["table `cities`", "column `id`", "groups"]);
    assert!(asked.is_empty());
}

fn r27_groups_have_no_limit_of_rows(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let limited = || Account::select().all_shards().limit(5);
    let groups = limited().group_by(Account::OWNER).aggregate(count());
    assert_error(cluster.session().all(groups), ErrorKind::Query, &["table `accounts`", "limit"]);
    assert_error(cluster.session().one(limited().aggregate(count())), ErrorKind::Query, &["limit"]);
}

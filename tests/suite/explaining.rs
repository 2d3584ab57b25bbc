//! Every query can be explained without being run: R20.

use shard_runtime::{Filter, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS};
use crate::models::*;

on_every_backend! {
    r20_an_explanation_names_shards_and_reason,
    r20_an_explanation_has_the_sql_of_every_shard,
    r20_an_explanation_asks_nobody,
    r20_what_is_explained_is_what_is_asked,
    r20_queries_that_are_not_narrowed_are_explained,
    r20_writes_are_explained,
    r20_children_and_partial_values_are_explained,
}

fn r20_an_explanation_names_shards_and_reason(backend: &Backend) {
    let cluster = backend.create::<(City, Report)>(&CONTINENTS);
    use Continent::*;
    let cities = City::select;
    let cases = [
        (cities().filter(City::CONTINENT.eq(Asia)), vec!["asia"], "continent = Asia"),
        (
            cities().filter(City::CONTINENT.is_in([NorthAmerica, Europe])),
            vec!["north_america", "europe"],
            "continent IN (Europe, North America)",
        ),
        (cities().all_shards(), CONTINENTS.to_vec(), "no key: all shards"),
        (cities().on(Asia), vec!["asia"], "pinned to asia"),
        (cities().on_shard("europe"), vec!["europe"], "pinned to europe"),
        (cities().filter(City::CONTINENT.eq(Asia) & City::CONTINENT.eq(Europe)), vec![], "contradiction"),
        (cities().all_shards().limit(0), vec![], "LIMIT 0"),
    ];
    for (query, shards, reason) in cases {
        let explain = cluster.explain(&query).unwrap();
        assert_eq!(explain.shards(), shards);
        assert!(explain.reason().contains(reason), "`{reason}` is not the reason in:\n{explain}");
        assert!(explain.to_string().contains(reason), "{explain}");
        assert!(shards.iter().all(|shard| explain.to_string().contains(shard)), "{explain}");
    }
}

fn r20_an_explanation_has_the_sql_of_every_shard(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let query = City::select()
        .filter(City::CONTINENT.is_in([Continent::Asia, Continent::Europe]) & City::NAME.starts_with("T"))
        .order_by(City::POPULATION.desc())
        .limit(3)
        .offset(2);
    let explain = cluster.explain(&query).unwrap();
    let ((), _) = cluster.asked(|| drop(cluster.session().all(query).unwrap()));
    let sent = cluster.sql();
    let explained: Vec<(String, String)> =
        explain.statements().map(|(shard, sql)| (shard.to_owned(), sql.to_owned())).collect();
    assert_eq!(explained, sent);
    for (shard, sql) in &explained {
        assert!(sql.contains(&backend.table(shard, "cities")), "{sql}");
        assert!(sql.contains("ORDER BY") && sql.contains("NULLS LAST") && sql.contains("LIMIT"), "{sql}");
        assert!(!sql.contains("OFFSET"), "the offset is for the whole: {sql}");
        assert!(!sql.contains("Asia") && !sql.contains('T') || sql.contains("SELECT"), "{sql}");
    }
    // Values are not in it: an explanation may be logged.
    assert!(!explain.statements().any(|(_, sql)| sql.contains("Asia") || sql.contains("Europe")));
    let text = explain.to_string();
    assert!(text.contains("merged by population"), "{text}");
    assert!(text.contains("3 rows kept") && text.contains("2 rows left out"), "{text}");
}

fn r20_an_explanation_asks_nobody(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let ((), asked) = cluster.asked(|| {
        cluster.explain(&City::select().all_shards()).unwrap();
        cluster.explain(&City::delete().all_shards()).unwrap();
        cluster.explain(&City::select().on(Continent::Asia).count()).unwrap();
    });
    assert!(asked.is_empty());
    if backend.is_on_disk() {
        // Not even a connection: the databases may be gone.
        for shard in CONTINENTS {
            let _ = std::fs::remove_file(backend.path(shard));
        }
        assert_eq!(cluster.explain(&City::select().all_shards()).unwrap().shards(), CONTINENTS);
    }
}

fn r20_what_is_explained_is_what_is_asked(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let n = Account::NUMBER;
    let filters = [
        n.eq(5),
        n.ge(1000) & n.lt(1001),
        n.lt(1000) | n.gt(1999),
        n.is_in([1, 2, 3000]),
        n.gt(3) & n.lt(3),
        n.between(999, 2000),
    ];
    for (place, filter) in filters.into_iter().enumerate() {
        let query = Account::select().filter(filter);
        let explain = cluster.explain(&query).unwrap();
        let (_, asked) = cluster.asked(|| cluster.session().all(query).unwrap());
        assert_eq!(explain.shards(), asked, "filter {place}");
    }
}

fn r20_queries_that_are_not_narrowed_are_explained(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let not_narrowed = City::select().filter(City::NAME.eq("Tokyo"));
    let explain = cluster.explain(&not_narrowed).unwrap();
    assert_eq!((explain.shards(), explain.reason()), (CONTINENTS.to_vec(), "no key: all shards"));
    let filters: Vec<Filter<City, _>> = vec![City::NAME.eq("a"), City::CONTINENT.eq(Continent::Asia).into()];
    let explain = cluster.explain(&City::select().filter(Filter::all(filters))).unwrap();
    assert_eq!((explain.shards(), explain.reason()), (vec!["asia"], "continent = Asia"));
}

fn r20_writes_are_explained(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let update =
        City::update().set(City::NAME, "x").filter(City::CONTINENT.ne(Continent::Europe)).all_shards();
    let explain = cluster.explain(&update).unwrap();
    assert_eq!(explain.shards(), ["north_america", "asia", "south_america"]);
    assert!(explain.statements().all(|(_, sql)| sql.starts_with("UPDATE")));
    let delete = City::delete().on(Continent::Asia);
    let explain = cluster.explain(&delete).unwrap();
    assert_eq!(explain.shards(), ["asia"]);
    assert!(explain.statements().all(|(_, sql)| sql.starts_with("DELETE")));
}

fn r20_children_and_partial_values_are_explained(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let explain = cluster.explain(&tokyo.children::<Report>().order_by(Report::TEMPERATURE.asc())).unwrap();
    assert_eq!((explain.shards(), explain.reason()), (vec!["asia"], "where its parent lives"));
    assert_eq!(explain.merge(), None);
    let everywhere = || Report::select().all_shards();
    let hottest = everywhere().order_by(Report::TEMPERATURE.desc()).limit(3);
    assert_eq!(cluster.explain(&hottest).unwrap().merge(), Some("merged by temperature, 3 rows kept"));
    let mean = cluster.explain(&everywhere().avg(Report::TEMPERATURE)).unwrap();
    assert_eq!(mean.merge(), Some("one value from all"));
    assert!(mean.to_string().ends_with("└─ one value from all"), "{mean}");
    assert_eq!(cluster.explain(&everywhere()).unwrap().merge(), None, "one after the other");
}

//! Every query can be explained without being run: R20.

use serde_json::json;
use shard_runtime::{ErrorKind, Explain, Filter, Sharded, Sql};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, assert_error};
use crate::models::*;

on_every_dialect! {
    r20_an_explanation_names_shards_and_reason,
    r20_an_explanation_has_the_sql_of_every_shard,
    r20_an_explanation_reads_no_shard,
    r20_an_explanation_names_the_shards_that_are_read,
    r20_queries_that_are_not_narrowed_are_explained,
    r20_writes_are_explained,
    r20_children_and_partial_values_are_explained,
    r20_sql_is_explained,
    r20_look_ups_are_explained,
    r20_an_explanation_prints_as_a_tree,
    r20_an_explanation_is_serialised,
    r20_a_part_of_a_composite_key_prunes_no_shard,
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

fn r20_an_explanation_reads_no_shard(backend: &Backend) {
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

fn r20_an_explanation_names_the_shards_that_are_read(backend: &Backend) {
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
    assert_eq!((explain.shards(), explain.reason()), (vec!["asia"], "the shard of its parent"));
    assert_eq!(explain.merge(), None);
    let everywhere = || Report::select().all_shards();
    let hottest = everywhere().order_by(Report::TEMPERATURE.desc()).limit(3);
    assert_eq!(cluster.explain(&hottest).unwrap().merge(), Some("merged by temperature, 3 rows kept"));
    let mean = cluster.explain(&everywhere().aggregate(Report::TEMPERATURE.avg())).unwrap();
    assert_eq!(mean.merge(), Some("one value from all"));
    assert!(mean.to_string().ends_with("└─ one value from all"), "{mean}");
    assert_eq!(cluster.explain(&everywhere()).unwrap().merge(), None, "one after the other");
}

/// Each shard with its SQL.
fn statements(explain: &Explain) -> Vec<(String, String)> {
    explain.statements().map(|(shard, sql)| (shard.to_owned(), sql.to_owned())).collect()
}

/// The reads since the last look.
fn sent(cluster: &Watched) -> Vec<(String, String)> {
    cluster.sql().into_iter().filter(|(_, sql)| sql.starts_with("SELECT")).collect()
}

fn r20_sql_is_explained(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let count = || Sql::new("SELECT count(*) AS n FROM {cities} WHERE name = ?1").bind("Tokyo");
    let explain = cluster.explain(&count().all_shards()).unwrap();
    assert_eq!((explain.shards(), explain.reason()), (CONTINENTS.to_vec(), "SQL for all shards"));
    assert_eq!((explain.merge(), explain.is_pushed_down()), (None, true));
    let explained = statements(&explain);
    cluster.session().all(count().all_shards()).unwrap();
    assert_eq!(explained, sent(&cluster));
    assert!(explained.iter().all(|(_, sql)| !sql.contains("Tokyo")));
    // Also if its shards were not named.
    assert_eq!(cluster.explain(&count()).unwrap().shards(), CONTINENTS);
    for pinned in [count().on_shard("asia"), count().on::<City>(Continent::Oceania)] {
        let explain = cluster.explain(&pinned).unwrap();
        assert_eq!((explain.shards(), explain.reason()), (vec!["asia"], "pinned to asia"));
    }
    // Its errors are those of running it.
    let wrong = [
        (count().on_shard("atlantis"), ErrorKind::UnknownShard, "atlantis"),
        (count().on_shard("asia").on_shard("europe"), ErrorKind::ContradictingPins, "asia and to europe"),
        (Sql::new("SELECT * FROM {towns}").all_shards(), ErrorKind::UnknownModel, "towns"),
        (Sql::new("BEGIN").all_shards(), ErrorKind::Query, "BEGIN"),
        (count().bind("a\0b").all_shards(), ErrorKind::Value, "parameter 2"),
    ];
    let ((), asked) = cluster.asked(|| {
        for (sql, kind, text) in wrong {
            assert_error(cluster.explain(&sql), kind, &[text]);
        }
    });
    assert!(asked.is_empty());
}

fn r20_look_ups_are_explained(backend: &Backend) {
    let cluster = backend.create::<(Weather, Company, Account)>(&CONTINENTS_AND_LETTERS);
    let check = |explain: Explain, shards: &[&str], reason: &str, merge: Option<&str>| {
        assert_eq!((explain.shards(), explain.reason(), explain.merge()), (shards.to_vec(), reason, merge));
        statements(&explain)
    };
    // The id is the key.
    let explain = cluster.explain(&Company::by_id(42)).unwrap();
    let shard = explain.shards()[0].to_owned();
    let explained = check(explain, &[&shard], "id = 42", None);
    cluster.session().get::<Company>(42).unwrap();
    assert_eq!(explained, sent(&cluster));
    // The id does not name the shard, and the cluster generates it, or the application does.
    let nothing = "the id determines no shard: all shards";
    let first = Some("the first that has the row");
    let explained = check(cluster.explain(&City::by_id(7)).unwrap(), &CONTINENTS_AND_LETTERS, nothing, first);
    assert!(cluster.session().get::<City>(7).unwrap().is_none());
    assert_eq!(explained, sent(&cluster));
    let one = Some("the one that has the row");
    check(cluster.explain(&Account::by_id(7)).unwrap(), &CONTINENTS_AND_LETTERS, nothing, one);
    // It is pinned.
    let explained = check(
        cluster.explain(&Report::by_id(1).on(Continent::Asia)).unwrap(),
        &["asia"],
        "pinned to asia",
        None,
    );
    cluster.session().get(Report::by_id(1).on(Continent::Asia)).unwrap();
    assert_eq!(explained, sent(&cluster));
    assert_error(cluster.explain(&Report::by_id(1).on_shard("x")), ErrorKind::UnknownShard, &["`x`"]);
}

/// Shards for the models of both kinds.
const CONTINENTS_AND_LETTERS: [&str; 7] = ["north_america", "asia", "europe", "south_america", "a", "b", "c"];

fn r20_an_explanation_prints_as_a_tree(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let two = City::select().filter(City::CONTINENT.is_in([Continent::Asia, Continent::SouthAmerica]));
    let select = |shard: &str| {
        let table = backend.table(shard, "cities");
        format!("SELECT \"name\" FROM {table} WHERE \"continent\" {}", backend.is_in(shard, 1))
    };
    let (asia, south_america) = (select("asia"), select("south_america"));
    let names = cluster.explain(&two.clone().columns(City::NAME)).unwrap();
    let expected = format!(
        "asia, south_america: continent IN (Asia, SouthAmerica)\n\
         ├─ asia           {asia}\n\
         └─ south_america  {south_america}"
    );
    assert_eq!(names.to_string(), expected);
    let ordered = cluster.explain(&two.limit(3).columns(City::NAME)).unwrap();
    let limit = if backend.is_postgres("asia") { "LIMIT $2" } else { "LIMIT ?2 + 0" };
    let expected = format!(
        "asia, south_america: continent IN (Asia, SouthAmerica)\n\
         ├─ asia           {asia} {limit}\n\
         ├─ south_america  {south_america} {limit}\n\
         └─ 3 rows kept"
    );
    assert_eq!(ordered.to_string(), expected);
    let no_row = City::select().all_shards().limit(0);
    assert_eq!(cluster.explain(&no_row).unwrap().to_string(), "LIMIT 0: no shard");
}

fn r20_an_explanation_is_serialised(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let sql = |shard: &str| format!("SELECT count(*) FROM {}", backend.table(shard, "cities"));
    let statements: Vec<_> = CONTINENTS.map(|shard| json!({ "shard": shard, "sql": sql(shard) })).into();
    let count = cluster.explain(&City::select().all_shards().count()).unwrap();
    let expected = json!({
        "shards": CONTINENTS,
        "reason": "no key: all shards",
        "statements": statements,
        "lookups": [],
        "merge": "one value from all",
        "pushed_down": false,
        "epoch": 1,
    });
    assert_eq!(serde_json::to_value(&count).unwrap(), expected);
    let one = cluster.explain(&City::select().on(Continent::Asia).count()).unwrap();
    let expected = json!({
        "shards": ["asia"],
        "reason": "pinned to asia",
        "statements": [{ "shard": "asia", "sql": sql("asia") }],
        "lookups": [],
        "merge": null,
        "pushed_down": true,
        "epoch": 1,
    });
    assert_eq!(serde_json::to_value(&one).unwrap(), expected);
    let no_row = cluster.explain(&City::select().all_shards().limit(0)).unwrap();
    let no_row = serde_json::to_value(&no_row).unwrap();
    assert_eq!((&no_row["shards"], &no_row["statements"]), (&json!([]), &json!([])));
}

fn r20_a_part_of_a_composite_key_prunes_no_shard(backend: &Backend) {
    let cluster = backend.create::<Event>(&LETTERS);
    let tenant = || Event::select().filter(Event::TENANT.eq(1));
    let part = cluster.explain(&tenant().all_shards()).unwrap();
    let reason = "tenant = 1 is only a part of the key: all shards";
    assert_eq!((part.shards(), part.reason()), (LETTERS.to_vec(), reason));
    let whole = cluster.explain(&tenant().filter(Event::DAY.eq("monday")).all_shards()).unwrap();
    assert_eq!((whole.shards().len(), whole.reason()), (1, "tenant = 1 AND day = monday"));
}

//! More values than a statement takes parameters: lists and loads are split between the shards, and no shard is read
//! more often for that: R16.

use std::collections::HashSet;

use shard_runtime::sqlite::rusqlite::limits::Limit;
use shard_runtime::{Cluster, Sharded, Stored, sqlite};

use crate::backend::{Backend, CONTINENTS, LETTERS, shards_of};
use crate::models::*;

on_every_backend_at_length! {
    r16_each_shard_gets_its_own_of_100_000_keys,
    r16_100_000_keys_are_one_statement_per_shard,
    r16_100_000_values_of_no_key_are_one_statement_per_shard,
    r16_children_of_100_000_parents_are_one_statement_per_shard,
    r16_children_of_100_000_bare_parents_are_one_statement_per_shard,
}

/// Three times as many as SQLite takes parameters.
const MANY: i64 = 100_000;

/// So many values are more than a statement of the real database takes as parameters.
fn assert_more_than_a_statement_takes(cluster: &Cluster, shard: &str, values: usize) {
    let mut session = cluster.session();
    let limit =
        sqlite::with_connection(&mut session, shard, |raw| raw.limit(Limit::SQLITE_LIMIT_VARIABLE_NUMBER));
    let limit = limit.unwrap();
    assert!(values > usize::try_from(limit).unwrap(), "{values} values fit into {limit} parameters");
    let refused = sqlite::with_connection(&mut session, shard, |raw| {
        let parameters = vec!["?"; values].join(", ");
        Ok(raw.prepare(&format!("SELECT 1 WHERE 1 IN ({parameters})")).is_err())
    });
    assert!(refused.unwrap());
    session.rollback();
}

/// Each of these shards, read this often.
fn each(shards: &[&str], statements: u64) -> Vec<(String, u64)> {
    shards.iter().map(|shard| ((*shard).to_owned(), statements)).collect()
}

fn r16_each_shard_gets_its_own_of_100_000_keys(backend: &Backend) {
    let cluster = backend.create::<Company>(&LETTERS);
    // Every shard has every row, under its own name: one that got others' keys would answer with others' rows.
    let planted = backend.plant(
        &LETTERS,
        "companies",
        "INSERT INTO {table} \
         WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 199) \
         SELECT n * 500, '{shard}' FROM number",
    );
    let query = Company::select().filter(Company::ID.is_in(0..MANY));
    let explain = cluster.explain(&query).unwrap();
    assert_eq!(explain.shards(), LETTERS);
    assert!(explain.statements().all(|(_, sql)| sql.len() < 200), "the text grows with the list");
    let (rows, counts) = cluster.counted(|| cluster.session().all(query).unwrap());
    assert_eq!(counts, each(&LETTERS, 1));
    let ids: HashSet<i64> = rows.iter().map(|row| row.id).collect();
    let found = if planted { 200 } else { 0 };
    assert_eq!((rows.len(), ids.len()), (found, found));
    for row in &rows {
        assert_eq!(row.name, row.shard().name());
        assert_eq!(row.shard_chooser(cluster.shards()).unwrap(), row.shard().index());
    }
}

fn r16_100_000_keys_are_one_statement_per_shard(backend: &Backend) {
    let cluster = backend.create::<Company>(&LETTERS);
    let mut session = cluster.session();
    let ids = (0..MANY).step_by(500).chain([MANY]);
    session.add_all(ids.map(|id| Company { id, name: String::new() })).unwrap();
    session.commit().unwrap();
    // More values of one shard than a statement takes, which read that shard.
    let of_a: Vec<i64> = {
        let home = |id| Company { id, name: String::new() }.shard_chooser(cluster.shards()).unwrap();
        (0..3 * MANY).filter(|id| home(*id) == 0).collect()
    };
    // A statement of PostgreSQL takes twice as many parameters.
    if !backend.is_postgres("a") {
        assert_more_than_a_statement_takes(&cluster, "a", of_a.len());
    }
    let query = Company::select().filter(Company::ID.is_in(of_a));
    let (found, counts) = cluster.counted(|| session.all(query).unwrap());
    assert_eq!(counts, each(&["a"], 1));
    assert!(found.len() > 1, "{found:?}");

    let keys = || Company::ID.is_in(0..MANY);
    let (rows, counts) = cluster.counted(|| session.all(Company::select().filter(keys())).unwrap());
    assert_eq!((rows.len(), counts), (200, each(&LETTERS, 1)));
    let others = Company::select().filter(!keys()).all_shards();
    let (others, counts) = cluster.counted(|| session.all(others).unwrap());
    assert_eq!(others.iter().map(|row| row.id).collect::<Vec<_>>(), [MANY]);
    assert_eq!(counts, each(&LETTERS, 1));
    let rename = Company::update().set(Company::NAME, "renamed").filter(keys());
    let (affected, counts) = cluster.counted(|| session.execute(rename).unwrap());
    assert_eq!((affected, counts), (200, each(&LETTERS, 1)));
    let (affected, counts) = cluster.counted(|| session.execute(Company::delete().filter(keys())).unwrap());
    assert_eq!((affected, counts), (200, each(&LETTERS, 1)));
}

fn r16_100_000_values_of_no_key_are_one_statement_per_shard(backend: &Backend) {
    let cluster = backend.create::<Company>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..200).map(|id| Company { id, name: (id * 1_000).to_string() })).unwrap();
    session.commit().unwrap();
    // A statement of PostgreSQL takes twice as many parameters.
    if !backend.is_postgres("a") {
        assert_more_than_a_statement_takes(&cluster, "a", MANY as usize);
    }
    let names = || Company::NAME.is_in((0..MANY).map(|number| number.to_string()));
    let named = Company::select().filter(names()).all_shards();
    let (rows, counts) = cluster.counted(|| session.all(named).unwrap());
    assert_eq!((rows.len(), counts), (100, each(&LETTERS, 1)));
    // Twice the list in one statement, and in one that is narrowed by a key.
    let twice = Company::select().filter(names() & !(Company::ID.lt(50) & names())).all_shards();
    assert_eq!(session.one(twice.count()).unwrap(), 50);
    let one = Company::select().filter(Company::ID.eq(7) & names());
    let (rows, asked) = cluster.asked(|| session.all(one).unwrap());
    assert_eq!(asked, shards_of(&rows));
    assert_eq!(rows[0].id, 7);
}

/// Which children are whose, as ids on shards.
fn families<P: Sharded<Id = i64>, C: Sharded<Id = i64>>(
    found: &[(Stored<P>, Vec<Stored<C>>)],
) -> HashSet<(usize, i64, usize, i64)> {
    let pair = |parent: &Stored<P>, child: &Stored<C>| {
        (parent.shard().index(), *parent.id(), child.shard().index(), *child.id())
    };
    found
        .iter()
        .flat_map(|(parent, children)| children.iter().map(move |child| pair(parent, child)))
        .collect()
}

fn r16_children_of_100_000_parents_are_one_statement_per_shard(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let rows = (0..MANY).map(|number| city(Continent::ALL[(number % 5) as usize], &number.to_string()));
    let cities = session.add_all(rows).unwrap();
    // Some have two, from the end on, so that ids of parents and children differ.
    let parents = cities.iter().rev().step_by(999).flat_map(|city| [city, city]);
    let reports = parents.map(|city| NewReport { city: city.link(), temperature: 1.0 });
    let reports = session.add_all(reports).unwrap();
    session.commit().unwrap();
    // A statement of PostgreSQL takes twice as many parameters.
    if !backend.is_postgres("asia") {
        assert_more_than_a_statement_takes(&cluster, "asia", cities.len() * 2 / 5);
    }

    let all = City::select().all_shards();
    let (found, counts) = cluster.counted(|| session.all_with::<Report>(all).unwrap());
    assert_eq!((found.len(), counts), (cities.len(), each(&CONTINENTS, 2)));
    let expected: HashSet<_> = reports
        .iter()
        .map(|report| (report.city.shard().index(), *report.city.id(), report.shard().index(), report.id))
        .collect();
    assert_eq!(families(&found), expected);

    // The same parents as a list of links: each shard gets those that point to it.
    let links = Report::CITY.is_in(cities.iter().map(Stored::link));
    let (found, counts) = cluster.counted(|| session.all(Report::select().filter(links)).unwrap());
    assert_eq!((found.len(), counts), (reports.len(), each(&CONTINENTS, 1)));
    let of_asia = cities.iter().filter(|city| city.shard().name() == "asia").map(Stored::link);
    let links = Report::CITY.is_in(of_asia);
    let (found, counts) = cluster.counted(|| session.all(Report::select().filter(links)).unwrap());
    assert_eq!(counts, each(&["asia"], 1));
    assert!(!found.is_empty() && found.iter().all(|report| report.shard().name() == "asia"));
}

fn r16_children_of_100_000_bare_parents_are_one_statement_per_shard(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..MANY).map(|id| Company { id, name: String::new() })).unwrap();
    let campaigns = (0..MANY).step_by(500).flat_map(|company| [company, company]);
    let campaigns =
        session.add_all(campaigns.map(|company_id| NewCampaign { company_id, title: "x".into() })).unwrap();
    session.commit().unwrap();

    let all = Company::select().all_shards();
    let (found, counts) = cluster.counted(|| session.all_with::<Campaign>(all).unwrap());
    assert_eq!((found.len() as i64, counts), (MANY, each(&LETTERS, 2)));
    let expected: HashSet<_> = campaigns
        .iter()
        .map(|campaign| {
            (campaign.shard().index(), campaign.company_id, campaign.shard().index(), campaign.id)
        })
        .collect();
    assert_eq!(families(&found), expected);
    let ids = Campaign::COMPANY_ID.is_in(0..MANY);
    let (found, counts) = cluster.counted(|| session.all(Campaign::select().filter(ids)).unwrap());
    assert_eq!((found.len(), counts), (campaigns.len(), each(&LETTERS, 1)));
}

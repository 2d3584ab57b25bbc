//! Pins: R19. A pin takes precedence over the predicate, is part of the query, and applies to rows that are loaded through it.

use shard_runtime::{ErrorKind, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS, assert_error, shards_of};
use crate::models::*;

on_every_backend! {
    r19_a_pin_names_the_shard,
    r19_a_pin_wins_over_the_predicate,
    r19_a_pin_to_no_shard_is_an_error,
    r19_contradicting_pins_are_an_error,
    r19_pinned_writes_stay_on_their_shard,
    r19_a_child_is_pinned_by_its_parents_key;
    only lasting:
        r19_a_pin_reaches_rows_that_are_loaded_through_it,
}

const SENTINELS: &str = "INSERT INTO {table} VALUES (1, 'Asia', '{shard}', 1), (2, 'Europe', '{shard}', 2), (3, 'Oceania', '{shard}', 3)";

fn r19_a_pin_names_the_shard(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let planted = backend.plant(&CONTINENTS, "cities", SENTINELS);
    let queries = [
        (City::select().on(Continent::Oceania), "asia"),
        (City::select().on_shard("europe"), "europe"),
        (City::select().all_shards().on_shard("europe"), "europe"),
        (City::select().on_shard("europe").all_shards(), "europe"),
        (City::select().filter(City::POPULATION.ge(0)).on(Continent::NorthAmerica), "north_america"),
    ];
    for (query, home) in queries {
        let (rows, asked) = cluster.asked(|| cluster.session().all(query).unwrap());
        assert_eq!(asked, [home]);
        assert!(!planted || shards_of(&rows) == [home; 3]);
    }
}

fn r19_a_pin_wins_over_the_predicate(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let planted = backend.plant(&CONTINENTS, "cities", SENTINELS);
    let asia = || City::CONTINENT.eq(Continent::Asia);
    // Misplaced rows are found on the shard of the pin, however the predicate is written.
    let queries = [
        City::select().on_shard("europe").filter(asia()),
        City::select().filter(asia()).on(Continent::Europe),
        City::select().on_shard("europe").filter(City::CONTINENT.is_in([Continent::Asia])),
        City::select().on_shard("europe").filter(!City::CONTINENT.ne(Continent::Asia)),
        City::select().on_shard("europe").filter(asia() | asia()),
    ];
    for (position, query) in queries.into_iter().enumerate() {
        let (rows, asked) = cluster.asked(|| cluster.session().all(query).unwrap());
        assert_eq!(asked, ["europe"], "query {position}");
        assert!(!planted || shards_of(&rows) == ["europe"], "query {position}: {rows:?}");
    }
}

fn r19_a_pin_reaches_rows_that_are_loaded_through_it(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    backend.plant(&CONTINENTS, "cities", "INSERT INTO {table} VALUES (1, 'Asia', '{shard}', 1)");
    backend.plant(
        &CONTINENTS,
        "reports",
        "INSERT INTO {table} VALUES (1, 1, 1.0 * length('{shard}')), (2, 1, 2.0 * length('{shard}'))",
    );
    // The key names `asia`, the row was read from `europe`: so are its children, its parent, its reload.
    let mut session = cluster.session();
    let mut city = session.one(City::select().on_shard("europe")).unwrap();
    assert_eq!(city.continent, Continent::Asia);
    let ((), asked) = cluster.asked(|| {
        let reports = session.all(city.children::<Report>()).unwrap();
        assert_eq!(shards_of(&reports), ["europe"; 2]);
        assert_eq!(reports[1].temperature, 12.0);
        assert_eq!(session.parent(&reports[0]).unwrap().name, "europe");
        session.reload(&mut city).unwrap();
        assert_eq!(city.name, "europe");
        let with = session.all_with::<Report>(City::select().on_shard("europe")).unwrap();
        assert_eq!(with[0].1.len(), 2);
    });
    assert_eq!(asked, ["europe"]);
}

fn r19_a_pin_to_no_shard_is_an_error(backend: &Backend) {
    let cluster = backend.create::<(City, Report)>(&CONTINENTS);
    let mut session = cluster.session();
    let known = ["`atlantis`", "north_america", "south_america"];
    let ((), asked) = cluster.asked(|| {
        let cities = City::select().on_shard("atlantis");
        assert_error(cluster.explain(&cities), ErrorKind::UnknownShard, &known);
        assert_error(session.all(cities), ErrorKind::UnknownShard, &known);
        let none = City::select().on_shard("atlantis").limit(0);
        assert_error(session.all(none), ErrorKind::UnknownShard, &known);
        let delete = City::delete().on_shard("atlantis");
        assert_error(session.execute(delete), ErrorKind::UnknownShard, &known);
        let report = Report::by_id(1).on_shard("Asia");
        assert_error(session.get(report), ErrorKind::UnknownShard, &["`Asia`"]); // names are exact
    });
    assert!(asked.is_empty());
}

fn r19_contradicting_pins_are_an_error(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let ((), asked) = cluster.asked(|| {
        let query = City::select().on(Continent::Asia).on(Continent::Europe);
        assert_error(session.all(query), ErrorKind::ContradictingPins, &["`cities`", "asia", "europe"]);
        let query = City::select().on_shard("europe").on(Continent::Asia).on_shard("europe");
        assert_error(session.all(query.count()), ErrorKind::ContradictingPins, &["asia", "europe"]);
        let update = City::update().set(City::NAME, "x").on(Continent::Asia).on_shard("europe");
        assert_error(session.execute(update), ErrorKind::ContradictingPins, &["asia", "europe"]);
    });
    assert!(asked.is_empty());
}

fn r19_pinned_writes_stay_on_their_shard(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let planted = backend.plant(&CONTINENTS, "cities", SENTINELS);
    let mut session = cluster.session();
    let update = City::update()
        .set(City::NAME, "changed")
        .filter(City::CONTINENT.is_in([Continent::Asia, Continent::Europe]))
        .on_shard("europe");
    let (affected, asked) = cluster.asked(|| session.execute(update).unwrap());
    session.commit().unwrap();
    assert_eq!(asked, ["europe"]);
    if planted {
        assert_eq!(affected, 2);
        for shard in CONTINENTS {
            let changed: i64 =
                backend.peek(shard, "cities", "SELECT count(*) FROM {table} WHERE name = 'changed'");
            assert_eq!(changed, if shard == "europe" { 2 } else { 0 }, "{shard}");
        }
    }
}

fn r19_a_child_is_pinned_by_its_parents_key(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    for id in 0..12 {
        let company = session.add(Company { id, name: String::new() }).unwrap();
        let title = id.to_string();
        let campaign = session.add(NewCampaign { company_id: id, title }).unwrap();
        session.add(NewAdvert { campaign: campaign.link(), clicks: id as u32 }).unwrap();
        assert_eq!(company.shard(), campaign.shard());
        let here = company.shard().name();
        let (adverts, asked) = cluster.asked(|| session.all(Advert::select().on(id)).unwrap());
        assert!(adverts.iter().any(|advert| advert.clicks == id as u32));
        assert_eq!(asked, [here]);
    }
    session.commit().unwrap();
}

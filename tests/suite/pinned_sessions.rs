//! A session that is pinned as a whole: R19 for everything that it does.

use shard_runtime::{ErrorKind, Sharded, Sql, Stored, count, sqlite};

use crate::backend::{Backend, CONTINENTS, Watched, assert_error, shards_of};
use crate::models::*;

on_every_backend! {
    r19_a_pinned_session_reads_its_shard_only,
    r19_a_pinned_session_refuses_other_pins,
    r19_a_pinned_session_refuses_rows_of_other_shards,
    r19_a_pinned_session_takes_its_own_rows,
    r19_a_session_is_pinned_to_a_shard_there_is;
    only lasting:
        r19_a_pin_wins_over_where_an_id_belongs,
}

/// A city with a report in Asia, and in Europe.
fn made(backend: &Backend) -> (Watched, [Stored<City>; 2]) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = [city(Continent::Asia, "Tokyo"), city(Continent::Europe, "Bern")];
    let cities = cities.map(|city| session.add(city).unwrap());
    for city in &cities {
        session.add(NewReport { city: city.link(), temperature: 20.0 }).unwrap();
    }
    session.commit().unwrap();
    (cluster, cities)
}

fn r19_a_pinned_session_reads_its_shard_only(backend: &Backend) {
    let (cluster, [tokyo, bern]) = made(backend);
    let mut session = cluster.session_on_shard("asia").unwrap();
    assert_eq!(session.pinned_to().unwrap().name(), "asia");
    assert!(cluster.session().pinned_to().is_none());
    let ((), asked) = cluster.asked(|| {
        assert_eq!(shards_of(&session.all(City::select().all_shards()).unwrap()), ["asia"]);
        let names = City::select().all_shards().group_by(City::NAME).aggregate(count());
        assert_eq!(session.all(names).unwrap(), [("Tokyo".to_owned(), 1)]);
        assert_eq!(
            session.all(City::select().all_shards().columns(City::NAME).distinct()).unwrap(),
            ["Tokyo"]
        );
        // The pin takes precedence over the predicate: the shard is read for rows of another shard, and has none.
        let europe = City::select().filter(City::CONTINENT.eq(Continent::Europe));
        assert!(session.all(europe).unwrap().is_empty());
        assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 1);
        assert_eq!(
            session.one(Report::select().all_shards().aggregate(Report::TEMPERATURE.avg())).unwrap(),
            Some(20.0)
        );
        let with = session.all_with::<Report>(City::select().all_shards()).unwrap();
        assert_eq!((with.len(), with[0].1.len()), (1, 1));
        assert_eq!(session.get::<City>(tokyo.id).unwrap().unwrap().name, "Tokyo");
        assert!(session.get::<City>(bern.id).unwrap().is_none());
        assert_eq!(session.all(Sql::new("SELECT name FROM {cities}").all_shards()).unwrap().len(), 1);
        let update = City::update().set(City::POPULATION, Some(3)).all_shards();
        assert_eq!(session.execute(update).unwrap(), 1);
        let europe = City::delete().filter(City::CONTINENT.eq(Continent::Europe));
        assert_eq!(session.execute(europe).unwrap(), 0);
        assert_eq!(session.execute(Sql::new("UPDATE {cities} SET population = 4").all_shards()).unwrap(), 1);
        if !backend.is_postgres("asia") {
            sqlite::with_connection(&mut session, "asia", |_| Ok(())).unwrap();
        }
        session.commit().unwrap();
    });
    assert_eq!(asked, ["asia"]);
    // A contradiction reads no shard, pinned or not.
    let both = City::CONTINENT.eq(Continent::Asia) & City::CONTINENT.eq(Continent::Oceania);
    let (rows, asked) = cluster.asked(|| session.all(City::select().filter(both)).unwrap());
    assert!(rows.is_empty() && asked.is_empty());
}

fn r19_a_pinned_session_refuses_other_pins(backend: &Backend) {
    let (cluster, [_, bern]) = made(backend);
    let mut session = cluster.session_on_shard("asia").unwrap();
    let said = ["`europe`", "pinned to `asia`"];
    let refused = ErrorKind::ContradictingPins;
    let ((), asked) = cluster.asked(|| {
        assert_error(session.all(City::select().on_shard("europe")), refused, &said);
        assert_error(session.first(City::select().on(Continent::Europe)), refused, &said);
        assert_error(session.one(City::select().on_shard("europe").count()), refused, &said);
        let with = session.all_with::<Report>(City::select().on_shard("europe"));
        assert_error(with, refused, &said);
        assert_error(session.execute(City::delete().on(Continent::Europe)), refused, &said);
        assert_error(session.get(Report::by_id(1).on(Continent::Europe)), refused, &said);
        assert_error(session.get(&bern.link()), refused, &said);
        assert_error(session.all(bern.children::<Report>()), refused, &said);
        assert_error(session.all(Sql::new("SELECT 1").on_shard("europe")), refused, &said);
        let delete = Sql::new("DELETE FROM {cities}").on::<City>(Continent::Europe);
        assert_error(session.execute(delete), refused, &said);
        let lent = sqlite::with_connection(&mut session, "europe", |_| Ok(()));
        assert_error(lent, refused, &said);
        let nowhere = City::select().on_shard("atlantis");
        assert_error(session.all(nowhere), ErrorKind::UnknownShard, &["`atlantis`"]);
    });
    assert!(asked.is_empty());
    assert_eq!(session.all(City::select().on(Continent::Oceania).on_shard("asia")).unwrap().len(), 1);
}

fn r19_a_pinned_session_refuses_rows_of_other_shards(backend: &Backend) {
    let (cluster, [_, mut bern]) = made(backend);
    let report = cluster.session().one(bern.children::<Report>()).unwrap();
    let mut session = cluster.session_on_shard("asia").unwrap();
    let refused = |result: shard_runtime::Result<()>, table: &str| {
        let said = ["`europe`", "pinned to `asia`", table];
        assert_error(result, ErrorKind::ContradictingPins, &said);
    };
    let ((), asked) = cluster.asked(|| {
        refused(session.add(city(Continent::Europe, "Rome")).map(drop), "`cities`");
        let both = [city(Continent::Asia, "Delhi"), city(Continent::Europe, "Rome")];
        refused(session.add_all(both).map(drop), "`cities`");
        // `#[id(auto)]` would be sent at once.
        refused(session.add(NewReport { city: bern.link(), temperature: 1.0 }).map(drop), "`reports`");
        bern.population = Some(1);
        refused(session.update(&mut bern), "`cities`");
        refused(session.reload(&mut bern), "`cities`");
        refused(session.delete(&bern), "`cities`");
        refused(session.parent(&report).map(drop), "`reports`");
        session.commit().unwrap();
    });
    assert!(asked.is_empty());
    assert_eq!(cluster.session().one(City::select().all_shards().count()).unwrap(), 2);
}

fn r19_a_pinned_session_takes_its_own_rows(backend: &Backend) {
    let (cluster, [mut tokyo, _]) = made(backend);
    let mut session = cluster.session_on_shard("asia").unwrap();
    let ((), asked) = cluster.asked(|| {
        session.add(city(Continent::Oceania, "Perth")).unwrap();
        session.add(NewReport { city: tokyo.link(), temperature: 1.0 }).unwrap();
        tokyo.population = Some(9);
        session.update(&mut tokyo).unwrap();
        session.reload(&mut tokyo).unwrap();
        let reports = session.all(tokyo.children::<Report>()).unwrap();
        assert_eq!(session.parent(&reports[1]).unwrap().population, Some(9));
        session.delete(&reports[1]).unwrap();
        session.commit().unwrap();
    });
    assert_eq!(asked, ["asia"]);
    assert_eq!(cluster.session().one(City::select().on(Continent::Asia).count()).unwrap(), 2);
}

fn r19_a_pin_wins_over_where_an_id_belongs(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&crate::backend::LETTERS);
    let home = |id: i64| {
        let company = Company { id, name: String::new() };
        company.shard_chooser(cluster.shards()).unwrap()
    };
    let elsewhere = (0..).find(|&id| home(id) != 0).unwrap();
    backend.plant(&["a"], "companies", &format!("INSERT INTO {{table}} VALUES ({elsewhere}, 'lost')"));
    backend.plant(&["a"], "campaigns", &format!("INSERT INTO {{table}} VALUES (1, {elsewhere}, 'lost')"));
    let mut session = cluster.session_on_shard("a").unwrap();
    let ((), asked) = cluster.asked(|| {
        let mut company = session.get::<Company>(elsewhere).unwrap().unwrap();
        assert_eq!((company.name.as_str(), company.shard().name()), ("lost", "a"));
        session.reload(&mut company).unwrap();
        let campaign = session.get::<Campaign>(1).unwrap().unwrap();
        assert_eq!(session.parent(&campaign).unwrap().name, "lost");
    });
    assert_eq!(asked, ["a"]);
}

fn r19_a_session_is_pinned_to_a_shard_there_is(backend: &Backend) {
    let (cluster, _) = made(backend);
    assert_error(cluster.session_on_shard("Asia").map(drop), ErrorKind::UnknownShard, &["`Asia`", "europe"]);
}

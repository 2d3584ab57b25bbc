//! Batches, failed statements, bulk writes: R31, R32, R37.

use shard_runtime::{ErrorKind, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS, assert_error, shards_of};
use crate::models::*;

on_every_mixture! {
    r31_ids_come_back_in_the_order_of_the_rows,
    r31_statements_grow_with_shards_and_tables,
    r31_parents_are_sent_before_children,
    r31_a_model_of_an_id_alone,
    r32_a_failed_flush_leaves_nothing_on_any_shard,
    r32_a_failed_batch_leaves_nothing_on_any_shard,
    r32_a_failed_bulk_write_leaves_nothing_on_any_shard,
    r32_errors_name_shard_table_and_kind,
    r32_a_missing_value_is_named,
    r32_a_failed_update_keeps_the_change_in_the_row,
    r37_bulk_writes_return_the_total,
    r37_bulk_writes_run_only_on_shards_that_may_match,
    r37_an_update_that_sets_nothing_is_refused,
    unknown_models_are_refused,
}

fn r31_ids_come_back_in_the_order_of_the_rows(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let rows = (0..50).map(|number| city(Continent::ALL[number * 7 % 5], &number.to_string()));
    let cities = session.add_all(rows).unwrap();
    assert!(cities.iter().enumerate().all(|(number, city)| city.name == number.to_string()));
    assert!(cities.is_sorted_by(|a, b| a.id < b.id));
    // Counted by each shard's database, and returned in the order of the rows.
    let rows = cities.iter().map(|city| NewReport { city: city.link(), temperature: city.id as f64 });
    let reports = session.add_all(rows).unwrap();
    session.commit().unwrap();
    for (city, report) in cities.iter().zip(&reports) {
        assert_eq!((report.city.id(), report.shard()), (&city.id, city.shard()));
        let stored = session.one(Report::select().filter(Report::CITY.eq(city))).unwrap();
        assert_eq!((stored.id, stored.temperature), (report.id, report.temperature));
    }
    for shard in CONTINENTS {
        let ids: Vec<i64> =
            reports.iter().filter(|report| report.shard().name() == shard).map(|report| report.id).collect();
        assert!(ids.iter().copied().eq(1..=ids.len() as i64), "{shard}: {ids:?}");
    }
}

fn r31_statements_grow_with_shards_and_tables(backend: &Backend) {
    let cluster = backend.create::<(City, Company)>(&CONTINENTS);
    // The same rows, alternating and in blocks: one statement for each shard and table.
    for rows in [[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3], [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]] {
        let mut session = cluster.session();
        for (number, continent) in rows.into_iter().enumerate() {
            let continents =
                [Continent::NorthAmerica, Continent::Asia, Continent::Europe, Continent::SouthAmerica];
            session.add(city(continents[continent], &number.to_string())).unwrap();
            session.add(Company { id: number as i64, name: String::new() }).unwrap();
        }
        let ((), counts) = cluster.counted(|| session.flush().unwrap());
        assert!(counts.iter().all(|(_, count)| *count == 2), "{counts:?}");
        assert_eq!(counts.len(), 4);
        session.rollback();
    }
    // As many for a thousand rows as for one.
    let mut session = cluster.session();
    let rows = (0..1_000).map(|number| city(Continent::ALL[number % 5], &number.to_string()));
    session.add_all(rows).unwrap();
    let (_, counts) = cluster.counted(|| session.commit().unwrap());
    assert!(counts.iter().all(|(_, count)| *count == 1), "{counts:?}");
}

fn r31_parents_are_sent_before_children(backend: &Backend) {
    let cluster = backend.create::<(Advert, Campaign, Company)>(&LETTERS); // in any order
    let mut session = cluster.session();
    for id in 0..20 {
        session.add(NewCampaign { company_id: id, title: String::new() }).unwrap();
    }
    for id in 0..20 {
        session.add(Company { id, name: String::new() }).unwrap();
    }
    session.commit().unwrap();
    assert_eq!(session.one(Campaign::select().all_shards().count()).unwrap(), 20);
}

/// Nothing but an id that the database counts, and a parent.
#[derive(Sharded, Clone, Debug, PartialEq)]
struct Tick {
    #[id(auto)]
    id: i64,
    #[shard_parent(Company)]
    company_id: i64,
}

fn r31_a_model_of_an_id_alone(backend: &Backend) {
    let cluster = backend.create::<(Company, Tick)>(&LETTERS);
    let mut session = cluster.session();
    session.add(Company { id: 1, name: String::new() }).unwrap();
    let ticks = session.add_all((0..3).map(|_| NewTick { company_id: 1 })).unwrap();
    assert!(ticks.iter().map(|tick| tick.id).eq([1, 2, 3]));
    // A counter continues from its last value, also after its greatest row is gone.
    session.delete(&ticks[2]).unwrap();
    session.commit().unwrap();
    assert_eq!(session.add(NewTick { company_id: 1 }).unwrap().id, 4);
}

fn account(id: i64, number: i32) -> Account {
    Account { id, number, owner: "x".into() }
}

fn r32_a_failed_flush_leaves_nothing_on_any_shard(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add_all([account(1, 5), account(2, 2500)]).unwrap();
    session.flush().unwrap();
    // The row on the last shard is refused: those on the first shards are not written either.
    session.add_all([account(3, 5), account(4, 1500), account(2, 2600)]).unwrap();
    let (result, _) = cluster.asked(|| session.flush());
    assert_error(result, ErrorKind::Unique, &["shard `c`", "table `accounts`", "id 2"]);
    let ids = |session: &mut shard_runtime::Session| -> Vec<i64> {
        let all = Account::select().all_shards().order_by(Account::ID.asc());
        session.all(all).unwrap().iter().map(|account| account.id).collect()
    };
    assert_eq!(ids(&mut session), [1, 2]);
    // The session continues, with its earlier writes.
    session.add(account(5, 1600)).unwrap();
    session.commit().unwrap();
    assert_eq!(ids(&mut cluster.session()), [1, 2, 5]);
}

fn r32_a_failed_batch_leaves_nothing_on_any_shard(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let quito = session.add(city(Continent::SouthAmerica, "Quito")).unwrap();
    let gone = session.add(city(Continent::SouthAmerica, "Atlantis")).unwrap();
    session.commit().unwrap();
    session.delete(&gone).unwrap();
    let reports = [&tokyo, &quito, &gone].map(|city| NewReport { city: city.link(), temperature: 1.0 });
    let result = session.add_all(reports);
    assert_error(result, ErrorKind::ForeignKey, &["shard `south_america`", "table `reports`"]);
    assert_eq!(session.one(Report::select().all_shards().count()).unwrap(), 0);
    session.commit().unwrap();
    assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 2, "the delete was kept");
}

fn r32_a_failed_bulk_write_leaves_nothing_on_any_shard(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    use Continent::*;
    let cities = [(NorthAmerica, "a"), (Asia, "b"), (Europe, "c"), (Europe, "d"), (SouthAmerica, "e")];
    session.add_all(cities.map(|(continent, name)| city(continent, name))).unwrap();
    // Only in Europe two cities of one continent would get one name: the shards before it have done theirs.
    let same_name = City::update().set(City::NAME, "same").all_shards();
    assert_error(session.execute(same_name), ErrorKind::Unique, &["shard `europe`", "table `cities`"]);
    let names = |session: &mut shard_runtime::Session| -> Vec<String> {
        let all = City::select().all_shards().order_by(City::NAME.asc());
        session.all(all).unwrap().iter().map(|city| city.name.clone()).collect()
    };
    assert_eq!(names(&mut session), ["a", "b", "c", "d", "e"]);
    session.commit().unwrap();
    assert_eq!(names(&mut cluster.session()), ["a", "b", "c", "d", "e"]);
}

fn r32_errors_name_shard_table_and_kind(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.add(NewReport { city: tokyo.link(), temperature: 1.0 }).unwrap();
    session.commit().unwrap();
    let places = ["shard `asia`", "table `cities`"];
    let deleted = session.delete(&tokyo).and_then(|()| session.flush());
    assert_error(deleted, ErrorKind::ForeignKey, &places);
    let delete = City::delete().on(Continent::Asia);
    assert_error(session.execute(delete), ErrorKind::ForeignKey, &places);
    session.add(city(Continent::Asia, "Tokyo")).unwrap();
    assert_error(session.commit(), ErrorKind::Unique, &places);
    session.rollback();
    if backend.is_on_disk() {
        let check = format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON {} BEGIN SELECT RAISE(ABORT, 'not today'); END",
            backend.table("asia", "cities")
        );
        backend.raw("asia").execute_batch(&check).unwrap();
        session.add(city(Continent::Asia, "Osaka")).unwrap();
        let texts = ["shard `asia`", "table `cities`", "not today"];
        let error = session.commit().unwrap_err();
        assert!(texts.iter().all(|text| error.to_string().contains(text)), "{error}");
        assert_eq!((error.shard(), error.table()), (Some("asia"), Some("cities")));
        assert!(error.driver_error().is_some(), "the error of SQLite is kept");
        session.rollback();
        let mayor = "DROP TRIGGER refuse; ALTER TABLE {table} ADD COLUMN mayor TEXT CHECK (name <> 'Osaka')";
        backend.plant(&["asia"], "cities", mayor);
        session.add(city(Continent::Asia, "Osaka")).unwrap();
        let error = session.commit().unwrap_err();
        assert_eq!((error.shard(), error.table()), (Some("asia"), Some("cities")), "{error}");
        session.rollback();
    }
    assert_eq!(session.all(City::select().all_shards()).unwrap(), [tokyo]);
}

fn r32_a_missing_value_is_named(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add(account(1, 5)).unwrap();
    session.commit().unwrap();
    let needs = "DROP TABLE {table}; CREATE TABLE {table} (id INTEGER PRIMARY KEY, number INTEGER NOT NULL, \
                 owner TEXT NOT NULL, since INTEGER NOT NULL) STRICT";
    if backend.plant(&["b"], "accounts", needs) {
        session.add_all([account(2, 6), account(3, 1500)]).unwrap();
        assert_error(
            session.commit(),
            ErrorKind::NotNull,
            &["shard `b`", "table `accounts`", "since", "id 3"],
        );
        session.commit().unwrap();
        assert_eq!(session.one(Account::select().all_shards().count()).unwrap(), 1);
    }
}

fn r32_a_failed_update_keeps_the_change_in_the_row(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let mut osaka = session.add(city(Continent::Asia, "Osaka")).unwrap();
    session.add(city(Continent::Asia, "Tokyo")).unwrap();
    osaka.name = "Tokyo".into();
    session.flush().unwrap();
    session.update(&mut osaka).unwrap();
    let texts = ["shard `asia`", "table `cities`", &format!("id {}", osaka.id)];
    assert_error(session.flush(), ErrorKind::Unique, &texts);
    assert_eq!(osaka.name, "Tokyo");
    osaka.name = "Kyoto".into();
    session.update(&mut osaka).unwrap();
    session.commit().unwrap();
    let names = session.all(City::select().on(Continent::Asia).order_by(City::NAME.asc())).unwrap();
    assert!(names.iter().map(|city| city.name.as_str()).eq(["Kyoto", "Tokyo"]));
}

fn r37_bulk_writes_return_the_total(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let rows = (0..20).map(|number| city(Continent::ALL[number % 5], &format!("{number:02}")));
    session.add_all(rows).unwrap(); // they wait still: a bulk write sees them
    let update = City::update().set(City::POPULATION, Some(7)).filter(City::NAME.lt("10")).all_shards();
    assert_eq!(session.execute(update).unwrap(), 10);
    let sevens = City::select().filter(City::POPULATION.eq(7)).all_shards();
    assert_eq!(session.one(sevens.clone().count()).unwrap(), 10);
    let unset = City::update().set(City::POPULATION, None).filter(City::POPULATION.eq(7)).all_shards();
    assert_eq!(session.execute(unset).unwrap(), 10);
    assert_eq!(session.one(sevens.count()).unwrap(), 0);
    assert_eq!(session.execute(City::delete().filter(City::NAME.ge("15")).all_shards()).unwrap(), 5);
    assert_eq!(session.execute(City::delete().filter(City::NAME.eq("nobody")).all_shards()).unwrap(), 0);
    session.commit().unwrap();
    assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 15);
}

fn r37_bulk_writes_run_only_on_shards_that_may_match(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    // The key of Asia's cities stands on every shard.
    let planted =
        backend.plant(&CONTINENTS, "cities", "INSERT INTO {table} VALUES (1, 'Asia', '{shard}', NULL)");
    let mut session = cluster.session();
    let update = City::update().set(City::POPULATION, Some(1)).filter(City::CONTINENT.eq(Continent::Asia));
    let (affected, asked) = cluster.asked(|| session.execute(update).unwrap());
    assert_eq!(asked, ["asia"]);
    let in_two = [Continent::Europe, Continent::Oceania];
    let delete = City::delete().filter(City::CONTINENT.is_in(in_two));
    let (deleted, asked) = cluster.asked(|| session.execute(delete).unwrap());
    assert_eq!((deleted, asked), (0, vec!["asia".to_owned(), "europe".to_owned()]));
    session.commit().unwrap();
    if planted {
        assert_eq!(affected, 1);
        let written = CONTINENTS.map(|shard| {
            backend.peek::<i64>(shard, "cities", "SELECT count(*) FROM {table} WHERE population = 1")
        });
        assert_eq!(written, [0, 1, 0, 0]);
        let left = session.all(City::select().all_shards()).unwrap();
        assert_eq!(shards_of(&left), CONTINENTS);
    }
}

fn r37_an_update_that_sets_nothing_is_refused(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let ((), asked) = cluster.asked(|| {
        assert_error(session.execute(City::update().all_shards()), ErrorKind::Query, &["`cities`"]);
    });
    assert!(asked.is_empty());
}

fn unknown_models_are_refused(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let texts = ["`Company`", "table `companies`"];
    let company = Company { id: 1, name: String::new() };
    let ((), asked) = cluster.asked(|| {
        assert_error(session.add(company), ErrorKind::UnknownModel, &texts);
        assert_error(session.get::<Company>(1), ErrorKind::UnknownModel, &texts);
        assert_error(session.all(Company::select().all_shards()), ErrorKind::UnknownModel, &texts);
        let delete = Company::delete().all_shards();
        assert_error(session.execute(delete), ErrorKind::UnknownModel, &texts);
        assert_error(cluster.explain(&Company::select()), ErrorKind::UnknownModel, &texts);
    });
    assert!(asked.is_empty());
}

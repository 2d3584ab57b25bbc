//! Bulk writes that return the affected rows: R19, R23, R32, R33, R37.

use shard_runtime::{Error, ErrorKind, Session, Sharded, Sql};

use crate::backend::{Backend, CONTINENTS, LETTERS, assert_error, shards_of};
use crate::models::*;

on_every_dialect! {
    r37_an_update_gives_back_its_rows_as_they_are_then,
    r37_a_delete_gives_back_its_rows_as_they_were,
    r37_every_kind_of_value_comes_back_as_it_is_stored,
    r37_a_contradiction_returns_nothing_and_reads_no_shard,
    r32_a_write_that_fails_gives_back_nothing_and_leaves_nothing,
    r33_rows_that_a_savepoint_undoes_are_as_before,
    r23_rows_in_the_identity_map_are_forgotten,
    versions_come_back_raised,
    rows_that_came_back_can_be_changed,
    r20_it_is_explained,
    writes_are_values;
    only Files:
        r35_statements_that_are_applied_again_return_nothing,
}

fn made(backend: &Backend) -> (crate::backend::Watched, Session) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let rows = (0..20).map(|number| city(Continent::ALL[number % 5], &format!("{number:02}")));
    session.add_all(rows).unwrap();
    (cluster, session)
}

fn names(rows: &[shard_runtime::Stored<City>]) -> Vec<&str> {
    let mut names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn r37_an_update_gives_back_its_rows_as_they_are_then(backend: &Backend) {
    let (cluster, mut session) = made(backend); // they wait still
    let update = City::update().set(City::POPULATION, Some(7)).filter(City::NAME.lt("10")).all_shards();
    let rows = session.execute(update.returning()).unwrap();
    assert_eq!(names(&rows), ["00", "01", "02", "03", "04", "05", "06", "07", "08", "09"]);
    assert!(rows.iter().all(|row| row.population == Some(7)));
    // Shard by shard, in the cluster's order; each row has its shard.
    assert!(rows.is_sorted_by_key(|row| row.shard().index()));
    assert!(rows.iter().all(|row| row.shard_chooser(cluster.shards()).unwrap() == row.shard().index()));
    // One statement for each shard that may have such rows, and none for the others.
    let in_two = City::CONTINENT.is_in([Continent::Europe, Continent::Oceania]);
    let update = City::update().set(City::POPULATION, Some(8)).filter(in_two & City::NAME.ge("05"));
    let (rows, counts) = cluster.counted(|| session.execute(update.returning()).unwrap());
    assert_eq!(counts, [("asia".to_owned(), 1), ("europe".to_owned(), 1)]);
    assert_eq!(shards_of(&rows), ["asia", "asia", "asia", "europe", "europe", "europe"]);
    let pinned = City::update().set(City::POPULATION, None).on(Continent::SouthAmerica).returning();
    let (rows, asked) = cluster.asked(|| session.execute(pinned).unwrap());
    assert_eq!((asked, names(&rows)), (vec!["south_america".to_owned()], vec!["04", "09", "14", "19"]));
    session.commit().unwrap();
    let eights = City::select().filter(City::POPULATION.eq(8)).all_shards();
    assert_eq!(cluster.session().one(eights.count()).unwrap(), 6);
}

fn r37_a_delete_gives_back_its_rows_as_they_were(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let all = session.all(City::select().all_shards()).unwrap();
    let gone = session.execute(City::delete().filter(City::NAME.ge("15")).all_shards().returning()).unwrap();
    assert_eq!(names(&gone), ["15", "16", "17", "18", "19"]);
    assert!(gone.is_sorted_by_key(|row| row.shard().index()));
    assert!(gone.iter().all(|row| all.contains(row)));
    session.commit().unwrap();
    assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 15);
    let no_row = City::delete().filter(City::NAME.eq("nobody")).all_shards().returning();
    let (rows, asked) = cluster.asked(|| session.execute(no_row).unwrap());
    assert!(rows.is_empty() && asked == CONTINENTS);
}

fn r37_every_kind_of_value_comes_back_as_it_is_stored(backend: &Backend) {
    let (_cluster, mut session) = made(backend);
    let tokyo = session.add(city(Continent::Asia, "Tokyo \"é\" \u{10FFFF}")).unwrap();
    let new = |temperature| NewReport { city: tokyo.link(), temperature };
    session.add_all([5.0, -0.5, 1e300].map(new)).unwrap(); // a whole number among the floats
    let update = Report::update().set(Report::TEMPERATURE, Report::TEMPERATURE + 2.0).on(Continent::Asia);
    let rows = session.execute(update.returning()).unwrap();
    assert!(rows.iter().map(|row| row.temperature).eq([7.0, 1.5, 1e300]));
    // A link to a parent has its shard.
    assert!(rows.iter().all(|row| session.parent(row).unwrap() == tokyo));
    let update = City::update().set(City::POPULATION, Some(i64::MAX)).filter(City::ID.eq(tokyo.id));
    let rows = session.execute(update.all_shards().returning()).unwrap();
    assert_eq!((rows[0].name.as_str(), rows[0].population), (tokyo.name.as_str(), Some(i64::MAX)));
}

fn r37_a_contradiction_returns_nothing_and_reads_no_shard(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let both = City::CONTINENT.eq(Continent::Asia) & City::CONTINENT.eq(Continent::Europe);
    let (rows, asked) = cluster.asked(|| session.execute(City::delete().filter(both).returning()).unwrap());
    assert!(rows.is_empty() && asked.is_empty());
}

fn r32_a_write_that_fails_gives_back_nothing_and_leaves_nothing(backend: &Backend) {
    let (_cluster, mut session) = made(backend);
    // On every shard two cities would get one name.
    let same = City::update().set(City::NAME, "same").all_shards().returning();
    assert_error(session.execute(same), ErrorKind::Unique, &["shard `north_america`", "table `cities`"]);
    let far = City::update().set(City::POPULATION, City::ID + i64::MAX).all_shards().returning();
    assert_error(session.execute(far), ErrorKind::Value, &["table `cities`", "population"]);
    let parent = session.all(City::select().on(Continent::Europe)).unwrap();
    session.add(NewReport { city: parent[0].link(), temperature: 1.0 }).unwrap();
    let all = City::delete().all_shards().returning();
    assert_error(session.execute(all), ErrorKind::ForeignKey, &["shard `europe`", "table `cities`"]);
    session.commit().unwrap();
    assert_eq!(session.one(City::select().filter(City::NAME.ne("same")).all_shards().count()).unwrap(), 20);
}

fn r33_rows_that_a_savepoint_undoes_are_as_before(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let undone = session.savepoint(|session| {
        assert_eq!(session.execute(City::delete().all_shards().returning())?.len(), 20);
        Err::<(), Error>(Error::from(shard_runtime::ValueError::new("enough")))
    });
    assert_error(undone, ErrorKind::Value, &["enough"]);
    session.commit().unwrap();
    assert_eq!(cluster.session().one(City::select().all_shards().count()).unwrap(), 20);
}

fn r23_rows_in_the_identity_map_are_forgotten(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let id = session.all(City::select().on(Continent::Europe)).unwrap()[0].id;
    session.get::<City>(id).unwrap();
    let (_, asked) = cluster.asked(|| session.get::<City>(id).unwrap());
    assert!(asked.is_empty());
    let update = City::update().set(City::POPULATION, Some(3)).on(Continent::Europe);
    session.execute(update.returning()).unwrap();
    let (found, asked) = cluster.asked(|| session.get::<City>(id).unwrap().unwrap());
    assert!(!asked.is_empty());
    assert_eq!(found.population, Some(3));
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "drafts")]
struct Draft {
    #[id]
    id: i64,
    #[shard_key(range("a" => ..1000, "b" => 1000..2000, "c" => 2000..))]
    place: i32,
    #[version]
    version: i64,
    text: String,
}

fn draft(id: i64) -> Draft {
    Draft { id, place: 1_000 * (id % 3) as i32, version: 1, text: String::new() }
}

fn versions_come_back_raised(backend: &Backend) {
    let cluster = backend.create::<Draft>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..6).map(draft)).unwrap();
    let update = || Draft::update().set(Draft::TEXT, "new").all_shards().returning();
    session.execute(update()).unwrap();
    let mut rows = session.execute(update()).unwrap();
    assert!(rows.iter().map(|row| row.version).eq([3; 6]));
    // It is the version with which the row can be changed on.
    rows[0].text = "newer".into();
    session.update(&mut rows[0]).unwrap();
    assert_eq!(rows[0].version, 4);
    session.commit().unwrap();
}

fn rows_that_came_back_can_be_changed(backend: &Backend) {
    let (cluster, mut session) = made(backend);
    let update = City::update().set(City::POPULATION, Some(1)).filter(City::NAME.eq("07")).all_shards();
    let mut rows = session.execute(update.returning()).unwrap();
    rows[0].population = Some(2);
    session.update(&mut rows[0]).unwrap();
    session.commit().unwrap();
    let found = cluster.session().one(City::select().filter(City::NAME.eq("07")).all_shards()).unwrap();
    assert_eq!(found.population, Some(2));
    let gone = session.execute(City::delete().filter(City::NAME.eq("07")).all_shards().returning()).unwrap();
    rows[0].population = Some(3);
    let updated = session.update(&mut rows[0]).and_then(|()| session.flush());
    assert_error(updated, ErrorKind::NotFound, &["table `cities`"]);
    assert_eq!(gone.len(), 1);
}

fn r35_statements_that_are_applied_again_return_nothing(backend: &Backend) {
    let cluster = backend.create::<Draft>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..6).map(draft)).unwrap();
    session.commit().unwrap();
    let update = Draft::update().set(Draft::TEXT, "new").all_shards().returning();
    assert_eq!(session.execute(update).unwrap().len(), 6);
    let none = Draft::delete().filter(Draft::TEXT.eq("nobody")).all_shards().returning();
    assert!(session.execute(none).unwrap().is_empty());
    session.commit().unwrap();
    // The record stays until the next decision.
    let control = rusqlite::Connection::open(backend.folder().join("control.db")).unwrap();
    let mut records = control.prepare("SELECT shard, sql FROM sharded_redo ORDER BY shard").unwrap();
    let records = records.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let records: Vec<(String, String)> = records.collect::<Result<_, _>>().unwrap();
    assert_eq!(records.iter().map(|(shard, _)| shard.as_str()).collect::<Vec<_>>(), LETTERS);
    assert!(records.iter().all(|(_, sql)| sql.starts_with("UPDATE") && !sql.contains("RETURNING")));
}

fn r20_it_is_explained(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let delete = City::delete().filter(City::CONTINENT.eq(Continent::Asia));
    let (plain, returning) =
        (cluster.explain(&delete).unwrap(), cluster.explain(&delete.clone().returning()).unwrap());
    assert_eq!((returning.shards(), returning.reason()), (plain.shards(), plain.reason()));
    let sql = |explain: &shard_runtime::Explain| explain.statements().next().unwrap().1.to_owned();
    let expected = format!("{} RETURNING \"id\", \"continent\", \"name\", \"population\"", sql(&plain));
    assert_eq!(sql(&returning), expected, "the statement that is sent");
    let mut session = cluster.session();
    let (_, asked) = cluster.asked(|| session.execute(delete.returning()).unwrap());
    assert_eq!(asked, returning.shards());
    assert_eq!(cluster.sql().last().map(|(_, sql)| sql.clone()), Some(expected));
}

fn writes_are_values(backend: &Backend) {
    let (_cluster, mut session) = made(backend);
    let update = City::update().set(City::POPULATION, Some(1)).on(Continent::Asia);
    assert_eq!(session.execute(update.clone()).unwrap(), 8);
    let returning = update.returning();
    assert_eq!(session.execute(returning.clone()).unwrap().len(), session.execute(returning).unwrap().len());
    let sql = Sql::new("UPDATE {cities} SET population = ?1").bind(2).all_shards();
    assert_eq!((session.execute(sql.clone()).unwrap(), session.execute(sql).unwrap()), (20, 20));
    let delete = City::delete().filter(City::NAME.ge("15")).all_shards();
    assert_eq!((session.execute(delete.clone()).unwrap(), session.execute(delete).unwrap()), (5, 0));
}

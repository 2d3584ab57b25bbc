//! The identity of a row, and the identity map of a session: R21 to R23.

use shard_runtime::{ErrorKind, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS, assert_error};
use crate::models::*;

on_every_mixture! {
    r21_the_same_id_on_two_shards_is_two_rows,
    r22_an_id_that_is_the_key_reads_one_shard,
    r22_an_id_without_a_shard_reads_shards_until_it_is_found,
    r22_an_id_on_two_shards_is_an_error,
    r22_an_id_within_a_shard_takes_a_pin_or_a_parent,
    r23_a_second_get_reads_no_shard,
    r23_a_session_reads_its_own_writes,
    r23_commit_rollback_and_bulk_writes_forget,
    r23_an_update_and_a_delete_are_remembered,
    r23_a_row_in_the_identity_map_is_of_one_shard;
    only lasting:
        r21_children_of_the_same_id_do_not_mix,
        r23_a_new_snapshot_forgets,
}

fn r21_the_same_id_on_two_shards_is_two_rows(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let quito = session.add(city(Continent::SouthAmerica, "Quito")).unwrap();
    let hot = session.add(NewReport { city: tokyo.link(), temperature: 80.0 }).unwrap();
    let cold = session.add(NewReport { city: quito.link(), temperature: 5.0 }).unwrap();
    session.commit().unwrap();
    assert_eq!((hot.id, cold.id), (1, 1));
    assert_ne!(hot.shard(), cold.shard());
    assert_ne!(hot, cold);
    let a = session.get(Report::by_id(1).on(Continent::Asia)).unwrap().unwrap();
    let b = session.get(Report::by_id(1).on_shard("south_america")).unwrap().unwrap();
    assert_eq!((&a, &b), (&hot, &cold));
    // Both are in the identity map now, and stay two.
    let (again, asked) = cluster.asked(|| {
        let a = session.get(Report::by_id(1).on_shard("asia")).unwrap().unwrap();
        let b = session.get(Report::by_id(1).on(Continent::SouthAmerica)).unwrap().unwrap();
        (a, b)
    });
    assert_eq!(again, (hot, cold));
    assert!(asked.is_empty());
    // Rows with equal content on two shards are different rows too.
    session.execute(Report::update().set(Report::TEMPERATURE, 1.0).all_shards()).unwrap();
    let both = session.all(Report::select().all_shards()).unwrap();
    assert_ne!(both[0], both[1]);
}

fn r21_children_of_the_same_id_do_not_mix(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    backend.plant(&CONTINENTS, "cities", "INSERT INTO {table} VALUES (7, 'Asia', '{shard}', NULL)");
    backend.plant(&CONTINENTS, "reports", "INSERT INTO {table} VALUES (1, 7, length('{shard}') + 0.0)");
    backend.plant(&CONTINENTS, "remarks", "INSERT INTO {table} VALUES (1, 1, '{shard}')");
    let mut session = cluster.session();
    let with = session.all_with::<Report>(City::select().all_shards()).unwrap();
    assert_eq!(with.len(), 4);
    for (city, reports) in &with {
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].shard(), city.shard());
        assert_eq!(reports[0].temperature, city.name.len() as f64);
        let remarks = session.all(reports[0].children::<Remark>()).unwrap();
        assert_eq!((remarks.len(), &remarks[0].text), (1, &city.name));
        assert_eq!(&session.parent(&reports[0]).unwrap(), city);
        // A filter by the link reads the link's shard, not every shard that has the id.
        let (same, asked) =
            cluster.asked(|| session.all(Report::select().filter(Report::CITY.eq(city))).unwrap());
        assert_eq!((&same, asked), (reports, vec![city.shard().name().to_owned()]));
    }
    // Two links with one id in one filter: each shard gets its own.
    let links = [with[0].0.link(), with[2].0.link()];
    let (found, asked) =
        cluster.asked(|| session.all(Report::select().filter(Report::CITY.is_in(links.clone()))).unwrap());
    assert_eq!(asked, ["north_america", "europe"]);
    assert_eq!(found.len(), 2);
    let either = Report::CITY.eq(&links[0]) | Report::TEMPERATURE.lt(0.0);
    let found = session.all(Report::select().filter(either).all_shards()).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let others = session.all(Report::select().filter(Report::CITY.ne(&links[0])).all_shards()).unwrap();
    assert_eq!(others.len(), 3, "{others:?}");
}

fn r22_an_id_that_is_the_key_reads_one_shard(backend: &Backend) {
    let cluster = backend.create::<Company>(&LETTERS);
    let planted = backend.plant(&LETTERS, "companies", "INSERT INTO {table} VALUES (42, '{shard}')");
    let home = 0; // 42 under modulus 3, as PostgreSQL computes it
    let (found, asked) = cluster.asked(|| cluster.session().get::<Company>(42).unwrap());
    assert_eq!(asked, [LETTERS[home]]);
    assert!(!planted || found.unwrap().name == LETTERS[home]);
    let (missing, asked) = cluster.asked(|| cluster.session().get::<Company>(43).unwrap());
    assert!(missing.is_none() && asked.len() == 1);
}

fn r22_an_id_without_a_shard_reads_shards_until_it_is_found(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let quito = session.add(city(Continent::SouthAmerica, "Quito")).unwrap();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.commit().unwrap();
    let (found, counts) = cluster.counted(|| session.get::<City>(quito.id).unwrap().unwrap());
    assert_eq!(found, quito);
    assert_eq!(counts.len(), 4);
    assert!(counts.iter().all(|(_, statements)| *statements == 1));
    // The cluster hands these ids out itself: no other shard can have the row once one has it.
    let (found, asked) = cluster.asked(|| session.get::<City>(tokyo.id).unwrap().unwrap());
    assert_eq!(found, tokyo);
    assert_eq!(asked, ["north_america", "asia"]);
    let (missing, asked) = cluster.asked(|| session.get::<City>(i64::MAX).unwrap());
    assert!(missing.is_none());
    assert_eq!(asked, CONTINENTS);
}

fn r22_an_id_on_two_shards_is_an_error(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    let account = |id, number| Account { id, number, owner: String::new() };
    // The id is the caller's, and the caller gave one id twice.
    session.add_all([account(1, 5), account(1, 5000), account(2, 1500)]).unwrap();
    session.commit().unwrap();
    assert_error(session.get::<Account>(1), ErrorKind::Ambiguous, &["`accounts`", "`a`", "`c`", "1"]);
    let (found, asked) = cluster.asked(|| session.get::<Account>(2).unwrap().unwrap());
    assert_eq!((found.number, asked), (1500, LETTERS.map(str::to_owned).to_vec()));
    // A pin names the one that is meant.
    assert_eq!(session.get(Account::by_id(1).on(5000)).unwrap().unwrap().number, 5000);
    assert_eq!(session.get(Account::by_id(1).on_shard("a")).unwrap().unwrap().number, 5);
}

fn r22_an_id_within_a_shard_takes_a_pin_or_a_parent(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let report = session.add(NewReport { city: tokyo.link(), temperature: 80.0 }).unwrap();
    session.commit().unwrap();
    let pinned = || Report::by_id(report.id).on(Continent::Oceania);
    let (found, asked) = cluster.asked(|| session.get(pinned()).unwrap());
    assert_eq!((found.as_ref(), asked), (Some(&report), vec!["asia".to_owned()]));
    let (missing, asked) = cluster.asked(|| session.get(Report::by_id(1).on(Continent::Europe)).unwrap());
    assert!(missing.is_none());
    assert_eq!(asked, ["europe"]);
    let query = || tokyo.children::<Report>().filter(Report::ID.eq(report.id));
    let (found, asked) = cluster.asked(|| session.one(query()).unwrap());
    assert_eq!((found, asked), (report.clone(), vec!["asia".to_owned()]));
    // A link is a shard and an id.
    let (parent, asked) = cluster.asked(|| session.get(&report.city).unwrap());
    assert_eq!((parent, asked), (Some(tokyo), vec!["asia".to_owned()]));
}

fn r23_a_second_get_reads_no_shard(backend: &Backend) {
    let cluster = backend.create::<(Company, City)>(&CONTINENTS);
    let mut session = cluster.session();
    session.add(Company { id: 1, name: "one".into() }).unwrap();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.commit().unwrap();
    let first = session.get::<Company>(1).unwrap().unwrap();
    let (second, asked) = cluster.asked(|| session.get::<Company>(1).unwrap().unwrap());
    assert_eq!(first, second);
    assert!(asked.is_empty());
    session.get::<City>(tokyo.id).unwrap();
    let (_, asked) = cluster.asked(|| session.get(City::by_id(tokyo.id).on(Continent::Asia)).unwrap());
    assert!(asked.is_empty());
    // Another session remembers nothing of it.
    let (_, asked) = cluster.asked(|| cluster.session().get::<Company>(1).unwrap().unwrap());
    assert_eq!(asked.len(), 1);
    // A change in a handle without `update` is not the row's value.
    let mut changed = session.get::<Company>(1).unwrap().unwrap();
    changed.name = "two".into();
    assert_eq!(session.get::<Company>(1).unwrap().unwrap().name, "one");
}

fn r23_a_session_reads_its_own_writes(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.add(city(Continent::Europe, "London")).unwrap();
    // Adding reads no shard; reading the table flushes the pending changes of the shards that are read, and only those.
    let asia = || City::select().filter(City::CONTINENT.eq(Continent::Asia));
    let (found, counts) = cluster.counted(|| session.all(asia()).unwrap());
    assert_eq!(found[..], *std::slice::from_ref(&tokyo));
    assert_eq!(counts, [("asia".to_owned(), 2)]);
    let report = session.add(NewReport { city: tokyo.link(), temperature: 8.0 }).unwrap();
    assert_eq!(session.all(tokyo.children::<Report>()).unwrap(), [report]);
    assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 2);
    // No other session sees any of it before the commit.
    if backend.kind == crate::backend::Kind::Files {
        assert_eq!(cluster.session().all(City::select().all_shards()).unwrap(), []);
    }
    session.commit().unwrap();
    assert_eq!(cluster.session().all(City::select().all_shards()).unwrap().len(), 2);
}

fn r23_commit_rollback_and_bulk_writes_forget(backend: &Backend) {
    let cluster = backend.create::<Company>(&LETTERS);
    let mut session = cluster.session();
    session.add(Company { id: 1, name: "one".into() }).unwrap();
    session.commit().unwrap();
    type Forget = fn(&mut shard_runtime::Session);
    let forget: [Forget; 4] = [
        |session| drop(session.commit().unwrap()),
        |session| session.rollback(),
        |session| {
            session.execute(Company::update().set(Company::NAME, "two").all_shards()).unwrap();
        },
        |session| {
            session.execute(Company::delete().all_shards()).unwrap();
        },
    ];
    let names = [Some("one"), Some("one"), Some("two"), None];
    for (forget, name) in forget.into_iter().zip(names) {
        session.get::<Company>(1).unwrap().unwrap();
        forget(&mut session);
        let (found, asked) = cluster.asked(|| session.get::<Company>(1).unwrap());
        assert_eq!(asked.len(), 1);
        assert_eq!(found.as_ref().map(|company| company.name.as_str()), name);
    }
    session.rollback();
    assert_eq!(session.get::<Company>(1).unwrap().unwrap().name, "one");
}

fn r23_an_update_and_a_delete_are_remembered(backend: &Backend) {
    let cluster = backend.create::<Company>(&LETTERS);
    let mut session = cluster.session();
    session.add(Company { id: 1, name: "one".into() }).unwrap();
    let mut company = session.get::<Company>(1).unwrap().unwrap();
    company.name = "two".into();
    session.update(&mut company).unwrap();
    assert_eq!(session.get::<Company>(1).unwrap().unwrap().name, "two");
    session.reload(&mut company).unwrap();
    assert_eq!(company.name, "two");
    session.delete(&company).unwrap();
    assert!(session.get::<Company>(1).unwrap().is_none());
    assert_error(session.reload(&mut company), ErrorKind::NotFound, &["`companies`", "id 1"]);
    session.rollback();
    assert!(session.get::<Company>(1).unwrap().is_none(), "nothing was committed");
}

fn r23_a_row_in_the_identity_map_is_of_one_shard(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    let account = |id, number| Account { id, number, owner: String::new() };
    session.add_all([account(1, 5), account(2, 5000)]).unwrap();
    session.commit().unwrap();
    session.get(Account::by_id(1).on_shard("a")).unwrap().unwrap();
    let (elsewhere, asked) = cluster.asked(|| session.get(Account::by_id(1).on_shard("b")).unwrap());
    assert!(elsewhere.is_none());
    assert_eq!(asked, ["b"]);
}

fn r23_a_new_snapshot_forgets(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    session.add(Account { id: 1, number: 5, owner: "before".into() }).unwrap();
    session.commit().unwrap();
    let mut reader = cluster.session();
    let get = |session: &mut shard_runtime::Session| {
        session.get(Account::by_id(1).on_shard("a")).unwrap().unwrap().owner.clone()
    };
    assert_eq!(get(&mut reader), "before");
    session.execute(Account::update().set(Account::OWNER, "after").on_shard("a")).unwrap();
    session.commit().unwrap();
    assert_eq!(get(&mut reader), "before", "one snapshot");
    // Its first write ends the snapshot; later reads see the rows that it is about to change.
    reader.add(Account { id: 2, number: 6, owner: "x".into() }).unwrap();
    reader.flush().unwrap();
    assert_eq!(get(&mut reader), "after");
}

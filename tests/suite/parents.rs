//! Rows on the shard of their parents, and rows that would have to move: R07 to R10.

use shard_runtime::{ErrorKind, Sharded};

use crate::backend::{Backend, CONTINENTS, LETTERS, assert_error};
use crate::models::*;

on_every_dialect! {
    r07_a_shard_is_decided_when_a_row_is_added,
    r07_after_a_rollback_nothing_sticks,
    r07_after_a_rollback_an_update_is_sent_again,
    r08_children_live_with_their_parents_three_deep,
    r08_children_of_a_bare_id_live_with_their_parents,
    r09_a_child_without_its_parent_is_refused_by_the_database,
    r09_a_parent_on_another_shard_is_a_move,
    r10_a_changed_key_is_a_move,
    r10_an_unchanged_key_is_fine;
    only lasting:
        r08_a_child_lives_where_its_parent_was_read,
}

fn r07_a_shard_is_decided_when_a_row_is_added(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    // Before any statement.
    let (mut tokyo, asked) = cluster.asked(|| session.add(city(Continent::Asia, "Tokyo")).unwrap());
    assert!(asked.is_empty());
    assert_eq!((tokyo.shard().name(), tokyo.shard().index()), ("asia", 1));
    // It belongs to the stored row, not to later values of its fields.
    tokyo.continent = Continent::Europe;
    assert_eq!(tokyo.shard().name(), "asia");
    assert_eq!(tokyo.link().shard().name(), "asia");
    session.commit().unwrap();
    let (read, asked) = cluster.asked(|| session.all(City::select().on(Continent::Asia)).unwrap());
    assert_eq!((read.len(), asked), (1, vec!["asia".to_owned()]));
}

fn r07_after_a_rollback_nothing_sticks(backend: &Backend) {
    let cluster = backend.create::<(City, Report)>(&CONTINENTS);
    let mut session = cluster.session();
    let first = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.flush().unwrap();
    session.rollback();
    assert_eq!(session.all(City::select().all_shards()).unwrap(), []);
    // The same value again, placed anew; and elsewhere, if its key names that shard now.
    let again = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    assert_ne!(first.id, again.id, "an id is never handed out twice");
    let moved = NewCity { continent: Continent::Europe, ..city(Continent::Asia, "Tokyo") };
    assert_eq!(session.add(moved).unwrap().shard().name(), "europe");
    session.commit().unwrap();
    assert_eq!(session.all(City::select().all_shards()).unwrap().len(), 2);
    // Pending changes that were never flushed are gone as well; and so is a dropped session's work.
    session.add(city(Continent::Asia, "Osaka")).unwrap();
    session.rollback();
    session.commit().unwrap();
    let mut dropped = cluster.session();
    dropped.add(city(Continent::Asia, "Kyoto")).unwrap();
    dropped.flush().unwrap();
    drop(dropped);
    assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 2);
    // A child of a row that was rolled back has no parent.
    session.add(NewReport { city: again.link(), temperature: 1.0 }).unwrap();
    let orphan = session.add(NewReport { city: first.link(), temperature: 1.0 });
    assert_error(orphan, ErrorKind::ForeignKey, &["shard `asia`", "table `reports`"]);
}

fn r07_after_a_rollback_an_update_is_sent_again(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let mut tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.commit().unwrap();
    tokyo.population = Some(37_000_000);
    session.update(&mut tokyo).unwrap();
    session.rollback();
    // The database has the old row; the handle has the new values.
    session.update(&mut tokyo).unwrap();
    session.commit().unwrap();
    let stored = session.one(City::select().on(Continent::Asia)).unwrap();
    assert_eq!((stored.population, tokyo.population), (Some(37_000_000), Some(37_000_000)));
}

fn r08_children_live_with_their_parents_three_deep(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    for continent in Continent::ALL {
        let city = session.add(city(continent, "x")).unwrap();
        let report = session.add(NewReport { city: city.link(), temperature: 1.0 }).unwrap();
        let text = format!("{continent:?}");
        let remark = session.add(NewRemark { report: report.link(), text: text.clone() }).unwrap();
        assert_eq!((report.shard(), remark.shard()), (city.shard(), city.shard()));
        // The key of the root pins the grandchild.
        let (remarks, asked) = cluster.asked(|| session.all(Remark::select().on(continent)).unwrap());
        assert!(remarks.iter().any(|remark| remark.text == text));
        assert_eq!(asked, [city.shard().name()]);
        // So does the link.
        let by_link = Remark::select().filter(Remark::REPORT.eq(&report));
        let (same, asked) = cluster.asked(|| session.one(by_link).unwrap());
        assert_eq!((same, asked), (remark, vec![city.shard().name().to_owned()]));
    }
    session.commit().unwrap();
    if backend.is_lasting() {
        let remarks = CONTINENTS.map(|shard| {
            backend.peek::<String>(
                shard,
                "remarks",
                "SELECT string_agg(text, ',' ORDER BY text) FROM {table}",
            )
        });
        assert_eq!(remarks, ["NorthAmerica", "Asia,Oceania", "Europe", "SouthAmerica"]);
    }
}

fn r08_children_of_a_bare_id_live_with_their_parents(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    for id in [-7, 0, 1, 2, 3, 42, i64::MAX] {
        let company = session.add(Company { id, name: String::new() }).unwrap();
        let campaign = session.add(NewCampaign { company_id: id, title: String::new() }).unwrap();
        let advert = session.add(NewAdvert { campaign: campaign.link(), clicks: 3 }).unwrap();
        assert_eq!((campaign.shard(), advert.shard()), (company.shard(), company.shard()));
        let here = [company.shard().name()];
        let by_id = Campaign::select().filter(Campaign::COMPANY_ID.eq(id));
        assert_eq!(cluster.asked(|| session.one(by_id).unwrap()).1, here);
        assert_eq!(cluster.asked(|| session.all(Advert::select().on(id)).unwrap()).1, here);
    }
    session.commit().unwrap();
    let ids = [0, 1, 2, 3];
    let (found, asked) =
        cluster.asked(|| session.all(Campaign::select().filter(Campaign::COMPANY_ID.is_in(ids))).unwrap());
    assert_eq!(found.len(), 4);
    let mut expected: Vec<&str> = LETTERS.to_vec();
    expected.retain(|shard| found.iter().any(|campaign| campaign.shard().name() == *shard));
    assert_eq!(asked, expected);
}

fn r08_a_child_lives_where_its_parent_was_read(backend: &Backend) {
    // It does not matter how the parent's shard was decided: here the parent is on another shard than that of its key.
    let cluster = backend.create::<Weather>(&CONTINENTS);
    backend.plant(&["europe"], "cities", "INSERT INTO {table} VALUES (1, 'Asia', 'astray', NULL)");
    let mut session = cluster.session();
    let astray = session.one(City::select().on_shard("europe")).unwrap();
    let report = session.add(NewReport { city: astray.link(), temperature: 1.0 }).unwrap();
    assert_eq!(report.shard().name(), "europe");
    session.commit().unwrap();
    let count: i64 = backend.peek("europe", "reports", "SELECT count(*) FROM {table}");
    assert_eq!(count, 1);
}

fn r09_a_child_without_its_parent_is_refused_by_the_database(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    session.add(NewCampaign { company_id: 5, title: "of nobody".into() }).unwrap();
    assert_error(session.commit(), ErrorKind::ForeignKey, &["shard `", "table `campaigns`"]);
    session.rollback();
    // In one unit the parent may be added after the child: rows are sent parents first.
    session.add(NewCampaign { company_id: 5, title: "early".into() }).unwrap();
    session.add(Company { id: 5, name: "late".into() }).unwrap();
    session.commit().unwrap();
    let company = session.get::<Company>(5).unwrap().unwrap();
    let deleted = session.delete(&company).and_then(|()| session.flush());
    assert_error(deleted, ErrorKind::ForeignKey, &["shard `", "table `companies`", "id 5"]);
    assert_eq!(session.one(company.children::<Campaign>().count()).unwrap(), 1);
}

fn r09_a_parent_on_another_shard_is_a_move(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let sydney = session.add(city(Continent::Oceania, "Sydney")).unwrap();
    let london = session.add(city(Continent::Europe, "London")).unwrap();
    let mut report = session.add(NewReport { city: tokyo.link(), temperature: 1.0 }).unwrap();
    session.commit().unwrap();
    report.city = london.link();
    report.temperature = 2.0;
    let texts = ["relocate", "shard `asia`", "table `reports`", "column `city_id`", "europe"];
    let (result, asked) = cluster.asked(|| session.update(&mut report));
    assert_error(result, ErrorKind::ShardKeyChanged, &texts);
    assert!(asked.is_empty());
    // On the same shard another parent is an update like any other.
    report.city = sydney.link();
    session.update(&mut report).unwrap();
    session.commit().unwrap();
    session.reload(&mut report).unwrap();
    assert_eq!((session.parent(&report).unwrap().name.as_str(), report.temperature), ("Sydney", 2.0));
}

fn r10_a_changed_key_is_a_move(backend: &Backend) {
    let cluster = backend.create::<(City, Company, Event)>(&CONTINENTS);
    let mut session = cluster.session();
    let mut tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let mut company = session.add(Company { id: 1, name: "one".into() }).unwrap();
    let new = NewEvent { tenant: 1, day: "mon".into(), what: "x".into() };
    let mut event = session.add(new).unwrap();
    session.commit().unwrap();
    let refused = |result, texts: &[&str]| assert_error(result, ErrorKind::ShardKeyChanged, texts);
    let ((), asked) = cluster.asked(|| {
        tokyo.continent = Continent::Europe;
        let texts = ["relocate", "shard `asia`", "table `cities`", "column `continent`"];
        refused(session.update(&mut tokyo), &texts);
        // A changed key is a move even if the row would stay.
        tokyo.continent = Continent::Oceania;
        refused(session.update(&mut tokyo), &texts);
        event.day = "tue".into();
        refused(session.update(&mut event), &["relocate", "table `events`", "column `day`"]);
        company.id = 2;
        refused(session.update(&mut company), &["table `companies`", "column `id`"]);
        tokyo.continent = Continent::Asia;
        tokyo.id += 1;
        refused(session.update(&mut tokyo), &["table `cities`", "column `id`"]);
    });
    assert!(asked.is_empty());
    session.commit().unwrap();
    let stored = session.all(City::select().all_shards()).unwrap();
    assert_eq!((stored.len(), stored[0].continent), (1, Continent::Asia));
}

fn r10_an_unchanged_key_is_fine(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    let mut tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.commit().unwrap();
    tokyo.continent = Continent::Europe;
    tokyo.continent = Continent::Asia;
    tokyo.population = Some(37_000_000);
    session.update(&mut tokyo).unwrap();
    let ((), counts) = cluster.counted(|| session.flush().unwrap());
    assert_eq!(counts, [("asia".to_owned(), 1)]);
    // Only the columns that differ are sent; nothing if none does.
    let sql = cluster.sql().remove(0).1;
    assert!(sql.contains("population") && !sql.contains("name") && !sql.contains("continent"), "{sql}");
    tokyo.name = "Tokyo".into();
    session.update(&mut tokyo).unwrap();
    let ((), counts) = cluster.counted(|| session.flush().unwrap());
    assert!(counts.is_empty());
    session.commit().unwrap();
    session.reload(&mut tokyo).unwrap();
    assert_eq!(tokyo.population, Some(37_000_000));
}

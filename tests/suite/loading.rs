//! Children, parents and reloads are read from the row's own shard: R24.

use shard_runtime::{ErrorKind, Session, Sharded, Stored, With};

use crate::backend::{Backend, CONTINENTS, LETTERS, assert_error, shards_of};
use crate::models::*;

on_every_dialect! {
    r24_children_are_one_statement_on_one_shard,
    r24_children_compose,
    r24_parents_and_reloads_are_one_statement,
    r24_a_bare_parent_is_one_statement,
    r24_children_of_many_are_one_statement_per_shard,
    r24_children_of_many_come_in_the_parents_order,
    r24_grandchildren_come_with_their_parents,
    r24_grandchildren_of_a_bare_parent,
    r21_children_of_one_id_on_two_shards_are_not_mixed,
    r24_a_row_that_is_gone_is_an_error,
}

on_every_dialect_at_length! {
    r24_many_parents_are_one_statement_per_shard_and_level,
}

/// Seven cities, and for each of them as many reports as its name has letters.
fn weather(session: &mut Session) -> Vec<Stored<City>> {
    use Continent::*;
    let cities = [
        (Asia, "Tokyo"),
        (NorthAmerica, "New York"),
        (NorthAmerica, "Toronto"),
        (Europe, "London"),
        (Europe, "Dublin"),
        (SouthAmerica, "Brasilia"),
        (SouthAmerica, "Quito"),
    ];
    let cities = session.add_all(cities.map(|(continent, name)| city(continent, name))).unwrap();
    for (letter, city) in cities.iter().flat_map(|city| (0..city.name.len()).map(move |at| (at, city))) {
        session.add(NewReport { city: city.link(), temperature: letter as f64 }).unwrap();
    }
    session.commit().unwrap();
    cities
}

fn r24_children_are_one_statement_on_one_shard(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    for city in weather(&mut session) {
        let (reports, counts) = cluster.counted(|| session.all(city.children::<Report>()).unwrap());
        assert_eq!(reports.len(), city.name.len());
        assert_eq!(counts, [(city.shard().name().to_owned(), 1)]);
        assert!(reports.iter().all(|report| report.city == city.link()));
    }
}

fn r24_children_compose(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let tokyo = weather(&mut session).swap_remove(0);
    let warm = tokyo
        .children::<Report>()
        .filter(Report::TEMPERATURE.ge(1.0))
        .order_by(Report::TEMPERATURE.desc())
        .limit(2)
        .offset(1);
    let (reports, asked) = cluster.asked(|| session.all(warm).unwrap());
    assert!(reports.iter().map(|report| report.temperature).eq([3.0, 2.0]));
    assert_eq!(asked, ["asia"]);
    assert_eq!(session.one(tokyo.children::<Report>().count()).unwrap(), 5);
    // A pin to another shard contradicts the parent's.
    let elsewhere = tokyo.children::<Report>().on_shard("europe");
    assert_error(session.all(elsewhere), ErrorKind::ContradictingPins, &["asia", "europe", "`reports`"]);
}

fn r24_parents_and_reloads_are_one_statement(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = weather(&mut session);
    for city in &cities {
        let mut report = session.first(city.children::<Report>()).unwrap().unwrap();
        let home = vec![(city.shard().name().to_owned(), 1)];
        let (parent, counts) = cluster.counted(|| session.parent(&report).unwrap());
        assert_eq!((&parent, counts), (city, home.clone()));
        let (_, counts) = cluster.counted(|| session.parent(&report).unwrap());
        assert!(counts.is_empty(), "it is known by now");
        let ((), counts) = cluster.counted(|| session.reload(&mut report).unwrap());
        assert_eq!(counts, home);
        // A reload reads the shard, also if the row is in the identity map.
        let mut parent = parent;
        let ((), counts) = cluster.counted(|| session.reload(&mut parent).unwrap());
        assert_eq!(counts, home);
    }
    // A reload sees commits of others since this session's snapshot ended.
    session.commit().unwrap();
    let mut tokyo = session.get::<City>(cities[0].id).unwrap().unwrap();
    session.commit().unwrap();
    let mut other = cluster.session();
    let mut same = other.get::<City>(tokyo.id).unwrap().unwrap();
    same.population = Some(37_000_000);
    other.update(&mut same).unwrap();
    other.commit().unwrap();
    tokyo.name = "lost by the reload".into();
    session.reload(&mut tokyo).unwrap();
    assert_eq!((tokyo.name.as_str(), tokyo.population), ("Tokyo", Some(37_000_000)));
}

fn r24_a_bare_parent_is_one_statement(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    for id in 0..6 {
        let company = session.add(Company { id, name: format!("company {id}") }).unwrap();
        for title in ["x", "y"] {
            session.add(NewCampaign { company_id: company.id, title: title.into() }).unwrap();
        }
    }
    session.commit().unwrap();
    for id in 0..6 {
        let company = session.get::<Company>(id).unwrap().unwrap();
        let home = vec![(company.shard().name().to_owned(), 1)];
        let (campaigns, counts) = cluster.counted(|| session.all(company.children::<Campaign>()).unwrap());
        assert_eq!((campaigns.len(), counts), (2, home.clone()));
        session.commit().unwrap();
        let (parent, counts) = cluster.counted(|| session.parent(&campaigns[0]).unwrap());
        assert_eq!((parent, counts), (company, home.clone()));
        let by_id = Campaign::select().filter(Campaign::COMPANY_ID.eq(id));
        let (same, counts) = cluster.counted(|| session.all(by_id).unwrap());
        assert_eq!((same, counts), (campaigns, home));
    }
    let with = session.all_with::<Campaign>(Company::select().all_shards()).unwrap();
    assert!(with.iter().all(|(company, campaigns)| {
        campaigns.len() == 2 && campaigns.iter().all(|campaign| campaign.company_id == company.id)
    }));
}

fn r24_children_of_many_are_one_statement_per_shard(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    let two = || City::select().filter(City::CONTINENT.is_in([Continent::SouthAmerica, Continent::Europe]));
    let (with, counts) = cluster.counted(|| session.all_with::<Report>(two()).unwrap());
    // One statement for the parents and one for their children.
    assert_eq!(counts, [("europe".to_owned(), 2), ("south_america".to_owned(), 2)]);
    for (city, reports) in &with {
        assert_eq!(reports.len(), city.name.len(), "{}", city.name);
        assert!(reports.iter().all(|report| report.shard() == city.shard()));
    }
    // Children that wait are children.
    session.add(NewReport { city: with[0].0.link(), temperature: 99.0 }).unwrap();
    let again = session.all_with::<Report>(two()).unwrap();
    assert_eq!(again[0].1.len(), with[0].1.len() + 1);
    session.rollback();
    // Shards that hold no parent are not read for children.
    let tokyo = City::select().filter(City::NAME.eq("Tokyo")).all_shards();
    let (with, counts) = cluster.counted(|| session.all_with::<Report>(tokyo).unwrap());
    assert_eq!((with.len(), with[0].1.len()), (1, 5));
    let counts: Vec<_> = counts.iter().map(|(shard, count)| (shard.as_str(), *count)).collect();
    assert_eq!(counts, [("north_america", 1), ("asia", 2), ("europe", 1), ("south_america", 1)]);
}

fn r24_children_of_many_come_in_the_parents_order(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&mut session);
    session.add(city(Continent::Asia, "A childless city")).unwrap();
    let by_name = City::select().all_shards().order_by(City::NAME.desc()).limit(7).offset(1);
    let with = session.all_with::<Report>(by_name).unwrap();
    let names: Vec<(&str, usize)> =
        with.iter().map(|(city, reports)| (city.name.as_str(), reports.len())).collect();
    let expected = [
        ("Tokyo", 5),
        ("Quito", 5),
        ("New York", 8),
        ("London", 6),
        ("Dublin", 6),
        ("Brasilia", 8),
        ("A childless city", 0),
    ];
    assert_eq!(names, expected);
    for (_, reports) in &with {
        assert!(reports.is_sorted_by_key(|report| report.id), "children come by their ids");
    }
}

fn r24_many_parents_are_one_statement_per_shard_and_level(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let names = (0..100_000).map(|number| {
        let continent = if number % 5 == 0 { Continent::Europe } else { Continent::Asia };
        city(continent, &number.to_string())
    });
    let cities = session.add_all(names).unwrap();
    let reports = cities.iter().step_by(999).map(|city| NewReport { city: city.link(), temperature: 1.0 });
    let reports = session.add_all(reports).unwrap();
    session
        .add_all(reports.iter().map(|report| NewRemark { report: report.link(), text: "x".into() }))
        .unwrap();
    session.commit().unwrap();
    let all = || City::select().all_shards().order_by(City::ID.asc());
    let (with, counts) = cluster.counted(|| session.all_with::<With<Report, Remark>>(all()).unwrap());
    assert_eq!(with.len(), 100_000);
    for (place, (city, reports)) in with.iter().enumerate() {
        assert_eq!(city.name, place.to_string());
        assert_eq!(reports.len(), usize::from(place % 999 == 0), "{place}");
        assert!(reports.iter().all(|(report, remarks)| report.city == city.link() && remarks.len() == 1));
    }
    let counts: Vec<_> = counts.iter().map(|(shard, count)| (shard.as_str(), *count)).collect();
    assert_eq!(counts, [("north_america", 1), ("asia", 3), ("europe", 3), ("south_america", 1)]);
}

fn r24_grandchildren_come_with_their_parents(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let cities = weather(&mut session);
    session.add(city(Continent::Asia, "A childless city")).unwrap();
    for city in &cities {
        // Added backwards, so that no order of theirs is that of their parents.
        for report in session.all(city.children::<Report>().order_by(Report::ID.desc())).unwrap() {
            for number in 0..report.temperature as usize % 3 {
                let text = format!("{} {} {number}", city.name, report.temperature);
                session.add(NewRemark { report: report.link(), text }).unwrap();
            }
        }
    }
    let by_name = || City::select().all_shards().order_by(City::NAME.desc()).limit(7).offset(1);
    // Pending changes are read too, and no level is more than one statement on a shard.
    session.flush().unwrap();
    let (with, counts) = cluster.counted(|| session.all_with::<With<Report, Remark>>(by_name()).unwrap());
    assert!(counts.iter().all(|(_, count)| *count == 3), "{counts:?}");
    let plain = session.all_with::<Report>(by_name()).unwrap();
    assert!(with.iter().map(|(city, _)| city).eq(plain.iter().map(|(city, _)| city)));
    for ((city, reports), (_, plain)) in with.iter().zip(&plain) {
        assert!(reports.iter().map(|(report, _)| report).eq(plain), "{}", city.name);
        assert!(reports.is_sorted_by_key(|(report, _)| report.id));
        for (report, remarks) in reports {
            let texts = (0..report.temperature as usize % 3)
                .map(|number| format!("{} {} {number}", city.name, report.temperature));
            assert!(remarks.iter().map(|remark| remark.text.clone()).eq(texts));
            assert!(remarks.iter().all(|remark| remark.report == report.link()));
        }
    }
    // No shard is read for the children of no parents.
    let none = City::select().filter(City::NAME.eq("nowhere")).on(Continent::Asia);
    let (with, counts) = cluster.counted(|| session.all_with::<With<Report, Remark>>(none).unwrap());
    assert_eq!((with.len(), counts), (0, vec![("asia".to_owned(), 1)]));
    let childless = City::select().filter(City::NAME.starts_with("A ")).on(Continent::Asia);
    let (with, counts) = cluster.counted(|| session.all_with::<With<Report, Remark>>(childless).unwrap());
    assert_eq!((with.len(), with[0].1.len(), counts), (1, 0, vec![("asia".to_owned(), 2)]));
}

fn r24_grandchildren_of_a_bare_parent(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    for id in 0..9 {
        session.add(Company { id, name: String::new() }).unwrap();
        let titles = ["x", "y"].map(|title| NewCampaign { company_id: id, title: title.into() });
        for campaign in session.add_all(titles).unwrap() {
            session.add(NewAdvert { campaign: campaign.link(), clicks: id as u32 }).unwrap();
        }
    }
    let all = Company::select().all_shards().order_by(Company::ID.asc());
    let with = session.all_with::<With<Campaign, Advert>>(all).unwrap();
    assert!(with.iter().map(|(company, _)| company.id).eq(0..9));
    for (company, campaigns) in &with {
        assert!(campaigns.iter().map(|(campaign, _)| campaign.title.as_str()).eq(["x", "y"]));
        for (campaign, adverts) in campaigns {
            assert_eq!(campaign.company_id, company.id);
            assert!(adverts.iter().map(|advert| i64::from(advert.clicks)).eq([company.id]));
        }
    }
}

fn r21_children_of_one_id_on_two_shards_are_not_mixed(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    // Reports are counted shard by shard: all four have the id 1, and so have their remarks.
    for continent in [Continent::Asia, Continent::Europe, Continent::NorthAmerica, Continent::SouthAmerica] {
        let city = session.add(city(continent, &format!("{continent:?}"))).unwrap();
        let report = session.add(NewReport { city: city.link(), temperature: 1.0 }).unwrap();
        let text = city.name.clone();
        let remark = session.add(NewRemark { report: report.link(), text }).unwrap();
        assert_eq!((report.id, remark.id), (1, 1));
    }
    session.commit().unwrap();
    let with = session.all_with::<With<Report, Remark>>(City::select().all_shards()).unwrap();
    assert_eq!(with.len(), 4);
    for (city, reports) in &with {
        let [(report, remarks)] = reports.as_slice() else { panic!("{reports:?}") };
        let [remark] = remarks.as_slice() else { panic!("{remarks:?}") };
        assert_eq!((remark.text.as_str(), remark.shard()), (city.name.as_str(), report.shard()));
    }
    let with = session.all_with::<Remark>(Report::select().all_shards()).unwrap();
    assert!(with.iter().all(|(report, remarks)| remarks.len() == 1 && remarks[0].shard() == report.shard()));
}

fn r24_a_row_that_is_gone_is_an_error(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let mut tokyo = weather(&mut session).swap_remove(0);
    let orphan = session.first(tokyo.children::<Report>()).unwrap().unwrap();
    session.execute(Report::delete().on(Continent::Asia)).unwrap();
    session.execute(City::delete().on(Continent::Asia)).unwrap();
    session.commit().unwrap();
    let texts = ["shard `asia`", "table `cities`", &format!("id {}", tokyo.id)];
    assert_error(session.parent(&orphan), ErrorKind::NotFound, &texts);
    assert_error(session.reload(&mut tokyo), ErrorKind::NotFound, &texts);
    assert_eq!(tokyo.name, "Tokyo", "a failed reload leaves the row as it was");
    tokyo.name = "Edo".into();
    let updated = session.update(&mut tokyo).and_then(|()| session.flush());
    assert_error(updated, ErrorKind::NotFound, &texts);
    let deleted = session.delete(&tokyo).and_then(|()| session.flush());
    assert_error(deleted, ErrorKind::NotFound, &texts);
    assert!(shards_of(&session.all(tokyo.children::<Report>()).unwrap()).is_empty());
}

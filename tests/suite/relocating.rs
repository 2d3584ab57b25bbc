//! A row whose key changes moves with all its descendants, R11; a row that cannot move stays on its shard.

use std::collections::BTreeMap;

use shard_runtime::{Commit, ErrorKind, Relocated, Session, Sharded, Stored};

use crate::backend::{Backend, CONTINENTS, Kind, LETTERS, Watched, assert_error, shards_of};
use crate::models::*;

on_every_mixture! {
    r11_a_row_moves_with_its_descendants,
    r11_a_child_moves_to_another_parent,
    r11_a_new_key_on_the_same_shard_is_an_update,
    r11_only_changed_columns_are_written,
    r11_children_with_bare_links_move,
    r11_many_descendants_move,
    r11_a_move_that_fails_moves_nothing,
    r11_rows_that_cannot_move_are_refused_before_any_write,
    r33_a_move_is_undone_with_its_savepoint;
    only lasting:
        r11_columns_that_the_model_lacks_move_too,
}

/// Two cities of Asia and one of Europe, each with two reports, each with two remarks, and the first city.
fn weather(cluster: &Watched, session: &mut Session) -> Stored<City> {
    let cities = [(Continent::Asia, "A"), (Continent::Asia, "B"), (Continent::Europe, "C")];
    let cities = session.add_all(cities.map(|(continent, name)| city(continent, name))).unwrap();
    for city in &cities {
        for degrees in 0..2 {
            let temperature = f64::from(degrees);
            let report = session.add(NewReport { city: city.link(), temperature }).unwrap();
            let text = |number| format!("{} {degrees} {number}", city.name);
            session.add_all((0..2).map(|n| NewRemark { report: report.link(), text: text(n) })).unwrap();
        }
    }
    session.commit().unwrap();
    assert_eq!(cluster.shards().len(), 4);
    cities.into_iter().next().unwrap()
}

/// By shard: the cities, and the remarks as they hang on them.
fn everything(cluster: &Watched) -> BTreeMap<String, Vec<String>> {
    let mut session = cluster.session();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let remarks = session.all(Remark::select().all_shards().with_parent().with_parent()).unwrap();
    for (remark, report, city) in remarks {
        assert_eq!(remark.shard(), city.shard());
        let line = format!("{} {} {}", city.name, report.temperature, remark.text);
        found.entry(city.shard().name().to_owned()).or_default().push(line);
    }
    found.values_mut().for_each(|lines| lines.sort());
    let counts = [
        session.one(City::select().all_shards().count()).unwrap(),
        session.one(Report::select().all_shards().count()).unwrap(),
        session.one(Remark::select().all_shards().count()).unwrap(),
    ];
    assert_eq!(counts, [3, 6, 12], "each row is in exactly one place");
    found
}

fn lines(city: &str) -> Vec<String> {
    let line = |report: i32, remark: i32| format!("{city} {report} {city} {report} {remark}");
    [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(report, remark)| line(report, remark)).to_vec()
}

/// The table, the old and the new of each id that has changed.
fn changed(relocated: &Relocated) -> Vec<(&str, i64, i64)> {
    relocated.ids.iter().map(|id| (id.table, id.before, id.after)).collect()
}

fn r11_a_row_moves_with_its_descendants(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let mut moving = weather(&cluster, &mut session);
    let id = moving.id;
    let (relocated, asked) =
        cluster.asked(|| session.relocate(&mut moving, |city| city.continent = Continent::Europe).unwrap());
    assert_eq!(asked, ["asia", "europe"]);
    assert_eq!((moving.shard().name(), moving.id, moving.continent), ("europe", id, Continent::Europe));
    // The city's own id stays; those that Europe counts come after those that are there.
    assert_eq!(relocated.rows, 1 + 2 + 4);
    assert_eq!(
        changed(&relocated),
        [
            ("reports", 1, 3),
            ("reports", 2, 4),
            ("remarks", 1, 5),
            ("remarks", 2, 6),
            ("remarks", 3, 7),
            ("remarks", 4, 8),
        ]
    );
    // The session sees it as it is now, others as it was.
    assert_eq!(session.get::<City>(id).unwrap().unwrap().shard().name(), "europe");
    assert_eq!(session.all(moving.children::<Report>()).unwrap().len(), 2);
    if backend.is_lasting() {
        assert_eq!(everything(&cluster)["asia"], [lines("A"), lines("B")].concat());
    }
    session.commit().unwrap();
    let after = everything(&cluster);
    assert_eq!((&after["asia"], &after["europe"]), (&lines("B"), &[lines("A"), lines("C")].concat()));
    // And back, with a change that is no key.
    session
        .relocate(&mut moving, |city| {
            city.continent = Continent::NorthAmerica;
            city.name = "Z".into();
        })
        .unwrap();
    session.commit().unwrap();
    assert_eq!(session.get::<City>(id).unwrap(), Some(moving.clone()));
    assert_eq!((moving.name.as_str(), everything(&cluster)["north_america"].len()), ("Z", 4));
    moving.population = Some(1);
    session.update(&mut moving).unwrap();
    session.commit().unwrap();
}

fn r11_a_child_moves_to_another_parent(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    weather(&cluster, &mut session);
    let europe = session.one(City::select().on(Continent::Europe)).unwrap();
    let reports = Report::select().filter(Report::has_parent(City::NAME.eq("B"))).all_shards();
    let mut report = session.first(reports.order_by(Report::TEMPERATURE.desc())).unwrap().unwrap();
    let before = report.id;
    assert_error(
        {
            let mut elsewhere = report.clone();
            elsewhere.city = europe.link();
            session.update(&mut elsewhere)
        },
        ErrorKind::ShardKeyChanged,
        &["relocate"],
    );
    let relocated = session.relocate(&mut report, |report| report.city = europe.link()).unwrap();
    session.commit().unwrap();
    assert_eq!((relocated.rows, relocated.ids.len()), (3, 3));
    assert_eq!(changed(&relocated)[0], ("reports", before, report.id));
    assert_eq!((report.shard().name(), report.temperature), ("europe", 1.0));
    assert_eq!(&session.parent(&report).unwrap(), &europe);
    let after = everything(&cluster);
    assert_eq!((after["asia"].len(), after["europe"].len()), (6, 6));
}

fn r11_a_new_key_on_the_same_shard_is_an_update(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    let mut account = session.add(Account { id: 1, number: 5, owner: "x".into() }).unwrap();
    session.commit().unwrap();
    let (relocated, counts) =
        cluster.counted(|| session.relocate(&mut account, |account| account.number = 7).unwrap());
    assert_eq!(relocated, Relocated::default());
    assert_eq!(counts, [("a".to_owned(), 2)], "it is written, and read again");
    assert_eq!((account.number, account.shard().name()), (7, "a"));
    session.commit().unwrap();
    assert_eq!(cluster.session().one(Account::select().all_shards()).unwrap(), account);
    let ((), counts) = cluster.counted(|| {
        session.relocate(&mut account, |_| ()).unwrap();
    });
    assert_eq!(counts, [("a".to_owned(), 1)], "nothing is changed, and it is read again");
}

fn r11_only_changed_columns_are_written(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    let mut account = session.add(Account { id: 1, number: 5, owner: "x".into() }).unwrap();
    session.commit().unwrap();
    // Another session changes another column meanwhile.
    let mut other = cluster.session();
    other.execute(Account::update().set(Account::OWNER, "y").on_shard("a")).unwrap();
    other.commit().unwrap();
    session.relocate(&mut account, |account| account.number = 2_500).unwrap();
    session.commit().unwrap();
    assert_eq!((account.owner.as_str(), account.number, account.shard().name()), ("y", 2_500, "c"));
    assert_eq!(shards_of(&session.all(Account::select().all_shards()).unwrap()), ["c"]);
}

fn r11_children_with_bare_links_move(backend: &Backend) {
    let cluster = backend.create::<Advertising>(&LETTERS);
    let mut session = cluster.session();
    session.add_all((0..20).map(|id| Company { id, name: String::new() })).unwrap();
    session.flush().unwrap();
    let mut campaign = session.add(NewCampaign { company_id: 0, title: "x".into() }).unwrap();
    session.add_all((0..3).map(|clicks| NewAdvert { campaign: campaign.link(), clicks })).unwrap();
    session.commit().unwrap();
    let companies = session.all(Company::select().all_shards()).unwrap();
    let home = campaign.shard().clone();
    let other = companies.iter().find(|company| *company.shard() != home).unwrap();
    let relocated = session.relocate(&mut campaign, |campaign| campaign.company_id = other.id).unwrap();
    session.commit().unwrap();
    assert_eq!((relocated.rows, campaign.shard()), (4, other.shard()));
    let adverts = session.all(campaign.children::<Advert>()).unwrap();
    assert!(adverts.iter().all(|advert| advert.shard() == other.shard()) && adverts.len() == 3);
    assert_eq!(session.one(Advert::select().on_shard(home.name()).count()).unwrap(), 0);
}

fn r11_many_descendants_move(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let mut moving = session.add(city(Continent::Asia, "A")).unwrap();
    let reports = (0..2_500).map(|n| NewReport { city: moving.link(), temperature: f64::from(n) });
    let reports = session.add_all(reports).unwrap();
    let remark = |report: &Stored<Report>| NewRemark { report: report.link(), text: report.id.to_string() };
    session.add_all(reports.iter().map(remark)).unwrap();
    session.commit().unwrap();
    let (relocated, counts) =
        cluster.counted(|| session.relocate(&mut moving, |city| city.continent = Continent::Europe).unwrap());
    session.commit().unwrap();
    assert_eq!((relocated.rows, relocated.ids.len()), (5_001, 0), "Europe has counted as Asia had");
    // The statements grow with the tables and the chunks, not with the rows.
    assert!(counts.iter().all(|(_, count)| *count <= 14), "{counts:?}");
    let pairs = session.all(Remark::select().on(Continent::Europe).with_parent()).unwrap();
    assert!(
        pairs.iter().all(|(remark, report)| remark.text == report.id.to_string()) && pairs.len() == 2_500
    );
    assert_eq!(session.one(Report::select().on(Continent::Asia).count()).unwrap(), 0);
}

fn r11_columns_that_the_model_lacks_move_too(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let mut session = cluster.session();
    let mut account = session.add(Account { id: 1, number: 5, owner: "x".into() }).unwrap();
    session.commit().unwrap();
    session.rollback();
    backend.plant(&["a"], "accounts", "ALTER TABLE {table} ADD COLUMN more TEXT");
    backend.plant(&["a"], "accounts", "UPDATE {table} SET more = 'planted'");
    // The other shard would lose it.
    let refused = session.relocate(&mut account, |account| account.number = 1_500);
    assert_error(refused, ErrorKind::Schema, &["shard `b`", "table `accounts`", "column `more`"]);
    assert_eq!((account.number, account.shard().name()), (5, "a"));
    session.rollback();
    backend.plant(&["b"], "accounts", "ALTER TABLE {table} ADD COLUMN more TEXT");
    session.relocate(&mut account, |account| account.number = 1_500).unwrap();
    session.commit().unwrap();
    let more: String = backend.peek("b", "accounts", "SELECT more FROM {table}");
    assert_eq!(more, "planted");
}

fn r11_a_move_that_fails_moves_nothing(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let mut moving = weather(&cluster, &mut session);
    let before = everything(&cluster);
    // Names are unique within a continent.
    session.add(city(Continent::Europe, "A")).unwrap();
    let refused = session.relocate(&mut moving, |city| city.continent = Continent::Europe);
    assert_error(refused, ErrorKind::Unique, &["shard `europe`", "table `cities`"]);
    assert_eq!((moving.shard().name(), moving.continent), ("asia", Continent::Asia));
    session.rollback();
    assert_eq!(everything(&cluster), before);
    // The error of a row that is gone is `NotFound`.
    let mut gone = session.add(city(Continent::Asia, "D")).unwrap();
    session.commit().unwrap();
    session.delete(&gone).unwrap();
    for to in [Continent::Europe, Continent::Asia] {
        let refused = session.relocate(&mut gone, |city| {
            city.continent = to;
            city.name = "E".into();
        });
        assert_error(refused, ErrorKind::NotFound, &["shard `asia`", "table `cities`"]);
    }
    session.commit().unwrap();
    assert_eq!(everything(&cluster), before);
    if backend.kind == Kind::Files {
        // Atomicity is the commit's; here it is best effort.
        session.set_commit(Commit::BestEffort);
        session.relocate(&mut moving, |city| city.continent = Continent::Europe).unwrap();
        session.commit().unwrap();
        assert_eq!(everything(&cluster)["asia"], lines("B"));
    }
}

fn r11_rows_that_cannot_move_are_refused_before_any_write(backend: &Backend) {
    let cluster = backend.create::<(Company, Parcel, Shop)>(&LETTERS);
    let mut session = cluster.session();
    let mut company = session.add(Company { id: 1, name: "x".into() }).unwrap();
    let mut parcel = session.add(Parcel { weight: 5, label: "x".into() }).unwrap();
    let mut shop = session.add(Shop { id: 1, region: "North".into() }).unwrap();
    session.commit().unwrap();
    let other = cluster.session_on_shard("a").unwrap();
    let ((), asked) = cluster.asked(|| {
        let texts = ["column `id`", "cannot be changed"];
        assert_error(
            session.relocate(&mut company, |company| company.id = 2),
            ErrorKind::ShardKeyChanged,
            &texts,
        );
        let texts = ["column `weight`", "cannot be changed"];
        assert_error(
            session.relocate(&mut parcel, |parcel| parcel.weight = 250),
            ErrorKind::ShardKeyChanged,
            &texts,
        );
        let nowhere = session.relocate(&mut shop, |shop| shop.region = "East".into());
        assert_error(nowhere, ErrorKind::UnmappedKey, &["table `shops`", "column `region`", "East"]);
        let mut pinned = other;
        let elsewhere = pinned.relocate(&mut shop, |shop| shop.region = "South".into());
        assert_error(elsewhere, ErrorKind::ContradictingPins, &["table `shops`"]);
    });
    assert!(asked.is_empty(), "{asked:?}");
    assert_eq!((company.id, parcel.weight, shop.region.as_str()), (1, 5, "North"));
}

fn r33_a_move_is_undone_with_its_savepoint(backend: &Backend) {
    let cluster = backend.create::<Weather>(&CONTINENTS);
    let mut session = cluster.session();
    let moving = weather(&cluster, &mut session);
    let before = everything(&cluster);
    let failed: Result<(), shard_runtime::Error> = session.savepoint(|session| {
        session.relocate(&mut moving.clone(), |city| city.continent = Continent::Europe)?;
        session.relocate(&mut moving.clone(), |city| city.continent = Continent::SouthAmerica)?;
        Ok(())
    });
    // The second one finds it gone from the shard of its handle.
    assert_error(failed, ErrorKind::NotFound, &["shard `asia`"]);
    session.commit().unwrap();
    assert_eq!(everything(&cluster), before);
}

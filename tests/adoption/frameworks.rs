//! The weather tables as object-relational mappers make them in SQLite files.

use shard_runtime::ErrorKind;
use shard_runtime::jiff::Timestamp;
use shard_runtime::prelude::*;

use crate::model::{self, City, Continent, NEW_YORK};
use crate::text_times::{NewObservation, Observation, TextTime};
use crate::{File, assert_error, script, texts};

/// The tools, and the indexes of the models that their tables lack.
const TOOLS: [(&str, &[&str]); 5] = [
    ("sqlalchemy", &[]),
    ("django", &[]),
    ("rails", &[]),
    ("diesel", &["no index on continent, population", "no index on city_id"]),
    (
        "sea_orm",
        &[
            "no index on continent, population",
            "no index on city_id",
            "no unique index on city_id, station, observed_at",
        ],
    ),
];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn r48_tables_of_other_programs_are_adopted_with_their_types() {
    for (tool, lacks) in TOOLS {
        let file = File::new(&script(&format!("{tool}.sqlite.sql")));
        let before = file.schema();
        let adoption = file.builder().adopt::<(City, Observation)>().unwrap();
        let report = adoption.report();
        let found = texts(report);
        assert_eq!(report.differences.len(), lacks.len(), "{tool}: {report}");
        assert!(lacks.iter().all(|lack| found.contains(lack)), "{tool}: {report}");
        let rows: Vec<(&str, u64)> = report.tables.iter().map(|read| (read.table, read.rows)).collect();
        assert_eq!(rows, [("cities", 6), ("observations", 13)], "{tool}");
        if !lacks.is_empty() {
            assert_error(adoption.run(), ErrorKind::Schema, lacks);
            assert!(file.is_untouched(), "{tool}");
        }
        file.heal(&file.builder().adopt::<(City, Observation)>().unwrap().report().clone());

        let cluster = file.builder().adopt::<(City, Observation)>().unwrap().run().unwrap();
        assert_eq!(cluster.verify().unwrap().found(), 0, "{tool}");
        drop(cluster);
        let after: Vec<String> = file
            .schema()
            .into_iter()
            .filter(|sql| !sql.starts_with("CREATE INDEX IF") && !sql.starts_with("CREATE UNIQUE INDEX IF"))
            .collect();
        assert!(before.iter().all(|sql| after.contains(sql)), "{tool}: {after:#?}");
        every_verb(&file, tool);
    }
}

/// Uses a cluster that was adopted as any other one.
fn every_verb(file: &File, tool: &str) {
    let cluster = file.builder().open::<(City, Observation)>().unwrap();
    assert_eq!((cluster.epoch(), cluster.shards().len()), (2, 1), "{tool}");
    let mut session = cluster.session();
    let asia = City::CONTINENT.eq(Continent::Asia);
    let explained = cluster.explain(&City::select().filter(asia.clone())).unwrap();
    assert_eq!(explained.shards(), ["main"], "{tool}");
    let names: Vec<String> = session
        .all(City::select().filter(asia).order_by(City::NAME.asc()))
        .unwrap()
        .iter()
        .map(|city| city.name.clone())
        .collect();
    assert_eq!(names, ["Beijing", "Tokyo"], "{tool}");
    let mut york = session.get::<City>(NEW_YORK).unwrap().unwrap();
    assert_eq!(
        (york.continent, york.population, york.mean_celsius),
        (Continent::NorthAmerica, 8_804_190, Some(12.9))
    );
    let people = session.one(City::select().all_shards().aggregate(City::POPULATION.sum())).unwrap();
    assert_eq!(people, Some(62_091_099), "{tool}");
    let warmest = session.one(City::select().all_shards().aggregate(City::MEAN_CELSIUS.max())).unwrap();
    assert_eq!(warmest, Some(17.7), "{tool}");

    let first = TextTime(at("2013-01-01T05:00:00Z"));
    let observed = session.all(york.children::<Observation>().order_by(Observation::ID.asc())).unwrap();
    assert_eq!(observed.len(), 12, "{tool}");
    assert_eq!(observed[0].observed_at, first, "{tool}");
    let quarter = TextTime(at("2013-01-01T06:30:00.25Z"));
    let london =
        session.one(Observation::select().all_shards().filter(Observation::STATION.eq("LHR"))).unwrap();
    assert_eq!((london.observed_at, london.pressure_hpa), (quarter, None), "{tool}");

    let link = york.link();
    let new = || NewObservation {
        city: link.clone(),
        station: "EWR".into(),
        observed_at: TextTime(at("2014-01-01T00:00:00Z")),
        celsius: 1.0,
        humidity: 50.0,
        wind_kmh: None,
        pressure_hpa: Some(1000.5),
    };
    let added = session.add(new()).unwrap();
    assert_eq!(added.id, 14, "{tool}");
    york.population += 1;
    session.update(&mut york).unwrap();
    let id = 42;
    let lima = City {
        geoname_id: id,
        continent: Continent::SouthAmerica,
        name: "Lima".into(),
        country: "Peru".into(),
        latitude: -12.0,
        longitude: -77.0,
        population: 7_737_002,
        timezone: "America/Lima".into(),
        mean_celsius: None,
    };
    session.save(lima.clone()).unwrap();
    session.save(City { population: 8_000_000, ..lima }).unwrap();
    session.commit().unwrap();
    // A second row with the unique values is refused by the index, whatever its name is.
    assert_error(session.add(new()).and_then(|_| session.flush()), ErrorKind::Unique, &[]);
    session.rollback();
    let fewer = session.execute(Observation::delete().filter(Observation::STATION.eq("LGA")).all_shards());
    assert_eq!(fewer.unwrap(), 4, "{tool}");
    session.commit().unwrap();
    drop(session);

    // The other program goes on.
    let population: i64 = file
        .plain()
        .query_row("SELECT population FROM cities WHERE geoname_id = 5128581", [], |row| row.get(0))
        .unwrap();
    assert_eq!(population, 8_804_191, "{tool}");
    file.run(
        "INSERT INTO observations (city_id, station, observed_at, celsius, humidity) \
         VALUES (42, 'LIM', '2014-02-01 00:00:00', 20.0, 70.0)",
    );
    let mut session = cluster.session();
    let lima = session.get::<City>(id).unwrap().unwrap();
    let seen = session.all(lima.children::<Observation>()).unwrap();
    assert_eq!((seen.len(), seen[0].station.as_str()), (1, "LIM"), "{tool}");
    assert_eq!(cluster.verify().unwrap().found(), 0, "{tool}");
    drop((session, cluster));
    // `create` finds the tables and indexes as they are, and makes none.
    let before = file.schema();
    drop(file.builder().create::<(City, Observation)>().unwrap());
    assert_eq!(file.schema(), before, "{tool}");
}

#[test]
fn times_as_texts_are_reported_and_converted() {
    for (tool, _) in TOOLS {
        let file = File::new(&script(&format!("{tool}.sqlite.sql")));
        assert_eq!(file.journal_mode(), "delete");
        // The models of the example as they are: times in microseconds.
        type Models = (City, model::Observation);
        let adoption = file.builder().adopt::<Models>().unwrap();
        let report = adoption.report().clone();
        let time = report.differences.iter().find(|found| found.column.as_deref() == Some("observed_at"));
        let time = time.unwrap_or_else(|| panic!("{tool}: {report}"));
        if tool == "sea_orm" {
            assert!(time.message.contains("expected type INTEGER"), "{time}");
            continue;
        }
        assert!(time.message.contains("13 of 13 rows cannot be read"), "{tool}: {time}");
        assert!(time.message.contains("with id 1)"), "{tool}: {time}");
        assert_error(adoption.run(), ErrorKind::Schema, &["shard `main`", "observed_at", "UPDATE"]);
        assert!(file.is_untouched(), "{tool}");
        assert_eq!(file.journal_mode(), "delete", "{tool}: a report changes no setting");

        file.heal(&report);
        let cluster = file.builder().adopt::<Models>().unwrap().run().unwrap();
        let mut session = cluster.session();
        let seen = session
            .all(model::Observation::select().all_shards().order_by(model::Observation::ID.asc()))
            .unwrap();
        assert_eq!(seen[0].observed_at, at("2013-01-01T05:00:00Z"), "{tool}");
        assert_eq!(seen[12].observed_at, at("2013-01-01T06:30:00.25Z"), "{tool}");
    }
}

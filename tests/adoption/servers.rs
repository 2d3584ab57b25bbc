//! Adoption of a schema on a real PostgreSQL server.

use shard_runtime::jiff::Timestamp;
use shard_runtime::prelude::*;
use shard_runtime::{Builder, adopt::AdoptionReport};
use sharded_tests::postgres_server::Server;

use crate::model::{City, Continent, NEW_YORK, NewObservation, Observation};
use crate::{assert_error, refusals, script, texts};

type Weather = (City, Observation);

/// A builder of a schema with tables of another program, which is made.
fn schema(server: &Server, name: &str, sql: &str) -> Builder {
    server.psql(&format!("CREATE SCHEMA {name}; SET search_path = {name}; {sql}"));
    Cluster::builder().shard("main", format!("{}?schema={name}", server.url()))
}

/// The tables, columns, indexes and constraints of a schema that are not the library's.
fn structure(server: &Server, schema: &str) -> String {
    server.psql(&format!(
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns \
         WHERE table_schema = '{schema}' AND table_name NOT LIKE 'sharded_%' ORDER BY 1, ordinal_position; \
         SELECT indexdef FROM pg_indexes WHERE schemaname = '{schema}' AND tablename NOT LIKE 'sharded_%' ORDER BY 1; \
         SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = '{schema}'::regnamespace \
         AND conrelid::regclass::text NOT LIKE '%sharded_%' ORDER BY 1"
    ))
}

fn heal(server: &Server, report: &AdoptionReport) {
    report.differences.iter().flat_map(|found| &found.sql).for_each(|sql| _ = server.psql(sql));
}

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

#[test]
fn r48_tables_of_other_programs_are_adopted_on_a_server() {
    let server = Server::start_with(&["timezone=Asia/Tokyo"]);
    for (tool, lacks) in TOOLS {
        let builder = schema(&server, tool, &script(&format!("{tool}.postgres.sql")));
        let before = structure(&server, tool);
        let adoption = builder.clone().adopt::<Weather>().unwrap();
        let report = adoption.report();
        let found = texts(report);
        assert_eq!(report.differences.len(), lacks.len(), "{tool}: {report}");
        assert!(lacks.iter().all(|lack| found.contains(lack)), "{tool}: {report}");
        if !lacks.is_empty() {
            assert_error(adoption.run(), ErrorKind::Schema, lacks);
        }
        assert_eq!(structure(&server, tool), before, "{tool}");
        assert_eq!(
            server.psql(&format!(
                "SELECT count(*) FROM pg_tables WHERE schemaname = '{tool}' AND tablename LIKE 'sharded_%'"
            )),
            "0\n"
        );
        heal(&server, &builder.clone().adopt::<Weather>().unwrap().report().clone());
        let healed = structure(&server, tool);
        drop(builder.clone().adopt::<Weather>().unwrap().run().unwrap());
        assert_eq!(structure(&server, tool), healed, "{tool}");
        every_verb(&server, &builder, tool);
    }
}

fn every_verb(server: &Server, builder: &Builder, tool: &str) {
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    let cluster = builder.clone().open::<Weather>().unwrap();
    assert_eq!(cluster.verify().unwrap().found(), 0, "{tool}");
    let mut session = cluster.session();
    let asia = session
        .all(City::select().filter(City::CONTINENT.eq(Continent::Asia)).order_by(City::POPULATION.desc()))
        .unwrap();
    assert_eq!(
        asia.iter().map(|city| city.name.as_str()).collect::<Vec<_>>(),
        ["Beijing", "Tokyo"],
        "{tool}"
    );
    let people = session.one(City::select().all_shards().aggregate(City::POPULATION.sum())).unwrap();
    assert_eq!(people, Some(62_091_099), "{tool}");
    let most = session.one(City::select().all_shards().aggregate(City::POPULATION.max())).unwrap();
    assert_eq!(most, Some(18_960_744), "{tool}");
    let mean = session.one(City::select().all_shards().aggregate(City::POPULATION.avg())).unwrap();
    assert_eq!(mean.map(f64::round), Some(10_348_517.0), "{tool}");
    let mut york = session.get::<City>(NEW_YORK).unwrap().unwrap();
    let some = [NEW_YORK, 1_850_147];
    assert_eq!(
        session.all(City::select().all_shards().filter(City::GEONAME_ID.is_in(some))).unwrap().len(),
        2
    );

    let seen = session.all(york.children::<Observation>().order_by(Observation::ID.asc())).unwrap();
    assert_eq!((seen.len(), seen[0].observed_at), (12, at("2013-01-01T05:00:00Z")), "{tool}");
    let later = Observation::OBSERVED_AT.ge(at("2013-01-01T08:00:00Z"));
    assert_eq!(session.all(Observation::select().all_shards().filter(later)).unwrap().len(), 3, "{tool}");
    // One row, and many at once.
    let link = york.link();
    let new = |station: &str, hour: &str| NewObservation {
        city: link.clone(),
        station: station.into(),
        observed_at: at(&format!("2014-01-01T{hour}:00:00.123456Z")),
        celsius: 1.0,
        humidity: 50.0,
        wind_kmh: None,
        pressure_hpa: Some(1000.5),
    };
    let one = session.add(new("EWR", "00")).unwrap();
    assert_eq!(one.id, 14, "{tool}");
    let hours: Vec<String> = (1..24).map(|hour| format!("{hour:02}")).collect();
    let many = session.add_all(hours.iter().map(|hour| new("EWR", hour))).unwrap();
    assert_eq!((many.len(), many[22].id), (23, 37), "{tool}");
    york.population += 1;
    session.update(&mut york).unwrap();
    session.commit().unwrap();
    assert_error(session.add(new("EWR", "00")).and_then(|_| session.flush()), ErrorKind::Unique, &[]);
    session.rollback();
    let again = session.all(york.children::<Observation>().filter(Observation::STATION.eq("EWR"))).unwrap();
    assert!(again.iter().any(|row| row.observed_at == at("2014-01-01T23:00:00.123456Z")), "{tool}");
    let written = server.psql(&format!(
        "SET timezone = 'UTC'; SELECT observed_at::timestamp FROM {tool}.observations WHERE id = 37"
    ));
    assert_eq!(written, "2014-01-01 23:00:00.123456\n", "{tool}");
    // A value that the column does not hold is an error, and nothing is stored.
    york.population = 3_000_000_000;
    let too_large = session.update(&mut york).and_then(|()| session.flush());
    assert_error(too_large, ErrorKind::Value, &["3000000000"]);
    session.rollback();

    // The other program goes on.
    server.psql(&format!(
        "INSERT INTO {tool}.observations (city_id, station, observed_at, celsius, humidity) \
         VALUES ({NEW_YORK}, 'NEW', '2015-01-01 00:00:00+00', 1, 2)"
    ));
    let mut session = cluster.session();
    let seen =
        session.one(Observation::select().all_shards().filter(Observation::STATION.eq("NEW"))).unwrap();
    assert!(seen.id > 37 && *seen.city.id() == NEW_YORK, "{tool}");
    let gone = session.execute(Observation::delete().filter(Observation::STATION.eq("LGA")).all_shards());
    assert_eq!(gone.unwrap(), 4, "{tool}");
    session.commit().unwrap();
    drop(session);
    drop(cluster);
    drop(builder.clone().create::<Weather>().unwrap());
}

const GOOD: &str = "\
    CREATE TABLE owners (region varchar(10) PRIMARY KEY, name text NOT NULL, email varchar, size smallint NOT NULL);
    CREATE INDEX by_name ON owners (name);
    CREATE INDEX by_email ON owners (email);
    CREATE TABLE pets (id serial PRIMARY KEY, owner_id varchar NOT NULL, chip int NOT NULL, is_wild boolean NOT NULL, weight double precision,
        UNIQUE (owner_id, chip));
    CREATE INDEX by_owner ON pets (owner_id);
    INSERT INTO owners VALUES ('Asia', 'Mei', 'mei@example.com', 3), ('Europe', 'Jan', NULL, 4);
    INSERT INTO pets (owner_id, chip, is_wild, weight) VALUES ('Asia', 1, false, 2), ('Asia', 2, true, NULL), ('Europe', 1, false, 3.5);";

#[test]
fn differences_on_a_server_are_reported_and_healed() {
    let server = Server::start();
    let changes: [(&str, &[&str]); 9] = [
        ("DROP TABLE pets", &["table `pets`: no such table"]),
        ("ALTER TABLE owners DROP COLUMN size", &["column `size`: no such column"]),
        (
            "ALTER TABLE pets ALTER chip TYPE numeric(10, 0), ALTER weight TYPE real; ALTER TABLE owners ALTER name TYPE char(20)",
            &[
                "column `chip`: expected type bigint, found numeric(10,0)",
                "column `weight`: expected type double precision, found real",
                "column `name`: expected type text",
            ],
        ),
        (
            "ALTER TABLE pets ALTER chip DROP NOT NULL, ALTER weight SET DEFAULT 1; UPDATE pets SET chip = NULL WHERE id = 2; \
             UPDATE pets SET weight = 1; ALTER TABLE pets ALTER weight SET NOT NULL",
            &[
                "column `chip`: 1 of 3 rows cannot be read: expected an integer, found NULL (for example the row with id 2)",
                "column `chip`: expected NOT NULL, found NULL",
                "column `weight`: expected NULL, found NOT NULL",
            ],
        ),
        (
            "ALTER TABLE pets ADD extra int NOT NULL DEFAULT 1; ALTER TABLE pets ALTER extra DROP DEFAULT",
            &["column `extra`: column is NOT NULL without a default"],
        ),
        (
            "DROP INDEX by_name; ALTER TABLE pets DROP CONSTRAINT pets_owner_id_chip_key",
            &["no index on name", "no unique index on owner_id, chip"],
        ),
        (
            "ALTER TABLE pets ALTER id DROP DEFAULT; DROP SEQUENCE pets_id_seq",
            &["column `id`: the model has `#[id(auto)]`, and the database does not generate this id"],
        ),
        (
            "INSERT INTO pets VALUES (900, 'Asia', 77, false, NULL)",
            &["column `id`: the sequence", "has generated 3, and the highest id is 900"],
        ),
        ("ALTER TABLE owners DROP CONSTRAINT owners_pkey", &["column `region`: expected the primary key"]),
    ];
    for (number, (change, parts)) in changes.iter().enumerate() {
        let name = format!("change{number}");
        let builder = schema(&server, &name, &format!("{GOOD}; {change}"));
        let report = builder.clone().adopt::<refusals::Both>().unwrap().report().clone();
        let found = texts(&report);
        assert!(parts.iter().all(|part| found.contains(part)), "{change}: {report}");
        heal(&server, &report);
        let adoption = builder.adopt::<refusals::Both>().unwrap();
        assert!(adoption.report().is_fit(), "{change}: {}", adoption.report());
        let cluster = adoption.run().unwrap();
        assert_eq!(cluster.verify().unwrap().found(), 0, "{change}");
        let mut session = cluster.session();
        let owner = session.get::<refusals::Owner>("Asia".to_owned()).unwrap().unwrap();
        session
            .add(refusals::NewPet { owner: owner.link(), chip: 500, is_wild: true, weight: None })
            .unwrap();
        session.commit().unwrap();
    }
}

#[test]
fn schemas_that_are_refused() {
    let server = Server::start();
    let report = |builder: &Builder| builder.clone().adopt::<refusals::Both>().unwrap().report().clone();

    let view = schema(
        &server,
        "viewed",
        &format!("{GOOD}; ALTER TABLE pets RENAME TO p; CREATE VIEW pets AS SELECT * FROM p"),
    );
    assert!(texts(&report(&view)).contains("table `pets`: expected a table, found a view"));
    let orphans = schema(&server, "orphaned", &format!("{GOOD}; DELETE FROM owners WHERE region = 'Asia'"));
    assert!(texts(&report(&orphans)).contains("2 of 3 rows refer to a row of `owners` that does not exist"));
    let shared = schema(&server, "shared", &format!("{GOOD}; UPDATE owners SET email = 'same'"));
    assert!(texts(&report(&shared)).contains("values of the `#[lookup]` are shared by several rows"));
    let icu = "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);";
    let loose = schema(
        &server,
        "loose",
        &format!("{icu} {GOOD}; ALTER TABLE owners ALTER email TYPE text COLLATE loose"),
    );
    assert!(texts(&report(&loose)).contains("column `email`: expected collation C, found loose"));

    // A collation that compares bytes only in an order is a note.
    let ordered = schema(
        &server,
        "ordered",
        &format!("{GOOD}; ALTER TABLE owners ALTER name TYPE text COLLATE \"und-x-icu\""),
    );
    let read = report(&ordered);
    assert!(read.is_fit(), "{read}");
    let note = read.notes.iter().find(|note| note.message.contains("expected collation C, found und-x-icu"));
    assert!(note.is_some_and(|note| note.sql[0].contains("COLLATE \"C\"")), "{read}");
    drop(ordered.clone().adopt::<refusals::Both>().unwrap().run().unwrap());
    drop(ordered.clone().open::<refusals::Both>().unwrap());
    assert_error(
        ordered.adopt::<refusals::Both>().map(drop),
        ErrorKind::WrongDatabase,
        &["already", "`open`"],
    );

    let nowhere = Cluster::builder().shard("main", format!("{}?schema=nowhere", server.url()));
    assert_error(
        nowhere.adopt::<refusals::Both>().map(drop),
        ErrorKind::Missing,
        &["shard `main`", "nowhere"],
    );
}

#[test]
fn a_role_without_rights_is_told_what_it_lacks() {
    let server = Server::start();
    schema(&server, "guarded", &format!("{GOOD}; CREATE ROLE visitor LOGIN PASSWORD 'visitor'"));
    let url = server.url().replace(&format!("sharded:{}", server.password()), "visitor:visitor");
    let builder = Cluster::builder().shard("main", format!("{url}?schema=guarded"));
    let mut asked = Vec::new();
    for _ in 0..3 {
        let adoption = builder.clone().adopt::<refusals::Both>().unwrap();
        let report = adoption.report().clone();
        if report.is_fit() {
            drop(adoption.run().unwrap());
            break;
        }
        asked.push(texts(&report));
        heal(&server, &report);
    }
    assert!(
        asked[0].contains("the role \"visitor\" lacks the rights USAGE, CREATE on the schema `guarded`"),
        "{asked:?}"
    );
    assert!(
        asked[1]
            .contains("table `pets`: the role \"visitor\" lacks the rights SELECT, INSERT, UPDATE, DELETE"),
        "{asked:?}"
    );
    assert!(asked.get(2).is_some_and(|asked| asked.contains("may not use the sequence")), "{asked:?}");
}

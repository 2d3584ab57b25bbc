//! An adopted database is split: its rows go to two new shards, and the program that made it can write no more. R48, R50, R51.

use std::time::Duration;

use shard_runtime::prelude::*;
use shard_runtime::{Builder, Pace, change::Switch};

use crate::model::City;
use crate::text_times::{NewObservation, Observation, TextTime};
use crate::{File, script};

const TARGETS: [&str; 2] = ["first", "second"];

/// All rows, with everything that the other program has stored, and the shard of each.
macro_rules! rows {
    ($observation:ty, $cluster:expr) => {{
        let mut session = $cluster.session();
        let cities = session.all(City::select().order_by(City::GEONAME_ID.asc()).all_shards()).unwrap();
        let observations =
            session.all(<$observation>::select().order_by(<$observation>::ID.asc()).all_shards()).unwrap();
        let mut shards: Vec<String> = cities.iter().map(|city| city.shard().name().to_owned()).collect();
        shards.sort_unstable();
        shards.dedup();
        let cities = cities.iter().map(|city| format!("{:?}", **city));
        let observations = observations.iter().map(|seen| {
            format!(
                "{} of {} at {} {:?}",
                seen.id,
                seen.city.id(),
                seen.station,
                (seen.observed_at, seen.celsius, seen.humidity, seen.wind_kmh, seen.pressure_hpa)
            )
        });
        (cities.chain(observations).collect::<Vec<_>>(), shards)
    }};
}

/// Splits the shard of an adopted database into the targets, and adds an observation of each city.
macro_rules! split {
    ($observation:ty, $builder:expr, $new:expr) => {{
        let cluster = $builder.create::<(City, $observation)>().unwrap();
        let (before, shards) = rows!($observation, cluster);
        assert_eq!((before.len(), shards), (19, vec!["main".to_owned()]));
        let mut change =
            cluster.begin_change(&cluster.plan_change().split("main", TARGETS).build().unwrap()).unwrap();
        change.copy(Pace::rows(5), |_| {}).unwrap();
        assert_eq!(change.verify().unwrap().different, 0);
        change.switch(Switch::within(Duration::from_secs(20))).unwrap();
        change.finish().unwrap();
        assert_eq!(rows!($observation, cluster), (before.clone(), TARGETS.map(str::to_owned).to_vec()));
        assert_eq!(cluster.verify().unwrap().found(), 0);
        drop((change, cluster));

        let cluster = $builder.open::<(City, $observation)>().unwrap();
        assert_eq!(rows!($observation, cluster).0, before);
        let mut session = cluster.session();
        let cities = session.all(City::select().all_shards()).unwrap();
        for city in cities {
            let added = session.add($new(city.link())).unwrap();
            assert_eq!(added.shard(), city.shard());
            assert!(added.id > 13, "the other program has counted to 13: {}", added.id);
        }
        session.commit().unwrap();
        drop(session);
        assert_eq!(rows!($observation, cluster).0.len(), 25);
        assert_eq!(cluster.verify().unwrap().found(), 0);
    }};
}

#[test]
fn r48_an_adopted_file_is_split() {
    let file = File::new(&script("django.sqlite.sql"));
    drop(file.builder().adopt::<(City, Observation)>().unwrap().run().unwrap());
    let builder = || {
        TARGETS.iter().fold(file.builder(), |builder, shard| {
            builder
                .shard(*shard, format!("sqlite:{}", file.folder.path().join(format!("{shard}.db")).display()))
        })
    };
    split!(Observation, builder(), |city| NewObservation {
        city,
        station: "NEW".into(),
        observed_at: TextTime("2014-01-01T00:00:00Z".parse().unwrap()),
        celsius: 1.0,
        humidity: 50.0,
        wind_kmh: None,
        pressure_hpa: None,
    });
    for sql in [
        "INSERT INTO observations (city_id, station, observed_at, celsius, humidity) VALUES (1850147, 'HND', '2015-01-01 00:00:00', 1, 2)",
        "UPDATE cities SET population = population + 1",
        "DELETE FROM observations",
    ] {
        let refused = file.plain().execute(sql, []).expect_err(sql).to_string();
        assert!(refused.contains("no such table"), "{sql}: {refused}");
    }
    // Under their other names the tables refuse writes, too.
    let hidden: String = file
        .plain()
        .query_row(
            "SELECT min(name) FROM sqlite_schema WHERE type = 'table' AND name LIKE 'sharded_retired_%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let refused = file.plain().execute(&format!("DELETE FROM {hidden}"), []).expect_err(&hidden).to_string();
    assert!(refused.contains("the shard is being moved by change 1"), "{refused}");
}

#[cfg(feature = "servers")]
#[test]
fn r48_an_adopted_server_is_split() {
    use sharded_tests::postgres_server::Server;

    use crate::model::{NewObservation, Observation};

    // Times that are stored without a time zone are in UTC, whatever the server's is.
    let server = Server::start_with(&["timezone=Asia/Tokyo", "max_prepared_transactions=20"]);
    for tool in ["sqlalchemy", "django", "rails"] {
        server.psql(&format!("CREATE DATABASE {tool}"));
        server.psql(&format!(
            "CREATE SCHEMA {tool}; SET search_path = {tool}; {}",
            script(&format!("{tool}.postgres.sql"))
        ));
        server.psql(&format!("CREATE SCHEMA {tool}_control"));
        // The control database is not in the shard, which is retired.
        let adopted = || -> Builder {
            Cluster::builder()
                .shard("main", format!("{}?schema={tool}", server.url()))
                .control(format!("{}?schema={tool}_control", server.url()))
        };
        drop(adopted().adopt::<(City, Observation)>().unwrap().run().unwrap());
        let url = server.url();
        let (base, _) = url.rsplit_once('/').unwrap();
        let builder = || {
            TARGETS.iter().fold(adopted(), |builder, shard| {
                builder.shard(*shard, format!("{base}/{tool}?schema={shard}"))
            })
        };
        split!(Observation, builder(), |city| NewObservation {
            city,
            station: "NEW".into(),
            observed_at: "2014-01-01T00:00:00Z".parse().unwrap(),
            celsius: 1.0,
            humidity: 50.0,
            wind_kmh: None,
            pressure_hpa: None,
        });
        let refused = server
            .try_psql(&format!(
                "INSERT INTO {tool}.observations (city_id, station, observed_at, celsius, humidity) \
                 VALUES (1850147, 'HND', '2015-01-01 00:00:00', 1, 2)"
            ))
            .expect_err(tool);
        assert!(refused.contains("does not exist"), "{tool}: {refused}");
        let hidden = server.psql(&format!(
            "SELECT min(tablename) FROM pg_tables WHERE schemaname = '{tool}' AND tablename LIKE 'sharded_retired_%'"
        ));
        let refused = server.try_psql(&format!("DELETE FROM {tool}.{}", hidden.trim())).expect_err(tool);
        assert!(refused.contains("the shard is being moved by change 1"), "{tool}: {refused}");
    }
}

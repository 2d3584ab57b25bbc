//! The derive, the session and queries in one program: parents, children, order, aggregates, and three errors of the compiler.

use shard_runtime::prelude::*;

/// Names the database of a continent's rows.
#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
enum Continent {
    #[shard("north_america")]
    NorthAmerica,
    #[shard("asia")]
    Asia,
    #[shard("europe")]
    Europe,
    #[shard("south_america")]
    SouthAmerica,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "weather_locations")]
struct WeatherLocation {
    #[id(sequence)] // unique over the cluster, reserved in blocks
    id: i64,
    #[shard_key]
    continent: Continent,
    city: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "weather_reports")]
struct Report {
    #[id(auto)] // the database's own counter: unique within one shard only
    id: i64,
    #[shard_parent] // stored on the shard of its location; column location_id
    location: Parent<WeatherLocation>,
    temperature: f64,
}

fn main() -> shard_runtime::Result<()> {
    let cluster = Cluster::builder()
        .shard("north_america", "sqlite:north_america.db")
        .shard("asia", "sqlite:asia.db")
        .shard("europe", "sqlite:europe.db")
        .shard("south_america", "sqlite:south_america.db")
        .create::<(WeatherLocation, Report)>()?; // or .open::<(..)>(), which makes nothing

    let mut session = cluster.session();
    // The derive also makes `NewWeatherLocation` and `NewReport`: the struct without what is generated.
    let tokyo = session.add(NewWeatherLocation { continent: Continent::Asia, city: "Tokyo".into() })?;
    let quito =
        session.add(NewWeatherLocation { continent: Continent::SouthAmerica, city: "Quito".into() })?;
    session.add(NewReport { location: tokyo.link(), temperature: 80.0 })?;
    session.add(NewReport { location: quito.link(), temperature: 85.0 })?;
    session.commit()?;

    // `tokyo` is a Stored<WeatherLocation>: it derefs to the struct and has its shard.
    assert_eq!((tokyo.city.as_str(), tokyo.shard().name()), ("Tokyo", "asia"));

    // Queries are values: built without a session, explained without a connection, run by any session.
    let asia_and_europe = WeatherLocation::select()
        .filter(WeatherLocation::CONTINENT.is_in([Continent::Asia, Continent::Europe]));
    println!("{}", cluster.explain(&asia_and_europe)?); // asia, europe: continent IN (Asia, Europe)
    let cities = session.all(asia_and_europe)?;
    println!("{cities:?}");

    // Children are read from the shard of their parent: one statement on one shard. `children` is a query, so it takes an order
    // and a limit.
    let reports = session.all(tokyo.children::<Report>().order_by(Report::TEMPERATURE.desc()).limit(10))?;
    println!("{reports:?}");
    // With children, for many parents: one statement per shard.
    let with_reports = session.all_with::<Report>(WeatherLocation::select().on(Continent::Asia))?;
    println!("{with_reports:?}");

    // Reading every shard is explicit; order, limit and aggregates are global.
    let hottest = session.all(Report::select().all_shards().order_by(Report::TEMPERATURE.desc()).limit(3))?;
    println!("{hottest:?}");
    let mean = session.one(Report::select().all_shards().aggregate(Report::TEMPERATURE.avg()))?;
    println!("{mean:?}");

    // These three do not compile, and the compiler prints:
    //
    // session.all(WeatherLocation::select().filter(WeatherLocation::CITY.eq("Tokyo")))
    // error[E0277]: this query may have to read every shard
    // note: filter on the `#[shard_key]` or the parent, pin it with `.on(key)` or `.on_shard(name)`, or add `.all_shards()`
    //
    // session.get::<Report>(1)
    // error[E0277]: ids of `Report` are unique only within one shard
    // note: name the shard, with `session.get(Report::by_id(id).on(key))`, or read the row through its parent
    //
    // NewReport { temperature: 80.0 }
    // error[E0063]: missing field `location` in initializer of `NewReport`
    Ok(())
}

//! The scenario of the examples: four continents, seven cities, three reports. A weather location is stored on the shard of
//! its continent, and a report on the shard of its location.
//!
//! It prints its results and asserts them, including the shards that were read.

mod model;

pub use model::{Continent, NewReport, NewWeatherLocation, Report, WeatherLocation};
use shard_runtime::{Cluster, Result, Session, Sharded, Stored};

/// Adds seven cities and three reports in one transaction.
pub fn save(cluster: &Cluster) -> Result<()> {
    let mut session = cluster.session();
    let mut add = |continent, city: &str| session.add(NewWeatherLocation { continent, city: city.into() });
    let tokyo = add(Continent::Asia, "Tokyo")?;
    let new_york = add(Continent::NorthAmerica, "New York")?;
    add(Continent::NorthAmerica, "Toronto")?;
    add(Continent::Europe, "London")?;
    add(Continent::Europe, "Dublin")?;
    add(Continent::SouthAmerica, "Brasilia")?;
    let quito = add(Continent::SouthAmerica, "Quito")?;
    for (location, temperature) in [(&tokyo, 80.0), (&new_york, 75.0), (&quito, 85.0)] {
        session.add(NewReport { location: location.link(), temperature })?;
    }
    session.commit()?;
    println!(
        "saved 7 cities and 3 reports; {} is on {}, {} on {}",
        tokyo.city,
        tokyo.shard(),
        quito.city,
        quito.shard()
    );
    assert_eq!((tokyo.shard().name(), quito.shard().name()), ("asia", "south_america"));
    Ok(())
}

/// Reads them in every way, and checks the shards that were read.
pub fn load(cluster: &Cluster) -> Result<()> {
    let mut session = cluster.session();

    // By id. Ids of a sequence are unique over the cluster but name no shard, so shards are read in turn until one has the row.
    let tokyo = session
        .one(WeatherLocation::select().on(Continent::Asia).filter(WeatherLocation::CITY.eq("Tokyo")))?;
    let again = session.get::<WeatherLocation>(tokyo.id)?.expect("Tokyo by its id");
    assert_eq!(again, tokyo);

    // Its reports are read from its shard: one shard, one statement.
    let (reports, asked) =
        counting(cluster, &mut session, |session| session.all(tokyo.children::<Report>()))?;
    println!("Tokyo's first report: {} °F; asked {asked:?}", reports[0].temperature);
    assert_eq!((reports[0].temperature, asked.as_slice()), (80.0, ["asia".to_owned()].as_slice()));

    let north = WeatherLocation::select().filter(WeatherLocation::CONTINENT.eq(Continent::NorthAmerica));
    println!("{}", cluster.explain(&north)?);
    let (north, asked) = counting(cluster, &mut session, |session| session.all(north))?;
    println!("North America: {:?}; asked {asked:?}", cities(&north));
    assert_eq!((cities(&north), asked), (vec!["New York", "Toronto"], vec!["north_america".to_owned()]));

    let both = WeatherLocation::select()
        .filter(WeatherLocation::CONTINENT.is_in([Continent::Europe, Continent::Asia]));
    println!("{}", cluster.explain(&both)?);
    let (both, asked) = counting(cluster, &mut session, |session| session.all(both))?;
    println!("Europe and Asia: {:?}; asked {asked:?}", cities(&both));
    assert_eq!(cities(&both), ["Tokyo", "London", "Dublin"]);
    assert_eq!(asked, ["asia", "europe"]);

    let t =
        WeatherLocation::select().on_shard("north_america").filter(WeatherLocation::CITY.starts_with("T"));
    println!("{}", cluster.explain(&t)?);
    let (t, asked) = counting(cluster, &mut session, |session| session.all(t))?;
    println!("pinned to north_america, cities with T: {:?}; asked {asked:?}", cities(&t));
    assert_eq!((cities(&t), asked), (vec!["Toronto"], vec!["north_america".to_owned()]));

    // Every shard counts its reports: the same id on two shards is two rows, which the shard distinguishes.
    let new_york = session.one(
        WeatherLocation::select().on_shard("north_america").filter(WeatherLocation::CITY.eq("New York")),
    )?;
    let new_yorks = session.one(new_york.children::<Report>())?;
    let tokyos = session.one(tokyo.children::<Report>())?;
    for report in [&new_yorks, &tokyos] {
        println!(
            "report {} on {}: {} °F in {}",
            report.id,
            report.shard(),
            report.temperature,
            session.parent(report)?.city
        );
    }
    assert_eq!((new_yorks.id, tokyos.id), (1, 1));
    assert_ne!(new_yorks.shard(), tokyos.shard());
    let found = session.get(Report::by_id(1).on(Continent::Asia))?.expect("Tokyo's report");
    assert_eq!(found, tokyos);
    Ok(())
}

fn cities(rows: &[Stored<WeatherLocation>]) -> Vec<&str> {
    rows.iter().map(|row| row.city.as_str()).collect()
}

/// Returns the closure's value and the names of the shards that it read.
fn counting<T>(
    cluster: &Cluster,
    session: &mut Session,
    run: impl FnOnce(&mut Session) -> Result<T>,
) -> Result<(T, Vec<String>)> {
    let before: Vec<u64> = cluster.shards().iter().map(|shard| shard.statements()).collect();
    let result = run(session)?;
    let asked = cluster.shards().iter().zip(before).filter(|(shard, before)| shard.statements() > *before);
    Ok((result, asked.map(|(shard, _)| shard.name().to_owned()).collect()))
}

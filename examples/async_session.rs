//! Four continents, a database each, from async code: the scenario of `separate_databases` with `.await`, each part in its own
//! task.
//!
//! Run it with `cargo run --example async_session`. It runs under Tokio; the session would be the same under any other
//! runtime.

#[path = "continents/model.rs"]
mod model;

use model::{Continent, NewReport, NewWeatherLocation, Report, WeatherLocation};
use shard_runtime::{AsyncSession, Cluster, Result, Sharded, Stored};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let cluster = Cluster::builder()
        .shard("north_america", url("north_america.db"))
        .shard("asia", url("asia.db"))
        .shard("europe", url("europe.db"))
        .shard("south_america", url("south_america.db"))
        .async_create::<(WeatherLocation, Report)>()
        .await?;
    println!("Four shards, a file each: {cluster:#?}\n");
    save(cluster.async_session()).await?;

    // Sessions are cheap: each task has its own, and all of them wait for their databases at the same time.
    tokio::try_join!(
        a_city_with_its_reports(&cluster),
        europe_and_asia(&cluster),
        the_pin(&cluster),
        the_identities(&cluster),
        the_warmest(&cluster),
    )?;
    Ok(())
}

/// Adds seven cities and three reports in one transaction.
async fn save(mut session: AsyncSession) -> Result<()> {
    let tokyo = session.add(location(Continent::Asia, "Tokyo")).await?;
    let new_york = session.add(location(Continent::NorthAmerica, "New York")).await?;
    let quito = session.add(location(Continent::SouthAmerica, "Quito")).await?;
    let others = [
        (Continent::NorthAmerica, "Toronto"),
        (Continent::Europe, "London"),
        (Continent::Europe, "Dublin"),
        (Continent::SouthAmerica, "Brasilia"),
    ];
    session.add_all(others.map(|(continent, city)| location(continent, city))).await?;
    let reports = [(&tokyo, 80.0), (&new_york, 75.0), (&quito, 85.0)];
    session
        .add_all(reports.map(|(location, temperature)| NewReport { location: location.link(), temperature }))
        .await?;
    // The commit stores all or nothing, even if this future is dropped here.
    session.commit().await?;
    println!("saved 7 cities and 3 reports; {} is on {}", tokyo.city, tokyo.shard());
    assert_eq!((tokyo.shard().name(), quito.shard().name()), ("asia", "south_america"));
    Ok(())
}

/// Reads a city with its reports: two statements, both on the city's own shard.
async fn a_city_with_its_reports(cluster: &Cluster) -> Result<()> {
    let mut session = cluster.async_session();
    let tokyo = WeatherLocation::select().on(Continent::Asia).filter(WeatherLocation::CITY.eq("Tokyo"));
    println!("{}", cluster.explain(&tokyo)?);
    for (city, reports) in session.all_with::<Report>(tokyo).await? {
        println!("{} with {} report: {} °F", city.city, reports.len(), reports[0].temperature);
        assert_eq!(reports[0].temperature, 80.0);
        assert_eq!((city.shard().name(), reports[0].shard()), ("asia", city.shard()));
        // A reload also reads the row's own shard.
        let again = session.first(city.children::<Report>()).await?;
        assert_eq!(again.as_ref(), reports.first());
        assert_eq!(session.parent(&reports[0]).await?, city);
    }
    Ok(())
}

/// Reads two of four shards.
async fn europe_and_asia(cluster: &Cluster) -> Result<()> {
    let mut session = cluster.async_session();
    let both = WeatherLocation::select()
        .filter(WeatherLocation::CONTINENT.is_in([Continent::Europe, Continent::Asia]));
    let explain = cluster.explain(&both)?;
    println!("{explain}");
    assert_eq!(explain.shards(), ["asia", "europe"]);
    let both = session.all(both).await?;
    println!("Europe and Asia: {:?}", cities(&both));
    assert_eq!(cities(&both), ["Tokyo", "London", "Dublin"]);
    Ok(())
}

/// Reads one shard by a pin, which takes precedence over the filter.
async fn the_pin(cluster: &Cluster) -> Result<()> {
    let mut session = cluster.async_session();
    let t = WeatherLocation::CITY.starts_with("T");
    let pinned = session.all(WeatherLocation::select().on_shard("north_america").filter(t)).await?;
    println!("pinned to north_america, cities with T: {:?}", cities(&pinned));
    assert_eq!(cities(&pinned), ["Toronto"]);
    Ok(())
}

/// Reads two reports with one id: every shard counts its own ids, and the shard distinguishes the rows.
async fn the_identities(cluster: &Cluster) -> Result<()> {
    let mut session = cluster.async_session();
    let tokyos = session.get(Report::by_id(1).on(Continent::Asia)).await?.expect("Tokyo's report");
    let new_yorks =
        session.get(Report::by_id(1).on(Continent::NorthAmerica)).await?.expect("New York's report");
    for report in [&tokyos, &new_yorks] {
        println!(
            "report {} on {}: {} °F in {}",
            report.id,
            report.shard(),
            report.temperature,
            session.parent(report).await?.city
        );
    }
    assert_eq!(tokyos.id, new_yorks.id);
    assert_ne!(tokyos.shard(), new_yorks.shard());
    Ok(())
}

/// Reads rows as a stream, in the order of all shards, and runs many steps in one trip to a thread.
async fn the_warmest(cluster: &Cluster) -> Result<()> {
    let mut session = cluster.async_session();
    let mut reports =
        session.stream(Report::select().all_shards().order_by(Report::TEMPERATURE.desc()).with_parent());
    let mut warmest = Vec::new();
    while let Some(row) = reports.next().await {
        let (report, location) = row?;
        warmest.push(format!("{} ({} °F)", location.city, report.temperature));
    }
    drop(reports);
    println!("from warm to cold: {}", warmest.join(", "));
    assert_eq!(warmest, ["Quito (85 °F)", "Tokyo (80 °F)", "New York (75 °F)"]);

    let means = session.run(|session| {
        let mut means = Vec::new();
        for continent in [Continent::Asia, Continent::NorthAmerica, Continent::SouthAmerica] {
            means.push(session.one(Report::select().on(continent).aggregate(Report::TEMPERATURE.avg()))?);
        }
        Ok(means)
    });
    assert_eq!(means.await?, [Some(80.0), Some(75.0), Some(85.0)]);
    Ok(())
}

fn location(continent: Continent, city: &str) -> NewWeatherLocation {
    NewWeatherLocation { continent, city: city.into() }
}

fn cities(rows: &[Stored<WeatherLocation>]) -> Vec<&str> {
    rows.iter().map(|row| row.city.as_str()).collect()
}

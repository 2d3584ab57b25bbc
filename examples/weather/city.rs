//! Looks up a city: with its continent on one shard, without it on all of them.

use std::io::Write;

use shard_runtime::prelude::*;

use crate::failure::{Failure, Result};
use crate::model::{City, Continent, Observation};
use crate::text::{fit, thousands};

/// The number of names to offer if no city has the name.
const OFFERED: u64 = 3;

/// Prints the city, its shard, the shards that were read, and a summary of its observations.
pub fn run(cluster: &Cluster, name: &str, continent: Option<Continent>, out: &mut dyn Write) -> Result<()> {
    let mut session = cluster.session();
    // A query that is built at run time starts from all shards; the key still narrows it.
    let mut cities = City::select().all_shards();
    if let Some(continent) = continent {
        cities = cities.filter(City::CONTINENT.eq(continent));
    }
    let named = cities.clone().filter(City::NAME.eq(name)).order_by(City::POPULATION.desc());
    let (found, asked) = counting(cluster, || Ok(session.all(named)?))?;
    let Some(largest) = found.first() else {
        let similar = cities.filter(City::NAME.starts_with(name)).order_by(City::POPULATION.desc());
        return Err(not_found(name, continent, &session.all(similar.limit(OFFERED))?));
    };

    if found.len() > 1 {
        writeln!(out, "{} cities are called {name}; the largest is shown in full.\n", found.len())?;
        for city in &found {
            let (country, continent) = (fit(&city.country, 24), fit(&city.continent.to_string(), 13));
            let people = thousands(city.population);
            writeln!(out, "  {} {country} {continent} {people:>10}  {}", fit(&city.name, 18), city.shard())?;
        }
        writeln!(out)?;
    }
    show(largest, out)?;
    writeln!(out, "  shard         {}; asked: {}", largest.shard(), asked.join(", "))?;
    show_observations(cluster, &mut session, largest, out)
}

fn not_found(name: &str, continent: Option<Continent>, similar: &[Stored<City>]) -> Failure {
    let region = continent.map_or("anywhere".to_owned(), |continent| format!("in {continent}"));
    let mut message = format!("there is no city called `{name}` {region}");
    if !similar.is_empty() {
        let names: Vec<String> = similar.iter().map(|city| format!("`{}`", city.name)).collect();
        message = format!("{message}; there is {}", names.join(", "));
    }
    Failure::Refused(message)
}

fn show(city: &City, out: &mut dyn Write) -> Result<()> {
    let side = |degrees: f64, positive, negative| {
        format!("{:.4}° {}", degrees.abs(), if degrees < 0.0 { negative } else { positive })
    };
    writeln!(out, "{}, {}\n", city.name, city.country)?;
    writeln!(out, "  continent     {}", city.continent)?;
    writeln!(out, "  people        {}", thousands(city.population))?;
    writeln!(out, "  at            {}, {}", side(city.latitude, 'N', 'S'), side(city.longitude, 'E', 'W'))?;
    writeln!(out, "  time zone     {}", city.timezone)?;
    if let Some(mean) = city.mean_celsius {
        writeln!(out, "  mean          {mean:.1} °C over the year")?;
    }
    writeln!(out, "  GeoNames id   {}", city.geoname_id)?;
    Ok(())
}

/// Counts, means, least and greatest values are computed by the city's shard: no observation leaves it.
fn show_observations(
    cluster: &Cluster,
    session: &mut Session,
    city: &Stored<City>,
    out: &mut dyn Write,
) -> Result<()> {
    let observations = city.children::<Observation>();
    let (count, asked) = counting(cluster, || Ok(session.one(observations.clone().count())?))?;
    writeln!(out, "  observations  {}; asked: {}", thousands(count), asked.join(", "))?;

    let first = session.one(observations.clone().aggregate(Observation::OBSERVED_AT.min()))?;
    let last = session.one(observations.clone().aggregate(Observation::OBSERVED_AT.max()))?;
    if let (Some(first), Some(last)) = (first, last) {
        writeln!(out, "    from, to    {first}, {last}")?;
    }
    let least = session.one(observations.clone().aggregate(Observation::CELSIUS.min()))?;
    let mean = session.one(observations.clone().aggregate(Observation::CELSIUS.avg()))?;
    let greatest = session.one(observations.clone().aggregate(Observation::CELSIUS.max()))?;
    if let (Some(least), Some(mean), Some(greatest)) = (least, mean, greatest) {
        writeln!(out, "    temperature {mean:.1} °C in the mean, from {least:.1} to {greatest:.1}")?;
    }
    let means = [
        ("humidity", "%", session.one(observations.clone().aggregate(Observation::HUMIDITY.avg()))?),
        ("wind", "km/h", session.one(observations.clone().aggregate(Observation::WIND_KMH.avg()))?),
        ("pressure", "hPa", session.one(observations.aggregate(Observation::PRESSURE_HPA.avg()))?),
    ];
    for (name, unit, mean) in means {
        if let Some(mean) = mean {
            writeln!(out, "    {name:11} {mean:.1} {unit} in the mean")?;
        }
    }
    Ok(())
}

/// Returns the closure's value and the names of the shards that it read.
fn counting<T>(cluster: &Cluster, run: impl FnOnce() -> Result<T>) -> Result<(T, Vec<String>)> {
    let before: Vec<u64> = cluster.shards().iter().map(|shard| shard.statements()).collect();
    let result = run()?;
    let asked = cluster.shards().iter().zip(before).filter(|(shard, before)| shard.statements() > *before);
    Ok((result, asked.map(|(shard, _)| shard.name().to_owned()).collect()))
}

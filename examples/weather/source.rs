//! The CSV files, read and checked as a whole before anything is written.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::Path;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::csv_file::{self, Line};
use crate::failure::{Failure, Result};
use crate::model::{City, Continent, NEW_YORK, NewObservation};

const CITIES: [&str; 8] =
    ["geoname_id", "name", "country", "continent", "latitude", "longitude", "population", "timezone"];
const MEAN_TEMPERATURES: [&str; 2] = ["geoname_id", "celsius"];
const OBSERVATIONS: [&str; 6] = ["station", "observed_at", "celsius", "humidity", "wind_kmh", "pressure_hpa"];

/// The possible values: a value beyond these is an error of the file.
const CELSIUS: RangeInclusive<f64> = -100.0..=70.0;
const HUMIDITY: RangeInclusive<f64> = 0.0..=100.0;
const PRESSURE_HPA: RangeInclusive<f64> = 800.0..=1100.0;
/// Generous, because the data set has one reading of 1,687 km/h (see `data/SOURCES.md`), and the app corrects no measurements.
const WIND_KMH: RangeInclusive<f64> = 0.0..=2000.0;

/// All rows to import.
pub struct Source {
    pub cities: Vec<City>,
    /// Observations of New York, one for each station and hour.
    pub observations: Vec<Measurement>,
}

/// A row of `observations.csv`: an observation without its city.
#[derive(Deserialize, Clone, Debug)]
pub struct Measurement {
    station: String,
    #[serde(deserialize_with = "moment")]
    observed_at: Timestamp,
    celsius: f64,
    humidity: f64,
    wind_kmh: Option<f64>,
    pressure_hpa: Option<f64>,
}

#[derive(Deserialize)]
struct MeanTemperature {
    geoname_id: i64,
    celsius: f64,
}

impl Source {
    /// Reads the three files of a folder.
    pub fn read(folder: &Path) -> Result<Source> {
        let mut cities = read_cities(&folder.join("cities.csv"))?;
        add_mean_temperatures(&mut cities, &folder.join("mean_temperatures.csv"))?;
        let observations = read_observations(&cities, &folder.join("observations.csv"))?;
        Ok(Source { cities, observations })
    }

    /// Returns the number of rows to import; a mean temperature is a column of its city.
    pub fn rows(&self) -> usize {
        self.cities.len() + self.observations.len()
    }

    /// Returns the cities of one continent.
    pub fn cities_of(&self, continent: Continent) -> impl Iterator<Item = &City> {
        self.cities.iter().filter(move |city| city.continent == continent)
    }
}

impl Measurement {
    /// Returns the observation of this row, as a child of this city.
    pub fn of(&self, city: shard_runtime::Parent<City>) -> NewObservation {
        let Measurement { station, observed_at, celsius, humidity, wind_kmh, pressure_hpa } = self.clone();
        NewObservation { city, station, observed_at, celsius, humidity, wind_kmh, pressure_hpa }
    }
}

fn read_cities(file: &Path) -> Result<Vec<City>> {
    let mut seen = HashSet::new();
    let check = |line: Line<City>| {
        let city = line.row;
        let checked = text("name", &city.name)
            .and_then(|()| text("country", &city.country))
            .and_then(|()| text("timezone", &city.timezone))
            .and_then(|()| within("latitude", city.latitude, &(-90.0..=90.0)))
            .and_then(|()| within("longitude", city.longitude, &(-180.0..=180.0)));
        let checked = checked.and_then(|()| match seen.insert(city.geoname_id) {
            true => Ok(()),
            false => Err(format!("geoname_id {} is there twice", city.geoname_id)),
        });
        checked.map(|()| city).map_err(|message| Failure::source(file, line.number, message))
    };
    csv_file::read(file, &CITIES)?.into_iter().map(check).collect()
}

fn add_mean_temperatures(cities: &mut [City], file: &Path) -> Result<()> {
    let mut by_id: HashMap<i64, &mut City> = cities.iter_mut().map(|city| (city.geoname_id, city)).collect();
    for Line { number, row } in csv_file::read(file, &MEAN_TEMPERATURES)? {
        let MeanTemperature { geoname_id, celsius } = row;
        let wrong = |message| Failure::source(file, number, message);
        within("celsius", celsius, &CELSIUS).map_err(wrong)?;
        let city = by_id
            .get_mut(&geoname_id)
            .ok_or_else(|| wrong(format!("geoname_id {geoname_id} is no city of cities.csv")))?;
        if city.mean_celsius.replace(celsius).is_some() {
            return Err(wrong(format!("geoname_id {geoname_id} is there twice")));
        }
    }
    Ok(())
}

fn read_observations(cities: &[City], file: &Path) -> Result<Vec<Measurement>> {
    let mut seen = HashSet::new();
    let check = |line: Line<Measurement>| {
        let measurement = line.row;
        let Measurement { station, observed_at, celsius, humidity, wind_kmh, pressure_hpa } = &measurement;
        let checked = text("station", station)
            .and_then(|()| within("celsius", *celsius, &CELSIUS))
            .and_then(|()| within("humidity", *humidity, &HUMIDITY))
            .and_then(|()| wind_kmh.map_or(Ok(()), |wind| within("wind_kmh", wind, &WIND_KMH)))
            .and_then(|()| pressure_hpa.map_or(Ok(()), |it| within("pressure_hpa", it, &PRESSURE_HPA)));
        let checked = checked.and_then(|()| match seen.insert((station.clone(), *observed_at)) {
            true => Ok(()),
            false => Err(format!("{station} at {observed_at} is there twice")),
        });
        checked.map(|()| measurement).map_err(|message| Failure::source(file, line.number, message))
    };
    let measurements = csv_file::read(file, &OBSERVATIONS)?.into_iter().map(check).collect::<Result<_>>()?;
    let is_new_york = |city: &City| (city.geoname_id, city.continent) == (NEW_YORK, Continent::NorthAmerica);
    match cities.iter().any(is_new_york) {
        true => Ok(measurements),
        false => Err(Failure::Refused(format!(
            "{} is about New York City, and cities.csv has no city {NEW_YORK} in North America",
            file.display()
        ))),
    }
}

/// Reads a moment: `2013-01-01T06:00:00Z`.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| D::Error::custom(format!("observed_at is `{text}`: {error}")))
}

/// Refuses text that is empty or has control characters.
fn text(column: &str, text: &str) -> Result<(), String> {
    match text.trim().is_empty() || text.chars().any(char::is_control) {
        true => Err(format!("{column} is `{}`: expected a text", text.escape_debug())),
        false => Ok(()),
    }
}

/// Refuses numbers outside of the range. (NaN is in no range.)
fn within(column: &str, value: f64, range: &RangeInclusive<f64>) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(format!("{column} is {value}: expected {} to {}", range.start(), range.end())),
    }
}

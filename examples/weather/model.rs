//! The models, and the placement of their rows. A continent has its shard, a city is on the shard of its continent, an
//! observation on the shard of its city.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Deserialize;
use shard_runtime::prelude::*;

/// The shards' names. A cluster file names these four, and it may name spare ones.
pub const SHARDS: [&str; 4] = ["americas", "europe", "asia", "rest"];

/// New York City, whose weather the observations are about. It is in North America.
pub const NEW_YORK: i64 = 5128581;

/// Names the shard of a continent's cities. Several continents may share one; a continent without one does
/// not compile.
#[derive(ShardKey, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(try_from = "String")]
pub enum Continent {
    #[shard("rest")]
    Africa,
    #[shard("rest")]
    Antarctica,
    #[shard("asia")]
    Asia,
    #[shard("europe")]
    Europe,
    #[shard("americas", text = "North America")]
    NorthAmerica,
    #[shard("rest")]
    Oceania,
    #[shard("americas", text = "South America")]
    SouthAmerica,
}

/// A city, most of them of more than 15,000 people. It is read from its row of `cities.csv`; the mean temperature is added
/// from another file, for the few that have one.
#[derive(Sharded, Deserialize, Clone, Debug)]
#[sharded(table = "cities", index(name), index(continent, population))]
pub struct City {
    /// The number that GeoNames gives it.
    #[id]
    pub geoname_id: i64,
    #[shard_key]
    pub continent: Continent,
    pub name: String,
    pub country: String,
    /// Degrees, north is positive.
    pub latitude: f64,
    /// Degrees, east is positive.
    pub longitude: f64,
    pub population: u32,
    /// The IANA name of its time zone.
    pub timezone: String,
    /// The mean temperature of a year, in °C.
    #[serde(default)]
    pub mean_celsius: Option<f64>,
}

/// A measurement of one station of a city at one moment. The unique index keeps two imports that run at the same
/// time from writing it twice.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "observations", unique(city, station, observed_at))]
pub struct Observation {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub city: Parent<City>,
    pub station: String,
    pub observed_at: Timestamp,
    pub celsius: f64,
    /// Relative, in percent.
    pub humidity: f64,
    pub wind_kmh: Option<f64>,
    pub pressure_hpa: Option<f64>,
}

impl Continent {
    pub const ALL: [Continent; 7] = [
        Continent::Africa,
        Continent::Antarctica,
        Continent::Asia,
        Continent::Europe,
        Continent::NorthAmerica,
        Continent::Oceania,
        Continent::SouthAmerica,
    ];
}

/// Prints the stored text: `North America`.
impl fmt::Display for Continent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_value().map_err(|_| fmt::Error)?;
        f.pad(&text.to_string())
    }
}

/// Reads a continent from its stored text or from `north-america`.
impl FromStr for Continent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |text: &str| text.to_lowercase().replace(['-', '_'], " ");
        let found = Self::ALL.into_iter().find(|continent| plain(&continent.to_string()) == plain(text));
        found.ok_or_else(|| {
            let known: Vec<String> = Self::ALL.iter().map(Continent::to_string).collect();
            format!("`{text}` is no continent; there are {}", known.join(", "))
        })
    }
}

impl TryFrom<String> for Continent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

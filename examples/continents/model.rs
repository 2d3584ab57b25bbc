//! The models of the examples. A weather location is stored on the shard of its continent, and a report on the shard of its
//! location.

use shard_runtime::prelude::*;

/// Names the database of a continent's rows.
#[derive(ShardKey, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continent {
    #[shard("north_america")]
    NorthAmerica,
    #[shard("asia")]
    Asia,
    #[shard("europe")]
    Europe,
    #[shard("south_america")]
    SouthAmerica,
}

/// A city whose weather is reported.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "weather_locations")]
pub struct WeatherLocation {
    #[id(sequence)]
    pub id: i64,
    #[shard_key]
    pub continent: Continent,
    pub city: String,
}

/// One report of the weather in a city.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "weather_reports")]
pub struct Report {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub location: Parent<WeatherLocation>,
    pub temperature: f64,
}

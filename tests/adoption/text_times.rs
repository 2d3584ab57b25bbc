//! The weather models for a file in which another program stores times as texts.

use shard_runtime::jiff::Timestamp;
use shard_runtime::jiff::civil::DateTime;
use shard_runtime::jiff::tz::TimeZone;
use shard_runtime::prelude::*;
use shard_runtime::{ColumnType, Field, Value, ValueError};

use crate::model::City;

/// A time in UTC as other programs write it: `2013-01-01 05:00:00.250000`, with or without the fraction, and `+00:00`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextTime(pub Timestamp);

impl Field for TextTime {
    const TYPE: ColumnType = ColumnType::Text;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        Ok(Value::Text(self.0.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string().into()))
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        let Value::Text(text) = value else { return Err(ValueError::new("the time is not text")) };
        let text = text.trim_end_matches(" +00:00");
        let time: Result<DateTime, _> = text.parse();
        let moment = time.and_then(|time| time.to_zoned(TimeZone::UTC));
        moment.map(|moment| TextTime(moment.timestamp())).map_err(|error| ValueError::new(error.to_string()))
    }
}

/// As the observation of the weather example, but for the type of the time.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "observations", unique(city, station, observed_at))]
pub struct Observation {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub city: Parent<City>,
    pub station: String,
    pub observed_at: TextTime,
    pub celsius: f64,
    pub humidity: f64,
    pub wind_kmh: Option<f64>,
    pub pressure_hpa: Option<f64>,
}

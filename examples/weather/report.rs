//! The report: the rows of each shard, and totals over all shards.

use std::io::Write;

use jiff::tz::TimeZone;
use shard_runtime::ShardRole;
use shard_runtime::prelude::*;

use crate::chart::{self, Bar};
use crate::failure::Result;
use crate::model::{City, Continent, NEW_YORK, Observation};
use crate::text::{fit, thousands};

/// The number of largest, warmest and coldest cities.
const BEST: u64 = 3;

/// Prints the report.
pub fn run(cluster: &Cluster, out: &mut dyn Write) -> Result<()> {
    let mut session = cluster.session();
    rows_per_shard(cluster, &mut session, out)?;
    totals(&mut session, out)?;
    largest_cities(&mut session, out)?;
    warmest_and_coldest(&mut session, out)?;
    new_yorks_year(&mut session, out)
}

/// A pin reads one shard by its name.
fn rows_per_shard(cluster: &Cluster, session: &mut Session, out: &mut dyn Write) -> Result<()> {
    let mut bars = Vec::new();
    // Spare shards have no rows yet.
    for shard in cluster.shards().iter().filter(|shard| shard.role() == ShardRole::Serving) {
        let name = shard.name();
        let cities = session.one(City::select().on_shard(name).count())?;
        let observations = session.one(Observation::select().on_shard(name).count())?;
        bars.push(Bar { name: name.to_owned(), first: cities, second: observations });
    }
    writeln!(out, "Rows per shard (█ cities, ░ observations)\n")?;
    for line in chart::bars(&bars) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Counts and sums are added up over all shards.
fn totals(session: &mut Session, out: &mut dyn Write) -> Result<()> {
    let cities = session.one(City::select().all_shards().count())?;
    let with_mean = session.one(City::select().all_shards().filter(!City::MEAN_CELSIUS.is_null()).count())?;
    let observations = session.one(Observation::select().all_shards().count())?;
    let people =
        session.one(City::select().all_shards().aggregate(City::POPULATION.sum()))?.unwrap_or_default();
    writeln!(out, "\nTotals\n")?;
    writeln!(
        out,
        "  cities        {:>13}, {} with a mean temperature",
        thousands(cities),
        thousands(with_mean)
    )?;
    writeln!(out, "  observations  {:>13}", thousands(observations))?;
    writeln!(out, "  rows          {:>13}", thousands(cities + observations))?;
    writeln!(out, "  people        {:>13}, in these cities", thousands(people))?;
    Ok(())
}

/// A filter on the key reads only the continent's shard.
fn largest_cities(session: &mut Session, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "\nThe largest cities of each continent\n")?;
    for continent in Continent::ALL {
        let of_continent = City::select().filter(City::CONTINENT.eq(continent));
        let count = session.one(of_continent.clone().count())?;
        let largest = session
            .all(of_continent.order_by(City::POPULATION.desc()).order_by(City::NAME.asc()).limit(BEST))?;
        let mut label = format!("{continent} ({})", thousands(count));
        for city in largest {
            let people = thousands(city.population);
            writeln!(out, "  {label:22} {}  {}  {people:>10}", fit(&city.name, 22), fit(&city.country, 19))?;
            label.clear();
        }
    }
    Ok(())
}

/// Order and limit hold over all shards: each returns its first rows, and these are merged.
fn warmest_and_coldest(session: &mut Session, out: &mut dyn Write) -> Result<()> {
    let cities = City::select().all_shards().filter(!City::MEAN_CELSIUS.is_null());
    let warmest = session.all(cities.clone().order_by(City::MEAN_CELSIUS.desc()).limit(BEST))?;
    let coldest = session.all(cities.order_by(City::MEAN_CELSIUS.asc()).limit(BEST))?;
    writeln!(out, "\nThe warmest and the coldest, by the mean of a year\n")?;
    for (label, cities) in [("warmest", warmest), ("coldest", coldest)] {
        for city in cities {
            let mean = city.mean_celsius.unwrap_or_default();
            let where_it_is = format!("{}, {}", city.name, city.country);
            writeln!(out, "  {label:22} {}  {mean:>7.1} °C", fit(&where_it_is, 41))?;
        }
    }
    Ok(())
}

/// A city's observations are its children: they are read only from its shard.
fn new_yorks_year(session: &mut Session, out: &mut dyn Write) -> Result<()> {
    let Some(new_york) = session.get(City::by_id(NEW_YORK).on(Continent::NorthAmerica))? else {
        return Ok(()); // without the city there are no observations, and then there is no report
    };
    let observations =
        session.all(new_york.children::<Observation>().order_by(Observation::OBSERVED_AT.asc()))?;
    let months = by_month(&observations);
    let months = months.get(months.len().saturating_sub(chart::COLUMNS)..).unwrap_or_default();
    let (Some(first), Some(last)) = (months.first(), months.last()) else { return Ok(()) };
    let years = match first.year == last.year {
        true => format!("{}", first.year),
        false => format!("{} and {}", first.year, last.year),
    };
    let count: u32 = months.iter().map(|month| month.count).sum();
    writeln!(
        out,
        "\nThe months of {years} in {}: mean °C, from {} observations (in UTC)\n",
        new_york.name,
        thousands(count)
    )?;
    let columns: Vec<(String, f64)> =
        months.iter().map(|month| (month_name(month.month).to_owned(), month.mean())).collect();
    for line in chart::columns(&columns) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The measurements of one month.
struct Month {
    year: i16,
    month: i8,
    sum: f64,
    count: u32,
}

impl Month {
    fn mean(&self) -> f64 {
        self.sum / f64::from(self.count)
    }
}

/// The months of observations that are ordered by time.
fn by_month(observations: &[Stored<Observation>]) -> Vec<Month> {
    let mut months: Vec<Month> = Vec::new();
    for observation in observations {
        let date = observation.observed_at.to_zoned(TimeZone::UTC).date();
        let (year, month) = (date.year(), date.month());
        match months.last_mut().filter(|last| (last.year, last.month) == (year, month)) {
            Some(last) => {
                last.sum += observation.celsius;
                last.count += 1;
            }
            None => months.push(Month { year, month, sum: observation.celsius, count: 1 }),
        }
    }
    months
}

fn month_name(month: i8) -> &'static str {
    const NAMES: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    usize::try_from(month - 1).ok().and_then(|position| NAMES.get(position).copied()).unwrap_or("?")
}

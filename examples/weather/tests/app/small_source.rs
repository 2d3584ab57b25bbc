//! A source of a few rows, to be changed by tests.

use std::fs;

use tempfile::TempDir;

/// The files of a source.
pub const FILES: [&str; 3] = ["cities.csv", "mean_temperatures.csv", "observations.csv"];

const CITIES: &str = "\
geoname_id,name,country,continent,latitude,longitude,population,timezone
1850147,Tokyo,Japan,Asia,35.6895,139.69171,9733276,Asia/Tokyo
1816670,Beijing,China,Asia,39.9075,116.39723,18960744,Asia/Shanghai
2643743,London,United Kingdom,Europe,51.50853,-0.12574,8961989,Europe/London
2964574,Dublin,Ireland,Europe,53.33306,-6.24889,1024027,Europe/Dublin
5128581,New York City,United States,North America,40.71427,-74.00597,8804190,America/New_York
3652462,Quito,Ecuador,South America,-0.22985,-78.52495,1763275,America/Guayaquil
360630,Cairo,Egypt,Africa,30.06263,31.24967,9606916,Africa/Cairo
2179537,Wellington,New Zealand,Oceania,-41.28664,174.77557,381900,Pacific/Auckland
";

const MEAN_TEMPERATURES: &str = "\
geoname_id,celsius
1850147,15.4
5128581,12.9
";

const OBSERVATIONS: &str = "\
station,observed_at,celsius,humidity,wind_kmh,pressure_hpa
EWR,2013-01-01T06:00:00Z,3.9,59.37,16.67,1012.0
EWR,2013-01-01T07:00:00Z,3.9,61.63,12.96,1012.3
JFK,2013-01-01T06:00:00Z,-3.9,59.37,,
";

/// A folder with eight cities, none of them in Antarctica, and three observations.
pub fn small_source() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (file, content) in FILES.into_iter().zip([CITIES, MEAN_TEMPERATURES, OBSERVATIONS]) {
        fs::write(folder.path().join(file), content).expect(file);
    }
    folder
}

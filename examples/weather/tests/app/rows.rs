//! The rows of the CSV files and of the shards' files, read without the app and without the library.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};

pub const SHARDS: [&str; 4] = ["americas", "asia", "europe", "rest"];

/// The rows of a CSV file below its header.
pub fn csv_rows(folder: &Path, file: &str) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(folder.join(file)).expect(file);
    reader.records().map(|record| record.expect(file).iter().map(str::to_owned).collect()).collect()
}

/// Returns one value of each row of a query on a shard's file; nothing if the file or the table does not exist yet.
pub fn on_shard<T: FromSql>(folder: &Path, shard: &str, sql: &str) -> Vec<T> {
    let path = folder.join(format!("{shard}.db"));
    let Ok(connection) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY) else {
        return Vec::new();
    };
    let mut statement = match connection.prepare(sql) {
        Err(error) if error.to_string().contains("no such table") => return Vec::new(),
        statement => statement.expect(sql),
    };
    statement.query_map([], |row| row.get(0)).expect(sql).map(|value| value.expect(sql)).collect()
}

/// Returns the number of rows of each unit of the import: the cities of each continent, and the observations.
pub fn units_there(folder: &Path) -> BTreeMap<String, usize> {
    let mut units = BTreeMap::new();
    for shard in SHARDS {
        for continent in on_shard::<String>(folder, shard, "SELECT continent FROM cities") {
            *units.entry(continent).or_default() += 1;
        }
        let observations = on_shard::<i64>(folder, shard, "SELECT id FROM observations").len();
        *units.entry("observations".to_owned()).or_default() += observations;
    }
    units.retain(|_, count| *count > 0);
    units
}

/// The same from the CSV files.
pub fn units_of(source: &Path) -> BTreeMap<String, usize> {
    let mut units = BTreeMap::new();
    for row in csv_rows(source, "cities.csv") {
        *units.entry(row[3].clone()).or_default() += 1;
    }
    units.insert("observations".to_owned(), csv_rows(source, "observations.csv").len());
    units
}

/// Every value of every city, on the shard of its continent.
pub fn same_cities(rows: &Path, source: &Path) {
    let means = csv_rows(source, "mean_temperatures.csv");
    let means: BTreeMap<&str, &str> = means.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    let mut expected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in csv_rows(source, "cities.csv") {
        let shard = match row[3].as_str() {
            "North America" | "South America" => "americas",
            "Asia" => "asia",
            "Europe" => "europe",
            _ => "rest",
        };
        let texts = [&row[..4], &row[6..]].concat().join("|");
        let mean = means.get(row[0].as_str()).copied().unwrap_or_default();
        let numbers = [number(&row[4], 5), number(&row[5], 5), number(mean, 1)].join("|");
        expected.entry(shard).or_default().push(format!("{texts}|{numbers}"));
    }
    let sql = "SELECT concat_ws('|', geoname_id, name, country, continent, population, timezone,
        printf('%.5f', latitude), printf('%.5f', longitude), iif(mean_celsius IS NULL, '', printf('%.1f', mean_celsius)))
        FROM cities";
    for shard in SHARDS {
        same_lines(on_shard(rows, shard, sql), expected.remove(shard).unwrap_or_default());
    }
}

/// Every value of every observation, all of them New York's.
pub fn same_observations(rows: &Path, source: &Path) {
    let expected = csv_rows(source, "observations.csv").into_iter().map(|row| {
        let numbers: Vec<String> = row[2..].iter().map(|text| number(text, 2)).collect();
        format!("5128581|{}|{}|{}", row[0], row[1], numbers.join("|"))
    });
    let sql = "SELECT concat_ws('|', city_id, station, strftime('%Y-%m-%dT%H:%M:%SZ', observed_at / 1000000, 'unixepoch'),
        printf('%.2f', celsius), printf('%.2f', humidity), iif(wind_kmh IS NULL, '', printf('%.2f', wind_kmh)),
        iif(pressure_hpa IS NULL, '', printf('%.2f', pressure_hpa))) FROM observations";
    same_lines(on_shard(rows, "americas", sql), expected.collect());
}

/// A number as SQLite's `printf` writes it.
fn number(text: &str, digits: usize) -> String {
    match text {
        "" => String::new(),
        text => format!("{:.digits$}", text.parse::<f64>().expect("a number")),
    }
}

fn same_lines(mut found: Vec<String>, mut expected: Vec<String>) {
    found.sort();
    expected.sort();
    let difference = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert!(found == expected, "{} rows for {}: {difference:?}", found.len(), expected.len());
}

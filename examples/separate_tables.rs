//! Four continents in one database: the scenario of `continents` on one SQLite file, in which each shard has tables with its
//! prefix.
//!
//! Run it with `cargo run --example separate_tables`.

mod continents;

use continents::{Report, WeatherLocation};
use shard_runtime::{Cluster, Result};

fn main() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("weather.db");
    let url = |prefix: &str| format!("sqlite:{}?prefix={prefix}", file.display());
    let cluster = Cluster::builder()
        .shard("north_america", url("north_america_"))
        .shard("asia", url("asia_"))
        .shard("europe", url("europe_"))
        .shard("south_america", url("south_america_"))
        .create::<(WeatherLocation, Report)>()?;
    println!("Four shards in one file: {cluster:#?}\n");
    continents::save(&cluster)?;
    continents::load(&cluster)?;

    // The tables as another program sees them.
    let plain = rusqlite::Connection::open(&file).expect("the same file");
    let mut tables = plain
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '%weather%' ORDER BY name",
        )
        .expect("a query");
    let tables: Vec<String> =
        tables.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("the tables' names");
    println!("\nthe file holds {}", tables.join(", "));
    assert_eq!(tables.len(), 8);
    Ok(())
}

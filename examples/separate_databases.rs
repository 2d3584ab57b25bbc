//! Four continents, a database each: the scenario of `continents` on four SQLite files.
//!
//! Run it with `cargo run --example separate_databases`.

mod continents;

use continents::{Report, WeatherLocation};
use shard_runtime::{Cluster, Result};

fn main() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let cluster = Cluster::builder()
        .shard("north_america", url("north_america.db"))
        .shard("asia", url("asia.db"))
        .shard("europe", url("europe.db"))
        .shard("south_america", url("south_america.db"))
        .create::<(WeatherLocation, Report)>()?;
    println!("Four shards, a file each: {cluster:#?}\n");
    continents::save(&cluster)?;
    continents::load(&cluster)
}

//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::location::Location;
use crate::model::Continent;

/// The folder of the data that comes with the example.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data");

/// The default folder of the shards' files.
const FOLDER: &str = "weather-data";

/// The world's cities and their weather, spread over four databases by continent.
///
/// Without a command: a tour of all of them, in a temporary folder unless --data or --shards is given.
#[derive(Parser, Debug)]
#[command(name = "weather", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The folder with the shards' SQLite files; `weather-data` if neither this nor --shards is given.
    #[arg(long, value_name = "FOLDER", global = true, conflicts_with = "shards")]
    data: Option<PathBuf>,

    /// A cluster file with the SQLite file or PostgreSQL server of each shard: americas, europe, asia and rest.
    #[arg(long, value_name = "FILE", global = true)]
    shards: Option<PathBuf>,

    /// The folder with cities.csv, mean_temperatures.csv and observations.csv.
    #[arg(long, value_name = "FOLDER", global = true, default_value = SOURCE, hide_default_value = true)]
    pub source: PathBuf,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Imports the CSV files into the shards; run again, it continues an import that was stopped.
    Import,
    /// Prints the rows per shard, the largest cities, the warmest and the coldest, New York's year.
    Report,
    /// Shows a city, its shard, and the shards that were read to find it.
    City {
        /// The city's name, as in the data: `Tokyo`, `New York City`.
        name: String,
        /// The continent of the city, which decides the shard to read; without it, all are read.
        #[arg(long)]
        continent: Option<Continent>,
    },
    /// Shows the shards of each kind of query, and the reasons.
    Explain,
    /// Commands for operators: status, health, verify, backup and others; `admin --help` lists them. Options of the app,
    /// such as --data, come before `admin`.
    #[cfg(feature = "admin")]
    #[command(disable_help_flag = true)]
    Admin {
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Copies all rows to another cluster, for example from files to servers; run again, it continues a copy that was stopped.
    Copy {
        /// The cluster file of the other cluster, in the form of --shards.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

impl Arguments {
    /// The location of the rows.
    pub fn location(&self) -> Location {
        self.given_location().unwrap_or_else(|| Location::Folder(FOLDER.into()))
    }

    /// The location of the rows, if it was given.
    pub fn given_location(&self) -> Option<Location> {
        let file = self.shards.clone().map(Location::ClusterFile);
        file.or_else(|| self.data.clone().map(Location::Folder))
    }
}

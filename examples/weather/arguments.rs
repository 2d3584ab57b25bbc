//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::model::Continent;
use crate::place::Place;

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

    /// The folder with the shards' SQLite files; commands take `weather-data` where neither this nor --shards is
    /// given.
    #[arg(long, value_name = "FOLDER", global = true, conflicts_with = "shards")]
    data: Option<PathBuf>,

    /// A cluster file that has the place of each shard, a SQLite file or a PostgreSQL server; it names the shards
    /// americas, europe, asia and rest.
    #[arg(long, value_name = "FILE", global = true)]
    shards: Option<PathBuf>,

    /// The folder with cities.csv, mean_temperatures.csv and observations.csv.
    #[arg(long, value_name = "FOLDER", global = true, default_value = SOURCE, hide_default_value = true)]
    pub source: PathBuf,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Reads the CSV files into the shards; said again, it goes on where it was stopped.
    Import,
    /// Rows per shard, the largest cities, the warmest and the coldest, New York's year.
    Report,
    /// Shows a city: its shard, and which shards were asked for it.
    City {
        /// The city's name, as in the data: `Tokyo`, `New York City`.
        name: String,
        /// The continent it is on, which names the shard to ask; without it, all are asked.
        #[arg(long)]
        continent: Option<Continent>,
    },
    /// Shows where each kind of query goes and why.
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
    /// Copies all rows to another cluster, as from files to servers; said again, it goes on where it was stopped.
    Copy {
        /// The cluster file of where to: as --shards has it.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

impl Arguments {
    /// The place of the rows.
    pub fn place(&self) -> Place {
        self.given_place().unwrap_or_else(|| Place::Folder(FOLDER.into()))
    }

    /// The place of the rows, if it was given.
    pub fn given_place(&self) -> Option<Place> {
        let file = self.shards.clone().map(Place::ClusterFile);
        file.or_else(|| self.data.clone().map(Place::Folder))
    }
}

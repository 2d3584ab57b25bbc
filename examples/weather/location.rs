//! The location of the rows: four SQLite files in a folder, or the files or servers that a cluster file names.

use std::path::PathBuf;
use std::{fmt, fs};

use shard_runtime::{Builder, Cluster, ErrorKind, Sharded};

use crate::failure::{Failure, Result};
use crate::model::{City, Observation, SHARDS};

/// The location of the rows.
pub enum Location {
    /// A file for each shard, and the control database beside them.
    Folder(PathBuf),
    /// A TOML file with the location of each shard.
    ClusterFile(PathBuf),
}

impl Location {
    /// Creates or opens the cluster.
    pub fn create(&self) -> Result<Cluster> {
        // A wrong cluster file is refused before a folder is made.
        let builder = self.builder()?;
        if let Location::Folder(folder) = self {
            let what = || format!("the folder {} cannot be made", folder.display());
            fs::create_dir_all(folder).map_err(|error| Failure::io(what(), error))?;
        }
        builder.create::<(City, Observation)>().map_err(|error| self.failure(error))
    }

    /// Opens the cluster after a finished import; makes nothing.
    pub fn open_imported(&self) -> Result<Cluster> {
        let import = format!("run `weather import {}` first", self.option());
        let opened = self.builder()?.open::<(City, Observation)>();
        let cluster = opened.map_err(|error| match (error.kind(), error.shard()) {
            // No control database, or a server without one.
            (ErrorKind::Missing | ErrorKind::WrongDatabase, None) => {
                Failure::Refused(format!("nothing is imported into {self} yet: {import}"))
            }
            // A shard that is missing or has no tables: its creation was stopped.
            (ErrorKind::Missing | ErrorKind::WrongDatabase | ErrorKind::Schema, _) => {
                Failure::Refused(format!("{error}; if an import was stopped, {import}"))
            }
            _ => self.failure(error),
        })?;
        // The observations are the last thing that an import writes.
        match cluster.session().one(Observation::select().all_shards().count())? {
            0 => Err(Failure::Refused(format!("the import into {self} is not finished: {import}"))),
            _ => Ok(cluster),
        }
    }

    /// Returns the option that names this location.
    pub fn option(&self) -> String {
        match self {
            Location::Folder(folder) => format!("--data {}", folder.display()),
            Location::ClusterFile(file) => format!("--shards {}", file.display()),
        }
    }

    /// Returns an error of the builder as an error of the cluster file, if there is one.
    fn failure(&self, error: shard_runtime::Error) -> Failure {
        match (self, error.kind()) {
            (Location::ClusterFile(file), ErrorKind::Configuration) => {
                Failure::ClusterFile { file: file.clone(), error }
            }
            _ => Failure::Database(error),
        }
    }

    /// Returns the configuration of the cluster.
    pub fn builder(&self) -> Result<Builder> {
        match self {
            Location::Folder(folder) => Ok(SHARDS.iter().fold(Cluster::builder(), |builder, shard| {
                let file = folder.join(format!("{shard}.db"));
                builder.shard(*shard, format!("sqlite:{}", file.display()))
            })),
            Location::ClusterFile(file) => Ok(Cluster::builder().config_file(file)?),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Folder(path) | Location::ClusterFile(path) => path.display().fmt(f),
        }
    }
}

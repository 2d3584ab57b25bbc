//! The databases that URLs name: those of the shards, and the control database. Nothing connects to them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Builder;
use super::url::{ParsedUrl, Source};
use crate::driver::{Driver, SqliteDriver, SqliteSource};
#[cfg(feature = "postgres")]
use crate::driver::{PostgresDriver, PostgresSource};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Location;
use crate::planner::sql::Namespace;
#[cfg(feature = "postgres")]
use crate::schema::Shard;
use crate::schema::Shards;

impl Builder {
    /// Returns the databases, and the location of each shard's tables.
    pub(super) fn locations(&self, shards: &Shards, folder: &Path) -> Result<(Vec<Source>, Vec<Location>)> {
        let mut sources: Vec<Source> = Vec::new();
        let mut known: HashMap<Identity, usize> = HashMap::new();
        let mut locations = Vec::new();
        let urls: HashMap<&str, &str> =
            self.shards.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect();
        for shard in shards {
            let url = urls.get(shard.name()).copied().unwrap_or_default();
            let ParsedUrl { source, names, is_default_schema } =
                ParsedUrl::parse(url, folder).map_err(|error| error.on_shard(shard.name()))?;
            let dialect = source.dialect();
            let database = *known.entry(Identity::of(&source)).or_insert_with(|| {
                sources.push(source);
                sources.len() - 1
            });
            locations.push(Location { database, names, dialect, is_default_schema });
        }
        refuse_other_logins(shards, &sources, &locations)?;
        Ok((sources, locations))
    }

    /// Returns the control database: beside the files or, if there are none, on the first server.
    pub(super) fn control_source(
        &self,
        sources: &[Source],
        locations: &[Location],
        folder: &Path,
    ) -> Result<(Source, Namespace)> {
        let _ = locations;
        #[cfg(feature = "postgres")]
        let has_files = sources.iter().any(|source| matches!(source, Source::Sqlite(SqliteSource::File(_))));
        let (source, names) = match &self.control {
            Some(url) => {
                let wrong = |message| {
                    Error::new(ErrorKind::Configuration, format!("the control database: {message}"))
                };
                let ParsedUrl { source, names, .. } =
                    ParsedUrl::parse(url, folder).map_err(|error| wrong(error.to_string()))?;
                if !names.prefix.is_empty() {
                    return Err(wrong("it takes no `?prefix=`; remove it".to_owned()));
                }
                match source {
                    #[cfg(feature = "postgres")]
                    Source::Postgres(_) if has_files => {
                        let message = "clusters with SQLite files need a SQLite control database";
                        return Err(wrong(message.to_owned()));
                    }
                    source => (source, names),
                }
            }
            None => {
                let beside = sources.iter().find_map(|source| match source {
                    Source::Sqlite(SqliteSource::File(path)) => {
                        let source = SqliteSource::File(path.with_file_name("control.db"));
                        Some((Source::Sqlite(source), Namespace::default()))
                    }
                    _ => None,
                });
                #[cfg(feature = "postgres")]
                let beside = beside.or_else(|| {
                    let first = locations.iter().find(|location| location.dialect.is_on_server())?;
                    Some((sources.get(first.database)?.clone(), first.names.clone()))
                });
                beside.unwrap_or_else(|| (Source::Sqlite(SqliteSource::memory()), Namespace::default()))
            }
        };
        let is_file = matches!(source, Source::Sqlite(_));
        let identity = Identity::of(&source);
        match is_file && sources.iter().any(|other| Identity::of(other) == identity) {
            true => Err(Error::new(
                ErrorKind::Configuration,
                "the control database is the file of a shard; set another one with `control`",
            )),
            false => Ok((source, names)),
        }
    }

    pub(super) fn driver(&self, source: &Source) -> Box<dyn Driver> {
        match source {
            Source::Sqlite(source) => Box::new(SqliteDriver::new(source.clone(), self.sqlite)),
            #[cfg(feature = "postgres")]
            Source::Postgres(source) => {
                let crate::driver::SqliteSettings { busy_timeout, synchronous, .. } = self.sqlite;
                Box::new(PostgresDriver::new((**source).clone(), busy_timeout, synchronous))
            }
        }
    }
}

/// Refuses two shards in one schema with different logins: they would have separate connections, and count as two databases.
#[cfg_attr(not(feature = "postgres"), allow(clippy::unnecessary_wraps))]
fn refuse_other_logins(shards: &Shards, sources: &[Source], locations: &[Location]) -> Result<()> {
    #[cfg(feature = "postgres")]
    {
        let mut seen: HashMap<(Vec<String>, &Namespace), (&Shard, usize)> = HashMap::new();
        for (shard, location) in shards.iter().zip(locations) {
            let Some(Source::Postgres(source)) = sources.get(location.database) else { continue };
            if let Some((other, database)) =
                seen.insert((source.database(), &location.names), (shard, location.database))
                && database != location.database
            {
                let message = format!(
                    "its schema is that of shard `{other}`, with another login; give every shard a schema of its own: \
                     `?schema={}`",
                    shard.name()
                );
                return Err(Error::new(ErrorKind::Configuration, message).on_shard(shard.name()));
            }
        }
    }
    let _ = (shards, sources, locations);
    Ok(())
}

/// The identity of a database that needs no connection.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    /// The path without links, of an existing or a new file.
    File(PathBuf),
    Memory(String),
    #[cfg(feature = "postgres")]
    Server(Box<PostgresSource>),
}

impl Identity {
    fn of(source: &Source) -> Self {
        match source {
            Source::Sqlite(SqliteSource::Memory(name)) => Identity::Memory(name.clone()),
            Source::Sqlite(SqliteSource::File(path)) => Identity::File(real(path)),
            #[cfg(feature = "postgres")]
            Source::Postgres(source) => Identity::Server(source.clone()),
        }
    }
}

/// Returns a path without links and `..`, as far as it exists.
fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(folder), Some(name)) => {
            folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join(name)
        }
        (Err(_), ..) => path.to_owned(),
    }
}

/// Returns the folder that relative paths start from, as an absolute path.
pub(super) fn absolute(folder: &Path) -> Result<PathBuf> {
    let found = match folder.as_os_str().is_empty() {
        true => std::env::current_dir(),
        false => std::path::absolute(folder),
    };
    found.map_err(|error| {
        let message =
            "the working directory, from which relative paths start, cannot be read; give absolute paths";
        Error::new(ErrorKind::Io, message).with_source(error)
    })
}

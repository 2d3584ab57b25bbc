//! Facts about a cluster that can be read without opening it: opening fails if one database fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::health::{Health, probe};
use super::status::described;
use crate::cluster::Builder;
use crate::cluster::build::{DescribedCluster, LONGEST_WAIT};
use crate::cluster::schema_sql::{ShardSql, sql_of};
use crate::cluster::url::Source;
use crate::driver::{Driver, Mode, SqliteSource};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::sql::Namespace;
use crate::query::Models;
use crate::schema::Shard;
use crate::transaction::{CLUSTER, Database, facts};

/// The configured location of a shard.
pub(crate) struct ShardLocation {
    pub(crate) shard: String,
    /// A path, or a host and a database, with the schema or the prefix; never a password.
    pub(crate) location: String,
    /// The number of its database, which shards of one database share.
    pub(crate) database: usize,
    pub(crate) dialect: &'static str,
}

/// The files of a copy, with the names that [`Cluster::backup`](crate::Cluster::backup) gives them.
pub(crate) struct Copies {
    /// The configuration that opens the copies.
    pub(crate) builder: Builder,
    /// The name of the first shard of each file, or `control`, and the file.
    pub(crate) files: Vec<(String, PathBuf)>,
}

impl Builder {
    /// Does the same as [`Cluster::health`](crate::Cluster::health), for a cluster that may fail to open.
    pub(crate) fn health<M: Models>(&self, timeout: Duration) -> Result<Health> {
        let (began, timeout) = (Instant::now(), timeout.min(LONGEST_WAIT));
        let DescribedCluster { layout, databases, control_source, control_names, .. } =
            self.described::<M>()?;
        let control: Arc<dyn Driver> = self.driver(&control_source).into();
        // Without the id the names of the shards are checked, but not whether they belong to one cluster.
        let cluster = cluster_id(&*control, &control_names, began + timeout / 2).ok();
        let probes: Vec<_> = (0..=databases.len()).map(|_| Arc::default()).collect();
        let rest = timeout.saturating_sub(began.elapsed());
        let control = (&control, &control_names);
        Ok(probe(&layout, &databases, control, cluster.as_deref(), &probes, rest))
    }

    /// Returns the shards, in their declared order.
    pub(crate) fn shard_locations<M: Models>(&self) -> Result<Vec<ShardLocation>> {
        let DescribedCluster { layout, databases, .. } = self.described::<M>()?;
        let location = |shard: &Shard| {
            let location = layout.location(shard.index())?;
            let at =
                databases.get(location.database).map_or_else(String::new, |found| found.driver.describe());
            Ok(ShardLocation {
                shard: shard.name().to_owned(),
                location: described(&at, &location.names),
                database: location.database,
                dialect: location.dialect.name(),
            })
        };
        layout.shards().iter().map(location).collect()
    }

    /// Does the same as [`Cluster::schema_sql`](crate::Cluster::schema_sql).
    pub(crate) fn schema_sql<M: Models>(&self) -> Result<Vec<ShardSql>> {
        self.described::<M>().map(|described| sql_of(&described.layout))
    }

    /// Returns the files of a copy in a folder, and a builder that opens them.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if a database is not a file.
    pub(crate) fn copies_in<M: Models>(&self, folder: &Path) -> Result<Copies> {
        let DescribedCluster { layout, sources, control_source, .. } = self.described::<M>()?;
        let name_of = |source: &Source| match source {
            Source::Sqlite(SqliteSource::File(path)) => path.file_name().map(PathBuf::from),
            _ => None,
        };
        let file_of = |source: &Source, name: &str| {
            let message = "only copies of SQLite files are checked; restore the dump of a server into a new database and open it";
            let missing = || Error::new(ErrorKind::Configuration, message).on_shard(name);
            name_of(source).map(|file| folder.join(file)).ok_or_else(missing)
        };
        let url = |path: &Path, prefix: &str| {
            // These characters end the path of a URL.
            let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
            let prefix = if prefix.is_empty() { String::new() } else { format!("?prefix={prefix}") };
            format!("sqlite:{path}{prefix}")
        };
        let mut files: Vec<(String, PathBuf)> = Vec::new();
        let mut builder = self.clone();
        builder.replace_urls(|index, name| {
            let location = layout.location(index)?;
            let source = sources.get(location.database);
            let file = source.map(|source| file_of(source, name)).transpose()?.unwrap_or_default();
            if !files.iter().any(|(_, known)| *known == file) {
                files.push((name.to_owned(), file.clone()));
            }
            Ok(url(&file, &location.names.prefix))
        })?;
        let control = file_of(&control_source, "control")?;
        let builder = builder.control(url(&control, ""));
        files.push(("control".to_owned(), control));
        Ok(Copies { builder, files })
    }

    /// Returns the databases and the control database, to check their contents.
    pub(super) fn all_databases<M: Models>(&self) -> Result<(Layout, Vec<Database>, Arc<dyn Driver>)> {
        let DescribedCluster { layout, databases, control_source, .. } = self.described::<M>()?;
        Ok((layout, databases, self.driver(&control_source).into()))
    }
}

/// Reads the id of the cluster from its control database.
fn cluster_id(control: &dyn Driver, names: &Namespace, deadline: Instant) -> Result<String> {
    let connection = control.connect(Mode::Open, Some(deadline))?;
    connection.set_deadline(Some(deadline));
    let rows = facts::texts(&*connection, &format!("SELECT id FROM {}", names.table(CLUSTER)), &[])?;
    let id = rows.into_iter().flatten().next();
    id.ok_or_else(|| {
        Error::new(ErrorKind::WrongDatabase, "the control database has no cluster id; run `create`")
    })
}

//! Copies the whole cluster at one moment.

use std::ffi::OsString;
use std::path::Path;

use super::migrate::MigrationLock;
use crate::driver::{LeaseOwner, PooledConnection, TransactionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::quoted;
use crate::transaction::{Cluster, Database};

impl Cluster {
    /// Copies every database of the cluster and its control database into a new folder, as they are at one moment.
    ///
    /// The copy holds each transaction whole or not at all. Writers wait until it is made, readers do not. A backup and a
    /// [migration](crate::Builder::migrate) exclude each other; several backups do not.
    ///
    /// Each file keeps its name, so that the copy can be opened with URLs into the folder. The folder appears under its name when
    /// it is complete and on disk. A killed process leaves a folder whose name ends in `.incomplete`, which the next backup of
    /// the same name removes.
    ///
    /// Files that are copied in another way form a consistent copy only if all are copied at one moment, as by a file system
    /// snapshot. A shard that is restored alone is older than its cluster, and opening refuses it.
    ///
    /// ```no_run
    /// # fn night(cluster: &shard_runtime::Cluster) -> shard_runtime::Result<()> {
    /// cluster.backup("backups/2026-11-21")?; // asia.db, europe.db, …, control.db
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A cluster with PostgreSQL servers is not copied. The error names the `pg_dump` command of each database, and how to make
    /// their copies agree.
    ///
    /// # Errors
    /// - [`ErrorKind::Configuration`] if a database is in memory or on a PostgreSQL server, or two files have the same name.
    /// - [`ErrorKind::Configuration`] if the folder exists; [`ErrorKind::Io`] if it cannot be created.
    /// - [`ErrorKind::Busy`] if a migration runs, or if a shard stays locked.
    /// - Those of the databases.
    ///
    /// An error leaves no copy.
    pub fn backup(&self, folder: impl AsRef<Path>) -> Result<()> {
        self.reload()?;
        let cluster = self.latest();
        let folder = folder.as_ref();
        let wrong = |message: String| Error::new(ErrorKind::Configuration, message);
        let Some(name) = folder.file_name() else {
            return Err(wrong(format!("backup folder {} has no name; name a new folder", folder.display())));
        };
        if folder.try_exists().map_err(|error| io(folder, error))? {
            return Err(wrong(format!("backup folder {} exists; name a new folder", folder.display())));
        }
        let files = cluster.file_names()?;
        let _lock = MigrationLock::share(&*cluster.0.control.driver, &cluster.0.control.cluster)?;
        let mut unfinished = name.to_owned();
        unfinished.push(".incomplete");
        let unfinished = folder.with_file_name(unfinished);
        if let Err(error) = std::fs::remove_dir_all(&unfinished)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(io(&unfinished, error));
        }
        std::fs::create_dir(&unfinished).map_err(|error| io(&unfinished, error))?;
        let copied = cluster.copy_all(&unfinished, &files).and_then(|()| {
            std::fs::rename(&unfinished, folder).map_err(|error| io(folder, error))?;
            sync_folder(folder.parent().filter(|parent| !parent.as_os_str().is_empty()))
        });
        copied.inspect_err(|_| {
            let _ = std::fs::remove_dir_all(&unfinished);
        })
    }

    /// Returns the file names of the copies: of each database, then of the control database.
    fn file_names(&self) -> Result<Vec<OsString>> {
        let mut names: Vec<OsString> = Vec::with_capacity(self.databases() + 1);
        let databases = (0..self.databases()).map(|database| self.database_name(database));
        let drivers = self.0.databases.iter().map(|database| &*database.driver);
        for (driver, shard) in drivers.zip(databases).chain([(&*self.0.control.driver, "control")]) {
            let message = match driver.file_name() {
                None if driver.dialect().is_on_server() => self.dump_instructions(),
                None => "a database in memory cannot be backed up; keep it in a file".to_owned(),
                Some(name) if names.iter().any(|other| other.eq_ignore_ascii_case(&name)) => {
                    format!("two databases have files named {}; rename one", name.display())
                }
                Some(name) => {
                    names.push(name);
                    continue;
                }
            };
            return Err(Error::new(ErrorKind::Configuration, message).on_shard(shard));
        }
        Ok(names)
    }

    /// Returns instructions for copying a cluster with servers: no command reads several servers at one moment.
    fn dump_instructions(&self) -> String {
        let (mut commands, mut files) = (Vec::new(), Vec::new());
        for (database, Database { driver }) in self.0.databases.iter().enumerate() {
            let shards = self.layout().shards_in(database);
            let locations = shards.filter_map(|shard| self.layout().location(shard.index()).ok());
            let schemas = locations.filter_map(|location| location.names.schema.as_deref());
            let schemas: String =
                schemas.map(|schema| format!(" --schema={}", shell_quoted(&quoted(schema)))).collect();
            match driver.file_name() {
                Some(name) => files.push(name.display().to_string()),
                None => {
                    let Some(user) = driver.user() else { continue };
                    commands.push(format!(
                        "pg_dump --format=custom{schemas} --file={} --username={} {}",
                        shell_quoted(&format!("{}.dump", self.database_name(database))),
                        shell_quoted(&user),
                        shell_quoted(&driver.describe())
                    ));
                }
            }
        }
        files.extend(self.0.control.driver.file_name().map(|name| name.display().to_string()));
        let files = match files.as_slice() {
            [] => String::new(),
            files => format!("; then copy the files {}", files.join(", ")),
        };
        format!(
            "`backup` copies only clusters of SQLite files, and no command copies several servers at one moment: stop all programs \
             that write, call `recover`, check that `status` lists no transactions, and run {}{files}; then start the programs \
             (or copy each server with `pg_basebackup` in the same pause)",
            commands.join("; ")
        )
    }

    /// Locks all databases in the cluster's order and copies them. The control database is copied last, so that it has recorded
    /// every id in the copies of the shards.
    fn copy_all(&self, folder: &Path, files: &[OsString]) -> Result<()> {
        let owner = LeaseOwner::default();
        let mut locked: Vec<PooledConnection> = Vec::with_capacity(self.databases());
        for database in 0..self.databases() {
            let connection = self.lock(&owner, database);
            locked.push(connection.map_err(|error| error.on_shard(self.database_name(database)))?);
        }
        // While all shards are locked, no change can be decided: its fence needs one of these locks.
        if self.0.control.facts()?.layout().epoch != self.0.recorded.epoch {
            let message = "the layout was changed since the cluster was opened; run the backup again";
            return Err(Error::new(ErrorKind::Moved, message));
        }
        for (database, (Database { driver, .. }, file)) in self.0.databases.iter().zip(files).enumerate() {
            let copied = driver.copy_to(&folder.join(file));
            copied.map_err(|error| error.on_shard(self.database_name(database)))?;
        }
        if let Some(file) = files.last() {
            self.0.control.driver.copy_to(&folder.join(file))?;
        }
        for connection in locked {
            connection.rollback()?;
            connection.give_back();
        }
        sync_folder(Some(folder))
    }

    /// Returns a connection with a write lock on a database in which every decided transaction is applied.
    fn lock(&self, owner: &LeaseOwner, database: usize) -> Result<PooledConnection> {
        let connection = self.connect(owner, database, None, None)?;
        loop {
            connection.begin(TransactionMode::Write)?;
            match self.apply_decided(database, &*connection) {
                Ok(false) => return Ok(connection),
                Ok(true) => connection.commit()?,
                Err(error) => {
                    connection.rollback()?;
                    return Err(error);
                }
            }
        }
    }
}

/// Quotes a text as one word of a POSIX shell.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn io(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{}: {error}", path.display())).with_source(error)
}

/// Waits until a folder's entries are on disk, if the system supports it.
fn sync_folder(folder: Option<&Path>) -> Result<()> {
    let folder = folder.unwrap_or(Path::new("."));
    match cfg!(unix) {
        true => {
            std::fs::File::open(folder).and_then(|file| file.sync_all()).map_err(|error| io(folder, error))
        }
        false => Ok(()),
    }
}

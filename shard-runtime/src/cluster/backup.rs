//! A copy of the whole cluster at one moment.

use std::ffi::OsString;
use std::path::Path;

use crate::driver::{LeaseOwner, PooledConnection, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::transaction::{Cluster, Database};

impl Cluster {
    /// Copies every database of the cluster and its control database into a new folder, as they are at one moment: no
    /// unit of work is in the copy in part. Writers wait meanwhile, readers do not.
    ///
    /// Each file has the name that it has now. The copy is opened as the cluster is, with URLs into the folder. It appears under its name when it is
    /// complete and on disk: a folder beside it whose name ends in `.incomplete` is what a kill has left.
    ///
    /// Copying the files in another way is right only where all of them are copied at one moment (a snapshot of the
    /// file system); a single shard that is brought back from an older copy is older than its cluster.
    ///
    /// ```no_run
    /// # fn night(cluster: &shard_runtime::Cluster) -> shard_runtime::Result<()> {
    /// cluster.backup("backups/2026-11-21")?; // asia.db, europe.db, …, control.db
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where a database is in memory or on a PostgreSQL server, where two have files of the same
    /// name, or where there is something under the folder's name already; [`ErrorKind::Io`] where it cannot be made; [`ErrorKind::Busy`] where a shard stays
    /// locked; the databases'. Then nothing is left of it.
    pub fn backup(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let wrong = |message: String| Error::new(ErrorKind::Configuration, message);
        let Some(name) = folder.file_name() else {
            return Err(wrong(format!("{} is no name for a folder", folder.display())));
        };
        if folder.try_exists().map_err(|error| io(folder, error))? {
            return Err(wrong(format!("there is something at {} already", folder.display())));
        }
        let files = self.file_names()?;
        let mut unfinished = name.to_owned();
        unfinished.push(".incomplete");
        let unfinished = folder.with_file_name(unfinished);
        if let Err(error) = std::fs::remove_dir_all(&unfinished)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(io(&unfinished, error));
        }
        std::fs::create_dir(&unfinished).map_err(|error| io(&unfinished, error))?;
        let copied = self.copy_all(&unfinished, &files).and_then(|()| {
            std::fs::rename(&unfinished, folder).map_err(|error| io(folder, error))?;
            sync_folder(folder.parent().filter(|parent| !parent.as_os_str().is_empty()))
        });
        copied.inspect_err(|_| {
            let _ = std::fs::remove_dir_all(&unfinished);
        })
    }

    /// What the copies are called: of each database, and at last of the control database.
    fn file_names(&self) -> Result<Vec<OsString>> {
        let mut names: Vec<OsString> = Vec::with_capacity(self.databases() + 1);
        let databases = (0..self.databases()).map(|database| self.database_name(database));
        let drivers = self.0.databases.iter().map(|database| &*database.driver);
        for (driver, shard) in drivers.zip(databases).chain([(&*self.0.control.driver, "control")]) {
            let message = match driver.file_name() {
                None if driver.dialect().is_on_server() => format!(
                    "the shard is on a PostgreSQL server ({}), and `backup` copies only clusters of SQLite files; while no \
                     session writes, copy each server with `pg_basebackup` or each database with `pg_dump`, and the files",
                    driver.describe()
                ),
                None => "a database in memory cannot be copied".to_owned(),
                Some(name) if names.iter().any(|other| other.eq_ignore_ascii_case(&name)) => {
                    format!("two databases would be copied to one file, {}", name.display())
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

    /// Copies all databases while all of them are locked, in the cluster's order, and control last: the ids that are
    /// in the shards' copies were handed out before it is copied.
    fn copy_all(&self, folder: &Path, files: &[OsString]) -> Result<()> {
        let owner = LeaseOwner::default();
        let mut locked: Vec<PooledConnection> = Vec::with_capacity(self.databases());
        for database in 0..self.databases() {
            let connection = self.lock(&owner, database);
            locked.push(connection.map_err(|error| error.on_shard(self.database_name(database)))?);
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

    /// A connection that keeps others from committing to a database in which nothing is left to be done.
    fn lock(&self, owner: &LeaseOwner, database: usize) -> Result<PooledConnection> {
        let connection = self.connect(owner, database, None, None)?;
        loop {
            connection.begin(Transaction::Write)?;
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

fn io(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{}: {error}", path.display())).with_source(error)
}

/// Waits until a folder's entries are on disk, where the system can.
fn sync_folder(folder: Option<&Path>) -> Result<()> {
    let folder = folder.unwrap_or(Path::new("."));
    match cfg!(unix) {
        true => {
            std::fs::File::open(folder).and_then(|file| file.sync_all()).map_err(|error| io(folder, error))
        }
        false => Ok(()),
    }
}

//! The lock that excludes two migrators of one cluster, in any process, and a migrator and a backup. It ends with its process.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::driver::{Connection, Driver, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::literal;
use crate::transaction::facts::texts;

/// The pause of a migrator before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// The lock for migrating a cluster, until it is dropped.
pub(in crate::cluster) struct MigrationLock {
    /// Its file lock ends when it is closed.
    _file: Option<File>,
    /// Its transaction holds an advisory lock and ends with it.
    _connection: Option<Box<dyn Connection>>,
}

impl MigrationLock {
    /// Waits until no other migrator works on the cluster. Calls `waiting` before each further try.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if a backup runs longer than the timeout.
    pub(in crate::cluster) fn take(
        control: &dyn Driver,
        cluster: &str,
        timeout: Duration,
        mut waiting: impl FnMut(),
    ) -> Result<Self> {
        if control.dialect().is_on_server() {
            let connection = control.connect_waiting(Mode::Open, timeout)?;
            let key = literal(&format!("sharded migration {cluster}"));
            // READ COMMITTED: CREATE INDEX CONCURRENTLY would wait for a transaction with a snapshot.
            let sql = format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '100ms'; \
                 SET LOCAL idle_in_transaction_session_timeout = 0; \
                 SELECT pg_advisory_xact_lock(hashtextextended({key}, 0))"
            );
            loop {
                match connection.run(&sql) {
                    Err(error) if error.is_busy() => {
                        connection.run("ROLLBACK")?;
                        waiting();
                        std::thread::sleep(PAUSE);
                    }
                    taken => {
                        return taken.map(|()| MigrationLock { _file: None, _connection: Some(connection) });
                    }
                }
            }
        }
        if control.is_private() {
            return Ok(MigrationLock { _file: None, _connection: None });
        }
        let (file, path) = lock_file(control)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(MigrationLock { _file: Some(file), _connection: None }),
                Err(TryLockError::WouldBlock) => waiting(),
                Err(TryLockError::Error(error)) => return Err(cannot_lock(&path, error)),
            }
            // A migrator that tries to take the lock also shares it for a moment.
            if began.elapsed() > timeout && shares(&file, &path)? {
                let message = "a backup of the cluster runs, and a migration would change the tables that it copies; run \
                               `migrate` again when the backup has ended";
                return Err(Error::new(ErrorKind::Busy, message));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Takes the lock for a backup, which several backups can share.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if a migration runs.
    pub(in crate::cluster) fn share(control: &dyn Driver, cluster: &str) -> Result<Self> {
        if control.dialect().is_on_server() {
            let connection = control.connect_to_read(Duration::ZERO)?;
            let key = literal(&format!("sharded migration {cluster}"));
            connection.run(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = 0",
            )?;
            let sql = format!("SELECT pg_try_advisory_xact_lock_shared(hashtextextended({key}, 0))::text");
            return match texts(&*connection, &sql, &[])?.into_iter().flatten().next().as_deref() {
                Some("true") => Ok(MigrationLock { _file: None, _connection: Some(connection) }),
                _ => Err(runs()),
            };
        }
        if control.is_private() {
            return Ok(MigrationLock { _file: None, _connection: None });
        }
        let (file, path) = lock_file(control)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(MigrationLock { _file: Some(file), _connection: None }),
            Err(TryLockError::WouldBlock) => Err(runs()),
            Err(TryLockError::Error(error)) => Err(cannot_lock(&path, error)),
        }
    }
}

fn runs() -> Error {
    let message = "a migration of the cluster runs, and a copy would hold tables that are half changed; run `backup` again when the \
                   migration has ended";
    Error::new(ErrorKind::Busy, message)
}

/// Returns whether other processes hold a shared lock on the file.
fn shares(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| true).map_err(|error| cannot_lock(path, error)),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(cannot_lock(path, error)),
    }
}

fn lock_file(control: &dyn Driver) -> Result<(File, PathBuf)> {
    let mut path = PathBuf::from(control.describe()).into_os_string();
    path.push("-migration");
    let path = PathBuf::from(path);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    file.map_err(|error| cannot_lock(&path, error)).map(|file| (file, path))
}

fn cannot_lock(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot lock the file {}", path.display())).with_source(error)
}

//! Keeps two migrators of one cluster apart, in any process. A process that ends, however, gives the lock up.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use crate::driver::{Connection, Driver, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::literal;

/// How long a migrator waits before it tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// The right to migrate a cluster, until it is dropped.
pub(in crate::cluster) struct MigrationLock {
    /// Its lock ends with it.
    _file: Option<File>,
    /// Its transaction holds an advisory lock and ends with it.
    _connection: Option<Box<dyn Connection>>,
}

impl MigrationLock {
    /// Waits until no other migrator works on the cluster. Calls `waiting` before each further try.
    pub(in crate::cluster) fn take(
        control: &dyn Driver,
        cluster: &str,
        timeout: Duration,
        mut waiting: impl FnMut(),
    ) -> Result<Self> {
        if control.dialect().is_on_server() {
            let connection = control.connect_waiting(Mode::Open, timeout)?;
            let key = literal(&format!("sharded migration {cluster}"));
            // READ COMMITTED: a snapshot that is kept would make CREATE INDEX CONCURRENTLY wait for it.
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
        let mut path = PathBuf::from(control.describe()).into_os_string();
        path.push("-migration");
        let failed = |error: std::io::Error| {
            let message = format!("cannot lock the file {}", PathBuf::from(&path).display());
            Error::new(ErrorKind::Io, message).with_source(error)
        };
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(MigrationLock { _file: Some(file), _connection: None }),
                Err(TryLockError::WouldBlock) => waiting(),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            std::thread::sleep(PAUSE);
        }
    }
}

//! A pool of connections to one database, over `r2d2`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use scheduled_thread_pool::ScheduledThreadPool;

use super::{Connection, Driver, Mode};
use crate::error::{Error, ErrorKind, Result};

/// How often a waiting session looks whether connecting has failed meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// `r2d2` tries again to connect after half of this, for as long as the cluster is open.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// How long connecting may take at least, however short the wait for locks is.
const CONNECTING: Duration = Duration::from_secs(30);

type Check = dyn Fn(&dyn Connection) -> Result<()> + Send + Sync;

/// Connections to one database, made when they are needed and kept.
pub(crate) struct Pool {
    connections: r2d2::Pool<Manager>,
    failure: Arc<Mutex<Option<Error>>>,
    timeout: Duration,
}

/// A connection that goes back to its pool when it is dropped.
pub(crate) type Pooled = r2d2::PooledConnection<Manager>;

pub(crate) struct Manager {
    driver: Arc<dyn Driver>,
    /// Looks at every new connection: is this still the database that it was?
    check: Box<Check>,
    /// The first connection, where one was made and looked at before there was a pool.
    first: Mutex<Option<Box<dyn Connection>>>,
    /// Why connecting failed last; `r2d2` itself keeps only the text.
    failure: Arc<Mutex<Option<Error>>>,
}

impl Pool {
    pub(crate) fn new(
        driver: Arc<dyn Driver>,
        size: u32,
        timeout: Duration,
        threads: Arc<ScheduledThreadPool>,
        check: Box<Check>,
        first: Option<Box<dyn Connection>>,
    ) -> Self {
        let failure = Arc::new(Mutex::new(None));
        let connections = r2d2::Pool::builder()
            .max_size(size)
            .min_idle(Some(0))
            .connection_timeout(TRY_AGAIN)
            .test_on_check_out(true)
            .max_lifetime(None)
            .idle_timeout(None)
            .thread_pool(threads)
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(Manager {
                driver,
                check,
                first: Mutex::new(first),
                failure: Arc::clone(&failure),
            });
        Pool { connections, failure, timeout }
    }

    /// A connection of this session's own until it is dropped.
    ///
    /// # Errors
    /// Why connecting failed; [`ErrorKind::Busy`] where all connections stayed in use for too long.
    pub(crate) fn get(&self) -> Result<Pooled> {
        if let Some(connection) = self.connections.try_get() {
            return Ok(connection);
        }
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        let began = Instant::now();
        loop {
            if let Ok(connection) = self.connections.get_timeout(LOOK) {
                return Ok(connection);
            }
            let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(failure) = failure
                && (failure.kind() != ErrorKind::Busy || began.elapsed() >= self.timeout)
            {
                return Err(failure);
            }
            let (waited, size) = (began.elapsed(), self.connections.max_size());
            let all_in_use = self.connections.state().connections >= size;
            if all_in_use && waited >= self.timeout {
                let said =
                    format!("all {size} connections of the database have been in use for {waited:.1?}");
                return Err(Error::new(ErrorKind::Busy, said));
            }
            if waited >= self.timeout.max(CONNECTING) {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("no connection could be made for {waited:.1?}"),
                ));
            }
        }
    }
}

impl r2d2::ManageConnection for Manager {
    type Connection = Box<dyn Connection>;
    type Error = std::fmt::Error;

    fn connect(&self) -> Result<Self::Connection, Self::Error> {
        if let Some(first) = self.first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(first);
        }
        // The thread that connects does so for all databases: it never waits for the lock of one.
        let connected = self.driver.connect(Mode::Open).and_then(|connection| {
            if !self.driver.is_private() {
                (self.check)(&*connection)?;
            }
            connection.wait_for_locks()?;
            Ok(connection)
        });
        connected.map_err(|error| {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            std::fmt::Error
        })
    }

    /// One that was lost while nobody used it is replaced.
    fn is_valid(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        if connection.is_usable() { Ok(()) } else { Err(std::fmt::Error) }
    }

    /// A connection that could not end its transaction is closed, which ends it.
    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        connection.in_transaction() || !connection.is_usable()
    }
}

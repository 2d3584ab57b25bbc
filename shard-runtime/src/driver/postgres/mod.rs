//! The PostgreSQL driver, through `tokio-postgres`: a database on a server, with a schema for each of its shards.
//!
//! Each connection has its own event loop, which runs on the thread that uses the connection, and only while that thread
//! waits. No code above this module is async, and no other thread is woken. A statement that was sent runs on its server
//! while the thread sends the next one.

mod connection;
mod copying;
mod encryption;
mod errors;
mod executor;
mod hosts;
mod pipeline;
mod preparation;
mod route;
mod rows;
mod server_cursor;
mod server_session;
mod settings;
mod statement;
mod text;
mod values;

use std::hash::{Hash, Hasher};
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;
use tokio_postgres::config::Config;

use super::{Address, Connection, Driver, Durability, Mode, connect_in_time};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Dialect;
pub(crate) use encryption::TlsParameters;
use encryption::{Encryption, Encryptor};
use hosts::Hosts;
use server_session::PostgresConnection;
use settings::{CONNECTING, Settings};

/// TCP keepalive, unless the URL sets it: the idle time before the first probe, the interval, and the number of
/// probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// The mode in which a connection pooler assigns server connections to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooler {
    /// For as long as the client is connected.
    Session,
    /// For one transaction each.
    Transaction,
}

impl Pooler {
    /// Reads the setting `pooler=` of a URL.
    pub(crate) fn of_name(name: &str) -> Result<Self> {
        match name {
            "session" => Ok(Pooler::Session),
            "transaction" => Ok(Pooler::Transaction),
            other => {
                let message = format!(
                    "`pooler={}` is not supported; use `session` or `transaction`",
                    other.escape_debug()
                );
                Err(Error::new(ErrorKind::Configuration, message))
            }
        }
    }
}

/// A database on a server, and the role that logs in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresSource {
    config: Config,
    encryption: Encryption,
    pooler: Option<Pooler>,
}

impl Hash for PostgresSource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.database().hash(state);
    }
}

impl PostgresSource {
    pub(crate) const DIALECT: Dialect = Dialect::Postgres;

    /// Reads a URL without the settings of this crate. Relative paths start from `folder`.
    pub(crate) fn new(
        url: &str,
        pooler: Option<Pooler>,
        tls: TlsParameters<'_>,
        folder: &Path,
    ) -> Result<Self> {
        // The parser's own error could quote the URL, in which there may be a password.
        let wrong = |_| {
            Error::new(
                ErrorKind::Configuration,
                "invalid PostgreSQL URL: the form is `postgres://user:password@host:5432/database?schema=name`",
            )
        };
        if url.contains('\0') || url.contains("%00") {
            let message = "the PostgreSQL URL contains U+0000 (`%00`), which no server accepts; remove it";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        let mut config = Config::from_str(url).map_err(wrong)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::new(ErrorKind::Configuration, "the PostgreSQL URL names no host"));
        }
        let encryption = Encryption::new(tls, &mut config, folder)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECTING);
        }
        if config.get_keepalives_interval().is_none() {
            config
                .keepalives_idle(KEEPALIVE_IDLE)
                .keepalives_interval(KEEPALIVE_INTERVAL)
                .keepalives_retries(KEEPALIVE_PROBES);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES);
        }
        if config.get_application_name().is_none() {
            config.application_name("sharded");
        }
        Ok(PostgresSource { config, encryption, pooler })
    }

    /// Returns the hosts, sorted, and the database, which are the same for every login. The hosts of one URL are one
    /// database.
    pub(crate) fn database(&self) -> Vec<String> {
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default().to_owned();
        let mut hosts: Vec<String> = hosts::targets(&self.config)
            .iter()
            .map(|target| format!("{}:{}", target.name(), target.port()))
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts.push(database);
        hosts
    }

    fn address(&self) -> Address {
        let password = self.config.get_password().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Address {
            hosts: hosts::targets(&self.config).iter().map(|target| (target.name(), target.port())).collect(),
            attributes: hosts::session_attributes(&self.config),
            database: self.config.get_dbname().or(self.config.get_user()).unwrap_or_default().to_owned(),
            user: self.config.get_user().unwrap_or_default().to_owned(),
            password,
            is_encrypted: self.encryption.is_required(),
        }
    }

    /// Returns the hosts and the database, without the role and its password.
    fn describe(&self) -> String {
        let Address { hosts, database, .. } = self.address();
        let hosts: Vec<String> = hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        format!("postgres://{}/{database}", hosts.join(","))
    }
}

pub(crate) struct PostgresDriver {
    source: PostgresSource,
    hosts: Hosts,
    /// The kind of pooler between the cluster and the server, once that is known.
    pooler: OnceCell<Option<Pooler>>,
    encryptor: OnceCell<Encryptor>,
    busy_timeout: Duration,
    synchronous: Durability,
}

impl PostgresDriver {
    pub(crate) fn new(source: PostgresSource, busy_timeout: Duration, synchronous: Durability) -> Self {
        let hosts = Hosts::new(&source.config);
        let pooler = source.pooler.map_or_else(OnceCell::new, |pooler| OnceCell::with_value(Some(pooler)));
        PostgresDriver { source, hosts, pooler, encryptor: OnceCell::new(), busy_timeout, synchronous }
    }

    /// Adds the address to a connection error. After `connect_timeout` the server counts as lost; after the caller's
    /// deadline the error is a timeout.
    fn not_connected(&self, error: Error, deadline: Option<Instant>) -> Error {
        let is_over = deadline.is_some_and(|deadline| deadline <= Instant::now());
        let kind = match error.kind() {
            ErrorKind::ConnectionLost | ErrorKind::TimedOut if is_over => ErrorKind::TimedOut,
            ErrorKind::TimedOut => ErrorKind::ConnectionLost,
            kind => kind,
        };
        let exhausted = error.exhausted();
        let message = format!("connecting to {} failed: {error}", self.source.describe());
        Error::new(kind, message).of_limit(exhausted).with_source(error)
    }
}

/// A setting of the session, made at its beginning. PostgreSQL accepts any name with a dot. Behind a pooler it is
/// missing: the pooler has connections already, or opens them with its own settings.
const IS_DIRECT: &str = "sharded.is_direct";

impl PostgresDriver {
    /// Connects, and finds out whether there is a pooler in between.
    fn connect_first(
        &self,
        synchronous: Durability,
        deadline: Option<Instant>,
    ) -> Result<PostgresConnection> {
        let option = format!("-c {IS_DIRECT}=on");
        let pooler = match self.connect_with((Some(&option), None, synchronous), deadline) {
            Ok(connection) => {
                let is_direct = connection.has_setting(IS_DIRECT);
                match is_direct.map_err(|error| self.not_connected(error, deadline))? {
                    true => {
                        let _ = self.pooler.set(None);
                        return Ok(connection);
                    }
                    false => Pooler::Transaction,
                }
            }
            // PgBouncer refuses unknown settings.
            Err(error)
                if error.kind() == ErrorKind::ConnectionLost && error.to_string().contains(UNSUPPORTED) =>
            {
                Pooler::Transaction
            }
            Err(error) => return Err(error),
        };
        // The transaction mode is correct for a pooler in session mode, too.
        let connection = self.connect_with((None, Some(pooler), synchronous), deadline)?;
        connection.check_transactions()?;
        let _ = self.pooler.set(Some(pooler));
        Ok(connection)
    }

    fn connect_as(&self, synchronous: Durability, deadline: Option<Instant>) -> Result<Box<dyn Connection>> {
        let connection = match self.pooler.get() {
            Some(pooler) => self.connect_with((None, *pooler, synchronous), deadline)?,
            None => self.connect_first(synchronous, deadline)?,
        };
        connection.set_deadline(deadline);
        Ok(Box::new(connection))
    }

    /// Connects with these options of the session in addition to those of the URL.
    fn connect_with(
        &self,
        (options, pooler, synchronous): (Option<&str>, Option<Pooler>, Durability),
        deadline: Option<Instant>,
    ) -> Result<PostgresConnection> {
        let encryptor = self.encryptor.get_or_try_init(|| self.source.encryption.encryptor())?;
        let is_pooled = pooler == Some(Pooler::Transaction);
        let settings = Settings { busy_timeout: self.busy_timeout, synchronous, is_pooled };
        let latest = Instant::now() + self.hosts.connect_timeout();
        let end = deadline.map_or(latest, |deadline| deadline.min(latest));
        PostgresConnection::connect(&self.hosts, encryptor, options, end, settings)
            .map_err(|error| self.not_connected(error, deadline))
    }
}

/// The message of PgBouncer about an unknown setting.
const UNSUPPORTED: &str = "unsupported startup parameter";

impl Driver for PostgresDriver {
    fn dialect(&self) -> Dialect {
        PostgresSource::DIALECT
    }

    fn connect(&self, _: Mode, deadline: Option<Instant>) -> Result<Box<dyn Connection>> {
        self.connect_as(self.synchronous, deadline)
    }

    fn connect_durable(&self, timeout: Duration) -> Result<Box<dyn Connection>> {
        connect_in_time(timeout, || self.connect_as(Durability::Full, None))
    }

    fn is_private(&self) -> bool {
        false
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    fn copy_to(&self, _: &Path) -> Result<()> {
        let message = "a PostgreSQL server is backed up with its own tools";
        Err(Error::new(ErrorKind::Configuration, message))
    }

    fn describe(&self) -> String {
        self.source.describe()
    }

    fn user(&self) -> Option<String> {
        Some(self.source.address().user)
    }

    fn address(&self) -> Option<Address> {
        Some(self.source.address())
    }

    fn sqlite_uri(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str, tls: TlsParameters<'_>) -> Result<PostgresSource> {
        PostgresSource::new(url, None, tls, Path::new("conf"))
    }

    #[test]
    fn a_description_holds_no_secret() {
        let url = "postgres://alice:s3cret@db.example:5433/weather?application_name=x";
        let asia = source(url, TlsParameters::default()).unwrap();
        assert_eq!(asia.describe(), "postgres://db.example:5433/weather");
        let wrong = source("postgres://alice:s3cret@db:port/x", TlsParameters::default()).err().unwrap();
        assert!(!wrong.to_string().contains("s3cret"), "{wrong}");
        assert!(source("postgres:///x", TlsParameters::default()).is_err());
    }

    #[test]
    fn nothing_is_weaker_than_it_is_asked_for() {
        let url = "postgres://alice:s3cret@db/x";
        let of = |sslmode, sslrootcert| source(url, TlsParameters { sslmode, sslrootcert });
        for (sslmode, sslrootcert) in [(None, Some("ca.pem")), (Some("disable"), Some("ca.pem"))] {
            let error = of(sslmode, sslrootcert).err().unwrap();
            assert!(error.to_string().contains("sslmode=verify-full"), "{error}");
        }
        for weaker in ["allow", "verify-ca", ""] {
            let error = of(Some(weaker), None).err().unwrap();
            assert!(error.to_string().contains("`verify-full`"), "{error}");
        }
        for mode in ["require", "verify-full"] {
            match of(Some(mode), Some("c%20a.pem")) {
                Ok(encrypted) => {
                    assert!(encrypted.encryption.is_required());
                    assert!(
                        encrypted.encryption.encryptor().err().unwrap().to_string().contains("conf/c a.pem")
                    );
                }
                Err(error) => {
                    assert!(!cfg!(feature = "tls") && error.to_string().contains("feature `tls`"), "{error}");
                }
            }
            let local = source(
                "postgres://alice:s3cret@%2Ftmp/x",
                TlsParameters { sslmode: Some(mode), sslrootcert: None },
            );
            assert!(local.err().is_some_and(|error| !error.to_string().contains("s3cret")));
        }
        for unencrypted in [None, Some("disable"), Some("prefer")] {
            assert!(!of(unencrypted, None).unwrap().encryption.is_required());
        }
    }

    #[test]
    fn the_same_database_is_seen() {
        let source = |url| source(url, TlsParameters::default()).unwrap();
        let one = source("postgres://a:x@host/db");
        assert!(one == source("postgres://a:x@host/db") && one != source("postgres://b:y@host/db"));
        assert_eq!(one.database(), source("postgres://b:y@host/db").database());
        for other in ["postgres://a:x@host:5433/db", "postgres://a:x@host/other", "postgres://a:x@other/db"] {
            assert_ne!(one.database(), source(other).database());
        }
        let standard = source("postgres://a:x@host:5432/db");
        assert_eq!(one.database(), standard.database(), "the port that is meant anyway");
        // The servers of a URL are one database, in whichever order.
        let several = source("postgres://a:x@h1:1,h2:2/db?target_session_attrs=read-write");
        assert_eq!(several.database(), source("postgres://a:x@h2:2,h1:1/db").database());
        assert_ne!(several.database(), source("postgres://a:x@h1:2,h2:1/db").database());
        assert_eq!(several.describe(), "postgres://h1:1,h2:2/db");
    }
}

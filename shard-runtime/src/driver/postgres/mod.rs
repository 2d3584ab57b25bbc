//! PostgreSQL through `tokio-postgres`: one server, one database and one schema for each shard.
//!
//! A connection has an event loop of its own, which runs on the thread that uses it and only while that waits: nothing
//! asynchronous shows above this module, no thread is woken on the way, and a statement that was sent runs on its server
//! while the thread asks the next one.

mod connection;
mod encryption;
mod errors;
mod executor;
mod hosts;
mod preparation;
mod rows;
mod statement;
mod values;

use std::ffi::OsString;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;
use tokio_postgres::config::Config;

use super::{Address, Connection, Driver, Mode, Synchronous};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::Dialect;
use connection::PostgresConnection;
pub(crate) use encryption::Asked;
use encryption::{Encryption, Encryptor};
use hosts::Hosts;

/// How long connecting to a host may take until a session can use the connection, unless the URL has a
/// `connect_timeout`.
const CONNECTING: Duration = Duration::from_secs(10);

/// When a server is given up that does not answer any more, unless the URL says it otherwise: after this time without a
/// word it is asked whether it is there, that often.
const SILENCE: Duration = Duration::from_secs(30);
const BETWEEN_PROBES: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Where a shard is on a server.
#[derive(Clone)]
pub(crate) struct PostgresSource {
    config: Config,
    encryption: Encryption,
    schema: Option<String>,
}

impl PostgresSource {
    /// Reads what a URL says, but for the schema, which is ours, and for encryption. Relative paths start from `folder`.
    pub(crate) fn new(url: &str, schema: Option<String>, asked: Asked<'_>, folder: &Path) -> Result<Self> {
        // The parser's own error could quote the URL, in which there may be a password.
        let wrong = |_| {
            Error::new(
                ErrorKind::Configuration,
                "invalid PostgreSQL URL: the form is `postgres://user:password@host:5432/database?schema=name`",
            )
        };
        let mut config = Config::from_str(url).map_err(wrong)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::new(ErrorKind::Configuration, "the PostgreSQL URL names no host"));
        }
        let encryption = Encryption::new(asked, &mut config, folder)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECTING);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_idle(SILENCE).keepalives_interval(BETWEEN_PROBES).keepalives_retries(PROBES);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE + BETWEEN_PROBES * PROBES);
        }
        if config.get_application_name().is_none() {
            config.application_name("sharded");
        }
        Ok(PostgresSource { config, encryption, schema })
    }

    /// What tells these tables from those of another URL, as far as that is known without a connection: the hosts, in
    /// whichever order, the database and the schema. The hosts of one URL are one database.
    pub(crate) fn identity(&self) -> String {
        let database = self.config.get_dbname().or(self.config.get_user());
        let mut hosts: Vec<String> = hosts::targets(&self.config)
            .iter()
            .map(|target| format!("{}:{}", target.name(), target.port()))
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        format!("{hosts:?} {database:?} {:?}", self.schema)
    }

    fn address(&self) -> Address {
        let password = self.config.get_password().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Address {
            hosts: hosts::targets(&self.config).iter().map(|target| (target.name(), target.port())).collect(),
            attributes: hosts::session_attributes(&self.config),
            database: self.config.get_dbname().or(self.config.get_user()).unwrap_or_default().to_owned(),
            schema: self.schema.clone(),
            user: self.config.get_user().unwrap_or_default().to_owned(),
            password,
            is_encrypted: self.encryption.is_required(),
        }
    }

    /// The hosts, the database and the schema, without the user and the password.
    fn describe(&self) -> String {
        let Address { hosts, database, .. } = self.address();
        let hosts: Vec<String> = hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let schema = self.schema.as_ref().map_or_else(String::new, |schema| format!("?schema={schema}"));
        format!("postgres://{}/{database}{schema}", hosts.join(","))
    }
}

pub(crate) struct PostgresDriver {
    source: PostgresSource,
    hosts: Hosts,
    encryptor: OnceCell<Encryptor>,
    busy_timeout: Duration,
    synchronous: Synchronous,
}

impl PostgresDriver {
    pub(crate) fn new(source: PostgresSource, busy_timeout: Duration, synchronous: Synchronous) -> Self {
        let hosts = Hosts::new(&source.config);
        PostgresDriver { source, hosts, encryptor: OnceCell::new(), busy_timeout, synchronous }
    }

    /// An error of connecting, which says to what. If the time of `connect_timeout` is over, the server is lost; if the
    /// caller's is, it is the caller's timeout.
    fn not_connected(&self, error: Error, deadline: Option<Instant>) -> Error {
        let is_over = deadline.is_some_and(|deadline| deadline <= Instant::now());
        let kind = match error.kind() {
            ErrorKind::ConnectionLost | ErrorKind::TimedOut if is_over => ErrorKind::TimedOut,
            ErrorKind::TimedOut => ErrorKind::ConnectionLost,
            kind => kind,
        };
        let said = format!("connecting to {} failed: {error}", self.source.describe());
        Error::new(kind, said).with_source(error)
    }
}

impl Driver for PostgresDriver {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn connect(&self, mode: Mode, deadline: Option<Instant>) -> Result<Box<dyn Connection>> {
        let encryptor = self.encryptor.get_or_try_init(|| self.source.encryption.encryptor())?;
        let latest = Instant::now() + self.hosts.patience();
        let end = deadline.map_or(latest, |deadline| deadline.min(latest));
        let connection = PostgresConnection::connect(&self.hosts, encryptor, end, self.busy_timeout)
            .map_err(|error| self.not_connected(error, deadline))?;
        // Other processes that make the same schema are waited for.
        connection.set_deadline(Some(end).filter(|_| mode == Mode::Open));
        connection.settle(self.source.schema.as_deref(), self.synchronous, mode).map_err(
            |error| match error.kind() {
                ErrorKind::TimedOut => self.not_connected(error, deadline),
                _ => error,
            },
        )?;
        connection.set_deadline(deadline);
        Ok(Box::new(connection))
    }

    fn is_private(&self) -> bool {
        false
    }

    fn file_name(&self) -> Option<OsString> {
        None
    }

    fn copy_to(&self, _: &Path) -> Result<()> {
        let said = "a PostgreSQL server is backed up with its own tools";
        Err(Error::new(ErrorKind::Configuration, said))
    }

    fn describe(&self) -> String {
        self.source.describe()
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

    fn source(url: &str, schema: &str, asked: Asked<'_>) -> Result<PostgresSource> {
        PostgresSource::new(url, Some(schema.to_owned()), asked, Path::new("conf"))
    }

    #[test]
    fn a_description_holds_no_secret() {
        let url = "postgres://alice:s3cret@db.example:5433/weather?application_name=x";
        let asia = source(url, "asia", Asked::default()).unwrap();
        assert_eq!(asia.describe(), "postgres://db.example:5433/weather?schema=asia");
        let wrong = source("postgres://alice:s3cret@db:port/x", "asia", Asked::default()).err().unwrap();
        assert!(!wrong.to_string().contains("s3cret"), "{wrong}");
        assert!(source("postgres:///x", "asia", Asked::default()).is_err());
    }

    #[test]
    fn nothing_is_weaker_than_it_is_asked_for() {
        let url = "postgres://alice:s3cret@db/x";
        let of = |sslmode, sslrootcert| source(url, "asia", Asked { sslmode, sslrootcert });
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
                "asia",
                Asked { sslmode: Some(mode), sslrootcert: None },
            );
            assert!(local.err().is_some_and(|error| !error.to_string().contains("s3cret")));
        }
        for unencrypted in [None, Some("disable"), Some("prefer")] {
            assert!(!of(unencrypted, None).unwrap().encryption.is_required());
        }
    }

    #[test]
    fn the_same_tables_are_seen() {
        let source = |url, schema| source(url, schema, Asked::default()).unwrap();
        let one = source("postgres://a:x@host/db", "s");
        assert_eq!(one.identity(), source("postgres://b:y@host/db", "s").identity());
        assert_ne!(one.identity(), source("postgres://a:x@host/db", "t").identity());
        assert_ne!(one.identity(), source("postgres://a:x@host:5433/db", "s").identity());
        let standard = source("postgres://a:x@host:5432/db", "s");
        assert_eq!(one.identity(), standard.identity(), "the port that is meant anyway");
        // The servers of a URL are one database, in whichever order.
        let several = source("postgres://a:x@h1:1,h2:2/db?target_session_attrs=read-write", "s");
        assert_eq!(several.identity(), source("postgres://a:x@h2:2,h1:1/db", "s").identity());
        assert_ne!(several.identity(), source("postgres://a:x@h1:2,h2:1/db", "s").identity());
        assert_eq!(several.describe(), "postgres://h1:1,h2:2/db?schema=s");
    }
}

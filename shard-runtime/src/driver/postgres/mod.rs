//! PostgreSQL through `tokio-postgres`: one server, one database and one schema for each shard.
//!
//! A connection has an event loop of its own, which runs on the thread that uses it and only while that waits: nothing
//! asynchronous shows above this module, no thread is woken on the way, and a statement that was sent runs on its server
//! while the thread asks the next one.

mod connection;
mod errors;
mod executor;
mod rows;
mod statement;
mod values;

use std::ffi::OsString;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::{Config, Host, SslMode};

use super::{Address, Connection, Driver, Mode, Synchronous};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::Dialect;
use connection::PostgresConnection;

/// How long connecting may take, unless the URL says another time.
const CONNECTING: Duration = Duration::from_secs(10);

/// When a server is given up that does not answer any more, unless the URL says it otherwise: after this time without a
/// word it is asked whether it is there, that often.
const SILENCE: Duration = Duration::from_secs(30);
const BETWEEN_PROBES: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Where a shard is on a server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresSource {
    config: Config,
    schema: Option<String>,
}

impl PostgresSource {
    /// Reads what a URL says, but for the schema, which is ours.
    pub(crate) fn new(url: &str, schema: Option<String>) -> Result<Self> {
        // The parser's own error could quote the URL, in which there may be a password.
        let wrong = |_| Error::new(ErrorKind::Configuration, "this is no PostgreSQL URL that can be read");
        let mut config = Config::from_str(url).map_err(wrong)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::new(ErrorKind::Configuration, "the PostgreSQL URL names no host"));
        }
        if config.get_ssl_mode() == SslMode::Require {
            let said =
                "the PostgreSQL URL asks for TLS (`sslmode=require`), which connections do not speak yet";
            return Err(Error::new(ErrorKind::Configuration, said));
        }
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
        Ok(PostgresSource { config, schema })
    }

    /// Whether two URLs mean the same tables, as far as can be told without asking anybody.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let place = |source: &Self| {
            (
                source.config.get_hosts().to_vec(),
                source.config.get_ports().to_vec(),
                source.config.get_dbname().or(source.config.get_user()).map(str::to_owned),
                source.schema.clone(),
            )
        };
        place(self) == place(other)
    }

    fn address(&self) -> Address {
        let mut hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
        let password = self.config.get_password().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Address {
            host: hosts.next().unwrap_or_default(),
            port: self.config.get_ports().first().copied().unwrap_or(5432),
            database: self.config.get_dbname().or(self.config.get_user()).unwrap_or_default().to_owned(),
            schema: self.schema.clone(),
            user: self.config.get_user().unwrap_or_default().to_owned(),
            password,
        }
    }

    /// The server, the database and the schema, without who logs in.
    fn describe(&self) -> String {
        let Address { host, port, database, .. } = self.address();
        let schema = self.schema.as_ref().map_or_else(String::new, |schema| format!("?schema={schema}"));
        format!("postgres://{host}:{port}/{database}{schema}")
    }
}

pub(crate) struct PostgresDriver {
    source: PostgresSource,
    busy_timeout: Duration,
    synchronous: Synchronous,
}

impl PostgresDriver {
    pub(crate) fn new(source: PostgresSource, busy_timeout: Duration, synchronous: Synchronous) -> Self {
        PostgresDriver { source, busy_timeout, synchronous }
    }
}

impl Driver for PostgresDriver {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn connect(&self, mode: Mode) -> Result<Box<dyn Connection>> {
        let connected = PostgresConnection::connect(&self.source.config, self.busy_timeout);
        let connection = connected.map_err(|error| {
            let said = format!("{} cannot be connected to: {error}", self.source.describe());
            Error::new(error.kind(), said).with_source(error)
        })?;
        connection.settle(self.source.schema.as_deref(), self.synchronous, mode)?;
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

    #[test]
    fn a_description_holds_no_secret() {
        let url = "postgres://alice:s3cret@db.example:5433/weather?application_name=x";
        let source = PostgresSource::new(url, Some("asia".to_owned())).unwrap();
        assert_eq!(source.describe(), "postgres://db.example:5433/weather?schema=asia");
        let wrong = PostgresSource::new("postgres://alice:s3cret@db:port/x", None).err().unwrap();
        assert!(!wrong.to_string().contains("s3cret"), "{wrong}");
        assert!(PostgresSource::new("postgres:///x", None).is_err());
        let secure = PostgresSource::new("postgres://a:s3cret@db/x?sslmode=require", None).err().unwrap();
        assert!(secure.to_string().contains("TLS") && !secure.to_string().contains("s3cret"), "{secure}");
    }

    #[test]
    fn the_same_tables_are_seen() {
        let source = |url, schema: &str| PostgresSource::new(url, Some(schema.to_owned())).unwrap();
        let one = source("postgres://a:x@host/db", "s");
        assert!(one.is_same(&source("postgres://b:y@host/db", "s")));
        assert!(!one.is_same(&source("postgres://a:x@host/db", "t")));
        assert!(!one.is_same(&source("postgres://a:x@host:5433/db", "s")));
    }
}

//! The hosts of a URL, and the connection to the first one that accepts it. Uses `encryption` and `errors`.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tokio_postgres::Client;
use tokio_postgres::config::{Config, Host, LoadBalanceHosts, TargetSessionAttrs};

use super::encryption::Encryptor;
use super::route::Route;
use super::settings::{CONNECTING, LONGEST_CONNECTING};
use crate::error::{Error, ErrorKind, Result};

/// The hosts of a URL. One of them serves at a time; after a failover it is another one.
pub(super) struct Hosts {
    /// The settings of the URL without its hosts.
    settings: Config,
    hosts: Vec<HostAddress>,
    /// The host that served last: the next connection tries it first.
    last: AtomicUsize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostAddress {
    host: Host,
    /// The address of `hostaddr=`, which is connected to instead of the name.
    address: Option<IpAddr>,
    port: u16,
}

#[cfg(unix)]
/// Returns the hosts of a URL with their ports.
pub(super) fn targets(config: &Config) -> Vec<HostAddress> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let port = |position: usize| ports.get(position).or_else(|| ports.first()).copied().unwrap_or(5432);
    (0..hosts.len().max(addresses.len()))
        .map(|position| {
            let address = addresses.get(position).copied();
            let named = hosts.get(position).cloned();
            let host = named
                .unwrap_or_else(|| Host::Tcp(address.map(|address| address.to_string()).unwrap_or_default()));
            HostAddress { host, address, port: port(position) }
        })
        .collect()
}

impl HostAddress {
    /// Returns the host's name, or the folder of its socket.
    pub(super) fn name(&self) -> String {
        match &self.host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(folder) => folder.display().to_string(),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Resolves the current addresses.
    async fn resolve(&self) -> Result<Vec<Route>> {
        let name = match &self.host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(folder) => {
                return Ok(vec![Route::Unix { folder: folder.clone(), port: self.port }]);
            }
        };
        let route = |address| Route::Tcp { address, name: name.clone() };
        let known = self.address.or_else(|| name.parse::<IpAddr>().ok());
        if let Some(address) = known {
            return Ok(vec![route(SocketAddr::new(address, self.port))]);
        }
        let unknown = |error: std::io::Error| {
            Error::new(ErrorKind::ConnectionLost, format!("resolving `{name}` failed: {error}"))
                .with_source(error)
        };
        // On its own thread: dropping an event loop waits for the threads that it has started.
        let (sender, resolved) = oneshot::channel();
        let address = (name.clone(), self.port);
        std::thread::Builder::new()
            .name("sharded-resolver".to_owned())
            .spawn(move || {
                let _ = sender.send(address.to_socket_addrs().map(Iterator::collect::<Vec<_>>));
            })
            .map_err(unknown)?;
        match resolved.await {
            Ok(found) => Ok(found.map_err(unknown)?.into_iter().map(route).collect()),
            Err(_) => Err(unknown(std::io::Error::other("the resolver ended"))),
        }
    }
}

impl Hosts {
    pub(super) fn new(config: &Config) -> Self {
        Hosts { settings: without_hosts(config), hosts: targets(config), last: AtomicUsize::new(0) }
    }

    /// Returns the time limit of a connection attempt that tries every host.
    pub(super) fn connect_timeout(&self) -> Duration {
        let hosts = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        self.host_timeout().saturating_mul(hosts.max(1))
    }

    fn host_timeout(&self) -> Duration {
        self.settings.get_connect_timeout().copied().unwrap_or(CONNECTING).min(LONGEST_CONNECTING)
    }

    /// Connects to the host that served last or, if that fails, to the others in their order. Each host has
    /// `connect_timeout`, but at most its share of the time until `end`: a host that does not answer leaves time for the
    /// next. The `options` of the session are added to those of the URL.
    ///
    /// # Errors
    /// The errors of all hosts, with one kind; [`ErrorKind::ReadOnly`] if a reached host does not satisfy
    /// `target_session_attrs`.
    pub(super) async fn connect(
        &self,
        encryptor: &Encryptor,
        options: Option<&str>,
        end: Instant,
    ) -> Result<(Client, Route)> {
        let first = match self.settings.get_load_balance_hosts() {
            LoadBalanceHosts::Random => random(),
            _ => self.last.load(Ordering::Relaxed),
        };
        let mut failed: Vec<(&HostAddress, Error)> = Vec::new();
        for tried in 0..self.hosts.len() {
            let position = first.wrapping_add(tried) % self.hosts.len();
            let Some(target) = self.hosts.get(position) else { continue };
            let now = Instant::now();
            let until = share(now, end, self.hosts.len() - tried).min(now + self.host_timeout());
            match self.connect_to(target, encryptor, options, until).await {
                Ok(connected) => {
                    self.last.store(position, Ordering::Relaxed);
                    return Ok(connected);
                }
                Err(error) => failed.push((target, error)),
            }
        }
        Err(together(failed))
    }

    async fn connect_to(
        &self,
        target: &HostAddress,
        encryptor: &Encryptor,
        options: Option<&str>,
        until: Instant,
    ) -> Result<(Client, Route)> {
        let began = Instant::now();
        let late = |_| {
            let message = format!("the server did not complete the login within {:.1?}", began.elapsed());
            Error::new(ErrorKind::ConnectionLost, message)
        };
        let routes = timeout_at(until.into(), target.resolve()).await.map_err(late)??;
        let mut last = Error::new(ErrorKind::ConnectionLost, format!("`{}` has no address", target.name()));
        for (tried, route) in routes.iter().enumerate() {
            let config = self.config(target, route, options);
            let end = share(Instant::now(), until, routes.len() - tried);
            match timeout_at(end.into(), encryptor.connect(&config)).await.map_err(late) {
                Ok(Ok(connected)) => return Ok((connected, route.clone())),
                Ok(Err(error)) | Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Returns the settings with one host, at this address.
    fn config(&self, target: &HostAddress, route: &Route, options: Option<&str>) -> Config {
        let mut config = self.settings.clone();
        if let Some(added) = options {
            let own = config.get_options().map_or_else(String::new, |options| format!("{options} "));
            config.options(format!("{own}{added}"));
        }
        config.port(target.port);
        match route {
            Route::Tcp { address, name } => config.host(name).hostaddr(address.ip()),
            #[cfg(unix)]
            Route::Unix { folder, .. } => config.host_path(folder),
        };
        config
    }
}

/// Returns the end of the first of `parts` equal parts of the time from `now` to `end`.
fn share(now: Instant, end: Instant, parts: usize) -> Instant {
    let parts = u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
    now + end.saturating_duration_since(now) / parts
}

/// Merges the errors of all hosts into one, with the kind that is most useful for a retry. An unreachable server may
/// return; a refused login is refused again.
fn together(failed: Vec<(&HostAddress, Error)>) -> Error {
    let rank = |error: &Error| match error.kind() {
        ErrorKind::ReadOnly => 0,
        ErrorKind::Busy => 1,
        ErrorKind::ConnectionLost => 2,
        _ => 3,
    };
    let all: Vec<String> =
        failed.iter().map(|(target, error)| format!("{}:{}: {error}", target.name(), target.port)).collect();
    let is_alone = all.len() == 1;
    match failed.into_iter().map(|(_, error)| error).min_by_key(rank) {
        Some(only) if is_alone => only,
        Some(first) => {
            Error::new(first.kind(), format!("no host accepts the connection ({})", all.join("; ")))
                .with_source(first)
        }
        None => Error::new(ErrorKind::Configuration, "the PostgreSQL URL names no host"),
    }
}

/// Returns the settings of a URL without its hosts, which a `Config` cannot remove.
fn without_hosts(config: &Config) -> Config {
    let mut settings = Config::new();
    if let Some(user) = config.get_user() {
        settings.user(user);
    }
    if let Some(password) = config.get_password() {
        settings.password(password);
    }
    if let Some(database) = config.get_dbname() {
        settings.dbname(database);
    }
    if let Some(options) = config.get_options() {
        settings.options(options);
    }
    if let Some(name) = config.get_application_name() {
        settings.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        settings.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        settings.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        settings.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        settings.keepalives_retries(retries);
    }
    settings
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts())
        .target_session_attrs(config.get_target_session_attrs());
    settings
}

/// Returns the text of `target_session_attrs`; `None` if any server is accepted.
pub(super) fn session_attributes(config: &Config) -> Option<&'static str> {
    match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => Some("read-write"),
        TargetSessionAttrs::ReadOnly => Some("read-only"),
        _ => None,
    }
}

fn random() -> usize {
    use std::hash::{BuildHasher as _, RandomState};
    // Halved, so that adding indexes does not overflow.
    RandomState::new().hash_one(0) as usize / 2
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::str::FromStr as _;

    use super::super::executor::Executor;
    use super::*;

    #[test]
    fn settings_are_kept_without_their_hosts() {
        let url = "postgres://u:p@h1:1,h2:2/db?options=-c%20x%3D1&application_name=n&connect_timeout=3\
                   &target_session_attrs=read-write&keepalives_idle=5&load_balance_hosts=disable";
        let config = Config::from_str(url).unwrap();
        let mut again = without_hosts(&config);
        assert!(again.get_hosts().is_empty() && again.get_ports().is_empty());
        again.host("h1").host("h2").port(1).port(2);
        assert_eq!(again, config);
    }

    #[test]
    fn a_port_is_for_its_host_or_for_all() {
        let ports = |url: &str| -> Vec<(String, u16)> {
            targets(&Config::from_str(url).unwrap()).iter().map(|at| (at.name(), at.port())).collect()
        };
        let named = |one: u16, other: u16| vec![("a".to_owned(), one), ("b".to_owned(), other)];
        assert_eq!(ports("postgres://a:1,b:2/x"), named(1, 2));
        assert_eq!(ports("host=a,b port=7 user=x"), named(7, 7));
        assert_eq!(ports("postgres://a,b/x"), named(5432, 5432));
        assert_eq!(ports("hostaddr=127.0.0.1 user=x"), [("127.0.0.1".to_owned(), 5432)]);
    }

    #[test]
    fn a_host_that_does_not_answer_leaves_time_for_the_next() {
        // The kernel accepts connections to both, and nothing answers.
        let silent: Vec<TcpListener> =
            (0..2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let ports: Vec<u16> = silent.iter().map(|at| at.local_addr().unwrap().port()).collect();
        let url = format!("postgres://u@127.0.0.1:{},127.0.0.1:{}/x", ports[0], ports[1]);
        let hosts = Hosts::new(&Config::from_str(&url).unwrap());
        let end = Instant::now() + Duration::from_millis(100);
        let executor = Executor::new().unwrap();
        let error = executor.wait(hosts.connect(&Encryptor::Nothing, None, end)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionLost);
        for port in ports {
            assert!(error.to_string().contains(&format!("127.0.0.1:{port}: ")), "{error}");
        }
    }
}

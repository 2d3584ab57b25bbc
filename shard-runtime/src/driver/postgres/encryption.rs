//! Whether the way to a server is encrypted. What encrypts also verifies: that an authority that is trusted has signed
//! the server's certificate, and that it is for the host that the URL names.

use std::path::{Path, PathBuf};

#[cfg(unix)]
use tokio_postgres::config::Host;
use tokio_postgres::config::{Config, SslMode};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, Client, NoTls, Socket};
#[cfg(feature = "tls")]
use tokio_postgres_rustls::MakeRustlsConnect;

use super::CONNECTING;
use super::errors::from_postgres;
use super::executor::Executor;
use crate::error::{Error, ErrorKind, Result};

/// How long a server that was reached may take to let somebody in: so many times as long as reaching it may take.
const ADMITTING: u32 = 2;

/// What a URL says of encryption, as it is written.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked<'u> {
    pub(crate) sslmode: Option<&'u str>,
    pub(crate) sslrootcert: Option<&'u str>,
}

/// What is wanted, and whom to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encryption {
    mode: SslMode,
    /// The file of the authorities that are trusted; without it they are the platform's.
    roots: Option<PathBuf>,
}

impl Encryption {
    /// Reads what a URL says, and sees to it that the connections of `config` are no weaker than that. A relative path
    /// starts from `folder`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`]
    pub(super) fn new(asked: Asked<'_>, config: &mut Config, folder: &Path) -> Result<Self> {
        let wrong = |said: String| Err(Error::new(ErrorKind::Configuration, said));
        let mode = match asked.sslmode {
            None | Some("disable") => SslMode::Disable,
            Some("prefer") => SslMode::Prefer,
            Some("require" | "verify-full") => SslMode::Require,
            Some(other) => {
                let other = other.escape_debug();
                return wrong(format!(
                    "`sslmode={other}` is none of `disable`, `prefer`, `require` and `verify-full`, of which the last two \
                     are one: what encrypts also verifies the certificate and the host's name"
                ));
            }
        };
        if mode == SslMode::Disable && asked.sslrootcert.is_some() {
            let said = "`sslrootcert` is of no use without TLS: say `sslmode=verify-full` with it";
            return wrong(said.to_owned());
        }
        if !cfg!(feature = "tls") && (mode == SslMode::Require || asked.sslrootcert.is_some()) {
            let said = "the PostgreSQL URL asks for TLS, which needs the feature `tls` of `shard-runtime`";
            return wrong(said.to_owned());
        }
        if mode == SslMode::Require && is_local(config) {
            let said =
                "the PostgreSQL URL asks for TLS over a Unix socket, where there is no host's name to verify";
            return wrong(said.to_owned());
        }
        // What only prefers it does without where it cannot be had.
        let mode = if cfg!(feature = "tls") && !is_local(config) { mode } else { SslMode::Disable };
        config.ssl_mode(mode);
        let roots = asked.sslrootcert.map(|path| {
            let path = percent_encoding::percent_decode_str(path).decode_utf8();
            let wrong =
                |_| Error::new(ErrorKind::Configuration, "the path after `sslrootcert=` is not UTF-8");
            path.map(|path| folder.join(&*path)).map_err(wrong)
        });
        Ok(Encryption { mode, roots: roots.transpose()? })
    }

    /// Whether nobody is spoken to who does not encrypt.
    pub(super) fn is_required(&self) -> bool {
        self.mode == SslMode::Require
    }

    /// What encrypts connections; it reads the certificates of the authorities.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where there are none.
    #[cfg(feature = "tls")]
    pub(super) fn encryptor(&self) -> Result<Encryptor> {
        if self.mode == SslMode::Disable {
            return Ok(Encryptor::Nothing);
        }
        let wrong = |said: String| Error::new(ErrorKind::Configuration, said);
        let roots = match &self.roots {
            Some(file) => roots_in(file)
                .map_err(|error| wrong(format!("{} holds no certificates: {error}", file.display())))?,
            None => platform_roots().map_err(|error| {
                wrong(format!("the platform has no certificates, name some with `sslrootcert=`: {error}"))
            })?,
        };
        // Not the process's own choice of a provider: nothing here is global.
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Encryptor::Tls(MakeRustlsConnect::new(client)))
    }

    #[cfg(not(feature = "tls"))]
    pub(super) fn encryptor(&self) -> Result<Encryptor> {
        Ok(Encryptor::Nothing)
    }
}

#[cfg(unix)]
fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_)))
}

#[cfg(not(unix))]
fn is_local(_: &Config) -> bool {
    false
}

#[cfg(feature = "tls")]
fn roots_in(file: &Path) -> Result<rustls::RootCertStore, Box<dyn std::error::Error>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err("there is no `BEGIN CERTIFICATE` in it".into()) } else { Ok(roots) }
}

/// Of those of the platform some may be older than what is understood here; the others count.
#[cfg(feature = "tls")]
fn platform_roots() -> Result<rustls::RootCertStore, Box<dyn std::error::Error>> {
    let mut found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    match (roots.is_empty(), found.errors.pop()) {
        (false, _) => Ok(roots),
        (true, Some(error)) => Err(error.into()),
        (true, None) => Err("there are none".into()),
    }
}

/// What encrypts the connections to a server, or does not.
#[derive(Clone)]
pub(super) enum Encryptor {
    Nothing,
    #[cfg(feature = "tls")]
    Tls(MakeRustlsConnect),
}

impl Encryptor {
    /// Connects to a server; what the connection does is done beside whatever the executor waits for.
    pub(super) fn connect(&self, config: &Config, executor: &Executor) -> Result<Client> {
        match self {
            Encryptor::Nothing => connect(config, executor, NoTls),
            #[cfg(feature = "tls")]
            Encryptor::Tls(tls) => connect(config, executor, tls.clone()),
        }
    }

    /// Asks the server to stop what a connection runs, on another one.
    pub(super) async fn cancel(&self, token: &CancelToken) {
        // Where it does not arrive, the statement comes to its end.
        let _ = match self {
            Encryptor::Nothing => token.cancel_query(NoTls).await,
            #[cfg(feature = "tls")]
            Encryptor::Tls(tls) => token.cancel_query(tls.clone()).await,
        };
    }
}

fn connect<T>(config: &Config, executor: &Executor, tls: T) -> Result<Client>
where
    T: MakeTlsConnect<Socket, Stream: Send + 'static> + Send,
    T::TlsConnect: TlsConnect<Socket, Future: Send> + Send,
{
    let places = u32::try_from(config.get_hosts().len()).unwrap_or(u32::MAX);
    let reaching = config.get_connect_timeout().copied().unwrap_or(CONNECTING);
    let patience = reaching.saturating_mul(places.saturating_add(ADMITTING));
    let connecting = async { tokio::time::timeout(patience, config.connect(tls)).await };
    let Ok(connected) = executor.wait(connecting) else {
        let said = format!("the server was reached and has let nobody in for {patience:?}");
        return Err(Error::new(ErrorKind::ConnectionLost, said));
    };
    let (client, connection) = connected.map_err(from_postgres)?;
    executor.spawn(async move {
        // How it ends is told to whoever waits for an answer.
        let _ = connection.await;
    });
    Ok(client)
}

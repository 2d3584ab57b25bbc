//! TLS of connections and cancel requests. TLS always verifies that a trusted authority has signed the server's
//! certificate for the host in the URL.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
#[cfg(unix)]
use tokio_postgres::config::Host;
use tokio_postgres::config::{Config, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, NoTls, Socket};
#[cfg(feature = "tls")]
use tokio_postgres_rustls::MakeRustlsConnect;

use super::errors::from_postgres;
use super::executor::Executor;
use super::route::Route;
use crate::error::{Error, ErrorKind, Result};

/// The time limit of a cancel request.
const CANCELLING: Duration = Duration::from_secs(10);

/// The TLS parameters of a URL, as text.
#[derive(Clone, Copy, Default)]
pub(crate) struct TlsParameters<'u> {
    pub(crate) sslmode: Option<&'u str>,
    pub(crate) sslrootcert: Option<&'u str>,
}

/// The requested mode, and the trusted authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encryption {
    mode: SslMode,
    /// The file of the trusted authorities; `None` for those of the platform.
    roots: Option<PathBuf>,
}

impl Encryption {
    /// Reads the parameters, and sets the mode of `config`. A relative path starts from `folder`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if a parameter is not supported, or has no effect.
    pub(super) fn new(tls: TlsParameters<'_>, config: &mut Config, folder: &Path) -> Result<Self> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Configuration, message));
        let mode = match tls.sslmode {
            None | Some("disable") => SslMode::Disable,
            Some("prefer") => SslMode::Prefer,
            Some("require" | "verify-full") => SslMode::Require,
            Some(other) => {
                let other = other.escape_debug();
                return wrong(format!(
                    "`sslmode={other}` is not supported; use `disable`, `prefer` or `verify-full` (`require` also verifies \
                     the certificate and the host name)"
                ));
            }
        };
        if mode == SslMode::Disable && tls.sslrootcert.is_some() {
            let message = "`sslrootcert` has no effect without TLS; add `sslmode=verify-full`";
            return wrong(message.to_owned());
        }
        if !cfg!(feature = "tls") && (mode == SslMode::Require || tls.sslrootcert.is_some()) {
            let message = "the PostgreSQL URL requires TLS; enable the feature `tls` of `shard-runtime`";
            return wrong(message.to_owned());
        }
        if mode == SslMode::Require && is_local(config) {
            let message =
                "a Unix socket has no host name to verify; remove `sslmode` from the URL, or name a host";
            return wrong(message.to_owned());
        }
        // `prefer` connects without TLS if TLS is not available.
        let mode = if cfg!(feature = "tls") && !is_local(config) { mode } else { SslMode::Disable };
        config.ssl_mode(mode);
        let roots = tls.sslrootcert.map(|path| {
            let path = percent_encoding::percent_decode_str(path).decode_utf8();
            let wrong =
                |_| Error::new(ErrorKind::Configuration, "the path after `sslrootcert=` is not UTF-8");
            path.map(|path| folder.join(&*path)).map_err(wrong)
        });
        Ok(Encryption { mode, roots: roots.transpose()? })
    }

    /// Returns whether connections must be encrypted.
    pub(super) fn is_required(&self) -> bool {
        self.mode == SslMode::Require
    }

    /// Returns the encryptor, after reading the certificates of the authorities.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if there are none.
    #[cfg(feature = "tls")]
    pub(super) fn encryptor(&self) -> Result<Encryptor> {
        if self.mode == SslMode::Disable {
            return Ok(Encryptor::Nothing);
        }
        let wrong = |message: String| Error::new(ErrorKind::Configuration, message);
        let roots = match &self.roots {
            Some(file) => roots_in(file)
                .map_err(|error| wrong(format!("{} contains no certificates: {error}", file.display())))?,
            None => platform_roots().map_err(|error| {
                wrong(format!("the platform has no certificates; name a file with `sslrootcert=`: {error}"))
            })?,
        };
        // The provider is passed explicitly, so that nothing here is global.
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
    if roots.is_empty() { Err("it has no `BEGIN CERTIFICATE`".into()) } else { Ok(roots) }
}

/// Returns the platform's certificates. Skips those that cannot be read.
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

/// The TLS of the connections to a server, or none.
#[derive(Clone)]
pub(super) enum Encryptor {
    Nothing,
    #[cfg(feature = "tls")]
    Tls(MakeRustlsConnect),
}

impl Encryptor {
    /// Connects to a server, in the context of an event loop, which then processes the messages of the connection.
    pub(super) async fn connect(&self, config: &Config) -> Result<Client> {
        match self {
            Encryptor::Nothing => connect(config, NoTls).await,
            #[cfg(feature = "tls")]
            Encryptor::Tls(tls) => connect(config, tls.clone()).await,
        }
    }

    /// Sends a cancel request over another connection, and waits until the server has closed that connection. From then
    /// on the request has had its effect, or never will.
    ///
    /// The backend that receives the request sends the signal and then ends, which closes the connection. A backend with
    /// a pending signal handles it before it reads another message, and ignores it while it waits for a message. The
    /// request can therefore not cancel a statement that is sent after this function has returned. `libpq` relies on the
    /// same.
    ///
    /// # Errors
    /// If it is unknown whether the request had its effect.
    async fn cancel(&self, token: &CancelToken, route: &Route) -> io::Result<()> {
        match route {
            Route::Tcp { address, name } => {
                let stream = TcpStream::connect(address).await?.into_std()?;
                let (request, closing) = (stream.try_clone()?, TcpStream::from_std(stream)?);
                self.send_cancel(token, Undivided(TcpStream::from_std(request)?), name).await?;
                closed(closing).await
            }
            #[cfg(unix)]
            Route::Unix { folder, port } => {
                let stream =
                    tokio::net::UnixStream::connect(Route::socket(folder, *port)).await?.into_std()?;
                let (request, closing) = (stream.try_clone()?, tokio::net::UnixStream::from_std(stream)?);
                self.send_cancel(token, Undivided(tokio::net::UnixStream::from_std(request)?), "").await?;
                closed(closing).await
            }
        }
    }

    /// [Cancels](Encryptor::cancel) on its own thread. The event loop of a connection that receives rows would poll
    /// another one too seldom. A request whose caller no longer waits is still sent.
    ///
    /// # Errors
    /// As [`Encryptor::cancel`].
    pub(super) async fn cancel_beside(self, token: CancelToken, route: Route) -> io::Result<()> {
        let (sender, done) = oneshot::channel();
        let cancel = move || {
            let executor = Executor::new().map_err(io::Error::other)?;
            executor.wait(async { timeout(CANCELLING, self.cancel(&token, &route)).await })?
        };
        std::thread::Builder::new().name("sharded-cancel".to_owned()).spawn(move || {
            // The caller may no longer wait.
            let _ = sender.send(cancel());
        })?;
        done.await.map_err(io::Error::other)?
    }

    async fn send_cancel<S>(&self, token: &CancelToken, stream: S, name: &str) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let sent = match self {
            Encryptor::Nothing => token.cancel_query_raw(stream, NoTls).await,
            #[cfg(feature = "tls")]
            Encryptor::Tls(tls) => {
                let tls = MakeTlsConnect::<S>::make_tls_connect(&mut tls.clone(), name)
                    .map_err(io::Error::other)?;
                token.cancel_query_raw(stream, tls).await
            }
        };
        // Without TLS there is no name to verify.
        let _ = name;
        sent.map_err(io::Error::other)
    }
}

/// A stream that never closes only one direction. `tokio-postgres` would do that with the connection of a cancel request,
/// and a proxy may then close both directions before the server does.
struct Undivided<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Undivided<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Undivided<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

/// Waits until the peer has closed a connection.
async fn closed(mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
    let mut bytes = [0; 64];
    loop {
        match stream.read(&mut bytes).await {
            Ok(0) => return Ok(()),
            // The close notification of TLS, which is not read.
            Ok(_) => {}
            // A server that closes before it has read everything resets the connection.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn connect<T>(config: &Config, tls: T) -> Result<Client>
where
    T: MakeTlsConnect<Socket, Stream: Send + 'static>,
{
    let (client, connection) = config.connect(tls).await.map_err(from_postgres)?;
    tokio::spawn(async move {
        // The waiting caller gets the error.
        let _ = connection.await;
    });
    Ok(client)
}

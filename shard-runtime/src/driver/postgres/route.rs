//! The address of one host of a database.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The address of the server of a connection. A cancel request must reach the same server, so that the name is not
/// resolved again.
#[derive(Clone, Debug)]
pub(super) enum Route {
    Tcp {
        address: SocketAddr,
        name: String,
    },
    #[cfg(unix)]
    Unix {
        folder: PathBuf,
        port: u16,
    },
}

impl Route {
    /// Returns the path of a server's socket in this folder.
    pub(super) fn socket(folder: &std::path::Path, port: u16) -> PathBuf {
        folder.join(format!(".s.PGSQL.{port}"))
    }
}

//! The databases that points run on: four SQLite files, or four PostgreSQL servers.

use std::path::Path;

use tempfile::TempDir;

use crate::Failure;
use crate::point;
use crate::postgres_server::Server;

/// Durable like a user's servers, with room for the prepared transactions of 256 threads.
const SETTINGS: [&str; 4] =
    ["fsync=on", "max_prepared_transactions=100", "max_wal_size=4GB", "checkpoint_timeout=1h"];

pub trait Place {
    const NAME: &'static str;

    /// The shards' URLs, in the cluster's order.
    fn urls(&self) -> &[String];
}

pub struct Files {
    urls: Vec<String>,
    _folder: TempDir,
}

impl Files {
    /// Makes the files, with the rows of a program.
    pub fn make(program: &Path) -> Result<Self, Failure> {
        let folder = TempDir::new()?;
        let url = |index: usize| format!("sqlite:{}", folder.path().join(format!("{index}.db")).display());
        let urls: Vec<String> = (0..point::SHARDS).map(url).collect();
        point::of(program, &["--fill"], &urls)?;
        Ok(Files { urls, _folder: folder })
    }
}

impl Place for Files {
    const NAME: &'static str = "files";

    fn urls(&self) -> &[String] {
        &self.urls
    }
}

pub struct Servers {
    urls: Vec<String>,
    _servers: Vec<Server>,
}

impl Servers {
    /// Starts the servers, with the rows of a program; `None` if PostgreSQL is not installed.
    pub fn start(program: &Path) -> Result<Option<Self>, Failure> {
        if !Server::is_installed() {
            return Ok(None);
        }
        let starting: Vec<_> =
            (0..point::SHARDS).map(|_| std::thread::spawn(|| Server::start_with(&SETTINGS))).collect();
        let mut servers = Vec::new();
        for server in starting {
            let server = server.join().map_err(|_| "a server was not started")?;
            server.stop_with_the_process();
            servers.push(server);
        }
        let urls: Vec<String> = servers.iter().map(Server::url).collect();
        point::of(program, &["--fill"], &urls)?;
        Ok(Some(Servers { urls, _servers: servers }))
    }
}

impl Place for Servers {
    const NAME: &'static str = "servers";

    fn urls(&self) -> &[String] {
        &self.urls
    }
}

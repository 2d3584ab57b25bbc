//! The file that a connection has open, and whether it is still the one at its path.
//!
//! A file that is removed, or replaced, stays open: what is written to it is gone with its last connection, and nobody
//! says so. In WAL mode SQLite does not look.

use std::cell::Cell;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

pub(super) struct OpenFile {
    path: PathBuf,
    identity: Identity,
    is_gone: Cell<bool>,
}

/// What tells a file from another one at the same path: its device and its number there.
#[cfg(unix)]
type Identity = (u64, u64);
/// Elsewhere an open file can be neither removed nor replaced.
#[cfg(not(unix))]
type Identity = ();

#[cfg(unix)]
fn identity(file: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {}

impl OpenFile {
    /// The file at a path that has just been opened.
    pub(super) fn at(path: &Path) -> Result<Self> {
        let found = path.metadata().map_err(|error| unreadable(path, error))?;
        Ok(OpenFile { path: path.to_owned(), identity: identity(&found), is_gone: Cell::new(false) })
    }

    /// # Errors
    /// [`ErrorKind::Missing`] where there is no file any more at the path, or another one.
    pub(super) fn check(&self) -> Result<()> {
        let said = match self.path.metadata() {
            Ok(found) if identity(&found) == self.identity => return Ok(()),
            Ok(_) => "has been replaced by another file",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "is not there any more",
            Err(error) => return Err(unreadable(&self.path, error)),
        };
        self.is_gone.set(true);
        let said = format!("{} {said} since it was opened; nothing was written", self.path.display());
        Err(Error::new(ErrorKind::Missing, said))
    }

    /// Waits until the write-ahead log is on disk. Closing its descriptor drops no lock: those are on other files.
    pub(super) fn sync_log(&self) -> Result<()> {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        match std::fs::File::open(&log) {
            Ok(log) => log.sync_data().map_err(|error| unreadable(&self.path, error)),
            Err(error) => Err(unreadable(&self.path, error)),
        }
    }

    /// Whether a check has found so: the connection is of no use any more.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.get()
    }
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{} cannot be looked at: {error}", path.display())).with_source(error)
}

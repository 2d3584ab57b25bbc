//! The file that a connection has open, and the check that its path still leads to that file. Uses `error`.
//!
//! A file that was removed or replaced stays open: writes to it are lost with its last connection, without an error.
//! SQLite does not check this in WAL mode.

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

/// The identity of a file: its device and its inode.
#[cfg(unix)]
type Identity = (u64, u64);
/// On other systems an open file can be neither removed nor replaced.
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
    /// Returns the file at a path that SQLite has just opened.
    pub(super) fn at(path: &Path) -> Result<Self> {
        let found = path.metadata().map_err(|error| unreadable(path, error))?;
        Ok(OpenFile { path: path.to_owned(), identity: identity(&found), is_gone: Cell::new(false) })
    }

    /// Checks that the path still leads to the open file.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] if there is no file at the path, or another one.
    pub(super) fn check(&self) -> Result<()> {
        let message = match self.path.metadata() {
            Ok(found) if identity(&found) == self.identity => return Ok(()),
            Ok(_) => "was replaced by another file",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "was removed",
            Err(error) => return Err(unreadable(&self.path, error)),
        };
        self.is_gone.set(true);
        let message = format!("{} {message} since it was opened; nothing was written", self.path.display());
        Err(Error::new(ErrorKind::Missing, message))
    }

    /// Waits until the WAL is on disk. Closing its descriptor drops no lock: SQLite's locks are on other files.
    pub(super) fn sync_log(&self) -> Result<()> {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        match std::fs::File::open(&log) {
            Ok(log) => log.sync_data().map_err(|error| unreadable(&self.path, error)),
            Err(error) => Err(unreadable(&self.path, error)),
        }
    }

    /// Returns whether a check has failed: the connection is unusable.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.get()
    }
}

/// Returns whether a file can be created beside this one. Called only after SQLite has failed to do so.
pub(super) fn is_writable_beside(path: &Path) -> bool {
    let mut probe = path.to_owned().into_os_string();
    probe.push("-probe");
    match std::fs::OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(_) => std::fs::remove_file(&probe).is_ok(),
        // Another reason, such as too many open files, is not about the folder.
        Err(error) => {
            !matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
        }
    }
}

/// Returns a remedy if a file cannot be read without its WAL. `None` if no process can write the file, and its WAL is
/// empty.
pub(super) fn why_not_frozen(path: &Path) -> Option<&'static str> {
    let mut log = path.to_owned().into_os_string();
    log.push("-wal");
    if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Some("open the cluster once where it can be written, which brings the log into the file");
    }
    let is_frozen = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.permissions().readonly());
    let is_on_read_only_system = || {
        let opened = std::fs::OpenOptions::new().append(true).open(path);
        opened.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
    };
    let is_frozen = is_frozen(path) && path.parent().is_some_and(is_frozen) || is_on_read_only_system();
    (!is_frozen).then_some(
        "make the folder writable for this process, or file and folder read-only for everyone, so that the file can be read \
         without them",
    )
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot read the metadata of {}: {error}", path.display()))
        .with_source(error)
}

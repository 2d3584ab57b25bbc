//! The check of a backup: a copy of it is opened and verified.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::Builder;
use crate::cluster::administration::unopened::Copies;
use crate::cluster::url::Source;
use crate::driver::{Mode, SqliteSource};
use crate::error::{Error, ErrorKind, Result};
use crate::query::Models;
use crate::transaction::facts::texts;
use crate::unit_of_work::VerifyReport;

/// The limit of waits for locks of a copy, which no other program uses.
const LONGEST: Duration = Duration::from_secs(5);

/// Copies a backup to a new folder beside it, checks each file, and opens and verifies the copy. The backup itself is not opened,
/// because opening a cluster may write.
///
/// # Errors
/// - [`ErrorKind::Configuration`] if a database of the cluster is not a file.
/// - [`ErrorKind::Missing`] if a file does not exist.
/// - Those of opening the cluster and of [`Cluster::verify`](crate::Cluster::verify).
pub(crate) fn check_copies<M: Models>(builder: &Builder, folder: &Path) -> Result<VerifyReport> {
    let Copies { files, .. } = builder.copies_in::<M>(folder)?;
    for (name, file) in &files {
        match file.metadata() {
            Ok(found) if found.len() > 0 => {}
            Ok(_) => return Err(missing(format!("the copy {} is empty", file.display()), name)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(missing(format!("there is no copy at {}", file.display()), name));
            }
            Err(error) => return Err(io(file, error)),
        }
    }
    let scratch = Scratch::beside(folder)?;
    let Copies { builder, files: copies } = builder.copies_in::<M>(&scratch.0)?;
    for ((name, from), (_, to)) in files.iter().zip(&copies) {
        fs::copy(from, to).map_err(|error| io(from, error))?;
        check_file(&builder, to).map_err(|error| error.on_shard(name))?;
    }
    let cluster = builder.open::<M>()?;
    cluster.verify()
}

fn missing(message: String, name: &str) -> Error {
    Error::new(ErrorKind::Missing, format!("{message}; the backup is not whole")).on_shard(name)
}

fn io(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{}: {error}", path.display())).with_source(error)
}

/// Runs SQLite's check of all pages of a file.
fn check_file(builder: &Builder, path: &Path) -> Result<()> {
    let driver = builder.driver(&Source::Sqlite(SqliteSource::File(path.to_owned())));
    let connection = driver.connect_waiting(Mode::Open, LONGEST)?;
    let found = texts(&*connection, "PRAGMA integrity_check(1)", &[])?;
    match found.first().and_then(|row| row.first()).map_or("", String::as_str) {
        "ok" => Ok(()),
        problem => {
            let message = format!("the copy is damaged: {problem}; use an older backup");
            Err(Error::new(ErrorKind::Corrupt, message))
        }
    }
}

/// A folder that is removed when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    /// Makes a folder beside another one, with its name and the ending `.check`.
    fn beside(folder: &Path) -> Result<Self> {
        let mut name = folder.file_name().unwrap_or_default().to_owned();
        name.push(format!(".check-{}", std::process::id()));
        let path = folder.with_file_name(name);
        fs::create_dir(&path).map_err(|error| io(&path, error))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

//! The check of a backup: a copy of it is opened and verified.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::Builder;
use crate::cluster::administration::unopened::Copies;
use crate::cluster::url::Source;
use crate::driver::{Connection, Mode, SqliteSource};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::Namespace;
use crate::query::Models;
use crate::schema::ShardRole;
use crate::transaction::facts::{read_facts, texts};
use crate::transaction::recorded::RecordedLayout;
use crate::unit_of_work::VerifyReport;

/// The limit of waits for locks of a copy, which no other program uses.
const LONGEST: Duration = Duration::from_secs(5);

/// Copies a backup to a new folder beside it, checks each file, and opens and verifies the copy. The backup itself is not opened,
/// because opening a cluster may write.
///
/// # Errors
/// - [`ErrorKind::Configuration`] if a database of the cluster is not a file.
/// - [`ErrorKind::Missing`] if the folder or a file does not exist. A backup has no file of a retired shard.
/// - Those of opening the cluster and of [`Cluster::verify`](crate::Cluster::verify).
pub(crate) fn check_copies<M: Models>(builder: &Builder, folder: &Path) -> Result<VerifyReport> {
    // The configuration's own URLs may be relative to another folder.
    let folder = &std::path::absolute(folder).map_err(|error| io(folder, error))?;
    let Copies { files, .. } = builder.copies_in::<M>(folder)?;
    if !folder.is_dir() {
        let message =
            format!("there is no folder {}; give the one that `backup` has filled", folder.display());
        return Err(Error::new(ErrorKind::Missing, message));
    }
    let mut absent = Vec::new();
    for (name, file) in &files {
        match file.metadata() {
            Ok(found) if found.len() > 0 => {}
            Ok(_) => return Err(missing(format!("the copy {} is empty", file.display()), name)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => absent.push(name.as_str()),
            Err(error) => return Err(io(file, error)),
        }
    }
    let scratch = Scratch::beside(folder)?;
    let Copies { builder, files: copies } = builder.copies_in::<M>(&scratch.0)?;
    let mut recorded: Option<RecordedLayout> = None;
    // Control comes last, and records which shards a backup leaves out.
    for ((name, from), (_, to)) in files.iter().zip(&copies).rev() {
        if absent.contains(&name.as_str()) {
            let is_retired = |layout: &RecordedLayout| layout.role(name) == Some(ShardRole::Retired);
            if recorded.as_ref().is_some_and(is_retired) {
                continue;
            }
            return Err(missing(format!("there is no copy at {}", from.display()), name));
        }
        fs::copy(from, to).map_err(|error| io(from, error))?;
        let connection = checked(&builder, to).map_err(|error| error.on_shard(name))?;
        if recorded.is_none() {
            recorded = Some(read_facts(&*connection, &Namespace::default())?.layout());
        }
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

/// Connects to a file, and runs SQLite's check of all its pages.
fn checked(builder: &Builder, path: &Path) -> Result<Box<dyn Connection>> {
    let driver = builder.driver(&Source::Sqlite(SqliteSource::File(path.to_owned())));
    let connection = driver.connect_waiting(Mode::Open, LONGEST)?;
    let found = texts(&*connection, "PRAGMA integrity_check(1)", &[])?;
    match found.first().and_then(|row| row.first()).map_or("", String::as_str) {
        "ok" => Ok(connection),
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

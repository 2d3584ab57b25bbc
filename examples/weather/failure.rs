//! Errors, each as one line for a person.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// The reasons for which a command stops.
#[derive(Debug)]
pub enum Failure {
    /// A file of the source is invalid.
    Source { file: PathBuf, line: u64, message: String },
    /// A file or a folder cannot be used.
    Io { what: String, error: io::Error },
    /// The reader of the output has closed it.
    Output(io::Error),
    /// The library or a database failed.
    Database(shard_runtime::Error),
    /// The cluster file does not fit this app.
    ClusterFile { file: PathBuf, error: shard_runtime::Error },
    /// The arguments are invalid; the text names valid ones.
    Refused(String),
}

impl Failure {
    pub fn source(file: &Path, line: u64, message: String) -> Self {
        Failure::Source { file: file.to_owned(), line, message }
    }

    pub fn io(what: impl Into<String>, error: io::Error) -> Self {
        Failure::Io { what: what.into(), error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Source { file, line, message } => {
                write!(f, "{}, line {line}: {message}", file.display())
            }
            Failure::Io { what, error } => write!(f, "{what}: {error}"),
            Failure::Output(error) => write!(f, "the output cannot be written: {error}"),
            Failure::ClusterFile { file, error } => {
                write!(f, "{}: ", file.display())?;
                with_causes(f, error)
            }
            Failure::Database(error) => with_causes(f, error),
            Failure::Refused(message) => f.write_str(message),
        }
    }
}

/// An error and its cause, if that is one line and adds something.
fn with_causes(f: &mut fmt::Formatter<'_>, error: &dyn Error) -> fmt::Result {
    let mut message = error.to_string();
    f.write_str(&message)?;
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if message.contains(&text) || text.lines().count() > 1 {
            break;
        }
        write!(f, ": {text}")?;
        (message, cause) = (text, error.source());
    }
    Ok(())
}

impl From<shard_runtime::Error> for Failure {
    fn from(error: shard_runtime::Error) -> Self {
        Failure::Database(error)
    }
}

/// Only output is written with `?`; errors of files name the file.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

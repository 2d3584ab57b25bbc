//! A command line for the operators of a cluster, with the feature `admin`.
//!
//! An application makes a program of it in one line. `--help` lists its commands; docs/OPERATIONS.md describes them.
//!
//! ```no_run
//! # use std::process::ExitCode;
//! # use shard_runtime::{Cluster, Sharded, admin, migrate::Migrations};
//! # #[derive(Sharded, Clone, Debug)]
//! # struct Account {
//! #     #[id]
//! #     #[shard_key(hash)]
//! #     id: i64,
//! # }
//! fn main() -> ExitCode {
//!     let builder = Cluster::builder().shard("a", "sqlite:a.db").shard("b", "sqlite:b.db");
//!     admin::run::<Account>(builder, &Migrations::new(), std::env::args_os())
//! }
//! ```
//!
//! The exit code is 0 if everything is fine and 1 if something is wrong. It is 2 if neither is certain: the command line is
//! invalid, or a database does not answer. Results are printed on standard output, as JSON with `--json`. The progress of long
//! commands is printed on standard error.
// Uses `cluster`.

mod arguments;
mod change;
mod commands;
mod copy;
mod output;
mod progress;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::cluster::{Builder, Migrations, with_causes};
use crate::error::{Error, ErrorKind};
use crate::query::Models;
use arguments::{Command, Parsed};
use output::CommandAnswer;

/// The result of a command, which is the exit code of its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Outcome {
    /// 0: everything is fine.
    Fine,
    /// 2: it is not certain whether everything is fine.
    Unknown,
    /// 1: something is wrong.
    Wrong,
}

impl Outcome {
    /// Returns the exit code.
    pub fn code(self) -> u8 {
        match self {
            Outcome::Fine => 0,
            Outcome::Wrong => 1,
            Outcome::Unknown => 2,
        }
    }

    /// Returns the outcome of a command that failed.
    fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionLost | ErrorKind::TimedOut | ErrorKind::Busy | ErrorKind::InDoubt => {
                Outcome::Unknown
            }
            // Of an argument.
            ErrorKind::UnknownShard | ErrorKind::UnknownModel | ErrorKind::UnmappedKey => Outcome::Unknown,
            // Of a value that a database holds.
            _ => Outcome::Wrong,
        }
    }

    /// Returns the outcome of a command with values as arguments that failed.
    fn of_argument(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Value => Outcome::Unknown,
            _ => Outcome::of(error),
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        ExitCode::from(outcome.code())
    }
}

/// Runs the command of these arguments on the process's output. The first argument is the name of the program.
///
/// The command `migrate` uses these migrations, which are those of [`Builder::migrate`].
pub fn run<M: Models>(
    builder: Builder,
    migrations: &Migrations,
    arguments: impl IntoIterator<Item = impl Into<OsString>>,
) -> ExitCode {
    run_on::<M>(builder, migrations, arguments, &mut std::io::stdout(), &mut std::io::stderr()).into()
}

/// Runs a command like [`run`], and writes to these outputs.
pub fn run_on<M: Models>(
    builder: Builder,
    migrations: &Migrations,
    arguments: impl IntoIterator<Item = impl Into<OsString>>,
    out: &mut dyn Write,
    progress: &mut (dyn Write + Send),
) -> Outcome {
    let mut arguments = arguments.into_iter().map(Into::into);
    let program =
        arguments.next().map_or_else(|| "admin".to_owned(), |name| name.to_string_lossy().into_owned());
    let parsed = match arguments::parse(arguments) {
        Ok(parsed) => parsed,
        Err(message) => {
            let _ = writeln!(progress, "{program}: {message}\nFor more information, run `{program} --help`.");
            return Outcome::Unknown;
        }
    };
    let Parsed { command, is_json } = parsed;
    let takes_values =
        matches!(command, Some(Command::Locate { .. } | Command::Change(change::ChangeCommand::MoveKey(_))));
    let answer = match command {
        None => {
            let _ = write!(out, "{}", arguments::help(&program));
            return Outcome::Fine;
        }
        Some(command) => commands::run::<M>(&builder, migrations, command, progress),
    };
    let (outcome, answer) = match answer {
        Ok(answer) => (answer.outcome, Ok(answer)),
        Err(error) if takes_values => (Outcome::of_argument(&error), Err(error)),
        Err(error) => (Outcome::of(&error), Err(error)),
    };
    let written = match (&answer, is_json) {
        (Ok(CommandAnswer { json, .. }), true) => writeln!(out, "{json}"),
        (Ok(CommandAnswer { text, .. }), false) => write!(out, "{text}"),
        (Err(error), true) => writeln!(out, "{}", serde_json::json!({ "error": error })),
        (Err(error), false) => writeln!(progress, "{program}: {}", with_causes(error)),
    };
    // A reader that has closed the output needs no more of it; another failure hides the result.
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let _ = writeln!(progress, "{program}: the result cannot be written: {error}");
            outcome.max(Outcome::Unknown)
        }
        _ => outcome,
    }
}

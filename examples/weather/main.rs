//! An example app: the world's cities and their weather, spread over four databases.
//!
//! A city is stored on the shard of its continent, and its observations on the shard of the city: `model.rs` declares it, and
//! no other part of the app is about sharding. It imports 34,006 cities and 26,114 hourly
//! observations, reports on them, looks cities up, and explains the shards of each query.
//!
//! ```text
//! cargo run --release -p weather                     a tour, in a temporary folder
//! cargo run --release -p weather -- --help           everything else
//! ```

#![forbid(unsafe_code)]

mod arguments;
mod chart;
mod city;
mod copy;
mod csv_file;
mod explain;
mod failure;
mod import;
mod location;
mod model;
mod report;
mod source;
mod text;

use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;
use failure::{Failure, Result};
use location::Location;
use model::Continent;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "admin")]
    if let Some(Command::Admin { arguments: command }) = &arguments.command {
        return administer(&arguments, command);
    }
    match run(&arguments, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has closed it: `weather report | head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let line = failure.to_string().lines().collect::<Vec<_>>().join(" ");
            let _ = writeln!(io::stderr(), "weather: {line}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<()> {
    let Some(command) = &arguments.command else { return tour(arguments, out) };
    let location = arguments.location();
    match command {
        Command::Import => import::run(&arguments.source, &location, out),
        Command::Report => report::run(&location.open_imported()?, out),
        Command::City { name, continent } => city::run(&location.open_imported()?, name, *continent, out),
        Command::Explain => explain::run(&location.open_imported()?, out),
        #[cfg(feature = "admin")]
        Command::Admin { .. } => Ok(()), // `main` runs it, for its exit code
        Command::Copy { to } => copy::run(&location, &Location::ClusterFile(to.clone()), out),
    }
}

/// Runs a command for operators on the cluster.
#[cfg(feature = "admin")]
fn administer(arguments: &Arguments, command: &[std::ffi::OsString]) -> ExitCode {
    match arguments.location().builder() {
        Ok(builder) => {
            let words = std::iter::once("weather admin".into()).chain(command.iter().cloned());
            let migrations = shard_runtime::migrate::Migrations::new();
            shard_runtime::admin::run::<(model::City, model::Observation)>(builder, &migrations, words)
        }
        Err(failure) => {
            let _ = writeln!(io::stderr(), "weather: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Runs each subcommand that needs one location only, in the given location or in a temporary folder.
fn tour(arguments: &Arguments, out: &mut dyn Write) -> Result<()> {
    let mut temporary = None;
    let location = match arguments.given_location() {
        Some(location) => location,
        None => {
            let folder = tempfile::tempdir()
                .map_err(|error| Failure::io("a temporary folder cannot be made", error))?;
            writeln!(out, "A tour, in a temporary folder; to keep its files add `--data FOLDER`.")?;
            Location::Folder(temporary.insert(folder).path().to_owned())
        }
    };

    heading(out, "import", "every unit is one commit on one shard")?;
    import::run(&arguments.source, &location, out)?;
    let cluster = location.open_imported()?;

    heading(out, "report", "counts, orders and limits over all shards")?;
    report::run(&cluster, out)?;

    heading(out, "city \"New York City\" --continent north-america", "a key is given: one shard")?;
    city::run(&cluster, "New York City", Some(Continent::NorthAmerica), out)?;

    heading(out, "city Wellington", "no key is given: every shard")?;
    match city::run(&cluster, "Wellington", None, out) {
        // Another source may have none.
        Err(Failure::Refused(message)) => writeln!(out, "{message}")?,
        shown => shown?,
    }

    heading(out, "explain", "the shards of each kind of query, and the reasons")?;
    explain::run(&cluster, out)?;

    heading(out, "import", "run again, it finds all rows imported")?;
    import::run(&arguments.source, &location, out)
}

fn heading(out: &mut dyn Write, command: &str, note: &str) -> io::Result<()> {
    let rule = "─".repeat(chart::WIDTH.saturating_sub(command.chars().count() + 4));
    writeln!(out, "\n── {command} {rule}\n{note}\n")
}

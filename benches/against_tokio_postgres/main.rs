//! The framework beside hand-written `tokio-postgres`, over four PostgreSQL servers that this starts, in one process:
//! `cargo bench --bench against_tokio_postgres`, with parts of names, `--list` or `--quick` behind `--`. The columns and the
//! results are explained in docs/PERFORMANCE.md.
//!
//! Nothing here asserts a time. Before an operation is timed, both sides run once, and their answers must be equal. If
//! PostgreSQL is not installed, a message is printed, and nothing is measured.

#![forbid(unsafe_code)]

mod by_hand;
#[path = "../against_rusqlite/measure.rs"]
mod measure;
#[path = "../against_rusqlite/models.rs"]
#[expect(dead_code, unused_imports, reason = "a part of it is for files alone")]
mod models;
#[allow(dead_code)]
#[path = "../against_rusqlite/numbers.rs"]
mod numbers;
mod operations;
#[allow(dead_code)]
#[path = "../../tests/support/postgres_server.rs"]
mod postgres_server;
mod servers;

use std::process::ExitCode;

use measure::{Effort, Failure, Measured};
use operations::{OPERATIONS, Operation};
use servers::Servers;

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `cargo bench` passes `--bench`. Without it (`cargo test --benches`) the run only checks that the benchmarks work, and may
/// pass flags for a test harness.
fn run(arguments: Vec<String>) -> Result<(), Failure> {
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let (mut effort, mut list) = (if is_bench { Effort::Full } else { Effort::Quick }, false);
    let mut filters = Vec::new();
    for argument in &arguments {
        match argument.as_str() {
            "--quick" => effort = Effort::Quick,
            "--list" => list = true,
            // Those of files, which `cargo bench` has run just before.
            "--memory" | "--cold-build" => return Ok(()),
            "--bench" => {}
            flag if flag.starts_with('-') && is_bench => {
                return Err(format!("{flag} is none of --quick and --list").into());
            }
            flag if flag.starts_with('-') => {}
            filter => filters.push(filter),
        }
    }
    let is_wanted = |operation: &&Operation| {
        filters.is_empty() || filters.iter().any(|filter| operation.name.contains(filter))
    };
    let chosen: Vec<&Operation> = OPERATIONS.iter().filter(is_wanted).collect();
    if list {
        chosen.iter().for_each(|operation| println!("{}", operation.name));
        return Ok(());
    }
    if chosen.is_empty() {
        // The other benchmarks may have some.
        eprintln!("no operation on servers has this in its name; `--list` lists them");
        return Ok(());
    }
    let Some(servers) = Servers::start(effort)? else {
        eprintln!("SKIPPED: all {} benchmarks on servers, for want of PostgreSQL", chosen.len());
        return Ok(());
    };
    measure(&servers, &chosen)
}

fn measure(servers: &Servers, chosen: &[&Operation]) -> Result<(), Failure> {
    println!("PostgreSQL {}, four servers, {}", servers.version(), servers.effort.describe());
    println!(
        "{:50} {:38} {:>10} {:>10} {:>6} {:>6} {:>6}",
        "operation", "against", "framework", "by hand", "ratio", "A/A", "target"
    );
    for operation in chosen {
        let named = |error: Failure| format!("{}: {error}", operation.name);
        let mut pair = (operation.pair)(servers).map_err(named)?;
        let Measured { framework, by_hand, ratio, same } =
            measure::measure(&mut pair, servers.effort).map_err(named)?;
        let target = operation.target.map_or("–".to_owned(), |target| format!("{target:.2}"));
        println!(
            "{:50} {:38} {:>10} {:>10} {ratio:>6.2} {same:>6.2} {target:>6}",
            operation.name,
            operation.against,
            measure::readable(framework),
            measure::readable(by_hand),
        );
    }
    Ok(())
}

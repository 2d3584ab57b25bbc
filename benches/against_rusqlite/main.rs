//! The framework beside hand-written `rusqlite`, in one process: `cargo bench`, `cargo bench -- insert`,
//! `cargo bench -- --quick`; the memory that it takes: `cargo bench -- --memory`. The columns and the results are explained in
//! docs/PERFORMANCE.md.
//!
//! Nothing here asserts a time. Before an operation is timed, both sides run once, and their answers must be equal.

#![forbid(unsafe_code)]

mod by_hand;
mod cold_build;
mod data;
mod instructions;
mod measure;
mod memory;
mod models;
mod numbers;
mod operations;

use std::process::ExitCode;

use data::Data;
use measure::{Effort, Failure, Measured};
use operations::{OPERATIONS, Operation};

/// The arguments of the command line.
struct Wanted {
    filters: Vec<String>,
    effort: Effort,
    list: bool,
    cold_build: bool,
    memory: bool,
    instructions: bool,
}

impl Wanted {
    /// `cargo bench` passes `--bench`. Without it (`cargo test --benches`) the run only checks that the benchmarks work,
    /// and may pass flags for a test harness.
    fn from_arguments(arguments: Vec<String>) -> Result<Self, Failure> {
        let is_bench = arguments.iter().any(|argument| argument == "--bench");
        let effort = if is_bench { Effort::Full } else { Effort::Quick };
        let mut wanted = Wanted {
            filters: Vec::new(),
            effort,
            list: false,
            cold_build: false,
            memory: false,
            instructions: false,
        };
        for argument in arguments {
            match argument.as_str() {
                "--bench" => {}
                "--quick" => wanted.effort = Effort::Quick,
                "--list" => wanted.list = true,
                "--cold-build" => wanted.cold_build = true,
                "--memory" => wanted.memory = true,
                "--instructions" => wanted.instructions = true,
                flag if flag.starts_with('-') && is_bench => {
                    let flags = "--quick, --list, --memory, --instructions and --cold-build";
                    return Err(format!("{flag} is none of {flags}").into());
                }
                flag if flag.starts_with('-') => {}
                filter => wanted.filters.push(filter.to_owned()),
            }
        }
        Ok(wanted)
    }

    fn wants(&self, operation: &Operation) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| operation.name.contains(filter.as_str()))
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(done) = memory::as_child(&arguments) {
        return done;
    }
    if let Some(done) = instructions::as_child(&arguments) {
        return done;
    }
    let wanted = Wanted::from_arguments(arguments)?;
    if wanted.memory {
        return memory::run(wanted.effort, &wanted.filters);
    }
    if wanted.cold_build {
        return cold_build::run();
    }
    let chosen: Vec<&Operation> = OPERATIONS.iter().filter(|operation| wanted.wants(operation)).collect();
    if chosen.is_empty() {
        // The benchmarks on servers may have some.
        eprintln!("no operation on files has this in its name; `--list` lists them");
        return Ok(());
    }
    if wanted.list {
        chosen.iter().for_each(|operation| println!("{}", operation.name));
        return Ok(());
    }
    if wanted.instructions {
        return instructions::run(&chosen);
    }
    let data = Data::new(wanted.effort)?;
    println!("SQLite {}, {}", shard_runtime::sqlite::rusqlite::version(), wanted.effort.describe());
    println!(
        "{:50} {:31} {:>10} {:>10} {:>6} {:>6} {:>6}",
        "operation", "against", "framework", "by hand", "ratio", "A/A", "target"
    );
    for operation in chosen {
        let mut pair = (operation.pair)(&data).map_err(|error| format!("{}: {error}", operation.name))?;
        let Measured { framework, by_hand, ratio, same } = measure::measure(&mut pair, wanted.effort)
            .map_err(|error| format!("{}: {error}", operation.name))?;
        let target = operation.target.map_or("–".to_owned(), |target| format!("{target:.2}"));
        println!(
            "{:50} {:31} {:>10} {:>10} {ratio:>6.2} {same:>6.2} {target:>6}",
            operation.name,
            operation.against,
            measure::readable(framework),
            measure::readable(by_hand),
        );
    }
    Ok(())
}

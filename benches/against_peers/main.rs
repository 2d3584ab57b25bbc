//! The framework and other libraries, each beside hand-written `rusqlite` on the same rows:
//! `cargo bench --bench against_peers`.
//!
//! A lock file has one version of `libsqlite3-sys`, so that each library has a program and a workspace of its own in
//! `benches/peers`. This driver compiles them, runs them one after the other, and prints a table of ratios: the library's time
//! divided by the hand-written code's. The arguments and a table are in docs/PERFORMANCE.md, "Beside other libraries".

#![forbid(unsafe_code)]

mod builds;
#[path = "../against_rusqlite/cold_build.rs"]
#[allow(dead_code, reason = "`run` is for `against_rusqlite`")]
mod cold_build;
mod framework;
mod peers;
#[path = "../peers/shared/mod.rs"]
mod shared;
mod table;

use std::process::ExitCode;

use framework::Framework;
use peers::{LIBRARIES, Program};
use shared::About;
use shared::measure::{self, Failure};

/// The arguments of the command line.
struct Wanted {
    /// None are all.
    libraries: Vec<&'static str>,
    /// Parts of operations' names; none are all.
    operations: Vec<String>,
    quick: bool,
    json: bool,
    again: bool,
    builds: bool,
    svg: Option<String>,
}

impl Wanted {
    /// `cargo bench` passes `--bench`. Without it (`cargo test --benches`) the run only checks that the framework's program
    /// works, and may pass what is meant for a test harness.
    fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let arguments: Vec<String> = arguments.collect();
        let is_bench = arguments.iter().any(|argument| argument == "--bench");
        let mut wanted = Wanted {
            libraries: Vec::new(),
            operations: Vec::new(),
            quick: !is_bench,
            json: false,
            again: false,
            builds: false,
            svg: None,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--quick" => wanted.quick = true,
                "--json" => wanted.json = true,
                "--again" => wanted.again = true,
                "--builds" => wanted.builds = true,
                "--svg" => wanted.svg = Some(arguments.next().ok_or("--svg needs the path of a file")?),
                flag if flag.starts_with('-') && is_bench => {
                    return Err(
                        format!("{flag} is none of --quick, --json, --again, --builds and --svg").into()
                    );
                }
                flag if flag.starts_with('-') => {}
                other => match LIBRARIES.iter().find(|library| library.name == other) {
                    Some(library) => wanted.libraries.push(library.name),
                    None => wanted.operations.push(other.to_owned()),
                },
            }
        }
        if wanted.quick && wanted.libraries.is_empty() {
            // The others take minutes to compile.
            wanted.libraries.push(LIBRARIES[0].name);
        }
        Ok(wanted)
    }

    fn chosen(&self) -> impl Iterator<Item = &'static Program> {
        let all = self.libraries.is_empty();
        LIBRARIES.iter().filter(move |library| all || self.libraries.contains(&library.name))
    }
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(peers::MEASURE) {
        let about = About { library: LIBRARIES[0].name, by_hand: "rusqlite 0.41" };
        return shared::main(&about, framework::create, Framework::open);
    }
    match Wanted::from_arguments(std::env::args().skip(1)).and_then(|wanted| run(&wanted)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: &Wanted) -> Result<(), Failure> {
    if wanted.builds {
        return builds::run(wanted.chosen(), wanted.json);
    }
    let (lines, failed) =
        if wanted.again { (peers::stored_lines()?, Vec::new()) } else { peers::measure(wanted)? };
    let table = table::Table::from_lines(&lines)?;
    match wanted.json {
        true => print!("{lines}"),
        false => print!("{}", table.text()),
    }
    if let Some(path) = &wanted.svg {
        // Cargo runs this program in the package's folder. The path is the workspace's.
        std::fs::write(LIBRARIES[0].path().join(path), table.svg())?;
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("these programs failed: {}", failed.join(", ")).into()),
    }
}

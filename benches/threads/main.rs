//! Throughput and latency from 1 to 256 threads, over four SQLite files and over four PostgreSQL servers that this starts:
//! `cargo bench --bench threads`. Behind `--` it takes parts of names, `--list`, `--quick`, `--seconds N`,
//! `--threads 1,16,256`, `--svg FOLDER` (a picture for each kind of database) and `--before FOLDER`. docs/PERFORMANCE.md
//! explains the lines and the figures.
//!
//! Each point runs in a process of its own. `--before` names a checkout of another commit, or a program that was built there:
//! its points run between those of this checkout. Each program has databases of its own, because an older release does not
//! open those of a newer one.
//!
//! Nothing here asserts a time. Without PostgreSQL the servers' lines are skipped, with a message.

#![forbid(unsafe_code)]

mod before;
mod places;
#[path = "../plot.rs"]
mod plot;
mod point;
#[allow(dead_code)]
#[path = "../../tests/support/postgres_server.rs"]
mod postgres_server;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use places::{Files, Place, Servers};
use point::{WORKLOADS, Workload};

/// The reason why the benchmark stopped.
type Failure = Box<dyn Error + Send + Sync>;

const THREADS: [usize; 12] = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256];

/// Threads, milliseconds a point: `--quick` only shows that the benchmark works.
const QUICK: ([usize; 3], u64) = ([1, 4, 64], 50);

struct Options {
    filters: Vec<String>,
    threads: Vec<usize>,
    milliseconds: u64,
    list: bool,
    before: Option<PathBuf>,
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.split_first() {
        Some((flag, point)) if flag == "--point" => point::run(point),
        Some((flag, _)) if flag == "--fill" => point::fill(),
        _ => Options::read(&arguments).and_then(|options| options.map_or(Ok(()), run)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    /// Reads the arguments. `cargo bench` passes `--bench`; another caller (`cargo test --benches`) gets the quick form, and
    /// its flags for a test harness are ignored. `None` if another benchmark is meant.
    fn read(arguments: &[String]) -> Result<Option<Self>, Failure> {
        let is_bench = arguments.iter().any(|argument| argument == "--bench");
        let mut options = Options {
            filters: Vec::new(),
            threads: THREADS.to_vec(),
            milliseconds: 1_000,
            list: false,
            before: None,
            svg: None,
        };
        let mut quick = !is_bench;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments.next().cloned().ok_or_else(|| Failure::from(format!("{argument} needs a value")))
            };
            match argument.as_str() {
                "--quick" => quick = true,
                "--list" => options.list = true,
                "--memory" | "--cold-build" => return Ok(None),
                "--seconds" => options.milliseconds = (value()?.parse::<f64>()? * 1_000.0) as u64,
                "--threads" => {
                    options.threads = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--before" => options.before = Some(value()?.into()),
                "--svg" => options.svg = Some(value()?.into()),
                "--bench" => {}
                flag if flag.starts_with('-') && is_bench => {
                    return Err(format!(
                        "unknown option {flag}; use --quick, --list, --seconds, --threads, --svg or --before"
                    )
                    .into());
                }
                flag if flag.starts_with('-') => {}
                filter => options.filters.push(filter.to_owned()),
            }
        }
        if quick {
            (options.threads, options.milliseconds) = (QUICK.0.to_vec(), QUICK.1);
        }
        Ok(Some(options))
    }

    fn chosen(&self, place: &str) -> Vec<&'static Workload> {
        let wanted = |workload: &&Workload| {
            let name = format!("{place}: {}", workload.name);
            self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
        };
        WORKLOADS.iter().filter(wanted).collect()
    }
}

fn run(options: Options) -> Result<(), Failure> {
    let (files, servers) = (options.chosen("files"), options.chosen("servers"));
    if options.list {
        for (place, chosen) in [("files", &files), ("servers", &servers)] {
            chosen.iter().for_each(|workload| println!("{place}: {}", workload.name));
        }
        return Ok(());
    }
    let mut programs = vec![("", std::env::current_exe()?)];
    if let Some(folder) = &options.before {
        programs.insert(0, ("before", before::build(folder)?));
        programs[1].0 = "after";
    }
    if !files.is_empty() {
        let made: Vec<Files> =
            programs.iter().map(|(_, program)| Files::make(program)).collect::<Result<_, _>>()?;
        measure(&options, &programs, &files, &made)?;
    }
    if !servers.is_empty() {
        let started = programs.iter().map(|(_, program)| Servers::start(program));
        match started.collect::<Result<Option<Vec<Servers>>, _>>()? {
            Some(started) => measure(&options, &programs, &servers, &started)?,
            None => eprintln!("SKIPPED: {} workloads on servers, PostgreSQL is not installed", servers.len()),
        }
    }
    Ok(())
}

/// Measures each program on its databases.
fn measure<P: Place>(
    options: &Options,
    programs: &[(&str, PathBuf)],
    chosen: &[&Workload],
    places: &[P],
) -> Result<(), Failure> {
    let mut curves: Vec<plot::Curve> = Vec::new();
    for workload in chosen {
        let first = curves.len();
        curves.extend(programs.iter().map(|(name, _)| plot::Curve {
            name: [workload.name, name].join(" ").trim_end().to_owned(),
            points: Vec::new(),
        }));
        println!("{}: {}", P::NAME, workload.name);
        println!(
            "{:>7} {:>7} {:>10} {:>9} {:>9} {:>9} {:>7}",
            "threads", "", "per s", "p50", "p99", "max", "failed"
        );
        for threads in &options.threads {
            for (at, ((name, program), place)) in programs.iter().zip(places).enumerate() {
                let (threads, time) = (threads.to_string(), options.milliseconds.to_string());
                let line = point::of(program, &["--point", workload.name, &threads, &time], place.urls())?;
                print!("{threads:>7} {name:>7} {line}");
                let per_second = line.split_whitespace().next().map_or(Ok(0.0), str::parse::<f64>)?;
                if per_second > 0.0 {
                    curves[first + at].points.push((threads.parse()?, per_second));
                }
            }
        }
    }
    if let Some(folder) = &options.svg {
        let title = format!("Throughput on {}", P::NAME);
        let picture = plot::svg(&title, "threads", "per second", &curves);
        std::fs::write(folder.join(format!("threads-{}.svg", P::NAME)), picture)?;
    }
    Ok(())
}

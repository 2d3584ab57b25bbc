//! `cargo bench -- --cold-build`: the compile time of a crate with ten models, in a debug build without optional features. It
//! is compiled once from nothing, and again after a line has changed. `against_peers -- --builds` has the crates of other
//! libraries.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::measure::Failure;

/// The number of times that the crate is compiled again. The first one is dropped.
const REBUILDS: usize = 6;

/// A crate of one file.
pub struct Crate {
    /// The lines of `[dependencies]`.
    pub dependencies: String,
    /// The lock file with the versions. It may have more packages.
    pub lock: PathBuf,
    /// `src/main.rs`. A number in it is the text `CHANGED`, which is another number for each build.
    pub program: String,
}

/// The cost of a crate.
pub struct Built {
    /// Of all processes, if the system counts it.
    pub cold_cpu_seconds: Option<f64>,
    pub cold_seconds: f64,
    /// How many packages were compiled, the crate itself included.
    pub packages: usize,
    /// Medians.
    pub rebuild_cpu_seconds: Option<f64>,
    pub rebuild_seconds: f64,
}

/// The framework's crate: five parents of eight columns and a child of each.
pub fn framework() -> Crate {
    let repository = repository();
    let mut program = "use shard_runtime::{Cluster, Parent, Sharded};\n".to_owned();
    for number in 1..=5 {
        let _ = write!(
            program,
            "#[derive(Sharded, Clone, Debug, PartialEq)]\n\
             pub struct Customer{number} {{ #[id] #[shard_key(hash)] id: i64, name: String, street: String, \
             city: String, note: Option<String>, cents: i64, rate: f64, active: bool }}\n\
             #[derive(Sharded, Clone, Debug, PartialEq)]\n\
             pub struct Order{number} {{ #[id(auto)] id: i64, #[shard_parent] customer: Parent<Customer{number}>, \
             article: String, comment: Option<String>, amount: i64, cents: i64, weight: f64, paid: bool }}\n"
        );
    }
    let models: Vec<String> =
        (1..=5).flat_map(|number| [format!("Customer{number}"), format!("Order{number}")]).collect();
    let _ = write!(
        program,
        "fn main() -> shard_runtime::Result<()> {{\n    \
         let cluster = Cluster::builder().shard(\"a\", \"sqlite::memory:\").create::<({})>()?;\n    \
         let mut session = cluster.session();\n    \
         println!(\"{{:?}}\", session.all(Customer1::select().filter(Customer1::ID.eq(CHANGED)))?);\n    \
         session.commit()?;\n    Ok(())\n}}\n",
        models.join(", ")
    );
    let runtime = repository.join("shard-runtime").display().to_string().replace('\\', "/");
    Crate {
        dependencies: format!("shard-runtime = {{ path = {runtime:?} }}\n"),
        lock: repository.join("Cargo.lock"),
        program,
    }
}

/// The folder with the workspace.
fn repository() -> &'static Path {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
    benches.parent().unwrap_or(benches)
}

impl Crate {
    /// Compiles it outside of the workspace, from packages that are on this machine.
    pub fn build(&self) -> Result<Built, Failure> {
        // Not under the target folder: that may be inside the workspace, which cargo would look for.
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("src/main.rs");
        let write = |number: usize| fs::write(&program, self.program.replace("CHANGED", &number.to_string()));
        fs::create_dir_all(folder.path().join("src"))?;
        write(0)?;
        fs::copy(&self.lock, folder.path().join("Cargo.lock"))?;
        fs::write(
            folder.path().join("Cargo.toml"),
            format!(
                "[package]\nname = \"ten-models\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
                 [dependencies]\n{}",
                self.dependencies
            ),
        )?;
        let (cold_cpu_seconds, cold_seconds, packages) = compile(folder.path())?;
        let mut rebuilds = Vec::new();
        for number in 1..=REBUILDS {
            write(number)?;
            let (cpu, seconds, _) = compile(folder.path())?;
            rebuilds.push((cpu, seconds));
        }
        rebuilds.remove(0);
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        Ok(Built {
            cold_cpu_seconds,
            cold_seconds,
            packages,
            rebuild_cpu_seconds: median(rebuilds.iter().filter_map(|rebuild| rebuild.0).collect()),
            rebuild_seconds: median(rebuilds.iter().map(|rebuild| rebuild.1).collect()).unwrap_or_default(),
        })
    }
}

/// Returns CPU seconds, seconds, and how many packages were compiled.
fn compile(folder: &Path) -> Result<(Option<f64>, f64, usize), Failure> {
    let (began, before) = (Instant::now(), children_seconds());
    let build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--offline"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("CARGO_INCREMENTAL", "1")
        .output()?;
    let said = String::from_utf8_lossy(&build.stderr);
    if !build.status.success() {
        return Err(format!("the crate does not compile:\n{said}").into());
    }
    let packages = said.lines().filter(|line| line.trim_start().starts_with("Compiling")).count();
    let cpu = before.zip(children_seconds()).map(|(before, after)| after - before);
    Ok((cpu, began.elapsed().as_secs_f64(), packages))
}

/// Compiles the framework's crate and prints what that took.
pub fn run() -> Result<(), Failure> {
    let built = framework().build()?;
    let cpu = |seconds: Option<f64>| match seconds {
        Some(seconds) => format!("{seconds:.1} CPU seconds"),
        None => "CPU seconds unknown here".to_owned(),
    };
    println!(
        "a cold debug build with ten models: {}, {:.1} s, {} packages (this one included)",
        cpu(built.cold_cpu_seconds),
        built.cold_seconds,
        built.packages
    );
    println!("target: 35 CPU seconds, 25 packages");
    println!("after a line has changed: {}, {:.2} s", cpu(built.rebuild_cpu_seconds), built.rebuild_seconds);
    Ok(())
}

/// Returns the CPU time of all ended child processes and their children, if the system has it in `/proc`. User and system time
/// are the 14th and 15th numbers after the program's name, in hundredths of a second.
fn children_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut children = after_name.split_whitespace().skip(13).take(2);
    let user: f64 = children.next()?.parse().ok()?;
    let system: f64 = children.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

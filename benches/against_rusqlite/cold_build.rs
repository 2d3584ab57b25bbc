//! `cargo bench -- --cold-build`: what it costs to compile the framework and ten models from nothing, in a debug
//! build without optional features, as a new user builds it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::measure::Failure;

/// The models: five parents of eight columns and a child of each.
fn program() -> String {
    let mut program = "use shard_runtime::{Cluster, Parent, Sharded};\n".to_owned();
    for number in 1..=5 {
        program.push_str(&format!(
            "#[derive(Sharded, Clone, Debug, PartialEq)]\n\
             pub struct Customer{number} {{ #[id] #[shard_key(hash)] id: i64, name: String, street: String, \
             city: String, note: Option<String>, cents: i64, rate: f64, active: bool }}\n\
             #[derive(Sharded, Clone, Debug, PartialEq)]\n\
             pub struct Order{number} {{ #[id(auto)] id: i64, #[shard_parent] customer: Parent<Customer{number}>, \
             article: String, comment: Option<String>, amount: i64, cents: i64, weight: f64, paid: bool }}\n"
        ));
    }
    let models: Vec<String> =
        (1..=5).flat_map(|number| [format!("Customer{number}"), format!("Order{number}")]).collect();
    program.push_str(&format!(
        "fn main() -> shard_runtime::Result<()> {{\n    \
         let cluster = Cluster::builder().shard(\"a\", \"sqlite::memory:\").create::<({})>()?;\n    \
         let mut session = cluster.session();\n    \
         println!(\"{{:?}}\", session.all(Customer1::select().filter(Customer1::ID.eq(1)))?);\n    \
         session.commit()\n}}\n",
        models.join(", ")
    ));
    program
}

/// Compiles a crate outside of the workspace and prints what that took.
pub fn run() -> Result<(), Failure> {
    let repository =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the benchmarks are not in the repository")?;
    // Not under the target folder: that may be inside the workspace, which cargo would look for.
    let folder = tempfile::tempdir()?;
    let runtime = repository.join("shard-runtime").display().to_string().replace('\\', "/");
    fs::create_dir_all(folder.path().join("src"))?;
    fs::write(folder.path().join("src/main.rs"), program())?;
    fs::copy(repository.join("Cargo.lock"), folder.path().join("Cargo.lock"))?;
    fs::write(
        folder.path().join("Cargo.toml"),
        format!(
            "[package]\nname = \"ten-models\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [dependencies]\nshard-runtime = {{ path = {runtime:?} }}\n"
        ),
    )?;
    let (began, before) = (Instant::now(), children_seconds());
    let build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--offline"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", folder.path().join("target"))
        .env("CARGO_INCREMENTAL", "1")
        .output()?;
    let said = String::from_utf8_lossy(&build.stderr);
    if !build.status.success() {
        return Err(format!("the crate does not compile:\n{said}").into());
    }
    let packages = said.lines().filter(|line| line.trim_start().starts_with("Compiling")).count();
    let wall = began.elapsed().as_secs_f64();
    let cpu = match (before, children_seconds()) {
        (Some(before), Some(after)) => format!("{:.1} CPU seconds", after - before),
        _ => "CPU seconds unknown here".to_owned(),
    };
    println!(
        "a cold debug build with ten models: {cpu}, {wall:.1} s, {packages} packages (this one included)"
    );
    println!("target: 35 CPU seconds, 25 packages");
    Ok(())
}

/// The CPU time of all child processes that have ended, and of theirs, where the system tells it in `/proc`: user
/// and system time are the 14th and 15th of the numbers after the program's name, in hundredths of a second.
fn children_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut children = after_name.split_whitespace().skip(13).take(2);
    let user: f64 = children.next()?.parse().ok()?;
    let system: f64 = children.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

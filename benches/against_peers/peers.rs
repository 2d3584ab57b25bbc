//! The libraries, and how their programs are compiled and run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Wanted;
use crate::shared::measure::Failure;

/// The first argument of the framework's own program, which is this one.
pub const MEASURE: &str = "--measure";

/// One library.
pub struct Program {
    /// Its name, which is also that of its package.
    pub name: &'static str,
    /// Its folder in `benches/peers`; the framework has none.
    pub folder: Option<&'static str>,
}

/// The framework, and the others by how near they are to hand-written code.
pub const LIBRARIES: &[Program] = &[
    Program { name: "sharded", folder: None },
    Program { name: "diesel", folder: Some("diesel") },
    Program { name: "sqlx", folder: Some("sqlx") },
    Program { name: "sea-orm", folder: Some("sea_orm") },
    Program { name: "toasty", folder: Some("toasty") },
];

impl Program {
    /// The folder with its manifest and its lock file.
    pub fn path(&self) -> PathBuf {
        let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
        match self.folder {
            Some(folder) => benches.join("peers").join(folder),
            None => benches.parent().unwrap_or(benches).to_owned(),
        }
    }

    /// The version that its lock file has.
    pub fn version(&self) -> Result<String, Failure> {
        if self.folder.is_none() {
            return Ok(env!("CARGO_PKG_VERSION").to_owned());
        }
        let lock = fs::read_to_string(self.path().join("Cargo.lock"))?;
        let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{}\"", self.name));
        let version = lines.nth(1).and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
        Ok(version.ok_or_else(|| format!("the lock file of {} does not have it", self.name))?.to_owned())
    }

    /// The program that measures it, compiled.
    fn command(&self) -> Result<Command, Failure> {
        let Some(folder) = self.folder else {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(MEASURE);
            return Ok(command);
        };
        let target = scratch().join("peers").join(folder);
        eprintln!("compiling the program of {}", self.name);
        let status = cargo()
            .args(["build", "--release", "--locked", "--quiet"])
            .current_dir(self.path())
            .env("CARGO_TARGET_DIR", &target)
            .status()?;
        if !status.success() {
            return Err(format!("the program of {} does not compile", self.name).into());
        }
        let name = format!("peer-{}{}", self.name, std::env::consts::EXE_SUFFIX);
        Ok(Command::new(target.join("release").join(name)))
    }
}

/// The cargo that runs this program.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A folder beside the compiled code.
pub fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn stored() -> PathBuf {
    scratch().join("against_peers.jsonl")
}

/// The lines of the last run.
pub fn stored_lines() -> Result<String, Failure> {
    let path = stored();
    fs::read_to_string(&path)
        .map_err(|error| format!("no lines of a last run: {}: {error}", path.display()).into())
}

/// Compiles all programs, runs them one after the other, and stores their lines of JSON. Returns the lines, and the libraries
/// whose program failed. The first line of a program is about the library and the machine's load.
pub fn measure(wanted: &Wanted) -> Result<(String, Vec<&'static str>), Failure> {
    let mut programs = Vec::new();
    for library in wanted.chosen() {
        programs.push((library, library.command()?));
    }
    let (mut lines, mut failed) = (String::new(), Vec::new());
    for (library, mut command) in programs {
        eprintln!("measuring {}", library.name);
        let before = load();
        if wanted.quick {
            command.arg("--quick");
        }
        let done = command.args(&wanted.operations).stderr(Stdio::inherit()).output()?;
        if !done.status.success() {
            failed.push(library.name);
        }
        let about = serde_json::json!({
            "library": library.name,
            "version": library.version()?,
            "load_before": before,
            "load_after": load(),
            "quick": wanted.quick,
        });
        // With the operations before the one that failed.
        lines.push_str(&format!("{about}\n{}", String::from_utf8(done.stdout)?));
        fs::write(stored(), &lines)?;
    }
    Ok((lines, failed))
}

/// The load averages, if the system has them in `/proc`.
fn load() -> Option<String> {
    let all = fs::read_to_string("/proc/loadavg").ok()?;
    Some(all.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

//! Programs of an earlier commit, which is taken from this repository's history.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs a command to its end, and returns what it prints.
fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed with {}:\n{stderr}", output.status);
    output.stdout
}

/// Builds a program with the library of a commit, below a folder, and returns its path. The first source is its `main.rs`; the
/// paths of the sources are those in the repository.
pub fn built(folder: &Path, commit: &str, sources: &[&str]) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder of the workspace");
    let (library, own) = (folder.join(commit), folder.join("program"));
    if !library.join("Cargo.lock").exists() {
        let archive = output(Command::new("git").current_dir(repository).args(["archive", commit]));
        fs::create_dir_all(&library).unwrap();
        let mut tar =
            Command::new("tar").current_dir(&library).arg("-x").stdin(Stdio::piped()).spawn().unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(tar.wait().unwrap().success(), "the commit cannot be unpacked");
    }
    fs::create_dir_all(own.join("src")).unwrap();
    for (at, source) in sources.iter().map(Path::new).enumerate() {
        let name = if at == 0 { "main.rs".as_ref() } else { source.file_name().unwrap() };
        fs::copy(repository.join(source), own.join("src").join(name)).unwrap();
    }
    let manifest = format!(
        "[package]\nname = \"old_program\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         shard-runtime = {{ path = '{}', features = [\"postgres\"] }}\n",
        library.join("shard-runtime").display()
    );
    fs::write(own.join("Cargo.toml"), manifest).unwrap();
    fs::copy(library.join("Cargo.lock"), own.join("Cargo.lock")).unwrap();
    let target = folder.join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    output(Command::new(cargo).current_dir(&own).args(["build", "--quiet", "--target-dir"]).arg(&target));
    target.join("debug").join("old_program")
}

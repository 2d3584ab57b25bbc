//! Crates outside of the workspace that depend on the runtime by its path alone compile and run.
//!
//! They are copied out of the repository, so that the workspace does not influence them. They are built with the workspace's
//! lock file, so that no further package is fetched.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder in which the crates are copied and built. It is under the target folder, so that a second run finds them built.
fn workshop() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside")
}

/// Copies the crates and the lock file, with the runtime's path filled in. Files that have not changed stay, and are not built
/// again.
fn copy() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let runtime = repository.join("shard-runtime").display().to_string().replace('\\', "/");
    copy_folder(&repository.join("tests/outside"), &workshop(), &runtime);
    let lock = fs::read_to_string(repository.join("Cargo.lock")).expect("the workspace's lock file");
    let kept = workshop().join("workspace.lock");
    if fs::read_to_string(&kept).ok().as_ref() != Some(&lock) {
        write(&workshop().join("Cargo.lock"), &lock);
        write(&kept, &lock);
    }
}

fn copy_folder(from: &Path, to: &Path, runtime: &str) {
    for entry in fs::read_dir(from).expect("a folder") {
        let (from, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
        if from.is_dir() {
            copy_folder(&from, &to, runtime);
        } else if from.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
            let text = fs::read_to_string(&from).expect("a file of text");
            write(&to, &text.replace("../../../shard-runtime", runtime));
        }
    }
}

fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Runs cargo with one of the crates.
fn cargo(command: &str, package: &str, arguments: &[&Path]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    Command::new(cargo)
        .current_dir(workshop())
        .args([command, "--quiet", "--offline", "--package", package, "--target-dir"])
        .arg(workshop().join("target"))
        .args((command == "run").then_some("--"))
        .args(arguments)
        .output()
        .expect("cargo runs")
}

/// Builds and runs one of the crates, and returns what it prints.
fn run(package: &str, arguments: &[&Path]) -> String {
    let output = cargo("run", package, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{package} failed with {}:\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Checks one of the crates, which does not compile, and returns its errors: the first line of each, and its notes.
fn errors(package: &str) -> Vec<Vec<String>> {
    let output = cargo("check", package, &[]);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!output.status.success(), "{package} compiles");
    let mut errors: Vec<Vec<String>> = Vec::new();
    for line in stderr.lines() {
        if line.starts_with("error: could not compile") {
            break;
        } else if line.starts_with("error") {
            errors.push(vec![line.to_owned()]);
        } else if let (Some((_, note)), Some(error)) = (line.split_once("= note: "), errors.last_mut()) {
            error.push(note.to_owned());
        }
    }
    errors
}

#[test]
fn the_error_of_a_crate_without_a_feature_names_the_feature() {
    copy();
    let errors = errors("featureless");
    let expected = [
        (
            "error[E0277]: `uuid::Uuid` is not a value that a column stores",
            "`uuid::Uuid` needs the feature `uuid`",
        ),
        ("error[E0277]: `uuid::Uuid` cannot be a shard key", "`uuid::Uuid` needs the feature `uuid`"),
        (
            "error[E0277]: `jiff::Timestamp` cannot be stored in a column",
            "`jiff::Timestamp` needs the feature `jiff`",
        ),
        (
            "error[E0277]: `Option<serde_json::Value>` cannot be stored in a column",
            "`serde_json::Value` needs the feature `json`",
        ),
    ];
    let found: Vec<&str> = errors.iter().map(|error| error[0].as_str()).collect();
    assert_eq!(found, expected.map(|(error, _)| error));
    for (error, (_, note)) in errors.iter().zip(expected) {
        let note = format!("{note} of `shard-runtime`");
        assert!(error.contains(&note), "{error:?} has no note: {note}");
    }
}

#[test]
fn the_error_of_a_crate_that_renames_the_runtime_names_the_remedy() {
    copy();
    let expected = "error: this crate's name for `shard-runtime` is `sharding`: write `#[sharded(crate = sharding)]` on each \
                    type with a derive";
    let errors = errors("unnamed");
    assert_eq!(errors, vec![vec![expected.to_owned()]; 5]);
}

#[test]
fn a_crate_outside_uses_everything() {
    copy();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = run("newcomer", &[folder.path()]);
    let wanted = [
        "branches: Oslo on north, Rome on south, Milan on south, Tokyo on east",
        "asks south: country = Italy",
        "in Italy: Milan, Rome",
        "asks north, east",
        "in Japan and Norway: 2",
        "Rome sold Inferno for Some(20.0), sale 1 of south",
        "Rome sold Paradiso for Some(18.0), sale 2 of south",
        "sale 1 in Italy: Inferno",
        "second and third: Paradiso, Peer Gynt",
        "Milan: 0 sales",
        "Oslo: 1 sales",
        "Rome: 2 sales",
        "Tokyo: 1 sales",
        "the mean price is Some(15.0)",
        "Einaudi has 2, on its shard: true",
        "old or audio: Inferno, Peer Gynt",
        "ends with o, not of 1900 to 1950: Inferno",
        "Some(Isbn(\"88-06-34567\")), Audio",
        "moved house: Bergen",
        "moved country: true",
        "after the rollback: Oslo",
        "raised 1",
        "removed 2",
        "left: 1",
        "done",
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), wanted);

    let printed = run("renamed", &[]);
    let wanted = [
        "a harvest of 3 on b",
        "harvest 1: 3",
        "Some(Tons(2.5)) of Rice",
        "a tool of Ngozi on b",
        "one stall: 1",
        "asks [\"a\"]",
        "asks [\"b\"]",
        "a market: true",
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), wanted);
}

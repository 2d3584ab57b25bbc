//! Runs the example programs, which Cargo builds before the tests of this package.

use std::path::Path;
use std::process::Command;

/// Runs an example in this folder. Returns what it prints.
fn run(example: &str, folder: &Path) -> String {
    let test = std::env::current_exe().expect("the path of this program");
    let built = test.ancestors().nth(2).expect("the folder of the profile").join("examples").join(example);
    let output = Command::new(&built).current_dir(folder).output();
    let output =
        output.unwrap_or_else(|error| panic!("{}: {error}; run the tests of the package", built.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_quick_start_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = run("quickstart", folder.path());
    let orders = "Order { id: 2, tenant: 2, cents: 200 }";
    assert!(printed.contains(orders) && printed.ends_with("Some(600)\n"), "{printed}");
    assert!(["a.db", "b.db", "control.db"].iter().all(|name| folder.path().join(name).exists()));
}

#[test]
fn the_tour_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = run("tour", folder.path());
    assert!(printed.starts_with("asia, europe: continent IN (Asia, Europe)\n"), "{printed}");
    assert!(printed.contains("Some(82.5)"), "{printed}");
    assert!(folder.path().join("control.db").exists() && folder.path().join("asia.db").exists());
}

#[test]
fn the_continents_are_on_separate_databases() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = run("separate_databases", folder.path());
    assert!(printed.starts_with("Four shards, a file each: ") && printed.contains("Tokyo"), "{printed}");
}

#[test]
fn the_continents_are_in_separate_tables() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = run("separate_tables", folder.path());
    assert!(printed.starts_with("Four shards in one file: ") && printed.contains("Tokyo"), "{printed}");
    assert!(printed.contains("\nthe file holds "), "{printed}");
}

#[test]
fn the_continents_are_read_by_an_async_session() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = run("async_session", folder.path());
    assert!(printed.starts_with("Four shards, a file each: ") && printed.contains("Tokyo"), "{printed}");
}

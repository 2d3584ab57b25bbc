//! The packages: each test in this folder runs, and the example app needs few packages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Folders without a `main.rs` hold modules of several tests, files of data, or packages of their own.
#[test]
fn every_test_file_is_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the tests' folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists() {
            found.insert(name);
        }
    }
    let text = fs::read_to_string(folder.join("Cargo.toml")).expect("the package's manifest");
    let manifest: toml::Table = text.parse().expect("TOML");
    let targets = manifest["test"].as_array().expect("a list of tests").iter();
    let named: BTreeSet<String> =
        targets.map(|test| test["name"].as_str().expect("a name").to_owned()).collect();
    assert_eq!(found, named, "tests/Cargo.toml names each test");
}

#[test]
fn the_example_app_compiles_at_most_70_packages() {
    let output = Command::new(env!("CARGO"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace"))
        .args(["tree", "--package", "weather", "--edges", "normal,build", "--prefix", "none", "--offline"])
        .args(["--format", "{p}", "--no-dedupe"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let packages = String::from_utf8(output.stdout).expect("UTF-8");
    let packages: BTreeSet<&str> = packages.lines().filter(|line| !line.is_empty()).collect();
    assert!(packages.len() <= 70, "{}: {packages:#?}", packages.len());
}

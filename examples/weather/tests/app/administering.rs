//! `weather admin`, run as a program: its exit codes.

use std::fs;

use crate::program::{text, weather};
use crate::small_source::small_source;

#[test]
fn the_exit_code_is_0_1_or_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = small_source();
    let import = weather(folder.path(), &["import", "--data", "rows", "--source", text(source.path())]);
    assert!(import.status.success(), "{import:?}");
    let admin = |words: &[&str]| weather(folder.path(), &[&["--data", "rows", "admin"], words].concat());

    let status = admin(&["status", "--json"]);
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    assert!(status.stdout.starts_with(b"{\"changes\":[]") && status.stderr.is_empty(), "{status:?}");
    let help = admin(&["--help"]);
    assert!(help.status.success() && help.stdout.starts_with(b"Usage: weather admin COMMAND"), "{help:?}");
    assert_eq!(admin(&["locate", "cities", "Asia"]).stdout, b"asia\n");
    assert_eq!(admin(&["doctor"]).status.code(), Some(0));
    assert_eq!(admin(&["locate", "cities", "Atlantis"]).status.code(), Some(2));
    assert_eq!(admin(&["frobnicate"]).status.code(), Some(2));

    fs::remove_file(folder.path().join("rows/asia.db")).expect("a shard is removed");
    for command in ["status", "health", "verify", "doctor"] {
        let output = admin(&[command]);
        assert_eq!(output.status.code(), Some(1), "{command}: {output:?}");
    }
}

/// A database that another program has made becomes the location of the app.
#[test]
fn an_existing_database_is_adopted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = rusqlite::Connection::open(folder.path().join("app.db")).expect("a file");
    let tables = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/adoption/data/django.sqlite.sql");
    let tables = fs::read_to_string(tables).expect("tables that Django has made");
    file.execute_batch(&format!("PRAGMA foreign_keys = OFF; {tables}")).expect("they are made");
    fs::write(folder.path().join("one.toml"), "[[shard]]\nname = \"main\"\nurl = \"sqlite:app.db\"\n")
        .expect("a cluster file");
    let app = |words: &[&str]| weather(folder.path(), &[&["--shards", "one.toml"], words].concat());

    // Django's times are texts, and the app's are microseconds.
    let plan = app(&["admin", "adopt", "--plan"]);
    assert_eq!(plan.status.code(), Some(1), "{plan:?}");
    let script = String::from_utf8(plan.stdout).expect("UTF-8");
    assert!(script.contains("column `observed_at`: 13 of 13 rows cannot be read"), "{script}");
    assert_eq!(app(&["admin", "adopt"]).status.code(), Some(1));
    file.execute_batch(&script).expect("the plan is a script");
    let adopted = app(&["admin", "adopt"]);
    assert_eq!(adopted.status.code(), Some(0), "{adopted:?}");

    assert_eq!(app(&["admin", "locate", "cities", "Asia"]).stdout, b"main\n");
    assert_eq!(app(&["admin", "verify"]).status.code(), Some(0));
    let report = app(&["report"]);
    assert!(report.status.success(), "{report:?}");
    assert!(String::from_utf8_lossy(&report.stdout).contains("Tokyo"), "{report:?}");
}

/// All cities and observations are copied to another location, with their ids.
#[test]
fn a_place_is_copied_to_that_of_a_cluster_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = small_source();
    let import = weather(folder.path(), &["import", "--data", "rows", "--source", text(source.path())]);
    assert!(import.status.success(), "{import:?}");
    fs::create_dir(folder.path().join("test")).expect("a folder");
    let cluster_file = concat!(env!("CARGO_MANIFEST_DIR"), "/shards.toml");
    fs::copy(cluster_file, folder.path().join("test/shards.toml")).expect("a cluster file");

    let copy = weather(folder.path(), &["--data", "rows", "admin", "copy", "test/shards.toml", "--json"]);
    assert_eq!(copy.status.code(), Some(0), "{copy:?}");
    assert!(copy.stdout.starts_with(b"{\"repaired\":0,\"rows\":"), "{copy:?}");
    let report = |location: [&str; 2]| weather(folder.path(), &["report", location[0], location[1]]).stdout;
    assert_eq!(report(["--shards", "test/shards.toml"]), report(["--data", "rows"]));
    // A second time it would mix rows.
    let again = weather(folder.path(), &["--data", "rows", "admin", "copy", "test/shards.toml"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("has rows already"), "{again:?}");
}

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

//! The README's code is the quick start's, to the letter, and it runs.

use std::process::Command;

#[test]
fn the_readme_shows_the_quick_start() {
    let readme = include_str!("../README.md");
    let source = include_str!("../examples/quickstart.rs");
    let shown = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    let code = source.split_once("\n\n").map(|(_, code)| code);
    assert_eq!(shown, code, "copy examples/quickstart.rs, without its first line, into README.md");
}

#[test]
fn the_quick_start_runs() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", "quickstart", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.starts_with("asia, europe: continent IN (Asia, Europe)\n"), "{said}");
    assert!(said.contains("Some(82.5)"), "{said}");
    assert!(folder.path().join("control.db").exists() && folder.path().join("asia.db").exists());
}

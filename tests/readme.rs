//! The README shows programs that run and errors that the compiler prints.

use std::path::Path;
use std::process::{Command, Output};

const README: &str = include_str!("../README.md");

/// The blocks of the README in this language.
fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{language}\n");
    let starts: Vec<usize> = README.match_indices(&fence).map(|(at, _)| at + fence.len()).collect();
    starts.into_iter().map(|start| README[start..].split("```").next().expect("the end of a block"))
}

fn run(example: &str, folder: &Path) -> Output {
    Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", example, "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .current_dir(folder)
        .output()
        .expect("cargo runs")
}

fn stdout(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_readme_shows_the_quick_start() {
    let source = include_str!("../examples/quickstart.rs");
    let code = source.split_once("\n\n").map(|(_, code)| code);
    assert_eq!(
        blocks("rust").next(),
        code,
        "copy examples/quickstart.rs, without its first line, into README.md"
    );
}

#[test]
fn the_readme_shows_errors_as_printed() {
    let printed = [
        include_str!("ui/query/unrouted_select.stderr"),
        include_str!("ui/session/add_without_parent.stderr"),
        include_str!("ui/key_enum/unmapped_variant.stderr"),
    ];
    let shown: Vec<&str> = blocks("text").map(str::trim_end).collect();
    assert_eq!(shown.len(), printed.len());
    for (shown, printed) in shown.iter().zip(printed) {
        assert!(printed.starts_with(shown), "shown:\n{shown}\nprinted:\n{printed}");
    }
}

#[test]
fn the_quick_start_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = stdout(&run("quickstart", folder.path()));
    let orders = "Order { id: 2, tenant: 2, cents: 200 }";
    assert!(printed.contains(orders) && printed.ends_with("Some(600)\n"), "{printed}");
    assert!(["a.db", "b.db", "control.db"].iter().all(|name| folder.path().join(name).exists()));
}

#[test]
fn the_tour_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = stdout(&run("tour", folder.path()));
    assert!(printed.starts_with("asia, europe: continent IN (Asia, Europe)\n"), "{printed}");
    assert!(printed.contains("Some(82.5)"), "{printed}");
    assert!(folder.path().join("control.db").exists() && folder.path().join("asia.db").exists());
}

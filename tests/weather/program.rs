//! The example's program, and what it says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use assert_cmd::assert::OutputAssertExt;

/// The data that comes with the example.
pub const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/weather/data");

/// The program, built as this test is.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let this = std::env::current_exe().expect("the path of this test");
        let profile = this.ancestors().nth(2).expect("target/<profile>/deps/<test>");
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--example", "weather"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the example does not build");
        profile.join("examples").join(format!("weather{}", std::env::consts::EXE_SUFFIX))
    })
}

/// Runs the program in a folder.
pub fn weather(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(program()).current_dir(folder).args(arguments).output().expect("the program runs")
}

/// The same with a variable in its environment, and nothing of this test's own under that name.
pub fn weather_with(name: &str, value: Option<&str>, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.current_dir(folder).args(arguments).env_remove(name);
    if let Some(value) = value {
        command.env(name, value);
    }
    command.output().expect("the program runs")
}

/// What it says where all is well: on stdout, and nothing on stderr.
pub fn stdout(output: &Output) -> String {
    output.clone().assert().success().stderr("");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// What it says when it refuses: one line on stderr, and exit code 1.
pub fn refusal(output: &Output) -> String {
    output.clone().assert().code(1);
    let said = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(said.matches('\n').count(), 1, "one line: {said}");
    said.strip_prefix("weather: ").expect("who says it").trim_end().to_owned()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

//! The example's program, and its output.

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::assert::OutputAssertExt;

/// The data that comes with the example.
pub const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data");

/// The program.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_weather"))
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

/// The output of a success: on stdout, and nothing on stderr.
pub fn stdout(output: &Output) -> String {
    output.clone().assert().success().stderr("");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// The output of a refusal: one line on stderr, and exit code 1.
pub fn refusal(output: &Output) -> String {
    output.clone().assert().code(1);
    let output = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.matches('\n').count(), 1, "one line: {output}");
    output.strip_prefix("weather: ").expect("who says it").trim_end().to_owned()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

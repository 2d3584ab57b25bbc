//! The example's program, and what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use assert_cmd::assert::OutputAssertExt;

/// The data that comes with the example.
pub const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/weather/data");

/// The program. `cargo test` builds it; where only this test is run, it is built here.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let this = std::env::current_exe().expect("the path of this test");
        let profile = this.ancestors().nth(2).expect("target/<profile>/deps/<test>");
        let program = profile.join("examples").join(format!("weather{}", std::env::consts::EXE_SUFFIX));
        if !is_newer_than_its_source(&program) {
            let mut build = Command::new(env!("CARGO"));
            build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--example", "weather"]);
            if profile.ends_with("release") {
                build.arg("--release");
            }
            assert!(build.status().expect("cargo runs").success(), "the example does not build");
        }
        assert!(program.exists(), "run `cargo build --example weather` first: no {}", program.display());
        program
    })
}

fn is_newer_than_its_source(program: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let Ok(built) = modified(program) else { return false };
    let source = Path::new(DATA).parent().expect("examples/weather");
    let files = fs::read_dir(source).expect("examples/weather").map(|entry| entry.expect("an entry").path());
    let mut code = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    code.all(|path| modified(&path).is_ok_and(|changed| changed <= built))
}

/// Runs the program in a folder.
pub fn weather(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(program()).current_dir(folder).args(arguments).output().expect("the program runs")
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

//! Builds this benchmark in a checkout of another commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// The benchmark's declaration, in the package of the benchmarks and, in older checkouts, in the only package.
const DECLARED: [(&str, &str); 2] =
    [("benches/Cargo.toml", "threads/main.rs"), ("Cargo.toml", "benches/threads/main.rs")];

/// Copies the benchmark into the checkout, declares it there if necessary, and builds it. Returns the program. A file is the
/// program itself.
pub fn build(checkout: &Path) -> Result<PathBuf, Failure> {
    if checkout.is_file() {
        return Ok(checkout.to_owned());
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["benches/threads", "tests/support"] {
        let to = checkout.join(folder);
        fs::create_dir_all(&to)?;
        for file in fs::read_dir(own.join(folder))? {
            let file = file?;
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    fs::copy(own.join("benches/plot.rs"), checkout.join("benches/plot.rs"))?;
    let declared = DECLARED.iter().find(|(manifest, _)| checkout.join(manifest).is_file());
    let (manifest, path) = declared.ok_or("the checkout has no Cargo.toml")?;
    let manifest = checkout.join(manifest);
    let mut text = fs::read_to_string(&manifest)?;
    if !text.contains(path) {
        text.push_str(&format!("\n[[bench]]\nname = \"threads\"\npath = \"{path}\"\nharness = false\n"));
        fs::write(&manifest, text)?;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(checkout)
        .args(["bench", "--bench", "threads", "--no-run", "--message-format=json"])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !built.status.success() {
        return Err(format!("the benchmark does not build in {}", checkout.display()).into());
    }
    for line in String::from_utf8(built.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        if let (Some("threads"), Some(program)) =
            (message["target"]["name"].as_str(), message["executable"].as_str())
        {
            return Ok(program.into());
        }
    }
    Err("cargo named no program".into())
}

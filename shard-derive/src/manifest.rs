//! The name of the runtime in the manifest of the crate that is compiled.

use std::path::Path;
use std::sync::OnceLock;
use std::{env, fs};

const RUNTIME: &str = "shard-runtime";

/// Returns the dependency's name, if the manifest renames the runtime: `sharding = { package = "shard-runtime", .. }`.
/// Without a readable manifest, the runtime is assumed to have its own name.
pub(crate) fn renamed_runtime() -> Option<&'static str> {
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        let folder = env::var_os("CARGO_MANIFEST_DIR")?;
        renamed_in(&fs::read_to_string(Path::new(&folder).join("Cargo.toml")).ok()?)
    };
    NAME.get_or_init(read).as_deref()
}

/// Returns the name in the text of a manifest. A manifest that also has the runtime under its own name renames nothing.
fn renamed_in(manifest: &str) -> Option<String> {
    let mut table = "";
    let mut renamed = None;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = header.trim();
            if dependency_of(table).is_some_and(|name| name == RUNTIME) {
                return None;
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, is_package) = (key.trim().trim_matches('"'), names_the_runtime(value));
        match dependency_of(table) {
            Some(name) if key == "package" && is_package => renamed = Some(name.to_owned()),
            None if table.ends_with("dependencies") && key.split('.').next() == Some(RUNTIME) => return None,
            None if table.ends_with("dependencies") && is_package => renamed = Some(key.to_owned()),
            _ => {}
        }
    }
    renamed.map(|name| name.replace('-', "_"))
}

/// Returns the `name` in `[dependencies.name]`.
fn dependency_of(table: &str) -> Option<&str> {
    let (kind, name) = table.rsplit_once('.')?;
    kind.ends_with("dependencies").then(|| name.trim_matches('"'))
}

/// Returns whether this is `"shard-runtime"`, or a table with `package = "shard-runtime"`.
fn names_the_runtime(value: &str) -> bool {
    let quoted = format!("\"{RUNTIME}\"");
    let value = value.trim();
    value == quoted
        || value.split(['{', ',']).filter_map(|setting| setting.split_once('=')).any(|(key, value)| {
            key.trim() == "package" && value.trim().trim_end_matches('}').trim() == quoted
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_renamed_runtime_is_found() {
        let manifests = [
            "[dependencies]\nsharding = { package = \"shard-runtime\", path = \"..\" }",
            "[package]\nname = \"a\"\n\n[dependencies]\nserde = \"1\"\nsharding = {version=\"1\",package=\"shard-runtime\"}",
            "[dependencies.sharding]\nversion = \"0.1\"\npackage = \"shard-runtime\"\n[features]\na = []",
            "[target.'cfg(unix)'.dependencies]\nsharding = { package = \"shard-runtime\" }",
        ];
        for manifest in manifests {
            assert_eq!(renamed_in(manifest).as_deref(), Some("sharding"), "{manifest}");
        }
        let hyphen = "[dev-dependencies]\nmy-shards = { package = \"shard-runtime\" }";
        assert_eq!(renamed_in(hyphen).as_deref(), Some("my_shards"));
    }

    #[test]
    fn a_runtime_of_its_own_name_is_not_renamed() {
        let manifests = [
            "",
            "[dependencies]\nshard-runtime = \"0.1\"",
            "[dependencies]\nshard-runtime = { workspace = true }\nother = { package = \"shard-runtime\" }",
            "[dependencies.shard-runtime]\npath = \"..\"\n[dev-dependencies]\nold = { package = \"shard-runtime\" }",
            "[dependencies]\nshard-runtime.workspace = true\nold = { package = \"shard-runtime\", version = \"0.1\" }",
            "[package]\nname = \"shard-runtime\"",
            "[features]\nx = [\"shard-runtime\"]",
            "[dependencies]\nother = { package = \"shard-runtime-tools\" }",
        ];
        for manifest in manifests {
            assert_eq!(renamed_in(manifest), None, "{manifest}");
        }
    }
}

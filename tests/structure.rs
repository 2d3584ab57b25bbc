//! The layers of the runtime (ARCHITECTURE.md): a folder of `shard-runtime/src` uses only the folders below it, and the files of
//! `driver/postgres`, from `mod.rs` to the leaves, use each other without a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom to the top.
const LAYERS: [&str; 21] = [
    "sealed",
    "sparse",
    "value",
    "error",
    "collation",
    "schema",
    "row",
    "accumulator",
    "query",
    "planner",
    "driver",
    "tasks",
    "transaction",
    "executor",
    "unit_of_work",
    "session",
    "cluster",
    "asynchronous",
    "sqlite",
    "admin",
    // For tests of applications.
    "testing",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests is a folder of the workspace")
        .join("shard-runtime/src")
}

/// All files below a folder, with their code: without comments, and without tests.
fn code(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(code(&path));
        } else if !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
            found.push((path, lines.collect::<Vec<_>>().join("\n")));
        }
    }
    found.sort();
    found
}

/// The first names of all paths that begin with `root`: of `root::a::b` and of `root::{a::b, c}`.
fn used(code: &str, root: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    for rest in code.split(root).skip(1) {
        match rest.strip_prefix('{') {
            None => _ = names.insert(rest.chars().take_while(|&c| is_name(c)).collect()),
            Some(list) => {
                let (mut depth, mut item) = (0, String::new());
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => _ = names.insert(std::mem::take(&mut item)),
                        _ => {}
                    }
                    if depth == 0 && c != ',' {
                        item.push(c);
                    }
                }
                names.insert(item);
            }
        }
    }
    let first = |name: String| name.trim().chars().take_while(|&c| is_name(c)).collect::<String>();
    names.into_iter().map(first).filter(|name| !name.is_empty()).collect()
}

/// The file or folder of the source that a path belongs to.
fn top(source: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(source).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn no_layer_uses_a_layer_above_it() {
    let source = source();
    let rank = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, code) in code(&source) {
        let own = top(&source, &path);
        seen.insert(own.clone());
        // The root and the prelude re-export the layers; `private.rs` is for generated code.
        if ["lib", "prelude", "private"].contains(&own.as_str()) {
            continue;
        }
        let Some(level) = rank(&own) else {
            wrong.push(format!("{own}: not in the list of layers"));
            continue;
        };
        for name in used(&code, "crate::") {
            match rank(&name) {
                Some(other) if other <= level => {}
                Some(_) => wrong.push(format!("{}: uses `{name}`, which is above it", path.display())),
                // Names that the root re-exports hide the layer.
                None if own == "testing" => {}
                None => wrong.push(format!("{}: `crate::{name}` names no layer", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unused: Vec<_> = LAYERS.iter().filter(|layer| !seen.contains(**layer)).collect();
    assert!(unused.is_empty(), "layers without a file: {unused:?}");
}

#[test]
fn only_the_planner_and_the_driver_match_on_the_dialect() {
    let source = source();
    let is_lower = |path: &Path| ["planner", "driver"].contains(&top(&source, path).as_str());
    // Unit tests implement drivers of each kind.
    let is_test =
        |path: &Path| path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
    let files = code(&source)
        .into_iter()
        .filter(|(path, _)| !is_lower(path) && !is_test(path.strip_prefix(&source).unwrap()));
    let wrong: Vec<String> = files
        .flat_map(|(path, code)| {
            let named = |line: &str| line.contains("Dialect::Sqlite") || line.contains("Dialect::Postgres");
            let lines: Vec<String> = code.lines().filter(|line| named(line)).map(str::to_owned).collect();
            lines.into_iter().map(move |line| format!("{}: {}", path.display(), line.trim()))
        })
        .collect();
    let remedy = "add a method to `planner::sql::Dialect` or to `driver::Connection`";
    assert!(wrong.is_empty(), "{remedy}:\n{}", wrong.join("\n"));
}

/// The modules that a file of the PostgreSQL driver uses. `own` is the file's module: `mod`, `hosts`, `server_session/failure`. A
/// name that is no module is an item of the module before it.
fn modules_used(own: &str, code: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let inside = |module: &str, name: &str| match module {
        "mod" => name.to_owned(),
        module => format!("{module}/{name}"),
    };
    let outside = |module: &str| match module.rsplit_once('/') {
        Some((parent, _)) => Some(parent.to_owned()),
        None => (module != "mod").then(|| "mod".to_owned()),
    };
    // A visibility is no use.
    let code: String = code.split("pub(in ").map(|part| part.trim_start_matches("super::super)")).collect();
    let code = code.replace("super::super::", "grandparent::");
    let parent = outside(own);
    let grandparent = parent.as_deref().and_then(outside);
    let roots = [
        ("crate::driver::postgres::", Some("mod".to_owned())),
        ("super::", parent),
        ("grandparent::", grandparent),
    ];
    let mut found = BTreeSet::new();
    for (root, module) in roots {
        let Some(module) = module else { continue };
        for name in used(&code, root) {
            let inner = inside(&module, &name);
            found.insert(if modules.contains(&inner) { inner } else { module.clone() });
        }
    }
    let is_child = |name: &&String| outside(name).as_deref() == Some(own);
    for child in modules.iter().filter(is_child) {
        let name = child.rsplit('/').next().unwrap_or(child);
        let begins =
            |end: usize| !code[..end].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        if code.match_indices(&format!("{name}::")).any(|(end, _)| begins(end)) {
            found.insert(child.clone());
        }
    }
    found.remove(own);
    found
}

#[test]
fn the_postgres_driver_has_no_circle() {
    let folder = source().join("driver/postgres");
    let files = code(&folder);
    let name = |path: &Path| {
        let inside = path.strip_prefix(&folder).unwrap().with_extension("");
        inside.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
    };
    let names: BTreeSet<String> = files.iter().map(|(path, _)| name(path)).collect();
    assert!(names.contains("mod") && names.contains("server_session/failure"), "{names:?}");
    let uses = files.iter().map(|(path, code)| (name(path), modules_used(&name(path), code, &names)));
    let mut uses: BTreeMap<String, BTreeSet<String>> = uses.collect();
    // Removes files that use nothing that is left; what stays has a circle.
    while let Some(free) = uses.iter().find(|(_, used)| used.is_empty()).map(|(name, _)| name.clone()) {
        uses.remove(&free);
        uses.values_mut().for_each(|used| _ = used.remove(&free));
    }
    assert!(uses.is_empty(), "files that use each other in a circle: {uses:?}");
}

#[test]
fn used_modules_are_found() {
    let modules = ["mod", "hosts", "session", "session/failure"].map(str::to_owned).into();
    let used = |own, code| modules_used(own, code, &modules).into_iter().collect::<Vec<_>>();
    assert_eq!(used("hosts", "use super::CONNECTING;"), ["mod"]);
    assert_eq!(used("mod", "use super::Driver;\nhosts::targets();"), ["hosts"]);
    assert_eq!(
        used("session", "use failure::{A, b};\nuse super::hosts::Hosts;"),
        ["hosts", "session/failure"]
    );
    assert_eq!(
        used("session/failure", "use super::{GUARD, Session};\npub(in super::super) fn f() {}"),
        ["session"]
    );
    assert_eq!(used("session/failure", "use super::super::hosts::H;"), ["hosts"]);
    assert_eq!(used("session/failure", "use crate::driver::postgres::{hosts::H, X};"), ["hosts", "mod"]);
}

#[test]
fn used_names_are_found() {
    let code = "use a::b::{c, d::{e, f}, g};\nlet x = a::h::i;";
    let names: Vec<String> = used(code, "a::").into_iter().collect();
    assert_eq!(names, ["b", "h"]);
    assert_eq!(used("use a::{b::c, d::{e, f}, g};", "a::").into_iter().collect::<Vec<_>>(), ["b", "d", "g"]);
}

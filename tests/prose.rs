//! The language of comments, rustdoc, messages and pages (CONTRIBUTING.md, "How we write"): a sentence names its actor.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that stand for an actor without naming it.
const WORDS: [&str; 5] = ["nobody", "somebody", "anybody", "everybody", "whoever"];

/// A rustdoc line does not begin with these: a condition is "if" or "when", and an actor has a name.
const BEGINNINGS: [&str; 3] = ["What ", "Who ", "Where "];

/// The ends of sentences and clauses.
const ENDS: [&str; 3] = [". ", ": ", "; "];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of the workspace")
}

/// All Rust files and pages below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else if name.ends_with(".rs") || name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// The words of a line that begin or end at no letter, digit or underscore, in lower case.
fn words(line: &str) -> impl Iterator<Item = String> + '_ {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').map(str::to_lowercase)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Page,
    /// All lines are checked: code has the messages for users.
    Library,
    /// Only comments are checked: names and texts are the data of tests.
    Test,
}

fn kind(name: &str) -> Kind {
    match name {
        _ if name.ends_with(".md") => Kind::Page,
        _ if name.contains("/src/") && name.starts_with("shard-") => Kind::Library,
        _ => Kind::Test,
    }
}

/// The comment of a line of Rust. The slashes of a URL begin none.
fn comment(line: &str) -> &str {
    let begins = line.match_indices("//").find(|(position, _)| !line[..*position].ends_with(':'));
    begins.map_or("", |(position, _)| &line[position..])
}

/// The parts of the name of a function that a line declares.
fn declared(line: &str) -> impl Iterator<Item = &str> {
    let name = line.trim_start().strip_prefix("fn ").or_else(|| line.trim_start().strip_prefix("pub fn "));
    name.unwrap_or_default().split('(').next().unwrap_or_default().split('_')
}

/// The faults of a text, each with the number of its line.
fn faults(text: &str, kind: Kind) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let checked = if kind == Kind::Test { comment(line) } else { line };
        let word = words(checked).find(|word| WORDS.contains(&word.as_str()));
        found.extend(word.map(|word| (number, format!("`{word}`"))));
        if kind != Kind::Page {
            let part = declared(line).find(|part| WORDS.contains(part));
            found.extend(part.map(|part| (number, format!("`{part}` in a name"))));
        }
        let rustdoc =
            line.trim_start().strip_prefix("/// ").or_else(|| line.trim_start().strip_prefix("//! "));
        if let Some(rustdoc) = rustdoc.filter(|_| kind != Kind::Page) {
            let begins = |beginning: &str| {
                let inside = || ENDS.iter().any(|end| rustdoc.contains(&format!("{end}{beginning}")));
                rustdoc.starts_with(beginning) || inside()
            };
            let beginning = BEGINNINGS.iter().find(|beginning| begins(beginning));
            // A question may begin so.
            let beginning = beginning.filter(|_| !rustdoc.trim_end().ends_with('?'));
            found.extend(beginning.map(|beginning| (number, format!("begins with `{}`", beginning.trim()))));
        }
    }
    found
}

#[test]
fn actors_are_named() {
    let mut found = Vec::new();
    files(root(), &mut found);
    assert!(found.len() > 300, "{} files", found.len());
    let mut all = Vec::new();
    for path in found {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        // This file has the words as data.
        if name == "tests/prose.rs" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let faults = faults(&text, kind(name));
        all.extend(faults.into_iter().map(|(line, fault)| format!("{name}:{line}: {fault}")));
    }
    assert!(all.is_empty(), "{} faults:\n{}", all.len(), all.join("\n"));
}

#[test]
fn faults_are_found() {
    let text = "/// What a session is.\n// Nobody waits.\nlet nobody = \"https://\";\n/// What is it?\n/// If a shard fails.";
    let (what, nobody) = ("begins with `What`".to_owned(), "`nobody`".to_owned());
    assert_eq!(faults(text, Kind::Test), [(1, what.clone()), (2, nobody.clone())]);
    let in_test = "fn a_read_asks_nobody() {}\n/// It ends. Who waits goes on.\n/// Is it? What is it?";
    let faults_in_test = [(1, "`nobody` in a name".to_owned()), (2, "begins with `Who`".to_owned())];
    assert_eq!(faults(in_test, Kind::Test), faults_in_test);
    assert_eq!(faults(text, Kind::Library), [(1, what), (2, nobody.clone()), (3, nobody.clone())]);
    assert_eq!(faults(text, Kind::Page), [(2, nobody.clone()), (3, nobody)]);
}

/// The errors and notes that the tour shows in comments are printed by the compiler for the same mistakes in `tests/ui`.
#[test]
fn the_tour_shows_errors_as_printed() {
    let printed = [
        include_str!("ui/query/unrouted_select.stderr"),
        include_str!("ui/session/get_by_an_id_of_one_shard.stderr"),
        &include_str!("ui/session/add_without_parent.stderr").replace("`city`", "`location`"),
    ]
    .concat();
    let comments =
        include_str!("../examples/tour.rs").lines().filter_map(|line| line.trim().strip_prefix("// "));
    let shown: Vec<&str> =
        comments.filter(|line| line.starts_with("error") || line.starts_with("note: ")).collect();
    assert_eq!(shown.len(), 5);
    for line in shown {
        assert!(printed.contains(line), "not printed: {line}\nprinted:\n{printed}");
    }
}

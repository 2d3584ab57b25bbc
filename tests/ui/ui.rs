//! The compiler's messages to a user: every mistake has its message, sorted by kind. Correct code compiles under every
//! condition that a user's crate may set.
//!
//! The texts are those of the current stable toolchain. After an intended change, write them with
//! `TRYBUILD=overwrite cargo test -p sharded-ui --all-features`, and read them as a user would.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The folders beside this file: the kinds of mistake.
const MISTAKES: [&str; 17] = [
    "collation",
    "id",
    "key",
    "key_enum",
    "list",
    "lookup",
    "names",
    "parent",
    "projection",
    "query",
    "range",
    "reference",
    "session",
    "settings",
    "shape",
    "types",
    "version",
];

/// The first of each kind: compiling all of them takes minutes.
#[cfg(not(feature = "all"))]
#[test]
fn a_mistake_of_each_kind_is_explained() {
    let cases = trybuild::TestCases::new();
    for kind in MISTAKES {
        let files = fs::read_dir(kind).unwrap().map(|entry| entry.unwrap().path());
        cases.compile_fail(
            files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).min().unwrap(),
        );
    }
}

#[test]
#[cfg_attr(not(feature = "all"), ignore = "takes minutes: `--features sharded-ui/all`")]
fn every_mistake_is_explained() {
    let cases = trybuild::TestCases::new();
    for kind in MISTAKES {
        cases.compile_fail(format!("{kind}/*.rs"));
    }
    cases.pass("pass/*.rs");
    cases.pass("../hygiene/*.rs");
}

#[test]
fn no_kind_of_mistake_is_forgotten() {
    let entries = fs::read_dir(".").unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir());
    let folders = entries.map(|entry| entry.file_name().into_string().unwrap());
    let known = MISTAKES.iter().copied().chain(["pass"]).map(str::to_owned);
    assert_eq!(folders.collect::<BTreeSet<_>>(), known.collect::<BTreeSet<_>>());
}

/// The cases whose output has several errors, and how many.
const SEVERAL_ERRORS: [(&str, usize); 25] = [
    // Several mistakes, each with its error.
    ("collation/not_text", 2),
    ("collation/unknown", 3),
    ("key_enum/placed_otherwise", 5),
    ("key_enum/shard_without_quotes", 3),
    ("names/empty", 3),
    ("names/reserved_column", 3),
    ("projection/unknown_setting", 2),
    ("query/wider_number", 2),
    ("range/gap_at_the_ends", 2),
    ("range/key_without_literals", 2),
    ("range/no_range", 3),
    ("range/out_of_the_type", 2),
    ("range/wrong_type", 2),
    ("range/wrong_type_of_text", 2),
    ("reference/references_and_a_parent", 2),
    ("reference/references_nothing", 2),
    ("settings/default_on_a_field", 7),
    ("settings/index_of_no_field", 2),
    ("settings/words_of_other_frameworks", 9),
    ("shape/every_mistake_at_once", 7),
    ("types/of_other_crates", 4),
    // The compiler's own: it looks a constant up by name, and it reports each bound of a trait.
    ("projection/model_not_sharded", 2),
    ("projection/not_derived", 2),
    ("session/get_by_an_id_of_another_type", 2),
    // `&&` is an operator of `bool` that no trait gives to another type: the compiler checks both operands, and then `filter`
    // gets a `bool`. The note about `&` is of that last error.
    ("query/filters_by_operators_of_bool", 3),
];

/// Cases by name, with their output.
fn outputs() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for kind in MISTAKES {
        for path in fs::read_dir(kind).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|extension| extension == "stderr") {
                let case = format!("{kind}/{}", path.file_stem().unwrap().to_str().unwrap());
                found.insert(case, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// The heads of the errors of an output, without their codes.
fn errors(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter(|line| line.starts_with("error")).filter_map(|line| Some(line.split_once(": ")?.1))
}

#[test]
fn one_mistake_is_one_error() {
    let several: BTreeMap<&str, usize> = SEVERAL_ERRORS.into();
    let outputs = outputs();
    assert!(several.keys().all(|case| outputs.contains_key(*case)), "a case is gone");
    for (case, output) in &outputs {
        let expected = several.get(case.as_str()).copied().unwrap_or(1);
        assert_eq!(errors(output).count(), expected, "{case}:\n{output}");
    }
}

/// An error of the derives has a remedy: one of these words, outside of code.
const REMEDIES: [&str; 19] = [
    "add ",
    "change ",
    "did you mean",
    "expected ",
    "give ",
    "hold ",
    "keep ",
    "known: ",
    "list ",
    "make ",
    "mark ",
    "move ",
    "name ",
    "remove ",
    "rename ",
    "shorten ",
    "start ",
    "store ",
    "write ",
];

/// The text without its code.
fn prose(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join("…")
}

/// CONTRIBUTING.md, "How we write": lower case, no full stop, short clauses, and the remedy.
#[test]
fn errors_of_the_derives_are_written_by_the_rules() {
    for (case, output) in outputs() {
        for line in output.lines() {
            let text = line.strip_prefix("error: ").filter(|text| !text.starts_with("literal out of range"));
            let text = text.or_else(|| line.strip_prefix("error[E0080]: evaluation panicked: "));
            let Some(text) = text else { continue };
            assert!(!text.starts_with(char::is_uppercase) && !text.ends_with('.'), "{case}: {text}");
            let prose = prose(text);
            let longest = prose.split([':', ';']).map(|clause| clause.split_whitespace().count()).max();
            assert!(longest <= Some(25), "{case}: {longest:?} words in a clause: {text}");
            let has_remedy = REMEDIES.iter().any(|remedy| prose.contains(remedy));
            assert!(has_remedy, "{case}: no remedy: {text}");
        }
    }
}

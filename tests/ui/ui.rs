//! The compiler's messages to a user: every mistake has its message, filed by kind, and correct code compiles
//! under every condition that a user's crate may set.
//!
//! The texts are those of the current stable toolchain; after a change that is meant, write them anew with
//! `TRYBUILD=overwrite cargo test -p sharded-ui --all-features`, and read them as a user would.

use std::collections::BTreeSet;
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

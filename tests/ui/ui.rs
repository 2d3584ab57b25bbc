//! The compiler's messages to a user: every mistake has its message, filed by kind, and correct code compiles
//! under every condition that a user's crate may set.
//!
//! The texts are those of the current stable toolchain; after a change that is meant, write them anew with
//! `TRYBUILD=overwrite cargo test -p sharded-ui`, and read them as a user would.

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

#[test]
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

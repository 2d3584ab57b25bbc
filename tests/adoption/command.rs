//! `admin adopt`: the report is a script for the program of the database.

use shard_runtime::admin::{self, Outcome};
use shard_runtime::{Builder, migrate::Migrations};

use crate::File;
use crate::refusals::{Both, GOOD};

fn run(builder: &Builder, words: &[&str]) -> (Outcome, String, String) {
    let (mut out, mut progress) = (Vec::new(), Vec::new());
    let arguments = ["operate", "adopt"].into_iter().chain(words.iter().copied());
    let outcome =
        admin::run_on::<Both>(builder.clone(), &Migrations::new(), arguments, &mut out, &mut progress);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (outcome, text(out), text(progress))
}

#[test]
fn a_plan_is_run_as_a_script_and_then_the_database_is_adopted() {
    let file = File::new(&format!("{GOOD}; DROP INDEX by_name; ALTER TABLE owners DROP COLUMN size"));
    let builder = file.builder();
    let (outcome, script, progress) = run(&builder, &["--plan"]);
    assert_eq!((outcome, progress.as_str()), (Outcome::Wrong, ""));
    assert!(
        script.starts_with("-- shard main: 2 differences, 1 notes\n-- rows read: 2 of owners, 3 of pets\n"),
        "{script}"
    );
    let (outcome, refused, _) = run(&builder, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert_eq!((outcome, &json["adopted"]), (Outcome::Wrong, &false.into()), "{json}");
    assert_eq!(json["differences"][0]["column"], "size", "{json}");
    assert!(file.is_untouched(), "with differences it writes nothing, with --plan or without");

    file.run(&script);
    let (outcome, text, _) = run(&builder, &["--plan"]);
    assert_eq!(outcome, Outcome::Fine, "{text}");
    assert!(file.is_untouched());
    let (outcome, text, _) = run(&builder, &[]);
    assert_eq!(outcome, Outcome::Fine, "{text}");
    assert!(text.ends_with("-- adopted: the database is shard main of a cluster\n"), "{text}");
    let (outcome, _, error) = run(&builder, &[]);
    assert_eq!(outcome, Outcome::Wrong);
    assert!(error.contains("already"), "{error}");
    drop(builder.open::<Both>().unwrap());
}

//! Arguments at the ends of their ranges, and keys that no field can hold.

use std::time::Duration;

use shard_runtime::admin::{self, Outcome};
use shard_runtime::migrate::Migrations;
use shard_runtime::{Builder, Cluster, Pace, ShardKey, Sharded, change::Switch};

use crate::{files, fill, json, refused, text};

#[derive(ShardKey, Clone, Copy, Debug, PartialEq)]
enum Color {
    Red,
    Blue,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "things", shard_key(hash))]
struct Thing {
    #[id]
    id: i64,
    #[shard_key]
    color: Color,
    #[shard_key]
    number: u8,
}

fn things(builder: &Builder, words: &[&str]) -> (Outcome, String) {
    let (mut out, mut progress) = (Vec::new(), Vec::new());
    let arguments = std::iter::once("operate").chain(words.iter().copied());
    let outcome =
        admin::run_on::<Thing>(builder.clone(), &Migrations::new(), arguments, &mut out, &mut progress);
    out.extend(progress);
    (outcome, String::from_utf8(out).unwrap())
}

#[test]
fn a_timeout_of_any_length_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let builder = files(folder.path());
    let cluster = fill(builder.clone());
    assert!(cluster.health(Duration::MAX).is_healthy());
    let _ = Switch::within(Duration::MAX);
    for line in ["health --timeout 1e19", "doctor --timeout 1e19"] {
        json(&builder, line, Outcome::Fine);
        text(&builder, line, Outcome::Fine);
    }
}

#[test]
fn a_key_that_no_field_can_hold_is_not_located_and_gets_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let builder = files(folder.path());
    drop(builder.clone().create::<Thing>().unwrap());
    assert_eq!(things(&builder, &["locate", "things", "Red", "255"]).0, Outcome::Fine);
    for key in [["Green", "1"], ["red", "1"], ["", "1"], ["Blue", "256"], ["Blue", "-1"]] {
        let (outcome, text) = things(&builder, &["locate", "things", "--", key[0], key[1]]);
        assert_eq!(outcome, Outcome::Unknown, "{text}");
        assert!(text.contains("table `things`, column `"), "{text}");
        let moved = ["change", "move-key", "--to", "asia", "--", "things", key[0], key[1]];
        let (outcome, text) = things(&builder, &moved);
        assert_eq!(outcome, Outcome::Unknown, "{text}");
    }
    let (outcome, text) = things(&builder, &["--json", "status"]);
    assert_eq!(outcome, Outcome::Fine);
    assert!(text.contains("\"keys\":[]"), "{text}");
}

#[test]
fn arguments_without_effect_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let builder = files(folder.path());
    drop(fill(builder.clone()));
    assert!(refused(&builder, "migrate --status --contract", Outcome::Unknown).contains("excludes"));
    assert!(refused(&builder, "migrate --status --canary asia", Outcome::Unknown).contains("excludes"));
}

/// Options end at the `--` before a negative number.
#[test]
fn a_negative_key_is_located_and_moved() {
    let folder = tempfile::tempdir().unwrap();
    let builder = files(folder.path());
    drop(fill(builder.clone()));
    let found = text(&builder, "locate users -- -5", Outcome::Fine);
    let to = if found.starts_with("asia") { "europe" } else { "asia" };
    text(&builder, &format!("change move-key --to {to} -- users -5"), Outcome::Fine);
    let found = text(&builder, "locate users -- -5", Outcome::Fine);
    assert!(found.starts_with(&format!("{to}, by the line")), "{found}");
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "no\\te's")]
struct Note {
    #[id]
    #[shard_key(hash)]
    key: String,
    #[sharded(default = "\\'")]
    text: String,
}

/// SQLite has no `E'…'`, which PostgreSQL needs for a backslash.
#[test]
fn names_and_keys_with_backslashes_are_moved_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("sqlite:{}", folder.path().join(format!("{name}.db")).display());
    let two = Cluster::builder().shard("a\\'", at("a")).shard("b\\", at("b"));
    let cluster = two.clone().create::<Note>().unwrap();
    let note = |key: i32| Note { key: format!("\\'{key}"), text: "\\".to_owned() };
    cluster.transaction(|session| session.add_all((0..20).map(note)).map(drop)).unwrap();
    let from = cluster.locate::<Note>("\\'1".to_owned()).unwrap().name().to_owned();
    let to = if from == "b\\" { "a\\'" } else { "b\\" };
    let moved = cluster.move_key::<Note>("\\'1".to_owned(), to).run().unwrap();
    assert_eq!(moved.rows, 1);
    assert_eq!(cluster.locate::<Note>("\\'1".to_owned()).unwrap().name(), to);
    // The old shard refuses the key to other programs.
    let file = folder.path().join(if from == "b\\" { "b.db" } else { "a.db" });
    let refused = rusqlite::Connection::open(file)
        .unwrap()
        .execute("INSERT INTO \"no\\te's\" (key) VALUES (?1)", ["\\'1"]);
    assert!(refused.unwrap_err().to_string().contains("moved"));
    drop(cluster);

    let cluster = two.shard("c\\'\"", at("c")).create::<Note>().unwrap();
    let plan = cluster.plan_change().replace(from.as_str(), "c\\'\"").build().unwrap();
    let mut change = cluster.begin_change(&plan).unwrap();
    change.copy(Pace::rows(3), |_| {}).unwrap();
    change.switch(Switch::default()).unwrap();
    change.finish().unwrap();
    assert_eq!(cluster.session().one(Note::select().all_shards().count()).unwrap(), 20);
}

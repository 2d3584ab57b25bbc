//! The command `copy`: to the cluster of another configuration file.

use std::path::{Path, PathBuf};

use serde_json::Value;
use shard_runtime::admin::{Outcome, run_on};
use shard_runtime::{Builder, Cluster, Durability, migrate::Migrations};

use crate::backend::{Backend, Kind, LETTERS};
use crate::models::{Models, assert_sound, contents, fill};

/// A configuration file of three shards in its folder.
fn file(folder: &Path) -> PathBuf {
    let shards = LETTERS.map(|shard| format!("[[shard]]\nname = \"{shard}\"\nurl = \"sqlite:{shard}.db\"\n"));
    let path = folder.join("shards.toml");
    std::fs::write(&path, format!("durability = \"normal\"\n{}", shards.concat())).unwrap();
    path
}

fn run(builder: &Builder, words: &[&str]) -> (Outcome, String, String) {
    let (mut out, mut progress) = (Vec::new(), Vec::new());
    let words = ["weather"].iter().chain(words).map(ToString::to_string);
    let outcome = run_on::<Models>(builder.clone(), &Migrations::new(), words, &mut out, &mut progress);
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(progress).unwrap())
}

#[test]
fn a_cluster_is_copied_to_that_of_a_file() {
    let backend = Backend::new(Kind::Files);
    let builder = backend.builder(&LETTERS).durability(Durability::Normal);
    let source = builder.clone().create::<Models>().unwrap();
    fill(&source, 30);
    let folder = tempfile::tempdir().unwrap();
    let to = file(folder.path());
    let name = to.display().to_string();
    let (outcome, out, progress) = run(&builder, &["copy", &name, "--rows", "11"]);
    assert_eq!((outcome, progress.as_str()), (Outcome::Fine, ""), "{out}");
    let rows = contents(&source).len();
    for text in ["customers", "checksum", &format!("{rows} rows copied and compared"), "is complete"] {
        assert!(out.contains(text), "`{text}` is missing in: {out}");
    }
    let target = || Cluster::builder().config_file(&to).unwrap();
    let copied = target().open::<Models>().unwrap();
    assert_eq!(contents(&copied), contents(&source));
    assert_sound(&copied);
    drop(copied);
    // A second time it would mix rows.
    let (outcome, out, progress) = run(&builder, &["copy", &name]);
    assert_eq!((outcome, out.as_str()), (Outcome::Wrong, ""));
    assert!(progress.contains("has rows already"), "{progress}");
    let (outcome, out, _) = run(&builder, &["copy", &name, "--json"]);
    let read: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((outcome, &read["error"]["kind"]), (Outcome::Wrong, &"Configuration".into()));
    let other = tempfile::tempdir().unwrap();
    let other = file(other.path());
    let (outcome, out, _) = run(&builder, &["copy", &other.display().to_string(), "--json"]);
    let read: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((outcome, read["rows"].as_u64()), (Outcome::Fine, Some(rows as u64)), "{out}");
    assert_eq!(read["to"], other.display().to_string());
    let table =
        |name: &str| read["tables"].as_array().unwrap().iter().find(|table| table["table"] == name).cloned();
    assert_eq!(table("customers").unwrap()["rows"], 30);
    assert_eq!(table("customers").unwrap()["checksum"].as_str().unwrap().len(), 16);
    assert!(table("sharded_lookup_customers_email").is_none());
}

#[test]
fn wrong_files_are_named() {
    let backend = Backend::new(Kind::Files);
    let builder = backend.builder(&LETTERS);
    drop(builder.clone().create::<Models>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.toml").display().to_string();
    let (outcome, _, progress) = run(&builder, &["copy", &missing]);
    assert_eq!(outcome, Outcome::Wrong);
    assert!(progress.contains("none.toml cannot be read"), "{progress}");
    // The configuration of the source itself.
    let own = file(backend.folder()).display().to_string();
    let (outcome, _, progress) = run(&builder, &["copy", &own]);
    assert_eq!(outcome, Outcome::Wrong);
    assert!(progress.contains("the same cluster"), "{progress}");
}

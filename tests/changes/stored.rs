//! Rows that are copied as they are stored, without reading their values: texts that any form of `COPY` would escape, and keys
//! of these texts. Also rows that were copied before their batch, and rows that are refused because of a value.

use std::time::Duration;

use shard_runtime::{Cluster, ErrorKind, Pace, Parent, Sharded, change::Switch};

use crate::backend::{Backend, LETTERS, assert_error};
use crate::models::{Models, assert_sound, fill};

on_some! {
    lasting:
        r50_texts_and_keys_are_copied_as_they_are_stored,
        r50_rows_that_were_copied_before_their_portion_are_replaced,
        r50_a_value_that_no_field_holds_is_found_when_the_copies_are_compared,
        r50_a_row_of_another_shard_is_named
}

const MORE: [&str; 5] = ["a", "b", "c", "d", "e"];

const TEXTS: [&str; 14] = [
    "",
    "\t",
    "\n",
    "\r\n",
    "\\",
    "\\N",
    "\\.",
    "a\tb\\nc",
    "'",
    "\"",
    "\u{1f}",
    "e\u{301}",
    "\u{10ffff}",
    "NULL",
];

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "notes")]
struct Note {
    #[id]
    id: String,
    #[shard_key(hash)]
    key: String,
    text: Option<String>,
    data: Vec<u8>,
    ratio: f64,
    is_read: Option<bool>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "answers")]
struct Answer {
    #[id]
    id: i64,
    #[shard_parent]
    note: Parent<Note>,
    text: String,
}

type Notes = (Note, Answer);

fn notes(backend: &Backend) -> Cluster {
    drop(backend.create::<Notes>(&LETTERS));
    let cluster = backend.builder(&MORE).create::<Notes>().unwrap();
    let mut session = cluster.session();
    let ratios = [0.0, -0.0, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY, 0.1 + 0.2];
    for (at, text) in TEXTS.iter().enumerate() {
        for (id, other) in (0_i64..).zip(TEXTS) {
            let note = Note {
                id: format!("{text}{id}"),
                key: format!("{other}{at}"),
                text: (id % 3 > 0).then(|| other.into()),
                data: other.bytes().chain([0, 255]).collect(),
                ratio: ratios[at % ratios.len()],
                is_read: [None, Some(true), Some(false)][at % 3],
            };
            let note = session.add(note).unwrap();
            let id = 100 * i64::try_from(at).unwrap() + id;
            session.add(Answer { id, note: note.link(), text: (*other).into() }).unwrap();
        }
    }
    session.commit().unwrap();
    drop(session);
    cluster
}

fn rows(cluster: &Cluster) -> Vec<String> {
    let mut session = cluster.session();
    let mut all: Vec<String> = Vec::new();
    all.extend(session.all(Note::select().all_shards()).unwrap().iter().map(|row| format!("{:?}", **row)));
    let answers = session.all(Answer::select().all_shards()).unwrap();
    all.extend(answers.iter().map(|row| format!("{} {}", row.id, row.text)));
    all.sort_unstable();
    all
}

fn patiently() -> Switch {
    Switch::within(Duration::from_secs(20))
}

fn r50_texts_and_keys_are_copied_as_they_are_stored(backend: &Backend) {
    let cluster = notes(backend);
    let before = rows(&cluster);
    let split = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let mut change = cluster.begin_change(&split).unwrap();
    change.copy(Pace::rows(9), |_| {}).unwrap();
    assert_eq!(change.verify().unwrap().different, 0);
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    change.retire().unwrap();
    assert_eq!(rows(&cluster), before);
    assert_sound(&cluster);
    // Each row is on the shard that its key is looked for on.
    let mut session = cluster.session();
    for key in session.all(Note::select().all_shards()).unwrap().iter().map(|row| row.key.clone()) {
        assert!(
            session.first(Note::select().filter(Note::KEY.eq(key.as_str()))).unwrap().is_some(),
            "{key:?}"
        );
    }
}

fn r50_rows_that_were_copied_before_their_portion_are_replaced(backend: &Backend) {
    let cluster = notes(backend);
    let split = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let mut change = cluster.begin_change(&split).unwrap();
    backend.plant(&["c"], "notes", "UPDATE {table} SET text = 'early' WHERE ratio > 0.2");
    // The comparison copies what has changed, and misses all the others.
    assert_error(change.verify(), ErrorKind::Corrupt, &["notes"]);
    let copied =
        |shard| backend.peek::<i64>(shard, "notes", "SELECT count(*) FROM {table} WHERE text = 'early'");
    let early = copied("c");
    assert!(early > 5, "{early}");
    assert_eq!(copied("d") + copied("e"), early);
    // Some of them are written again, and some are gone.
    backend.plant(&["c"], "notes", "UPDATE {table} SET text = 'late' WHERE text = 'early' AND is_read");
    let gone = "SELECT id FROM {table} WHERE text = 'early' AND is_read IS NULL";
    let gone = gone.replace("{table}", &backend.table("c", "notes"));
    backend.plant(&["c"], "answers", &format!("DELETE FROM {{table}} WHERE note_id IN ({gone})"));
    let gone = gone.replace("SELECT id", "DELETE");
    backend.run("c", &gone);
    let before = rows(&cluster);
    change.copy(Pace::rows(10), |_| {}).unwrap();
    assert_eq!(change.verify().unwrap().different, 0);
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    assert_eq!(rows(&cluster), before);
    assert_sound(&cluster);
}

fn begun(backend: &Backend) -> Cluster {
    let cluster = backend.create::<Models>(&LETTERS);
    fill(&cluster, 60);
    drop(cluster);
    backend.builder(&MORE).create::<Models>().unwrap()
}

/// Between databases of one kind no value is read, so that this one is copied, too.
fn r50_a_value_that_no_field_holds_is_found_when_the_copies_are_compared(backend: &Backend) {
    let cluster = begun(backend);
    let (add, sold) = ("ALTER TABLE {table} ADD COLUMN sold timestamptz", "sold = 'infinity'");
    let value = match backend.is_postgres("c") {
        true => {
            backend.plant(&["c", "d"], "devices", add);
            sold
        }
        false => "\"on\" = 7",
    };
    let one = "name = (SELECT min(name) FROM {table})";
    backend.plant(&["c"], "devices", &format!("UPDATE {{table}} SET {value} WHERE {one}"));
    let plan = cluster.plan_change().replace("c", "d").build().unwrap();
    let mut change = cluster.begin_change(&plan).unwrap();
    change.copy(Pace::rows(7), |_| {}).unwrap();
    let count = format!("SELECT count(*) FROM {{table}} WHERE {value}");
    assert_eq!(backend.peek::<i64>("d", "devices", &count), 1);
    assert_error(change.verify(), ErrorKind::Value, &["shard `c`", "devices", "name"]);
    change.cancel().unwrap();
}

fn r50_a_row_of_another_shard_is_named(backend: &Backend) {
    let cluster = begun(backend);
    let plan = cluster.plan_change().split("c", ["d", "e"]).build().unwrap();
    let mut change = cluster.begin_change(&plan).unwrap();
    let one = "name = (SELECT max(name) FROM {table})";
    backend.plant(&["c"], "devices", &format!("UPDATE {{table}} SET color = 'red' WHERE {one}"));
    let texts = ["shard `c`", "devices", "belongs on shard `a`", "repair the row before the change"];
    assert_error(change.copy(Pace::rows(2), |_| {}), ErrorKind::Layout, &texts);
    // Nothing of its batch is stored, and the change continues once the row is right.
    backend.plant(&["c"], "devices", "UPDATE {table} SET color = 'blue' WHERE color = 'red'");
    change.copy(Pace::rows(2), |_| {}).unwrap();
    assert_eq!(change.verify().unwrap().different, 0);
    change.switch(patiently()).unwrap();
    change.finish().unwrap();
    assert_sound(&cluster);
}

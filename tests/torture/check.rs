//! The conditions after an attack. No transaction is on some of its shards only. None that was reported as committed is lost,
//! and none that was reported as aborted is stored. Every sum is exact, every file is sound, and nothing is left for recovery.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::{Models, SHARDS, builder};

/// The counts, over all checks of a test.
#[derive(Debug, Default)]
pub struct Counts {
    pub units: usize,
    pub over_several_shards: usize,
    pub acknowledged: usize,
    pub doubted: usize,
}

/// Opens the cluster, which finishes pending participants, and checks every file with plain SQL.
pub fn check(cluster: &Path, logs: &Path) -> Counts {
    drop(builder(cluster).open::<Models>().expect("the cluster opens"));
    let open = |name: &str| {
        Connection::open_with_flags(cluster.join(name), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    };
    let control = open("control.db");
    assert_eq!(one::<i64>(&control, "SELECT count(*) FROM sharded_redo"), 0, "a record is left");
    assert_eq!(one::<String>(&control, "PRAGMA integrity_check"), "ok");

    // By unit: the shards that it names, and the shards that it is on.
    let mut units: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut sum = 0;
    let mut notes: Vec<HashSet<i64>> = Vec::new();
    // The rows with a lookup: for each unit the shard of the row, and the shard that the entry names.
    let (mut names, mut entries) = (BTreeMap::new(), BTreeMap::new());
    for (bit, shard) in SHARDS.iter().enumerate() {
        let raw = open(&format!("{shard}.db"));
        assert_eq!(one::<String>(&raw, "PRAGMA integrity_check"), "ok", "{shard}");
        sum += one::<i64>(&raw, "SELECT cents FROM accounts");
        let mut statement = raw.prepare("SELECT id, shards FROM entries").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let mut here = HashSet::new();
        for (unit, shards) in rows.map(Result::unwrap) {
            let (named, on) = units.entry(unit).or_insert((shards, 0));
            assert_eq!(*named, shards, "unit {unit} is not the same on {shard}");
            *on |= 1 << bit;
            here.insert(unit);
        }
        let mut statement = raw.prepare("SELECT unit FROM tallies").unwrap();
        let tallies: Vec<i64> =
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(tallies.len(), here.len(), "on {shard} units were done twice or in part");
        assert_eq!(tallies.into_iter().collect::<HashSet<_>>(), here, "{shard}");
        let mut statement = raw.prepare("SELECT id FROM notes WHERE text = 'written'").unwrap();
        notes.push(statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect());
        named(&raw, &format!("SELECT name, '{shard}' FROM names"), &mut names);
        named(&raw, "SELECT value, shard FROM sharded_lookup_names_name", &mut entries);
    }
    let is_whole = |(_, (shards, _)): &(&i64, &(i64, i64))| *shards == (1 << SHARDS.len()) - 1;
    let whole: HashSet<i64> = units.iter().filter(is_whole).map(|(unit, _)| *unit).collect();
    for (shard, notes) in SHARDS.iter().zip(&notes) {
        assert_eq!(*notes, whole, "a reference table is not whole on {shard}");
    }
    assert_eq!(names, entries, "what is looked up is not what is there");
    assert!(whole.iter().all(|unit| names.contains_key(unit)), "a row that is looked up is lost");
    assert!(names.keys().all(|unit| units.contains_key(unit)), "of a unit only what is looked up is there");
    for (unit, (named, on)) in &units {
        assert_eq!(named, on, "unit {unit} is half-committed: of {named:04b} it is on {on:04b}");
    }
    assert_eq!(sum, 0, "a change was lost or was done twice");

    let mut counts = Counts { units: units.len(), ..Counts::default() };
    counts.over_several_shards = units.values().filter(|(shards, _)| shards.count_ones() > 1).count();
    let (mut told, mut doubted) = (HashSet::new(), HashSet::new());
    for log in std::fs::read_dir(logs).unwrap() {
        for line in std::fs::read_to_string(log.unwrap().path()).unwrap().lines() {
            let mut words = line.split(' ');
            let (what, unit) =
                (words.next().unwrap(), words.next().and_then(|unit| unit.parse::<i64>().ok()));
            let Some(unit) = unit else { continue };
            told.insert(unit);
            match what {
                "committed" => {
                    assert!(units.contains_key(&unit), "unit {unit} was told to be committed, and is lost");
                    counts.acknowledged += 1;
                }
                "aborted" => assert!(!units.contains_key(&unit), "unit {unit} is there although: {line}"),
                // Others that fail because of a transaction in doubt are certain themselves.
                "doubted" => {
                    counts.doubted += 1;
                    let transaction = words.next().unwrap_or_default().to_owned();
                    assert!(
                        transaction.is_empty() || doubted.insert(transaction),
                        "unit {unit} is said to be in doubt by the name of another: {line}"
                    );
                }
                _ => {}
            }
        }
    }
    assert!(units.keys().all(|unit| told.contains(unit)), "a transaction is there that no writer has begun");
    counts
}

/// Notes names as `named 17`, each with a shard.
fn named(raw: &Connection, sql: &str, found: &mut BTreeMap<i64, String>) {
    let mut statement = raw.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).unwrap();
    for (name, shard) in rows.map(Result::unwrap) {
        let unit = name.strip_prefix("named ").unwrap_or_else(|| panic!("`{name}` was to be changed"));
        let other = found.insert(unit.parse().unwrap(), shard);
        assert_eq!(other, None, "`{name}` is there twice");
    }
}

fn one<T: rusqlite::types::FromSql>(raw: &Connection, sql: &str) -> T {
    raw.query_row(sql, [], |row| row.get(0)).unwrap()
}

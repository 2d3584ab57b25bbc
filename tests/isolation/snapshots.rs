//! The snapshots of a session that reads files: random reads, of which the first begins the snapshot in any form, beside
//! commits of another session. Every answer must be that of the moment at which the session read the file first.

use std::collections::BTreeMap;

use shard_runtime::{Cluster, Sharded};
use tempfile::TempDir;

use crate::load::{Random, seed};

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "items")]
struct Item {
    #[id]
    #[shard_key(range("a" => ..6, "b" => 6..))]
    id: i64,
    n: i64,
}

/// The ids of both shards; some have no row at any moment.
const IDS: u64 = 12;

const STEPS: u64 = 2_000;

type Rows = BTreeMap<i64, i64>;

/// One file for each shard, or one for both.
pub fn run(files: [&str; 2]) {
    let seed = seed();
    println!("SHARDED_SEED={seed}");
    let mut random = Random(seed);
    let folder = TempDir::new().unwrap();
    let url = |file: &str| format!("sqlite:{}/{file}", folder.path().display());
    let builder = Cluster::builder().shard("a", url(files[0])).shard("b", url(files[1]));
    let cluster = builder.create::<Item>().unwrap();
    let is_one_file = files[0].split('?').next() == files[1].split('?').next();
    let file_of = |id: i64| usize::from(!is_one_file && id >= 6);

    let mut committed = Rows::new();
    let mut seen: [Option<Rows>; 2] = [None, None];
    let (mut reader, mut writer) = (cluster.session(), cluster.session());
    for step in 0..STEPS {
        let id = random.id(0, IDS);
        // The rows that the reader sees in these files from now on.
        let mut see = |files: &[usize], committed: &Rows| -> Rows {
            let mut rows = Rows::new();
            for &file in files {
                let snapshot = seen[file].get_or_insert_with(|| committed.clone());
                rows.extend(snapshot.iter().filter(|(id, _)| file_of(**id) == file).map(|(id, n)| (*id, *n)));
            }
            rows
        };
        let both: &[usize] = if is_one_file { &[0] } else { &[0, 1] };
        match random.below(8) {
            0..3 => {
                let n = i64::try_from(step).unwrap();
                writer.save(Item { id, n }).unwrap();
                writer.commit().unwrap();
                committed.insert(id, n);
            }
            3 => {
                let row = writer.get::<Item>(id).unwrap();
                row.into_iter().for_each(|row| writer.delete(&row).unwrap());
                writer.commit().unwrap();
                committed.remove(&id);
            }
            4 | 5 => {
                let found = reader.get::<Item>(id).unwrap().map(|item| item.n);
                assert_eq!(
                    found,
                    see(&[file_of(id)], &committed).get(&id).copied(),
                    "get {id} in step {step}"
                );
            }
            6 => {
                let found = reader.all(Item::select().all_shards()).unwrap();
                let found: Rows = found.iter().map(|item| (item.id, item.n)).collect();
                assert_eq!(found, see(both, &committed), "all in step {step}");
            }
            _ => {
                if random.below(2) == 0 {
                    drop(reader.commit().unwrap())
                } else {
                    reader.rollback()
                }
                seen = [None, None];
            }
        }
    }
}

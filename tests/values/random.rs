//! Random rows of edges, moved from shard to shard, beside one table in memory: R58.
//!
//! `SHARDED_CASES` is the number of cases, `SHARDED_SEED` the seed of the random numbers.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use shard_runtime::{Sharded, Stored, count};

use crate::backend::{Backend, LETTERS};
use crate::edges::*;

on_some! { Files Everything: r58_rows_of_edges_are_those_of_one_table }

/// How many cases are run without `SHARDED_CASES`.
const CASES: u64 = 6;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.replace('_', "")
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is `{text}`, which is no number")),
    )
}

/// Random numbers (SplitMix64).
struct Random(u64);

impl Random {
    /// One of so many.
    fn pick(&mut self, of: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % of as u64) as usize
    }
}

fn r58_rows_of_edges_are_those_of_one_table(backend: &Backend) {
    let cluster = backend.create::<Edge>(&LETTERS);
    let first = number("SHARDED_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 16);
    let cases = number("SHARDED_CASES").unwrap_or(CASES);
    for seed in (0..cases).map(|case| first.wrapping_add(case)) {
        println!("SHARDED_SEED={seed} SHARDED_CASES=1 cargo test --test values random::");
        case(&cluster, &mut Random(seed));
    }
}

fn case(cluster: &shard_runtime::Cluster, random: &mut Random) {
    let mut session = cluster.session();
    session.execute(Edge::delete().all_shards()).unwrap();
    let rows: Vec<Edge> = (0..5 + random.pick(25) as i64)
        .map(|id| Edge::picked(id, Home::ALL[random.pick(3)], &mut |of| random.pick(of)))
        .collect();
    // The matrix checks the rows that a read returns; here the table is checked.
    let mut stored: Vec<Stored<Edge>> = session.add_all(rows).unwrap();
    let mut table: Vec<Edge> = stored.iter().map(|row| (**row).clone()).collect();
    for _ in 0..stored.len() * 2 {
        let position = random.pick(stored.len());
        let home = Home::ALL[random.pick(3)];
        session.relocate(&mut stored[position], |row| row.home = home).unwrap();
        table[position].home = home;
        if random.pick(4) == 0 {
            session.commit().unwrap();
        }
    }
    session.commit().unwrap();
    let found = session.all(Edge::select().all_shards().order_by(Edge::ID.asc())).unwrap();
    assert_eq!(found.len(), table.len());
    for (found, row) in found.iter().zip(&table) {
        assert_eq!((found.home, found.texts()), (row.home, row.texts()));
    }
    macro_rules! compared {
        ($field:ident, $column:expr, $key:expr) => {
            let (descending, nulls_first) = (random.pick(2) == 1, random.pick(2) == 1);
            let by = if descending { $column.desc() } else { $column.asc() };
            let by = if nulls_first { by.nulls_first() } else { by.nulls_last() };
            let ordered = Edge::select().all_shards().order_by(by).order_by(Edge::ID.asc()).columns(Edge::ID);
            let is_null = |row: &Edge| format!("{:?}", row.$field) == "None";
            let mut expected: Vec<&Edge> = table.iter().collect();
            expected.sort_by(|a, b| {
                let keys = ($key(&a.$field), $key(&b.$field));
                let order = match (is_null(a), is_null(b)) {
                    (false, false) if descending => keys.1.partial_cmp(&keys.0).unwrap(),
                    (false, false) => keys.0.partial_cmp(&keys.1).unwrap(),
                    (a, b) if nulls_first => b.cmp(&a),
                    (a, b) => a.cmp(&b),
                };
                order.then(a.id.cmp(&b.id))
            });
            let expected: Vec<i64> = expected.iter().map(|row| row.id).collect();
            assert_eq!(session.all(ordered).unwrap(), expected, stringify!($field));
            let mut groups: BTreeMap<String, u64> = BTreeMap::new();
            table.iter().for_each(|row| *groups.entry(format!("{:?}", row.$field)).or_default() += 1);
            let found =
                session.all(Edge::select().all_shards().group_by($column).aggregate(count())).unwrap();
            assert_eq!(found.len(), groups.len(), stringify!($field));
            for (value, rows) in found {
                assert_eq!(groups.get(&format!("{value:?}")), Some(&(rows as u64)), stringify!($field));
            }
        };
    }
    for_each_column!(compared);
}

//! Random rows in random layouts, against one table: each copy holds the written rows. `SHARDED_SEED` repeats a run,
//! `SHARDED_CASES` sets the number of cases.

use std::collections::BTreeMap;

use shard_runtime::{Cluster, Pace, Parent, Sharded, Sql};

use crate::backend::{Backend, Kind};
use crate::models::assert_sound;

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "nodes")]
struct Node {
    #[id]
    id: i64,
    #[shard_key(hash)]
    tenant: String,
    #[lookup]
    code: Option<String>,
    weight: f64,
    data: Vec<u8>,
    #[version]
    version: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "leaves")]
struct Leaf {
    #[id]
    id: String,
    #[shard_parent]
    node: Parent<Node>,
    note: Option<String>,
}

type Tree = (Node, Leaf);

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn text(&mut self) -> String {
        let all = ["", "a", "ä", "z'\"", "%_", "𝄞", "A", "NULL", " "];
        (0..self.below(4)).map(|_| all[self.below(all.len() as u64) as usize]).collect()
    }
}

fn seed() -> u64 {
    let seed = match std::env::var("SHARDED_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1,
    };
    println!("SHARDED_SEED={seed}");
    seed
}

/// The one table: each row as a text, by the name of its table and its id.
type Table = BTreeMap<(&'static str, String), String>;

fn node_text(node: &Node) -> String {
    let Node { id, tenant, code, weight, data, version } = node;
    format!("{id} {tenant:?} {code:?} {weight:?} {data:?} {version}")
}

fn leaf_text(leaf: &Leaf) -> String {
    format!("{:?} of {} {:?}", leaf.id, leaf.node.id(), leaf.note)
}

fn held(cluster: &Cluster) -> Table {
    let mut session = cluster.session();
    let nodes = session.all(Node::select().all_shards()).unwrap();
    let leaves = session.all(Leaf::select().all_shards()).unwrap();
    let nodes = nodes.iter().map(|row| (("nodes", row.id.to_string()), node_text(row)));
    nodes.chain(leaves.iter().map(|row| (("leaves", row.id.clone()), leaf_text(row)))).collect()
}

/// Adds, changes, moves and deletes rows in the cluster and in the table.
fn write(cluster: &Cluster, table: &mut Table, random: &mut Random, rows: u64, first: i64) {
    let mut session = cluster.session();
    for id in (0..).map(|at| first + at * 3).take(rows as usize) {
        let code = (random.below(3) > 0).then(|| format!("{}{id}", random.text()));
        let weight = [0.0, -0.0, 0.1, f64::MAX, -1e-300, f64::INFINITY][random.below(6) as usize];
        let data = vec![random.below(256) as u8; random.below(5) as usize];
        let tenant = format!("{}{}", random.text(), random.below(9));
        let node = session.add(Node { id, tenant, code, weight, data, version: 1 }).unwrap();
        table.insert(("nodes", id.to_string()), node_text(&node));
        for at in 0..random.below(3) {
            let note = (random.below(2) == 0).then(|| random.text());
            let leaf = Leaf { id: format!("{}-{id}-{at}", random.text()), node: node.link(), note };
            let leaf = session.add(leaf).unwrap();
            table.insert(("leaves", leaf.id.clone()), leaf_text(&leaf));
        }
    }
    let nodes = session.all(Node::select().all_shards()).unwrap();
    for mut node in nodes {
        match random.below(12) {
            0 => {
                let leaves = session.all(node.children::<Leaf>()).unwrap();
                for leaf in leaves {
                    table.remove(&("leaves", leaf.id.clone()));
                    session.delete(&leaf).unwrap();
                }
                table.remove(&("nodes", node.id.to_string()));
                session.delete(&node).unwrap();
            }
            1 | 2 => {
                node.weight = 7.5;
                node.code = Some(format!("new {}", node.id));
                session.update(&mut node).unwrap();
                table.insert(("nodes", node.id.to_string()), node_text(&node));
            }
            3 => {
                let tenant = format!("moved {}", random.below(5));
                session.relocate(&mut node, |node| node.tenant = tenant).unwrap();
                table.insert(("nodes", node.id.to_string()), node_text(&node));
            }
            _ => {}
        }
    }
    session.commit().unwrap();
}

fn shards(random: &mut Random) -> Vec<&'static str> {
    let mut names = vec!["a", "b", "c", "d", "e", "f"];
    for _ in 0..random.below(6) {
        names.remove(random.below(names.len() as u64) as usize);
    }
    names
}

fn case(random: &mut Random, kinds: &[Kind]) {
    let kind = |random: &mut Random| kinds[random.below(kinds.len() as u64) as usize];
    let backend = Backend::new(kind(random));
    let mut table = Table::new();
    let names = shards(random);
    let mut source = backend.builder(&names).create::<Tree>().unwrap();
    let count = random.below(90);
    write(&source, &mut table, random, count, 0);
    assert_eq!(held(&source), table);
    let mut kept = vec![backend];
    for turn in 0..3 {
        let other = Backend::new(kind(random));
        let names = shards(random);
        let mut target = other.builder(&names).create::<Tree>().unwrap();
        let rows = 1 + random.below(40) as u32;
        if random.below(2) == 0 {
            // Stopped anywhere, and continued after the source was written.
            let (mut left, pace) = (random.below(20), Pace::rows(rows));
            let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                source.copy_to(&target).pace(pace).run(|_| {
                    assert!(left > 0, "stopped by the test");
                    left -= 1;
                })
            }));
            if stopped.is_err() {
                let count = random.below(20);
                write(&source, &mut table, random, count, 10_000 * (turn + 1));
                drop(target);
                target = other.builder(&names).create::<Tree>().unwrap();
                source.copy_to(&target).pace(pace).run(|_| {}).unwrap();
            }
        } else {
            source.copy_to(&target).pace(Pace::rows(rows)).run(|_| {}).unwrap();
        }
        assert_eq!(held(&target), table, "turn {turn}");
        assert_eq!(held(&source), table, "turn {turn}");
        assert_sound(&target);
        let codes = Sql::new("SELECT count(*) AS n FROM {nodes}").all_shards();
        assert!(!target.session().all(codes).unwrap().is_empty());
        let mut session = target.session();
        let coded = session.all(Node::select().all_shards()).unwrap();
        for node in coded.iter().filter(|node| node.code.is_some()) {
            let code = node.code.clone().unwrap();
            let found = session.one(Node::select().filter(Node::CODE.eq(code.as_str()))).unwrap();
            assert_eq!(found.id, node.id);
        }
        drop(session);
        source = target;
        kept.push(other);
    }
}

fn cases(default: u64, kinds: &[Kind]) {
    let cases = std::env::var("SHARDED_CASES").map_or(default, |cases| cases.parse().unwrap());
    let mut random = Random(seed());
    for number in 0..cases {
        println!("case {number}");
        case(&mut random, kinds);
    }
}

#[test]
fn r62_random_rows_are_copied_between_random_layouts() {
    cases(8, &[Kind::Files, Kind::Prefixed]);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn r62_random_rows_are_copied_between_random_layouts_of_servers() {
    cases(6, &[Kind::Files, Kind::Schemas, Kind::Servers, Kind::Everything]);
}

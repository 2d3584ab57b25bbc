//! The conditions after an attack. No transaction is on some of its shards only. None that was reported as committed is lost,
//! and none that was reported as aborted is stored. The sum is exact, and nothing is left prepared on any server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shard_runtime::{Cluster, Sharded as _};

use crate::unit::Told;
use crate::{Account, Entry, Models, World};

/// The time in which a server notices that a client is gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// The counts.
#[derive(Debug, Default)]
pub struct Counts {
    #[allow(dead_code, reason = "printed")]
    pub units: usize,
    pub over_several_shards: usize,
    pub committed: usize,
    pub aborted: usize,
    pub doubted: usize,
    pub doubted_and_there: usize,
}

/// Opens the cluster, which finishes pending participants, and checks every row.
pub fn check(world: &World, told: &BTreeMap<i64, Told>) -> Counts {
    let cluster = world.builder(&world.ports()).open::<Models>().expect("the cluster opens");
    let give_up = Instant::now() + PATIENCE;
    while prepared(world) > 0 {
        assert!(Instant::now() < give_up, "transactions stay prepared, and no session finishes them");
        cluster.recover().expect("what is left is finished");
        std::thread::sleep(Duration::from_millis(20));
    }
    count(&cluster, told)
}

/// How many transactions are prepared on all servers.
fn prepared(world: &World) -> usize {
    let count = |server: &std::sync::Mutex<sharded_tests::postgres_server::Server>| -> usize {
        server.lock().unwrap().psql("SELECT count(*) FROM pg_prepared_xacts;").trim().parse().unwrap()
    };
    world.servers.iter().map(count).sum()
}

fn count(cluster: &Cluster, told: &BTreeMap<i64, Told>) -> Counts {
    let mut session = cluster.session();
    // By unit: the shards that it names, and the shards that it is on.
    let mut units: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for entry in session.all(Entry::select().all_shards()).unwrap() {
        let (named, on) = units.entry(entry.id).or_insert((entry.shards, 0));
        assert_eq!(*named, entry.shards, "unit {} is not the same on {}", entry.id, entry.shard());
        *on |= 1 << entry.shard().index();
    }
    for (unit, (named, on)) in &units {
        assert_eq!(named, on, "unit {unit} is half-committed: of {named:04b} it is on {on:04b}");
    }
    let sum = session.one(Account::select().all_shards().aggregate(Account::CENTS.sum())).unwrap();
    assert_eq!(sum, Some(0), "a change was lost or was done twice");
    let mut counts = Counts { units: units.len(), ..Counts::default() };
    counts.over_several_shards = units.values().filter(|(shards, _)| shards.count_ones() > 1).count();
    for (unit, told) in told {
        let is_there = units.contains_key(unit);
        match told {
            Told::Committed => {
                assert!(is_there, "unit {unit} was told to be committed, and is lost");
                counts.committed += 1;
            }
            Told::Aborted => {
                assert!(!is_there, "unit {unit} was told to be aborted, and is there");
                counts.aborted += 1;
            }
            Told::Doubted => {
                counts.doubted += 1;
                counts.doubted_and_there += usize::from(is_there);
            }
        }
    }
    counts
}

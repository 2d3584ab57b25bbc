//! Helpers for users' own tests: a cluster in one line, and an assertion about the shards read.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shard_runtime::{Cluster, ErrorKind, Sharded, assert_shards_asked};

use crate::backend::{CONTINENTS, assert_error};
use crate::models::*;

#[test]
fn a_cluster_in_one_line() {
    let cluster = Cluster::in_memory::<Weather>(CONTINENTS).unwrap();
    let names: Vec<&str> = cluster.shards().iter().map(|shard| shard.name()).collect();
    assert_eq!(names, CONTINENTS);
    let other = Cluster::in_memory::<Weather>(CONTINENTS.map(String::from)).unwrap();
    let mut session = cluster.session();
    session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.commit().unwrap();
    assert_eq!(other.session().one(City::select().all_shards().count()).unwrap(), 0);
    assert_error(Cluster::in_memory::<City>(["asia"]), ErrorKind::Configuration, &["`north_america`"]);
    assert_error(Cluster::in_memory::<City>(["asia", "asia"]), ErrorKind::Configuration, &["`asia`"]);
    assert_error(Cluster::in_memory::<City>(Vec::<String>::new()), ErrorKind::Configuration, &[]);
}

#[test]
fn the_shards_asked_are_asserted() {
    let cluster = Cluster::in_memory::<City>(CONTINENTS).unwrap();
    let mut session = cluster.session();
    let asia = || City::select().on(Continent::Asia);
    let rows = assert_shards_asked!(cluster, ["asia"], session.all(asia()).unwrap());
    assert!(rows.is_empty());
    // In any order, of any list, for any handle on the cluster, the session's own too.
    let expected = vec!["south_america", "europe", "north_america", "asia"];
    let count = City::select().all_shards().count();
    assert_eq!(assert_shards_asked!(&cluster, expected, session.one(count).unwrap()), 0);
    assert_shards_asked!(session.cluster(), [], session.all(asia().limit(0)).unwrap());
    assert_shards_asked!(cluster, [], session.add(city(Continent::Asia, "Tokyo")).unwrap());
    assert_shards_asked!(cluster, ["asia"], session.flush().unwrap());

    let mut failing = || -> shard_runtime::Result<()> {
        assert_shards_asked!(cluster, ["asia"], session.all(City::select().on_shard("atlantis"))?);
        panic!("the error is returned before");
    };
    assert_error(failing(), ErrorKind::UnknownShard, &["atlantis"]);
}

#[test]
fn other_shards_than_expected_are_a_panic_with_both_lists() {
    let cluster = Cluster::in_memory::<City>(CONTINENTS).unwrap();
    let asia = || cluster.session().all(City::select().on(Continent::Asia)).unwrap();
    for expected in [vec![], vec!["europe"], vec!["asia", "europe"], vec!["Asia"]] {
        let asserted = catch_unwind(AssertUnwindSafe(|| assert_shards_asked!(cluster, expected, asia())));
        let panic = asserted.expect_err("no panic");
        let message = panic.downcast_ref::<String>().unwrap();
        let lists = [format!("expected: {expected:?}"), "used: [\"asia\"]".to_owned()];
        assert!(lists.iter().all(|list| message.contains(list)), "{message}");
    }
}

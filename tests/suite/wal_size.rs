//! The WAL of a SQLite file is bounded while the cluster is open, and gone when it is closed.

use std::fs;
use std::path::PathBuf;

use shard_runtime::{Cluster, Sharded};

use crate::backend::{Backend, LETTERS};

on_some! {
    Files: a_wal_is_bounded_after_a_large_write, a_wal_is_gone_when_the_cluster_is_closed
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "pictures")]
struct Picture {
    #[id]
    #[shard_key(hash)]
    id: i64,
    bytes: Vec<u8>,
}

const LIMIT: u64 = 1 << 20;

fn wal(backend: &Backend, shard: &str) -> PathBuf {
    backend.path(shard).with_extension("db-wal")
}

fn sizes(backend: &Backend) -> Vec<u64> {
    LETTERS.iter().map(|shard| fs::metadata(wal(backend, shard)).map_or(0, |wal| wal.len())).collect()
}

/// Writes about 8 MiB to each shard in one transaction.
fn write_much(cluster: &Cluster) {
    let mut session = cluster.session();
    session.add_all((0..24).map(|id| Picture { id, bytes: vec![7; 1 << 20] })).unwrap();
    session.commit().unwrap();
}

fn a_wal_is_bounded_after_a_large_write(backend: &Backend) {
    let cluster = backend.builder(&LETTERS).wal_size_limit(LIMIT).create::<Picture>().unwrap();
    write_much(&cluster);
    let large = sizes(backend);
    assert!(large.iter().all(|size| *size > LIMIT), "the test writes too little: {large:?}");
    // The next commit on each shard begins the WAL anew.
    let mut session = cluster.session();
    session.add_all((100..124).map(|id| Picture { id, bytes: vec![7] })).unwrap();
    session.commit().unwrap();
    let bounded = sizes(backend);
    assert!(bounded.iter().all(|size| *size <= LIMIT), "{bounded:?} after {large:?}");
    assert_eq!(session.one(Picture::select().all_shards().count()).unwrap(), 48);
}

fn a_wal_is_gone_when_the_cluster_is_closed(backend: &Backend) {
    let cluster = backend.builder(&LETTERS).create::<Picture>().unwrap();
    write_much(&cluster);
    let mut session = cluster.session();
    let pictures = Picture::select().all_shards().order_by(Picture::ID.asc());
    assert_eq!(session.all(pictures).unwrap().len(), 24);
    drop((session, cluster));
    assert_eq!(sizes(backend), [0; 3]);
    let control = backend.folder().join("control.db-wal");
    assert!(fs::metadata(control).map_or(0, |wal| wal.len()) == 0);
}

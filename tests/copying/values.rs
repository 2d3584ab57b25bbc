//! Values of every type at the edges of the type, in rows, in reference tables, and in columns that no model declares.

use shard_runtime::{Cluster, ErrorKind, Sharded as _};

use crate::backend::{Backend, Kind, LETTERS, assert_error};
use crate::copy;
use crate::edges::*;

on_some! {
    on_disk: r58_edges_stay_as_they_are;
    Schemas Everything: r58_edges_of_servers_stay_as_they_are
}

fn r58_edges_stay_as_they_are(backend: &Backend) {
    check(backend, &Backend::new(Kind::Files));
}

fn r58_edges_of_servers_stay_as_they_are(backend: &Backend) {
    check(backend, &Backend::new(backend.kind));
    check(&Backend::new(Kind::Files), &Backend::new(backend.kind));
    check(&Backend::new(backend.kind), &Backend::new(Kind::Prefixed));
}

fn texts(cluster: &Cluster) -> Vec<(i64, Home, Vec<String>)> {
    let mut session = cluster.session();
    let mut all = Vec::new();
    for home in Home::ALL {
        let rows = session.all(Edge::select().on(home)).unwrap();
        all.extend(rows.iter().map(|row| (row.id, row.home, row.texts())));
    }
    all.sort_by_key(|(id, ..)| *id);
    all
}

fn check(from: &Backend, to: &Backend) {
    let source = from.create::<(Edge, Constant)>(&LETTERS);
    let mut session = source.session();
    for row in everything() {
        session.add(row.everywhere()).unwrap();
        session.add(row).unwrap();
    }
    session.commit().unwrap();
    let target = to.create::<(Edge, Constant)>(&LETTERS);
    let report = copy(&source, &target).unwrap();
    assert_eq!(report.rows as usize, 2 * everything().len());
    assert_eq!(texts(&target), texts(&source));
    assert!(target.compare_references().unwrap().is_empty());
    let constants = |cluster: &Cluster| {
        let rows = cluster.session().all(Constant::select().all_shards()).unwrap();
        let mut all: Vec<String> = rows.iter().map(|row| format!("{:?}", **row)).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(constants(&target), constants(&source));
}

#[test]
fn columns_that_no_model_declares_are_copied() {
    let (from, to) = (Backend::new(Kind::Files), Backend::new(Kind::Prefixed));
    let source = from.create::<Edge>(&LETTERS);
    source
        .transaction(|session| everything().into_iter().try_for_each(|row| session.add(row).map(drop)))
        .unwrap();
    from.plant(
        &LETTERS,
        "edges",
        "ALTER TABLE {table} ADD COLUMN extra TEXT; UPDATE {table} SET extra = 'x' || id",
    );
    let target = to.create::<Edge>(&LETTERS);
    // The rows would lose it.
    let error = copy(&source, &target);
    assert_error(error, ErrorKind::Schema, &["edges", "extra", "lacks a column"]);
    to.plant(&LETTERS, "edges", "ALTER TABLE {table} ADD COLUMN extra TEXT");
    copy(&source, &target).unwrap();
    for shard in LETTERS {
        let wrong = "SELECT count(*) FROM {table} WHERE extra IS NOT 'x' || id";
        assert_eq!(to.peek::<i64>(shard, "edges", wrong), 0);
    }
}

/// Another program can store NaN on a server. It stays there, and a file cannot hold it.
#[test]
#[cfg_attr(not(feature = "servers"), ignore = "needs PostgreSQL: `--features sharded-tests/servers`")]
fn nan_of_another_program_is_copied_to_servers_only() {
    let (from, to) = (Backend::new(Kind::Schemas), Backend::new(Kind::Schemas));
    let source = from.create::<crate::models::Models>(&LETTERS);
    crate::models::fill(&source, 9);
    from.plant(&LETTERS, "order_lines", "UPDATE {table} SET weight = 'NaN' WHERE note IS NOT NULL");
    let target = to.create::<crate::models::Models>(&LETTERS);
    copy(&source, &target).unwrap();
    let count = |backend: &Backend| {
        let each = LETTERS.map(|shard| {
            backend.peek::<i64>(shard, "order_lines", "SELECT count(*) FROM {table} WHERE weight = 'NaN'")
        });
        each.iter().sum::<i64>()
    };
    assert_eq!(count(&to), count(&from));
    assert!(count(&to) > 0);
    let files = Backend::new(Kind::Files);
    let files = files.create::<crate::models::Models>(&LETTERS);
    assert_error(copy(&source, &files), ErrorKind::Value, &["order_lines", "NaN"]);
}

//! Copies between every kind of cluster: the rows, their ids and versions, lookups, counters of ids, and the cluster works.

use shard_runtime::{Cluster, Pace, Sharded as _, change::ChangePhase};

use crate::backend::{Backend, Kind, LETTERS};
use crate::copy;
use crate::models::{Currency, Customer, Line, Models, Order, add, assert_sound, contents, fill};

on_some! {
    on_disk: a_cluster_is_copied_to_files, a_cluster_is_copied_to_prefixes;
    PostgreSQL: files_are_copied_to_it, it_is_copied_to_files, it_is_copied_to_its_like
}

fn a_cluster_is_copied_to_files(backend: &Backend) {
    check(backend, &Backend::new(Kind::Files));
}

fn a_cluster_is_copied_to_prefixes(backend: &Backend) {
    check(backend, &Backend::new(Kind::Prefixed));
}

fn files_are_copied_to_it(backend: &Backend) {
    check(&Backend::new(Kind::Files), backend);
}

fn it_is_copied_to_files(backend: &Backend) {
    check(backend, &Backend::new(Kind::Files));
}

fn it_is_copied_to_its_like(backend: &Backend) {
    check(backend, &Backend::new(backend.kind));
}

/// The ids of orders, which each shard has counted.
fn orders(cluster: &Cluster, shard: &str) -> Vec<i64> {
    let mut session = cluster.session();
    let rows = session.all(Order::select().on_shard(shard)).unwrap();
    let mut ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    ids.sort_unstable();
    ids
}

fn check(from: &Backend, to: &Backend) {
    let source = from.create::<Models>(&LETTERS);
    fill(&source, 60);
    source
        .transaction(|session| {
            for id in 0..10 {
                let mut row = session.get::<Customer>(id)?.unwrap();
                row.cents += 1;
                session.update(&mut row)?;
            }
            // Ids that were given and are not there any more.
            let row = session.all(Customer::select().filter(Customer::ID.eq(59)))?.pop().unwrap();
            let orders = session.all(row.children::<Order>())?;
            for order in orders {
                session.execute(Line::delete().filter(Line::ORDER.eq(order.link())))?;
                session.delete(&order)?;
            }
            session.delete(&row)
        })
        .unwrap();
    let before = contents(&source);
    let target = to.create::<Models>(&LETTERS);
    let mut phases = Vec::new();
    let report = source
        .copy_to(&target)
        .pace(Pace::rows(7))
        .run(|progress| {
            assert!(progress.rows <= progress.of, "{progress}");
            phases.push((progress.phase, progress.to_string()));
        })
        .unwrap();
    for phase in [ChangePhase::Copying, ChangePhase::Comparing] {
        assert!(phases.iter().any(|(seen, _)| *seen == phase), "{phases:?}");
    }
    assert_eq!((report.rows, report.repaired), (before.len() as u64, 0), "{report}");
    assert_eq!(report.tables.iter().map(|table| table.rows).sum::<u64>(), report.rows);
    assert!(report.to_string().ends_with(&format!("{} rows copied and compared", report.rows)), "{report}");
    assert_eq!((contents(&source), contents(&target)), (before.clone(), before.clone()));
    assert_eq!((target.epoch(), target.shards().len()), (1, 3));
    assert_sound(&target);
    assert!(target.compare_references().unwrap().is_empty());
    for shard in LETTERS {
        assert_eq!(orders(&target, shard), orders(&source, shard), "{shard}");
        let currencies = target.session().all(Currency::select().on_shard(shard)).unwrap();
        assert_eq!(currencies.len(), 2, "{shard}");
    }
    // Nothing is left of the copy, for a process that opens it and for this one.
    drop(target);
    let target = to.open::<Models>(&LETTERS).unwrap();
    assert_eq!(contents(&target), before);
    for cluster in [&source, &target] {
        assert_works(cluster);
        assert_sound(cluster);
    }
    let counted = |cluster: &Cluster| {
        let mut session = cluster.session();
        (
            session.all(Order::select().all_shards()).unwrap().len(),
            LETTERS.map(|shard| orders(cluster, shard)),
        )
    };
    // Both count on from the same ids.
    assert_eq!(counted(&source), counted(&target));
    // A copy of the copy.
    let again = Backend::new(Kind::Files);
    let again = again.create::<Models>(&LETTERS);
    copy(&target, &again).unwrap();
    assert_eq!(contents(&again), contents(&target));
}

/// Rows are added, found by their lookups, and changed.
fn assert_works(cluster: &Cluster) {
    let lines = cluster.session().all(Line::select().all_shards()).unwrap();
    let highest = lines.iter().map(|line| line.id).max().unwrap();
    cluster.transaction(|session| (1_000..1_020).try_for_each(|id| add(session, id))).unwrap();
    let mut session = cluster.session();
    for id in (0..59).chain(1_000..1_020) {
        let email = format!("{id}@example.org");
        let mut row = session.one(Customer::select().filter(Customer::EMAIL.eq(email.as_str()))).unwrap();
        assert_eq!((row.id, row.version), (id, if id < 10 { 2 } else { 1 }));
        row.name = "changed".into();
        session.update(&mut row).unwrap();
    }
    let added = session.all(Line::select().all_shards()).unwrap();
    let added = added.iter().filter(|line| !lines.iter().any(|before| before.id == line.id));
    assert!(added.map(|line| line.id).min().unwrap() > highest);
    session.commit().unwrap();
}

//! Rows that go from one source of a change to another one while they are copied: they keep their ids. R50.

use std::time::Duration;

use shard_runtime::{Cluster, Pace, Sharded, change::Switch};

use crate::backend::{Backend, LETTERS};
use crate::models::assert_sound;

on_some! {
    lasting:
        r50_rows_are_relocated_between_sources,
        r50_ids_of_removed_rows_are_given_again_on_another_source
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "parcels")]
struct Parcel {
    #[id]
    id: i64,
    #[shard_key(list("v" => "a", "w" => "b", "x" => "c"))]
    code: String,
}

fn parcel(id: i64, code: &str) -> Parcel {
    Parcel { id, code: code.into() }
}

fn parcels(backend: &Backend) -> Cluster {
    drop(backend.create::<Parcel>(&LETTERS));
    let cluster = backend.builder(&["a", "b", "c", "d"]).create::<Parcel>().unwrap();
    cluster.transaction(|session| session.add_all([parcel(1, "w"), parcel(2, "x")])).unwrap();
    cluster
}

/// Merges two shards; after the first copy of the rows something is written.
fn merged(cluster: &Cluster, write: impl FnOnce()) {
    let plan = cluster.plan_change().merge(["b", "c"], "d").build().unwrap();
    let mut change = cluster.begin_change(&plan).unwrap();
    change.copy(Pace::default(), |_| {}).unwrap();
    write();
    change.switch(Switch::within(Duration::from_secs(20))).unwrap();
    change.finish().unwrap();
    assert_sound(cluster);
}

fn codes(cluster: &Cluster) -> Vec<(i64, String)> {
    let rows = cluster.session().all(Parcel::select().all_shards().order_by(Parcel::ID.asc())).unwrap();
    rows.iter().map(|row| (row.id, row.code.clone())).collect()
}

fn r50_rows_are_relocated_between_sources(backend: &Backend) {
    let cluster = parcels(backend);
    merged(&cluster, || {
        let relocated = cluster.transaction(|session| {
            for (id, code) in [(1, "x"), (2, "w")] {
                let mut row = session.get::<Parcel>(id)?.expect("it is there");
                session.relocate(&mut row, |row| row.code = code.into())?;
            }
            Ok(())
        });
        relocated.unwrap();
    });
    assert_eq!(codes(&cluster), [(1, "x".to_owned()), (2, "w".to_owned())]);
}

fn r50_ids_of_removed_rows_are_given_again_on_another_source(backend: &Backend) {
    let cluster = parcels(backend);
    merged(&cluster, || {
        for (id, code) in [(1, "x"), (2, "w")] {
            let remove = || Parcel::delete().filter(Parcel::ID.eq(id)).all_shards();
            cluster.transaction(|session| session.execute(remove()).map(drop)).unwrap();
            cluster.transaction(|session| session.add(parcel(id, code)).map(drop)).unwrap();
        }
    });
    assert_eq!(codes(&cluster), [(1, "x".to_owned()), (2, "w".to_owned())]);
}

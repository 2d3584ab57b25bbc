//! There is no ambient state: R46.

use shard_runtime::{
    Builder, Cluster, Error, ErrorKind, Explain, Parent, Session, Shard, Sharded, Shards, Stored,
};

use crate::backend::{Backend, CONTINENTS, LETTERS, assert_error};
use crate::models::*;

on_every_backend! {
    r46_a_session_moves_between_threads,
    r46_clones_are_handles_on_one_cluster,
    r46_clusters_are_independent,
    r46_rows_and_links_of_another_cluster_are_refused,
    r45_a_panic_in_a_session_leaves_the_cluster_usable;
    only lasting:
        r46_a_cluster_opened_twice_is_one_cluster,
}

const fn send<T: Send>() {}
const fn send_sync_clone<T: Send + Sync + Clone>() {}

const _: () = {
    send::<Session>();
    send::<Error>();
    send_sync_clone::<Cluster>();
    send_sync_clone::<Builder>();
    send_sync_clone::<Shards>();
    send_sync_clone::<Shard>();
    send_sync_clone::<Stored<City>>();
    send_sync_clone::<Parent<City>>();
    send_sync_clone::<shard_runtime::Select<City, shard_runtime::Routed>>();
    send_sync_clone::<Explain>();
};

fn r46_a_session_moves_between_threads(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let mut session = cluster.session();
    session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.flush().unwrap();
    let mut session = std::thread::spawn(move || {
        session.add(city(Continent::Europe, "London")).unwrap();
        assert_eq!(session.all(City::select().all_shards()).unwrap().len(), 2);
        session
    })
    .join()
    .unwrap();
    session.commit().unwrap();
    assert_eq!(cluster.session().all(City::select().all_shards()).unwrap().len(), 2);
}

fn r46_clones_are_handles_on_one_cluster(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let clone = (*cluster).clone();
    let mut session = clone.session();
    session.add(city(Continent::Asia, "Tokyo")).unwrap();
    let (_, asked) = cluster.asked(|| session.commit().unwrap());
    assert_eq!(asked, ["asia"], "the counters are the cluster's");
    drop(session);
    drop(clone);
    assert_eq!(cluster.session().all(City::select().all_shards()).unwrap().len(), 1);
}

fn r46_clusters_are_independent(backend: &Backend) {
    // Two clusters, the same names in another order, used at once by one thread.
    let other = Backend::new(backend.kind);
    let first = backend.create::<Company>(&LETTERS);
    let second = other.create::<Company>(&["c", "a", "b"]);
    let (mut one, mut two) = (first.session(), second.session());
    for id in 0..20 {
        let company = |name: &str| Company { id, name: name.into() };
        let here = one.add(company("first")).unwrap();
        let there = two.add(company("second")).unwrap();
        assert_eq!(here.shard().index(), there.shard().index());
        assert_ne!(here.shard(), there.shard());
    }
    one.commit().unwrap();
    let (counted, asked) = second.asked(|| one.one(Company::select().all_shards().count()).unwrap());
    assert!(counted == 20 && asked.is_empty());
    two.rollback();
    assert_eq!(two.one(Company::select().all_shards().count()).unwrap(), 0);
}

fn r46_rows_and_links_of_another_cluster_are_refused(backend: &Backend) {
    let other = Backend::new(backend.kind);
    let first = backend.create::<Weather>(&CONTINENTS);
    // The same names, in another order.
    let second = other.create::<Weather>(&["europe", "asia", "north_america", "south_america"]);
    let add_tokyo = |cluster: &Cluster| {
        let mut session = cluster.session();
        let tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
        session.commit().unwrap();
        tokyo
    };
    let (mut foreign, own) = (add_tokyo(&first), add_tokyo(&second));
    assert_eq!((foreign.id, foreign.shard().name()), (own.id, own.shard().name()));
    assert_ne!(foreign.shard(), own.shard());
    foreign.name = "Edo".into();
    let mut session = second.session();
    let ((), asked) = second.asked(|| {
        let refused = |result: shard_runtime::Result<()>| {
            assert_error(result, ErrorKind::UnknownShard, &["shard `asia`", "another cluster"]);
        };
        refused(session.update(&mut foreign));
        refused(session.delete(&foreign));
        refused(session.reload(&mut foreign));
        refused(session.get(&foreign.link()).map(drop));
        refused(session.all(foreign.children::<Report>()).map(drop));
        refused(session.all(Report::select().filter(Report::CITY.eq(&foreign))).map(drop));
        refused(session.all(Report::select().filter(Report::CITY.is_in([foreign.link()]))).map(drop));
        refused(session.add(NewReport { city: foreign.link(), temperature: 1.0 }).map(drop));
    });
    assert!(asked.is_empty(), "{asked:?}");
    assert_eq!(second.session().get::<City>(own.id).unwrap().unwrap().name, "Tokyo");
    first.session().update(&mut foreign).unwrap();
}

fn r46_a_cluster_opened_twice_is_one_cluster(backend: &Backend) {
    let first = backend.create::<City>(&CONTINENTS);
    let mut session = first.session();
    let mut tokyo = session.add(city(Continent::Asia, "Tokyo")).unwrap();
    session.commit().unwrap();
    let again = backend.open::<City>(&CONTINENTS).unwrap();
    tokyo.name = "Edo".into();
    let mut session = again.session();
    session.update(&mut tokyo).unwrap();
    session.commit().unwrap();
    let found = session.get::<City>(tokyo.id).unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.shard()), ("Edo", tokyo.shard()));
}

fn r45_a_panic_in_a_session_leaves_the_cluster_usable(backend: &Backend) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let inside = (*cluster).clone();
    let panicked = std::thread::spawn(move || {
        let mut session = inside.session();
        session.add(city(Continent::Asia, "Tokyo")).unwrap();
        session.flush().unwrap();
        std::panic::resume_unwind(Box::new("the application's own fault"));
    })
    .join();
    assert!(panicked.is_err());
    let mut session = cluster.session();
    session.add(city(Continent::Asia, "Osaka")).unwrap();
    session.commit().unwrap();
    assert_eq!(session.one(City::select().all_shards().count()).unwrap(), 1);
}

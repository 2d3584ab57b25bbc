//! Common properties of the public types. `Debug` prints no values and no passwords, equality and hash agree, and they are
//! serialised.

use std::collections::HashSet;

use crate::backend::Backend;
use shard_runtime::prelude::*;
use shard_runtime::{Models, Shards};

#[derive(Sharded, Clone, Debug, PartialEq, Eq, Hash)]
#[sharded(table = "cities")]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key(list("Asia" => "asia", "Europe" => "europe"))]
    continent: String,
    name: String,
}

#[derive(Sharded, Clone, Debug, PartialEq, Eq, Hash)]
#[sharded(table = "reports")]
struct Report {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    city: Parent<City>,
}

#[derive(Sharded, Clone, Debug, PartialEq, Eq, Hash)]
#[sharded(table = "languages", reference)]
struct Language {
    #[id]
    code: String,
}

#[derive(serde::Serialize, Sharded, Clone, Debug)]
#[sharded(table = "remarks")]
struct Remark {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    city: Parent<City>,
    text: String,
}

fn city(session: &mut Session, continent: &str, name: &str) -> Stored<City> {
    session.add(NewCity { continent: continent.into(), name: name.into() }).unwrap()
}

#[test]
fn a_builder_prints_its_shards_without_their_urls() {
    let builder =
        Cluster::builder().shard("asia", "postgres://user:s3cret@host/db").shard("europe", "s3cret@host");
    let printed = format!("{builder:?} {builder:#?}");
    assert!(printed.contains("asia") && printed.contains("europe"), "{printed}");
    assert!(!printed.contains("s3cret"), "{printed}");
}

#[test]
fn a_session_prints_its_cluster_and_no_row() {
    let cluster = Cluster::in_memory::<City>(["asia", "europe"]).unwrap();
    let mut session = cluster.session_on_shard("asia").unwrap();
    session.add(NewCity { continent: "Asia".into(), name: "Tokyo".into() }).unwrap();
    let printed = format!("{session:?} {:?}", cluster.async_session());
    assert!(printed.contains("asia") && !printed.contains("Tokyo"), "{printed}");
}

#[test]
fn queries_are_cloned_and_printed_with_their_conditions() {
    let query = City::select().filter(City::NAME.eq("Tokyo")).all_shards();
    let printed = format!("{:?}", query.clone());
    assert!(printed.contains("Tokyo") && printed.contains("cities"), "{printed}");
    let counted = query.clone().group_by(City::CONTINENT).aggregate(count());
    assert!(format!("{:?}", counted.clone()).contains("Tokyo"));
    let by_id = City::by_id(7).on_shard("asia");
    assert_eq!(format!("{:?}", by_id.clone()), r#"Located { id: 7, pin: Some(Name("asia")) }"#);
    let _ = (
        query.clone().count().clone(),
        query.exists().clone(),
        City::delete().all_shards().returning().clone(),
    );
}

fn rows_and_links_are_hashed_as_they_are_equal(backend: &Backend) {
    let cluster = backend.create::<(City, Report, Language)>(&["asia", "europe"]);
    let mut session = cluster.session();
    let tokyo = city(&mut session, "Asia", "Tokyo");
    let rome = city(&mut session, "Europe", "Rome");
    session.add(Language { code: "it".into() }).unwrap();
    session.commit().unwrap();

    let again = session.get::<City>(tokyo.id).unwrap().unwrap();
    assert_eq!(HashSet::from([tokyo.clone(), rome.clone(), again]).len(), 2);
    assert_eq!(HashSet::from([tokyo.link(), rome.link(), tokyo.link()]).len(), 2);
    assert_eq!(HashSet::from([tokyo.shard(), rome.shard(), tokyo.shard()]).len(), 2);

    // A row of a reference table is the same row on every shard.
    let on = |shard| cluster.session_on_shard(shard).unwrap().one(Language::select()).unwrap();
    assert_eq!(HashSet::from([on("asia"), on("europe")]).len(), 1);
}

fn a_link_is_made_of_a_shard_and_an_id(backend: &Backend) {
    let cluster = backend.create::<(City, Report, Language)>(&["asia", "europe"]);
    let mut session = cluster.session();
    let tokyo = city(&mut session, "Asia", "Tokyo");
    session.commit().unwrap();

    let link = Parent::<City>::new(cluster.shards().require("asia").unwrap(), tokyo.id);
    assert_eq!(link, tokyo.link());
    let report = session.add(NewReport { city: link.clone() }).unwrap();
    assert_eq!(session.parent(&report).unwrap(), tokyo);
    assert_eq!(session.all(Report::select().filter(Report::CITY.eq(&link))).unwrap(), [report]);
    session.commit().unwrap();

    // The wrong shard, and the shard of another cluster.
    let elsewhere = Parent::<City>::new(cluster.shards().require("europe").unwrap(), tokyo.id);
    assert_eq!(session.get(&elsewhere).unwrap(), None);
    let refused = session.add(NewReport { city: elsewhere }).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ForeignKey);
    session.rollback();
    let foreign = Parent::<City>::new(Shards::named(["asia"]).unwrap().require("asia").unwrap(), tokyo.id);
    let refused = [
        session.add(NewReport { city: foreign.clone() }).map(drop).unwrap_err(),
        session.get(&foreign).map(drop).unwrap_err(),
        session.all(Report::select().filter(Report::CITY.eq(&foreign))).map(drop).unwrap_err(),
    ];
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::UnknownShard), "{refused:?}");
}

#[test]
fn rows_and_links_are_serialised() {
    let cluster = Cluster::in_memory::<(City, Remark)>(["asia", "europe"]).unwrap();
    let mut session = cluster.session();
    let tokyo = city(&mut session, "Asia", "Tokyo");
    let remark = session.add(NewRemark { city: tokyo.link(), text: "humid".into() }).unwrap();
    let link = serde_json::json!({ "id": tokyo.id, "shard": "asia" });
    assert_eq!(serde_json::to_value(tokyo.link()).unwrap(), link);
    let row = serde_json::json!({ "id": remark.id, "city": link, "text": "humid" });
    assert_eq!(serde_json::to_value(&remark).unwrap(), row);
}

#[test]
fn a_tuple_holds_thirty_two_models() {
    fn is_models<M: Models>() {}
    type Four = (City, Report, Language, Remark);
    type Eight = (Four, Four);
    is_models::<(
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        City,
        Eight,
    )>();
}

on_every_dialect! { rows_and_links_are_hashed_as_they_are_equal, a_link_is_made_of_a_shard_and_an_id }

//! Copies to other numbers of shards, other names and other placements: more shards and fewer, spare shards, layouts that changes
//! have made, schema versions.

use shard_runtime::{
    Cluster, ErrorKind, Pace, Parent, ShardRole, Sharded, change::Switch, migrate::Migrations,
};

use crate::backend::{Backend, Kind, LETTERS, assert_error};
use crate::copy;
use crate::models;

on_some! {
    on_disk: rows_go_where_the_other_layout_has_them, parts_of_a_shard_with_counted_ids_are_copied;
    Schemas Everything: rows_go_where_the_other_layout_of_servers_has_them
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "owners")]
struct Owner {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[lookup]
    email: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "pets")]
struct Pet {
    #[id(sequence)]
    id: i64,
    #[shard_parent]
    owner: Parent<Owner>,
    name: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "toys")]
struct Toy {
    #[id(uuid)]
    id: uuid::Uuid,
    #[shard_parent]
    pet: Parent<Pet>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "kinds", reference)]
struct Species {
    #[id]
    name: String,
}

type Family = (Owner, Pet, Toy, Species);

fn fill(cluster: &Cluster) {
    let mut session = cluster.session();
    for name in ["cat", "dog"] {
        session.add(Species { name: name.into() }).unwrap();
    }
    for id in 0..80 {
        let owner = session.add(Owner { id, email: format!("{id}@example.org") }).unwrap();
        for name in 0..id % 3 {
            let pet = session.add(NewPet { owner: owner.link(), name: format!("pet {name}") }).unwrap();
            session.add(NewToy { pet: pet.link() }).unwrap();
        }
    }
    session.commit().unwrap();
}

fn family(cluster: &Cluster) -> Vec<String> {
    let mut session = cluster.session();
    let mut all: Vec<String> = Vec::new();
    all.extend(session.all(Species::select().all_shards()).unwrap().iter().map(|row| format!("{:?}", **row)));
    all.extend(session.all(Owner::select().all_shards()).unwrap().iter().map(|row| format!("{:?}", **row)));
    let pets = session.all(Pet::select().all_shards()).unwrap();
    all.extend(pets.iter().map(|row| format!("pet {} {} {}", row.id, row.owner.id(), row.name)));
    let toys = session.all(Toy::select().all_shards()).unwrap();
    all.extend(toys.iter().map(|row| format!("toy {} {}", row.id, row.pet.id())));
    all.sort_unstable();
    all
}

/// The shards that serve.
fn serving(cluster: &Cluster) -> impl Iterator<Item = &shard_runtime::Shard> {
    cluster.shards().iter().filter(|shard| shard.role() == ShardRole::Serving)
}

fn assert_family(cluster: &Cluster, expected: &[String]) {
    assert_eq!(family(cluster), expected);
    models::assert_sound(cluster);
    let mut session = cluster.session();
    for id in 0..80 {
        let email = Owner::EMAIL.eq(format!("{id}@example.org"));
        assert_eq!(session.one(Owner::select().filter(email)).unwrap().id, id);
    }
    // Every shard has a share.
    for shard in serving(cluster) {
        assert!(!session.all(Owner::select().on_shard(shard.name())).unwrap().is_empty(), "{shard}");
    }
}

const MANY: [&str; 5] = ["c", "v", "w", "x", "y"];

fn rows_go_where_the_other_layout_has_them(backend: &Backend) {
    layouts(backend, Kind::Files);
}

fn rows_go_where_the_other_layout_of_servers_has_them(backend: &Backend) {
    layouts(backend, Kind::Schemas);
}

fn layouts(backend: &Backend, kind: Kind) {
    let source = backend.create::<Family>(&LETTERS);
    fill(&source);
    let before = family(&source);
    let mut sums = None;
    for shards in [&MANY[..], &MANY[1..2], &["c", "a", "b"], &LETTERS[..2]] {
        let other = Backend::new(kind);
        let target = other.create::<Family>(shards);
        let report = copy(&source, &target).unwrap();
        assert_family(&target, &before);
        // The checksums do not depend on the shards.
        assert_eq!(*sums.get_or_insert_with(|| report.tables.clone()), report.tables);
        // And back to the first layout.
        let back = Backend::new(Kind::Files);
        let back = back.create::<Family>(&LETTERS);
        copy(&target, &back).unwrap();
        assert_family(&back, &before);
    }
}

#[test]
fn layouts_that_changes_have_made_are_followed() {
    let backend = Backend::new(Kind::Files);
    drop(backend.create::<Family>(&LETTERS));
    let source = backend.builder(&["a", "b", "c", "d", "e", "spare"]).create::<Family>().unwrap();
    fill(&source);
    let split = |cluster: &Cluster, source: &str, targets: [&'static str; 2]| {
        let plan = cluster.plan_change().split(source, targets).build().unwrap();
        let mut change = cluster.begin_change(&plan).unwrap();
        change.copy(Pace::default(), |_| {}).unwrap();
        change.switch(Switch::within(std::time::Duration::from_secs(20))).unwrap();
        change.finish().unwrap();
    };
    split(&source, "c", ["d", "e"]);
    let before = family(&source);
    let other = Backend::new(Kind::Prefixed);
    drop(other.create::<Family>(&["x", "y"]));
    let target = other.builder(&["x", "y", "y1", "y2", "z"]).create::<Family>().unwrap();
    split(&target, "y", ["y1", "y2"]);
    copy(&source, &target).unwrap();
    assert_family(&target, &before);
    let names: Vec<&str> = serving(&target).map(|shard| shard.name()).collect();
    assert_eq!((target.epoch(), names), (2, vec!["x", "y1", "y2"]));
}

fn parts_of_a_shard_with_counted_ids_are_copied(backend: &Backend) {
    // Each target gets rows of one shard, so that ids which several shards have counted do not meet.
    let source = backend.create::<Hashed>(&["a", "b"]);
    let mut session = source.session();
    for id in 0..40 {
        let owner = session.add(Buyer { id }).unwrap();
        session.add(NewSale { buyer: owner.link(), cents: id }).unwrap();
    }
    session.commit().unwrap();
    let sales = |cluster: &Cluster| {
        let rows = cluster.session().all(Sale::select().all_shards()).unwrap();
        let mut all: Vec<_> = rows.iter().map(|row| (row.id, *row.buyer.id(), row.cents)).collect();
        all.sort_unstable();
        all
    };
    let other = Backend::new(Kind::Files);
    let target = other.create::<Hashed>(&["p", "q", "r", "s"]);
    copy(&source, &target).unwrap();
    assert_eq!(sales(&target), sales(&source));
    models::assert_sound(&target);
    // Every shard counts on.
    let highest = |cluster: &Cluster, shard: &str| {
        let rows = cluster.session().all(Sale::select().on_shard(shard)).unwrap();
        rows.iter().map(|row| row.id).max().unwrap()
    };
    let before = ["p", "q", "r", "s"].map(|shard| highest(&target, shard));
    target
        .transaction(|session| {
            for id in 100..120 {
                let buyer = session.add(Buyer { id })?;
                let sale = session.add(NewSale { buyer: buyer.link(), cents: 0 })?;
                let at = ["p", "q", "r", "s"].iter().position(|shard| *shard == sale.shard().name()).unwrap();
                assert!(sale.id > before[at]);
                // As the shard that the rows are from does.
                assert!(sale.id > highest(&source, ["a", "b"][at % 2]));
            }
            Ok(())
        })
        .unwrap();
    // Three shards get rows of both.
    let three = Backend::new(Kind::Files);
    let three = three.create::<Hashed>(&["p", "q", "r"]);
    let error = copy(&source, &three);
    assert_error(error, ErrorKind::Configuration, &["sales", "#[id(auto)]", "`a` and `b`", "id 1"]);
    assert!(sales(&three).is_empty());
    // It was refused before anything was written.
    three.transaction(|session| session.add(Buyer { id: 1 }).map(drop)).unwrap();
    // One shard may become any number.
    let one = Backend::new(Kind::Files);
    let one = one.create::<Hashed>(&["one"]);
    one.transaction(|session| {
        for id in 0..40 {
            let buyer = session.add(Buyer { id })?;
            session.add(NewSale { buyer: buyer.link(), cents: id })?;
        }
        Ok(())
    })
    .unwrap();
    let three = Backend::new(Kind::Files);
    let three = three.create::<Hashed>(&["p", "q", "r"]);
    copy(&one, &three).unwrap();
    assert_eq!(sales(&three), sales(&one));
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "buyers")]
struct Buyer {
    #[id]
    #[shard_key(hash)]
    id: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "sales")]
struct Sale {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    buyer: Parent<Buyer>,
    cents: i64,
}

type Hashed = (Buyer, Sale);

mod later {
    use shard_runtime::Sharded;

    #[derive(Sharded, Clone, Debug, PartialEq)]
    #[sharded(table = "buyers")]
    pub struct Buyer {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub nickname: Option<String>,
    }
}

fn migrations() -> Migrations {
    Migrations::new().step(2, "nickname", |step| {
        step.backfill::<later::Buyer>(|buyer| buyer.nickname = Some(format!("buyer {}", buyer.id)))
    })
}

#[test]
fn both_clusters_are_at_the_same_step_of_migrations() {
    let backend = Backend::new(Kind::Files);
    let source = backend.create::<Buyer>(&["a", "b"]);
    source.transaction(|session| session.add_all((0..9).map(|id| Buyer { id })).map(drop)).unwrap();
    drop(source);
    backend.builder(&["a", "b"]).migrate::<later::Buyer>(&migrations()).unwrap().run(|_| {}).unwrap();
    let source = backend.open::<later::Buyer>(&["a", "b"]).unwrap();
    // A new cluster takes the steps over.
    let other = Backend::new(Kind::Files);
    let target = other.create::<later::Buyer>(&["x"]);
    copy(&source, &target).unwrap();
    drop(target);
    let step = "SELECT step || ' ' || name || ' ' || phase FROM {table} WHERE step = 2";
    assert_eq!(other.peek::<String>("x", "sharded_migration", step), "2 nickname done");
    let status = other.builder(&["x"]).migrate::<later::Buyer>(&migrations()).unwrap().run(|_| {}).unwrap();
    assert!(!status.has_failed(), "{status}");
    // One that is at another step is refused.
    let ahead = Backend::new(Kind::Files);
    let more = || migrations().step(3, "again", |step| step.sqlite("SELECT 1").postgres("SELECT 1"));
    drop(ahead.create::<later::Buyer>(&["x"]));
    ahead.builder(&["x"]).migrate::<later::Buyer>(&more()).unwrap().run(|_| {}).unwrap();
    let target = ahead.open::<later::Buyer>(&["x"]).unwrap();
    assert_error(
        copy(&source, &target),
        ErrorKind::Schema,
        &["shard `x`", "step 3 `again`", "run `migrate`"],
    );
    // One that lacks a column has other models.
    let behind = Backend::new(Kind::Files);
    let target = behind.create::<Buyer>(&["x"]);
    assert_error(copy(&source, &target), ErrorKind::UnknownModel, &["model `Buyer`", "the same models"]);
}

//! Children and grandchildren, filtered by their parents' links. The parents' ids count from 1 on every shard: the same id is
//! another row on another shard.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use shard_runtime::{Filter, Parent, Result, Session, Sharded, Shards, Stored, Unrouted};

use super::runner::{self, Verdict};
use super::world::{World, succeeded, worlds};

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "places", insert(derive(Clone, Debug)))]
struct Place {
    #[id(auto)]
    id: i64,
    #[shard_key(hash)]
    key: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "readings", index(value))]
struct Reading {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    place: Parent<Place>,
    value: i64,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "remarks")]
struct Remark {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    reading: Parent<Reading>,
    text: String,
}

/// A condition on readings; places are named by their numbers.
#[derive(Clone, Debug)]
enum Tree {
    At(Index),
    NotAt(Index),
    Among(Vec<Index>),
    Below(i64),
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
}

#[derive(Clone, Debug)]
struct Case {
    committed: bool,
    /// The key of each place.
    places: Vec<i64>,
    /// The place and the value of each reading.
    readings: Vec<(Index, i64)>,
    /// The reading and the text of each remark.
    remarks: Vec<(Index, String)>,
    trees: Vec<Tree>,
}

fn cases() -> impl Strategy<Value = Case> {
    let leaf = prop_oneof![
        3 => any::<Index>().prop_map(Tree::At),
        1 => any::<Index>().prop_map(Tree::NotAt),
        3 => vec(any::<Index>(), 0..5).prop_map(Tree::Among),
        1 => (0..6_i64).prop_map(Tree::Below),
    ];
    let tree = leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            2 => vec(inner.clone(), 0..4).prop_map(Tree::All),
            2 => vec(inner.clone(), 0..4).prop_map(Tree::Any),
            1 => inner.prop_map(|tree| Tree::Not(Box::new(tree))),
        ]
    });
    let text = select(&["", "fine", "'", "日"][..]).prop_map(str::to_owned);
    let readings = vec((any::<Index>(), 0..6_i64), 0..16);
    let remarks = vec((any::<Index>(), text), 0..8);
    (any::<bool>(), vec(-20..20_i64, 1..9), readings, remarks, vec(tree, 1..4)).prop_map(
        |(committed, places, readings, remarks, trees)| Case { committed, places, readings, remarks, trees },
    )
}

/// The rows of a case, as they were stored.
struct Family {
    places: Vec<Stored<Place>>,
    readings: Vec<Stored<Reading>>,
    remarks: Vec<Stored<Remark>>,
}

pub fn run(name: &str, thousandths: u64) {
    let worlds = worlds::<(Place, Reading, Remark)>(1);
    runner::run(name, thousandths, (0..worlds.len(), cases()), |(world, case)| {
        let world = &worlds[world];
        let (mut session, family) = succeeded(fill(world, &case))?;
        check_relations(world, &mut session, &family)?;
        for tree in &case.trees {
            check_filter(world, &mut session, &family, tree)?;
        }
        check_writes(&mut session, &family, &case.trees)
    });
}

fn fill(world: &World, case: &Case) -> Result<(Session, Family)> {
    let mut session = world.cluster.session();
    if world.dirty.get() {
        session.execute(Remark::delete().all_shards())?;
        session.execute(Reading::delete().all_shards())?;
        session.execute(Place::delete().all_shards())?;
        session.commit()?;
        world.dirty.set(false);
    }
    let places = session.add_all(case.places.iter().map(|key| NewPlace { key: *key }))?;
    let readings = case
        .readings
        .iter()
        .map(|(place, value)| NewReading { place: places[place.index(places.len())].link(), value: *value });
    let readings = session.add_all(readings)?;
    let mut remarks = Vec::new();
    for (reading, text) in case.remarks.iter().filter(|_| !readings.is_empty()) {
        let reading = readings[reading.index(readings.len())].link();
        remarks.push(session.add(NewRemark { reading, text: text.clone() })?);
    }
    if case.committed {
        world.dirty.set(true);
        session.commit()?;
        session = world.cluster.session();
    }
    Ok((session, Family { places, readings, remarks }))
}

impl Family {
    fn place(&self, index: &Index) -> &Stored<Place> {
        &self.places[index.index(self.places.len())]
    }

    fn filter(&self, tree: &Tree) -> Filter<Reading, Unrouted> {
        match tree {
            Tree::At(place) => Reading::PLACE.eq(self.place(place)).into(),
            Tree::NotAt(place) => Reading::PLACE.ne(self.place(place)),
            Tree::Among(places) => {
                Reading::PLACE.is_in(places.iter().map(|place| self.place(place).link())).into()
            }
            Tree::Below(value) => Reading::VALUE.lt(*value),
            Tree::All(trees) => Filter::all(trees.iter().map(|tree| self.filter(tree))),
            Tree::Any(trees) => Filter::any(trees.iter().map(|tree| self.filter(tree))),
            Tree::Not(tree) => !self.filter(tree),
        }
    }

    fn holds(&self, tree: &Tree, reading: &Reading) -> bool {
        match tree {
            Tree::At(place) => reading.place == self.place(place).link(),
            Tree::NotAt(place) => reading.place != self.place(place).link(),
            Tree::Among(places) => places.iter().any(|place| reading.place == self.place(place).link()),
            Tree::Below(value) => reading.value < *value,
            Tree::All(trees) => trees.iter().all(|tree| self.holds(tree, reading)),
            Tree::Any(trees) => trees.iter().any(|tree| self.holds(tree, reading)),
            Tree::Not(tree) => !self.holds(tree, reading),
        }
    }

    /// Returns true if readings of the place with this id on this shard may match. Pruning uses links that a condition
    /// requires, not those that it excludes; `exact` includes the latter.
    fn may(&self, tree: &Tree, shard: usize, id: i64, negated: bool, exact: bool) -> bool {
        let is = |place: &Index| {
            let place = self.place(place);
            place.shard().index() == shard && place.id == id
        };
        let every = |trees: &[Tree]| trees.iter().all(|tree| self.may(tree, shard, id, negated, exact));
        let some = |trees: &[Tree]| trees.iter().any(|tree| self.may(tree, shard, id, negated, exact));
        match tree {
            Tree::Below(_) => true,
            Tree::Among(places) if places.is_empty() => negated,
            Tree::At(_) | Tree::Among(_) if negated && !exact => true,
            Tree::NotAt(_) if !negated && !exact => true,
            Tree::At(place) => is(place) != negated,
            Tree::NotAt(place) => is(place) == negated,
            Tree::Among(places) => places.iter().any(is) != negated,
            Tree::Not(tree) => self.may(tree, shard, id, !negated, exact),
            Tree::All(trees) if negated => some(trees),
            Tree::All(trees) => every(trees),
            Tree::Any(trees) if negated => every(trees),
            Tree::Any(trees) => some(trees),
        }
    }

    /// The shards on which readings may match.
    fn shares(&self, tree: &Tree, shards: &Shards, exact: bool) -> BTreeSet<usize> {
        let ids: BTreeSet<i64> = self.places.iter().map(|place| place.id).chain([1_000_000]).collect();
        let may = |shard: &usize| ids.iter().any(|id| self.may(tree, *shard, *id, false, exact));
        (0..shards.len()).filter(may).collect()
    }
}

/// Rows by shard and id.
fn sorted<T: Sharded<Id = i64> + Clone>(rows: &[Stored<T>]) -> Vec<Stored<T>> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| (row.shard().index(), *row.id()));
    rows
}

fn check_filter(world: &World, session: &mut Session, family: &Family, tree: &Tree) -> Verdict {
    let shards = world.cluster.shards();
    let query = Reading::select().all_shards().filter(family.filter(tree));
    let (found, asked) = world.asked(session, |session| session.all(query.clone()));
    let found = succeeded(found)?;
    let wanted: Vec<_> = family.readings.iter().filter(|row| family.holds(tree, row)).cloned().collect();
    prop_assert_eq!(sorted(&found), sorted(&wanted));
    prop_assert_eq!(succeeded(session.one(query.count()))?, wanted.len() as u64);

    let once: BTreeSet<usize> = asked.iter().copied().collect();
    prop_assert_eq!(once.len(), asked.len(), "a shard is asked twice: {:?}", asked);
    let least = family.shares(tree, shards, true);
    prop_assert!(least.is_subset(&once), "asked {:?}, but rows may be on {:?}", once, least);
    let most = family.shares(tree, shards, false);
    prop_assert!(once.is_subset(&most), "asked {:?}, but rows can be only on {:?}", once, most);
    Ok(())
}

/// From parents to children and back: each on the row's own shard alone.
fn check_relations(world: &World, session: &mut Session, family: &Family) -> Verdict {
    let mut shards_of_places: Vec<usize> = family.places.iter().map(|place| place.shard().index()).collect();
    shards_of_places.sort_unstable();
    shards_of_places.dedup();
    for place in &family.places {
        let (children, asked) = world.asked(session, |session| session.all(place.children::<Reading>()));
        prop_assert_eq!(asked, [place.shard().index()]);
        prop_assert_eq!(sorted(&succeeded(children)?), family.readings_of(place));
    }
    for remark in &family.remarks {
        let reading = succeeded(session.parent(remark))?;
        prop_assert_eq!(reading.link(), remark.reading.clone());
        let place = succeeded(session.parent(&reading))?;
        prop_assert!(family.places.contains(&place));
        let (again, asked) = world.asked(session, |session| session.parent(&reading));
        prop_assert_eq!(succeeded(again)?, place);
        prop_assert!(asked.is_empty(), "what the session has got it asks for again: {:?}", asked);
    }
    let parents = Place::select().all_shards();
    let (with, asked) = world.asked(session, |session| session.all_with::<Reading>(parents));
    let with = succeeded(with)?;
    prop_assert_eq!(with.len(), family.places.len());
    for (place, readings) in &with {
        prop_assert_eq!(sorted(readings), family.readings_of(place));
    }
    let mut wanted: Vec<usize> = (0..world.cluster.shards().len()).collect();
    wanted.extend(shards_of_places);
    wanted.sort_unstable();
    prop_assert_eq!(asked, wanted, "one statement for the parents, and one for their children");
    for reading in &family.readings {
        let found = succeeded(session.get(Reading::by_id(reading.id).on_shard(reading.shard().name())))?;
        prop_assert_eq!(found.as_ref(), Some(reading));
    }
    Ok(())
}

impl Family {
    fn readings_of(&self, place: &Stored<Place>) -> Vec<Stored<Reading>> {
        let of_it = |reading: &&Stored<Reading>| reading.place == place.link();
        sorted(&self.readings.iter().filter(of_it).cloned().collect::<Vec<_>>())
    }
}

/// Updates by parents, one after the other.
fn check_writes(session: &mut Session, family: &Family, trees: &[Tree]) -> Verdict {
    let mut readings: Vec<Reading> = sorted(&family.readings).iter().map(|row| (**row).clone()).collect();
    for (tree, value) in trees.iter().zip(10..) {
        let update = Reading::update().all_shards().filter(family.filter(tree)).set(Reading::VALUE, value);
        let affected = succeeded(session.execute(update))?;
        let mut wanted = 0;
        for reading in &mut readings {
            if family.holds(tree, reading) {
                reading.value = value;
                wanted += 1;
            }
        }
        prop_assert_eq!(affected, wanted, "affected rows");
        let found = sorted(&succeeded(session.all(Reading::select().all_shards()))?);
        let found: Vec<Reading> = found.iter().map(|row| (**row).clone()).collect();
        prop_assert_eq!(&found, &readings);
    }
    Ok(())
}

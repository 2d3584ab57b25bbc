//! Conditions over three generations, in which every column but the keys has the same name. The rows are those that a search
//! through all rows finds, and the shards are those that a trial of every key finds.

use std::collections::BTreeSet;
use std::fmt::Debug;

use proptest::prelude::*;
use shard_runtime::{
    Filter, Parent, Result, Routed, Select, Session, Sharded, Shards, Stored, Unrouted, With, query::Child,
};

use super::generations::{Case, Generations, KeyTest, Known, Tree, cases};
use super::predicate::Truth;
use super::runner::{self, Verdict};
use super::world::{World, succeeded, worlds};

/// Checks the rows of a generation, and the shards that were read for them.
fn check(case: &Case, rows: &Generations, generation: usize, shards: &Shards, found: &Found) -> Verdict {
    let tree = &case.trees[generation];
    let pin = case.pin.map(|pin| pin % shards.len());
    let places = 0..rows[generation].len();
    let matching = places.filter(|place| tree.truth(rows, generation, *place) == Truth::True);
    let matching = matching.map(|place| &rows[generation][place]);
    let wanted: BTreeSet<(usize, i64)> = matching
        .filter(|row| pin.is_none_or(|pin| pin == row.shard))
        .map(|row| (row.shard, row.id))
        .collect();
    let list: BTreeSet<(usize, i64)> = found.rows.iter().copied().collect();
    prop_assert_eq!(list.len(), found.rows.len(), "no row comes twice");
    prop_assert_eq!(&list, &wanted);

    let once: BTreeSet<usize> = found.asked.iter().copied().collect();
    prop_assert_eq!(once.len(), found.asked.len(), "a shard is asked twice");
    // Far more keys than there are shards, those that no condition names among them.
    let may = (-300..300).map(|key| (key, place(key, shards)));
    let may = may.filter(|(key, shard)| tree.may(rows, generation, *key, *shard, false));
    let may: BTreeSet<usize> = may.map(|(_, shard)| shard).collect();
    if let Some(pin) = pin {
        prop_assert!(once.iter().all(|shard| *shard == pin), "pinned to {}, asked {:?}", pin, once);
    } else if tree.has_links() {
        prop_assert!(once.is_subset(&may), "asked {:?}, rows may be on {:?}", once, may);
    } else {
        prop_assert_eq!(once, may);
    }
    Ok(())
}

/// The shard of a key, by a model of the library's that is placed as those here are.
fn place(key: i64, shards: &Shards) -> usize {
    bare::First { id: key, value: None }.shard_chooser(shards).expect("every key has a shard")
}

/// Rows by shard and id, and the shards that were read.
struct Found {
    rows: Vec<(usize, i64)>,
    asked: Vec<usize>,
}

fn by_place<T: Sharded<Id = i64>>(row: &Stored<T>) -> (usize, i64) {
    (row.shard().index(), *row.id())
}

/// The rows of a case's condition, pinned if the case has a pin.
fn select<T: Sharded>(filter: Filter<T, Unrouted>, case: &Case, shards: &Shards) -> Select<T, Routed> {
    let select = T::select().filter(filter).all_shards();
    match case.pin.and_then(|pin| shards.by_index(pin % shards.len())) {
        Some(shard) => select.on_shard(shard.name()),
        None => select,
    }
}

/// Rows with their parents: those that they have, and otherwise the rows that come alone.
fn check_joined<C>(
    world: &World,
    session: &mut Session,
    case: &Case,
    rows: &Generations,
    generation: usize,
    filter: impl Fn() -> Filter<C, Unrouted>,
) -> Result<u64, TestCaseError>
where
    C: Child<Parent: Sharded<Id = i64>> + Sharded<Id = i64> + Debug + PartialEq,
{
    let shards = world.cluster.shards();
    let joined = || select(filter(), case, shards).with_parent();
    let (found, asked) = world.asked(session, |session| session.all(joined()));
    let found = succeeded(found)?;
    for (row, parent) in &found {
        let own = rows[generation].iter().find(|known| (known.shard, known.id) == by_place(row));
        let own = own.map(|own| &rows[generation - 1][own.parent]);
        prop_assert_eq!(own.map(|own| (own.shard, own.id)), Some(by_place(parent)));
    }
    let list = found.iter().map(|(row, _)| by_place(row)).collect();
    check(case, rows, generation, shards, &Found { rows: list, asked })?;
    let alone = succeeded(session.all(select(filter(), case, shards)))?;
    prop_assert!(found.iter().map(|(row, _)| row).eq(&alone));
    Ok(alone.len() as u64)
}

/// The filter of a generation, and its form of conditions that other generations lack or have in another form.
macro_rules! filter {
    ($function:ident, $model:ident, $leaf:expr, $parent:expr, $child:expr) => {
        fn $function(rows: &Rows, tree: &Tree) -> Filter<$model, Unrouted> {
            let same = |tree: &Tree| $function(rows, tree);
            match tree {
                Tree::Key(_) | Tree::Linked(_) => {
                    let leaf: fn(&Rows, &Tree) -> Filter<$model, Unrouted> = $leaf;
                    leaf(rows, tree)
                }
                Tree::Below(bound) => $model::VALUE.lt(*bound),
                Tree::IsNull => $model::VALUE.is_null(),
                Tree::Not(tree) => !same(tree),
                Tree::All(trees) => Filter::all(trees.iter().map(same)),
                Tree::Any(trees) => Filter::any(trees.iter().map(same)),
                Tree::Parent(tree) => {
                    let parent: fn(&Rows, &Tree) -> Filter<$model, Unrouted> = $parent;
                    parent(rows, tree)
                }
                Tree::Child(tree) => {
                    let child: fn(&Rows, &Tree) -> Filter<$model, Unrouted> = $child;
                    child(rows, tree)
                }
            }
        }
    };
}

/// The models of a family, and the tests over them; `links` is whether the second generation is compared with
/// its parents' links or with their bare ids.
macro_rules! family {
    (
        $name:ident, bare: $bare:literal,
        first: { $($first:tt)* } new: $new_first:expr, key: $key:expr,
        second: { $($second:tt)* } new: $new_second:expr, leaf: $leaf:expr
    ) => {
        pub mod $name {
            use super::*;

            #[derive(Sharded, Clone, Debug, PartialEq)]
            #[sharded(table = "first")]
            pub struct First {
                $($first)*
                pub value: Option<i64>,
            }

            #[derive(Sharded, Clone, Debug, PartialEq)]
            #[sharded(table = "second")]
            pub struct Second {
                #[id(auto)]
                id: i64,
                $($second)*
                value: Option<i64>,
            }

            #[derive(Sharded, Clone, Debug, PartialEq)]
            #[sharded(table = "third")]
            pub struct Third {
                #[id(auto)]
                id: i64,
                #[shard_parent]
                second: Parent<Second>,
                value: Option<i64>,
            }

            /// The stored rows that links are to.
            struct Rows {
                known: Generations,
                first: Vec<Stored<First>>,
                second: Vec<Stored<Second>>,
            }

            filter!(
                on_first, First,
                |_, tree| key_filter!(First, $key, tree),
                |_, _| unreachable!("the first generation has no parent"),
                |rows, tree| First::has_child(on_second(rows, tree))
            );
            filter!(
                on_second, Second, $leaf,
                |rows, tree| Second::has_parent(on_first(rows, tree)),
                |rows, tree| Second::has_child(on_third(rows, tree))
            );
            filter!(
                on_third, Third,
                |rows, tree| links!(Third::SECOND, rows.second, tree),
                |rows, tree| Third::has_parent(on_second(rows, tree)),
                |_, _| unreachable!("the third generation has no children")
            );

            fn fill(world: &World, case: &Case) -> Result<(Session, Rows)> {
                let mut session = world.cluster.session();
                if world.dirty.get() {
                    session.execute(Third::delete().all_shards())?;
                    session.execute(Second::delete().all_shards())?;
                    session.execute(First::delete().all_shards())?;
                    session.commit()?;
                    world.dirty.set(false);
                }
                let mut rows = Rows { known: Default::default(), first: Vec::new(), second: Vec::new() };
                let mut keys = BTreeSet::new();
                for &(key, value) in case.first.iter().filter(|(key, _)| !$bare || keys.insert(*key)) {
                    let stored = session.add($new_first(key, value))?;
                    let (shard, id) = by_place(&stored);
                    rows.known[0].push(Known { shard, id, parent: 0, key, value });
                    rows.first.push(stored);
                }
                for (parent, value) in &case.second {
                    let parent = parent.index(rows.first.len());
                    let key = rows.known[0][parent].key;
                    let stored = session.add($new_second(&rows.first[parent], *value))?;
                    let (shard, id) = by_place(&stored);
                    rows.known[1].push(Known { shard, id, parent, key, value: *value });
                    rows.second.push(stored);
                }
                for (parent, value) in case.third.iter().filter(|_| !rows.second.is_empty()) {
                    let parent = parent.index(rows.second.len());
                    let key = rows.known[1][parent].key;
                    let stored = session.add(NewThird { second: rows.second[parent].link(), value: *value })?;
                    let (shard, id) = by_place(&stored);
                    rows.known[2].push(Known { shard, id, parent, key, value: *value });
                }
                if case.committed {
                    world.dirty.set(true);
                    session.commit()?;
                    session = world.cluster.session();
                }
                session.flush()?;
                Ok((session, rows))
            }

            pub fn run(name: &str, thousandths: u64) {
                let worlds = worlds::<(First, Second, Third)>(1);
                runner::run(name, thousandths, (0..worlds.len(), cases($bare)), |(world, case)| {
                    let world = &worlds[world];
                    let shards = world.cluster.shards();
                    let (mut session, rows) = succeeded(fill(world, &case))?;
                    // Links need rows to be to.
                    let generations = if rows.second.is_empty() { 1 } else { 3 };
                    if !uses_missing_links(&case.trees[0], 0, &rows.known) {
                        let query = || select(on_first(&rows, &case.trees[0]), &case, shards);
                        let (found, asked) = world.asked(&mut session, |session| session.all(query()));
                        let found = succeeded(found)?;
                        let found = Found { rows: found.iter().map(by_place).collect(), asked };
                        check(&case, &rows.known, 0, shards, &found)?;
                        let with = succeeded(session.all_with::<With<Second, Third>>(query()))?;
                        prop_assert!(with.iter().map(|(row, _)| by_place(row)).eq(found.rows));
                        for (row, children) in &with {
                            check_children(&rows.known, 0, by_place(row), children.iter().map(|(row, _)| by_place(row)))?;
                            for (row, children) in children {
                                check_children(&rows.known, 1, by_place(row), children.iter().map(by_place))?;
                            }
                        }
                    }
                    if generations < 3 {
                        return Ok(());
                    }
                    let second = || on_second(&rows, &case.trees[1]);
                    check_joined(world, &mut session, &case, &rows.known, 1, second)?;
                    let third = || on_third(&rows, &case.trees[2]);
                    let count = check_joined(world, &mut session, &case, &rows.known, 2, third)?;
                    let delete = Third::delete().all_shards().filter(on_third(&rows, &case.trees[2]));
                    let deleted = succeeded(session.execute(delete))?;
                    // Only the select was pinned.
                    prop_assert!(deleted == count || (case.pin.is_some() && deleted > count));
                    Ok(())
                });
            }
        }
    };
}

/// Whether a condition compares with rows of a generation that has none.
fn uses_missing_links(tree: &Tree, generation: usize, rows: &Generations) -> bool {
    match tree {
        Tree::Linked(_) => rows[generation - 1].is_empty(),
        Tree::Key(_) | Tree::Below(_) | Tree::IsNull => false,
        Tree::Parent(tree) => uses_missing_links(tree, generation - 1, rows),
        Tree::Child(tree) => uses_missing_links(tree, generation + 1, rows),
        Tree::Not(tree) => uses_missing_links(tree, generation, rows),
        Tree::All(trees) | Tree::Any(trees) => {
            trees.iter().any(|tree| uses_missing_links(tree, generation, rows))
        }
    }
}

/// The children that came with a row are its own, all of them, by their ids.
fn check_children(
    rows: &Generations,
    generation: usize,
    parent: (usize, i64),
    children: impl Iterator<Item = (usize, i64)>,
) -> Verdict {
    let is_parent = |row: &Known| (row.shard, row.id) == parent;
    let place = rows[generation].iter().position(is_parent);
    let own = rows[generation + 1].iter().filter(|row| Some(row.parent) == place);
    let mut own: Vec<(usize, i64)> = own.map(|row| (row.shard, row.id)).collect();
    own.sort_unstable();
    prop_assert!(children.eq(own), "the children of {:?}", parent);
    Ok(())
}

macro_rules! key_filter {
    ($model:ident, $key:expr, $tree:expr) => {
        match $tree {
            Tree::Key(KeyTest::Equal(key)) => $key.eq(*key).into(),
            Tree::Key(KeyTest::NotEqual(key)) => $key.ne(*key),
            Tree::Key(KeyTest::Less(key)) => $key.lt(*key),
            Tree::Key(KeyTest::Between(low, high)) => $key.between(*low, *high),
            Tree::Key(KeyTest::In(keys)) => $key.is_in(keys.iter().copied()).into(),
            other => unreachable!("{other:?} is no condition on {}", stringify!($model)),
        }
    };
}

macro_rules! links {
    ($link:expr, $parents:expr, $tree:expr) => {
        match $tree {
            Tree::Linked(places) => {
                let parents = places.iter().map(|place| &$parents[place.index($parents.len())]);
                $link.is_in(parents.map(Stored::link)).into()
            }
            other => unreachable!("{other:?} is no condition on a link"),
        }
    };
}

family! {
    handle, bare: false,
    first: {
        #[id(auto)]
        pub id: i64,
        #[shard_key(hash)]
        pub key: i64,
    }
    new: |key, value| NewFirst { key, value }, key: First::KEY,
    second: {
        #[shard_parent]
        first: Parent<First>,
    }
    new: |first: &Stored<First>, value| NewSecond { first: first.link(), value },
    leaf: |rows, tree| links!(Second::FIRST, rows.first, tree)
}

family! {
    bare, bare: true,
    first: {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
    }
    new: |id, value| First { id, value }, key: First::ID,
    second: {
        #[shard_parent(First)]
        first: i64,
    }
    new: |first: &Stored<First>, value| NewSecond { first: first.id, value },
    leaf: |_, tree| key_filter!(Second, Second::FIRST, tree)
}

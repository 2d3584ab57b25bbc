//! Three generations of random rows and conditions on them. The conditions are evaluated here without the library.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

use super::predicate::Truth;

/// A condition on rows of one generation: 0 the parents, 1 their children, 2 the children of those.
#[derive(Clone, Debug)]
pub enum Tree {
    Key(KeyTest),
    Below(i64),
    IsNull,
    /// The link is to one of these rows of the generation before.
    Linked(Vec<Index>),
    Parent(Box<Tree>),
    Child(Box<Tree>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
}

#[derive(Clone, Debug)]
pub enum KeyTest {
    Equal(i64),
    NotEqual(i64),
    Less(i64),
    Between(i64, i64),
    In(Vec<i64>),
}

#[derive(Clone, Debug)]
pub struct Case {
    pub committed: bool,
    /// The key and the value of each row of the first generation.
    pub first: Vec<(i64, Option<i64>)>,
    /// The parent and the value of each row of the others.
    pub second: Vec<(Index, Option<i64>)>,
    pub third: Vec<(Index, Option<i64>)>,
    pub trees: [Tree; 3],
    pub pin: Option<usize>,
}

/// A row of the tests.
#[derive(Clone, Debug)]
pub struct Known {
    pub shard: usize,
    pub id: i64,
    /// The place of its parent in the generation before.
    pub parent: usize,
    /// The key of its first ancestor.
    pub key: i64,
    pub value: Option<i64>,
}

pub type Generations = [Vec<Known>; 3];

fn trees(generation: usize, depth: u32, bare: bool) -> BoxedStrategy<Tree> {
    let keys = prop_oneof![
        3 => (-5..5_i64).prop_map(KeyTest::Equal),
        1 => (-5..5_i64).prop_map(KeyTest::NotEqual),
        1 => (-5..5_i64).prop_map(KeyTest::Less),
        1 => (-5..5_i64, 0..3_i64).prop_map(|(low, more)| KeyTest::Between(low, low + more)),
        2 => vec(-5..5_i64, 0..4).prop_map(KeyTest::In),
    ]
    .prop_map(Tree::Key);
    let links = vec(any::<Index>(), 0..3).prop_map(Tree::Linked);
    let values = prop_oneof![3 => (0..5_i64).prop_map(Tree::Below), 1 => Just(Tree::IsNull)];
    let leaf = match generation {
        0 => prop_oneof![2 => keys, 1 => values].boxed(),
        1 if bare => prop_oneof![2 => keys, 1 => values].boxed(),
        _ => prop_oneof![1 => links, 1 => values].boxed(),
    };
    if depth == 0 {
        return leaf;
    }
    let same = || trees(generation, depth - 1, bare);
    let mut kinds = vec![
        leaf,
        vec(same(), 0..3).prop_map(Tree::All).boxed(),
        vec(same(), 0..3).prop_map(Tree::Any).boxed(),
        same().prop_map(|tree| Tree::Not(Box::new(tree))).boxed(),
    ];
    for _ in 0..2 {
        if generation > 0 {
            let parent = trees(generation - 1, depth - 1, bare);
            kinds.push(parent.prop_map(|tree| Tree::Parent(Box::new(tree))).boxed());
        }
        if generation < 2 {
            let child = trees(generation + 1, depth - 1, bare);
            kinds.push(child.prop_map(|tree| Tree::Child(Box::new(tree))).boxed());
        }
    }
    proptest::strategy::Union::new(kinds).boxed()
}

pub fn cases(bare: bool) -> impl Strategy<Value = Case> {
    let value = || option::weighted(0.8, 0..5_i64);
    let children = || vec((any::<Index>(), value()), 0..12);
    let trees = (trees(0, 4, bare), trees(1, 4, bare), trees(2, 4, bare));
    let rows = (vec((-5..5_i64, value()), 1..9), children(), children());
    (any::<bool>(), rows, trees, option::weighted(0.2, 0..7_usize)).prop_map(
        |(committed, (first, second, third), trees, pin)| {
            let trees = [trees.0, trees.1, trees.2];
            Case { committed, first, second, third, trees, pin }
        },
    )
}

impl KeyTest {
    fn holds(&self, key: i64) -> bool {
        match self {
            KeyTest::Equal(other) => key == *other,
            KeyTest::NotEqual(other) => key != *other,
            KeyTest::Less(other) => key < *other,
            KeyTest::Between(low, high) => (*low..=*high).contains(&key),
            KeyTest::In(keys) => keys.contains(&key),
        }
    }
}

impl Tree {
    /// A row as SQL returns it.
    pub fn truth(&self, rows: &Generations, generation: usize, place: usize) -> Truth {
        let row = &rows[generation][place];
        match self {
            Tree::Key(test) => test.holds(row.key).into(),
            Tree::Below(bound) => row.value.map_or(Truth::Unknown, |value| (value < *bound).into()),
            Tree::IsNull => row.value.is_none().into(),
            Tree::Linked(parents) => {
                let count = rows[generation - 1].len();
                parents.iter().any(|parent| parent.index(count) == row.parent).into()
            }
            Tree::Parent(tree) => (tree.truth(rows, generation - 1, row.parent) == Truth::True).into(),
            Tree::Child(tree) => {
                let children = rows[generation + 1].iter().enumerate();
                let mut own = children.filter(|(_, child)| child.parent == place);
                own.any(|(child, _)| tree.truth(rows, generation + 1, child) == Truth::True).into()
            }
            Tree::All(trees) => {
                trees.iter().map(|tree| tree.truth(rows, generation, place)).min().unwrap_or(Truth::True)
            }
            Tree::Any(trees) => {
                trees.iter().map(|tree| tree.truth(rows, generation, place)).max().unwrap_or(Truth::False)
            }
            Tree::Not(tree) => match tree.truth(rows, generation, place) {
                Truth::False => Truth::True,
                Truth::Unknown => Truth::Unknown,
                Truth::True => Truth::False,
            },
        }
    }

    /// Returns true if it may hold for a row with this key on this shard, without its other columns: children may be there or
    /// not.
    pub fn may(&self, rows: &Generations, generation: usize, key: i64, shard: usize, negated: bool) -> bool {
        let same = |tree: &Tree| tree.may(rows, generation, key, shard, negated);
        match self {
            Tree::Key(test) => test.holds(key) != negated,
            Tree::Below(_) | Tree::IsNull => true,
            Tree::Linked(_) if negated => true,
            Tree::Linked(parents) => {
                let others = &rows[generation - 1];
                parents.iter().any(|parent| others[parent.index(others.len())].shard == shard)
            }
            Tree::Parent(tree) => tree.may(rows, generation - 1, key, shard, negated),
            Tree::Child(_) if negated => true,
            Tree::Child(tree) => tree.may(rows, generation + 1, key, shard, negated),
            Tree::Not(tree) => tree.may(rows, generation, key, shard, !negated),
            Tree::All(trees) if negated => trees.iter().any(same),
            Tree::Any(trees) if !negated => trees.iter().any(same),
            Tree::All(trees) | Tree::Any(trees) => trees.iter().all(same),
        }
    }

    pub fn has_links(&self) -> bool {
        match self {
            Tree::Linked(_) => true,
            Tree::Key(_) | Tree::Below(_) | Tree::IsNull => false,
            Tree::Parent(tree) | Tree::Child(tree) | Tree::Not(tree) => tree.has_links(),
            Tree::All(trees) | Tree::Any(trees) => trees.iter().any(Tree::has_links),
        }
    }
}

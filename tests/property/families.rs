//! Three generations of rows with lookups and references that may be NULL, collations, versions and computed numbers.
//! Conditions lead from parents to children and back, and to reference tables, with NOT at every boundary. Reads, bulk writes
//! and changes of single rows are compared with the same rows in plain Rust.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use shard_runtime::{
    ErrorKind, Filter, Parent, Result, Routed, Select, Session, Sharded, Stored, Unrouted, Update,
};

use super::datum::Datum;
use super::predicate::{Test, Truth};
use super::runner::{self, Verdict};
use super::subject::{compared, compared_text};
use super::world::{World, succeeded};

/// The columns that conditions of these models test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The shard key; the other generations have none.
    Key,
    /// A lookup that may be NULL.
    Code,
    /// A lookup that is never NULL.
    Mark,
    /// The id that the row refers to, or NULL.
    Kind,
    /// A text, or NULL. In [`folded`] it is compared without regard to case.
    Text,
    Amount,
    Gain,
    Version,
}

/// A condition on rows of one generation: 0 the parents, 1 their children, 2 the children of those.
#[derive(Clone, Debug)]
pub enum Tree {
    Leaf(Of, Test),
    /// The row refers to a row of the reference table for which this holds.
    Refers(Box<KindTree>),
    Parent(Box<Tree>),
    Child(Box<Tree>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
}

/// A condition on rows of the reference table.
#[derive(Clone, Debug)]
pub enum KindTree {
    Title(Test),
    Rank(Test),
    All(Vec<KindTree>),
    Any(Vec<KindTree>),
    Not(Box<KindTree>),
}

/// A row of the tests.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    shard: usize,
    id: i64,
    /// The place of its parent in the generation before.
    parent: usize,
    key: i64,
    code: Option<i64>,
    mark: i64,
    kind: Option<i64>,
    text: Option<String>,
    amount: Option<i64>,
    gain: i64,
    version: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Whether texts are compared without regard to case.
    is_folded: bool,
    /// The title and the rank of each row of the reference table; their ids are 1, 2, ….
    kinds: Vec<(Option<String>, Option<i64>)>,
    generations: [Vec<Row>; 3],
}

/// The values of a new row.
#[derive(Clone, Debug)]
pub struct Made {
    parent: Index,
    key: i64,
    code: Option<i64>,
    kind: Option<Index>,
    text: Option<String>,
    amount: Option<i64>,
    gain: i64,
}

/// The columns that a bulk update sets.
#[derive(Clone, Debug)]
pub enum Set {
    Amount(Option<i64>),
    /// `amount + gain`, NULL if the amount is NULL.
    AmountPlusGain,
    /// `gain * by + amount`.
    AmountOfProduct(i64),
    /// `gain - by`.
    GainLess(i64),
    Text(Option<String>),
    Kind(Option<Index>),
}

#[derive(Clone, Debug)]
pub enum Write {
    Update {
        generation: usize,
        tree: Tree,
        set: Set,
    },
    /// Removes rows of the last generation.
    Delete {
        tree: Tree,
    },
    /// Changes one row through its handle.
    Change {
        generation: usize,
        row: Index,
        code: Option<i64>,
        amount: Option<i64>,
    },
}

#[derive(Clone, Debug)]
pub struct Case {
    committed: bool,
    commits: bool,
    kinds: Vec<(Option<String>, Option<i64>)>,
    made: [Vec<Made>; 3],
    trees: [Tree; 3],
    /// The offset and the limit of an ordered answer.
    page: (u64, Option<u64>),
    writes: Vec<Write>,
}

const WORDS: [&str; 9] = ["", "ada", "Ada", "ADA", "b%", "B_", "é", "É", "zoe"];

fn words() -> BoxedStrategy<String> {
    select(&WORDS[..]).prop_map(str::to_owned).boxed()
}

/// Numbers in which some sums and products leave the range of an `i64`.
fn numbers() -> BoxedStrategy<i64> {
    prop_oneof![8 => -3..8_i64, 1 => select(&[i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX][..])].boxed()
}

fn tests_of(value: BoxedStrategy<Datum>, is_text: bool) -> BoxedStrategy<Test> {
    let one = || value.clone();
    let compared = prop_oneof![
        6 => one().prop_map(Test::Equal),
        1 => one().prop_map(Test::NotEqual),
        1 => one().prop_map(Test::Less),
        1 => one().prop_map(Test::GreaterOrEqual),
        1 => (one(), one()).prop_map(|(low, high)| Test::Between(low, high)),
        4 => vec(one(), 0..4).prop_map(Test::In),
        2 => vec(one(), 0..3).prop_map(Test::NotIn),
        1 => Just(Test::IsNull),
        1 => Just(Test::IsNotNull),
    ];
    if !is_text {
        return compared.boxed();
    }
    let patterns = select(&["%", "a%", "A%a", "_da", "%\\%", "É", "b_"][..]).prop_map(str::to_owned);
    prop_oneof![
        5 => compared,
        1 => patterns.prop_map(Test::Like),
        1 => words().prop_map(Test::StartsWith),
        1 => words().prop_map(Test::EndsWith),
        1 => words().prop_map(Test::Contains),
    ]
    .boxed()
}

fn integers(values: impl Strategy<Value = i64> + 'static) -> BoxedStrategy<Test> {
    tests_of(values.prop_map(Datum::Integer).boxed(), false)
}

fn texts() -> BoxedStrategy<Test> {
    tests_of(words().prop_map(Datum::Text).boxed(), true)
}

fn kind_trees() -> BoxedStrategy<KindTree> {
    let leaf =
        || prop_oneof![texts().prop_map(KindTree::Title), integers(0..4_i64).prop_map(KindTree::Rank),];
    let below = prop_oneof![3 => leaf(), 2 => leaf().prop_map(|tree| KindTree::Not(Box::new(tree)))].boxed();
    prop_oneof![
        4 => below.clone(),
        1 => vec(below.clone(), 0..3).prop_map(KindTree::All),
        1 => vec(below.clone(), 0..3).prop_map(KindTree::Any),
        1 => below.prop_map(|tree| KindTree::Not(Box::new(tree))),
    ]
    .boxed()
}

/// These conditions, every second one of them under a NOT.
fn perhaps_not(trees: BoxedStrategy<Tree>) -> BoxedStrategy<Tree> {
    (trees, any::<bool>())
        .prop_map(|(tree, negated)| if negated { Tree::Not(Box::new(tree)) } else { tree })
        .boxed()
}

pub fn trees(generation: usize, depth: u32) -> BoxedStrategy<Tree> {
    let of = |of: Of, tests: BoxedStrategy<Test>| tests.prop_map(move |test| Tree::Leaf(of, test)).boxed();
    let mut leaves = vec![
        (4, of(Of::Code, integers(-1..14_i64))),
        (2, of(Of::Mark, integers(-1..14_i64))),
        (2, of(Of::Kind, integers(0..4_i64))),
        (2, of(Of::Text, texts())),
        (1, of(Of::Amount, integers(numbers()))),
        (1, of(Of::Gain, integers(numbers()))),
        (1, of(Of::Version, integers(0..4_i64))),
        (2, kind_trees().prop_map(|tree| Tree::Refers(Box::new(tree))).boxed()),
    ];
    if generation == 0 {
        leaves.push((3, of(Of::Key, integers(-3..5_i64))));
    }
    let leaf = proptest::strategy::Union::new_weighted(leaves).boxed();
    if depth == 0 {
        return leaf;
    }
    let same = || trees(generation, depth - 1);
    let mut kinds = vec![
        (2, leaf),
        (2, vec(same(), 0..3).prop_map(Tree::All).boxed()),
        (2, vec(same(), 0..3).prop_map(Tree::Any).boxed()),
        (3, same().prop_map(|tree| Tree::Not(Box::new(tree))).boxed()),
    ];
    if generation > 0 {
        let parent = perhaps_not(trees(generation - 1, depth - 1));
        kinds.push((4, perhaps_not(parent.prop_map(|tree| Tree::Parent(Box::new(tree))).boxed())));
    }
    if generation < 2 {
        let child = perhaps_not(trees(generation + 1, depth - 1));
        kinds.push((4, perhaps_not(child.prop_map(|tree| Tree::Child(Box::new(tree))).boxed())));
    }
    proptest::strategy::Union::new_weighted(kinds).boxed()
}

fn writes() -> BoxedStrategy<Write> {
    let set = prop_oneof![
        option::of(numbers()).prop_map(Set::Amount),
        Just(Set::AmountPlusGain),
        (-2..4_i64).prop_map(Set::AmountOfProduct),
        (-2..4_i64).prop_map(Set::GainLess),
        option::of(words()).prop_map(Set::Text),
        option::of(any::<Index>()).prop_map(Set::Kind),
    ];
    let update = (0..3_usize, set).prop_flat_map(|(generation, set)| {
        (Just(generation), trees(generation, 3), Just(set))
            .prop_map(|(generation, tree, set)| Write::Update { generation, tree, set })
    });
    prop_oneof![
        4 => update,
        1 => trees(2, 3).prop_map(|tree| Write::Delete { tree }),
        2 => (0..3_usize, any::<Index>(), option::weighted(0.6, 0..12_i64), option::of(numbers()))
            .prop_map(|(generation, row, code, amount)| Write::Change { generation, row, code, amount }),
    ]
    .boxed()
}

pub fn cases() -> impl Strategy<Value = Case> {
    let made = || {
        let code = option::weighted(0.6, 0..12_i64);
        let own = (code, option::weighted(0.6, any::<Index>()), option::weighted(0.7, words()));
        (any::<Index>(), -3..5_i64, own, option::weighted(0.7, numbers()), numbers()).prop_map(
            |(parent, key, (code, kind, text), amount, gain)| Made {
                parent,
                key,
                code,
                kind,
                text,
                amount,
                gain,
            },
        )
    };
    let made = (vec(made(), 1..6), vec(made(), 0..8), vec(made(), 0..8));
    let kinds = vec((option::weighted(0.7, words()), option::weighted(0.7, 0..4_i64)), 0..4);
    let page = (prop_oneof![2 => Just(0), 1 => 0..4_u64], option::of(0..5_u64));
    let all = (trees(0, 4), trees(1, 4), trees(2, 4));
    (any::<[bool; 2]>(), kinds, made, all, page, vec(writes(), 0..4)).prop_map(
        |([committed, commits], kinds, made, trees, page, writes)| Case {
            committed,
            commits,
            kinds,
            made: [made.0, made.1, made.2],
            trees: [trees.0, trees.1, trees.2],
            page,
            writes,
        },
    )
}

/// A test of a column that is compared without regard to (ASCII) case, as a test of its value in lower case.
fn without_case(test: &Test) -> Test {
    let lower = |value: &Datum| match value {
        Datum::Text(text) => Datum::Text(text.to_ascii_lowercase()),
        other => other.clone(),
    };
    match test {
        Test::Equal(value) => Test::Equal(lower(value)),
        Test::NotEqual(value) => Test::NotEqual(lower(value)),
        Test::Less(value) => Test::Less(lower(value)),
        Test::LessOrEqual(value) => Test::LessOrEqual(lower(value)),
        Test::Greater(value) => Test::Greater(lower(value)),
        Test::GreaterOrEqual(value) => Test::GreaterOrEqual(lower(value)),
        Test::Between(low, high) => Test::Between(lower(low), lower(high)),
        Test::In(values) => Test::In(values.iter().map(lower).collect()),
        Test::NotIn(values) => Test::NotIn(values.iter().map(lower).collect()),
        Test::Like(pattern) => Test::Like(pattern.to_ascii_lowercase()),
        Test::StartsWith(prefix) => Test::StartsWith(prefix.to_ascii_lowercase()),
        Test::EndsWith(suffix) => Test::EndsWith(suffix.to_ascii_lowercase()),
        Test::Contains(text) => Test::Contains(text.to_ascii_lowercase()),
        Test::IsNull => Test::IsNull,
        Test::IsNotNull => Test::IsNotNull,
    }
}

fn not(truth: Truth) -> Truth {
    match truth {
        Truth::False => Truth::True,
        Truth::Unknown => Truth::Unknown,
        Truth::True => Truth::False,
    }
}

impl KindTree {
    fn truth(&self, title: &Option<String>, rank: Option<i64>) -> Truth {
        let same = |tree: &KindTree| tree.truth(title, rank);
        match self {
            KindTree::Title(test) => test.holds(&title.clone().into()),
            KindTree::Rank(test) => test.holds(&rank.into()),
            KindTree::All(trees) => trees.iter().map(same).min().unwrap_or(Truth::True),
            KindTree::Any(trees) => trees.iter().map(same).max().unwrap_or(Truth::False),
            KindTree::Not(tree) => not(same(tree)),
        }
    }

    fn filter(&self) -> Filter<Kind, Unrouted> {
        match self {
            KindTree::Title(test) => compared_text(Kind::TITLE, test),
            KindTree::Rank(test) => compared(Kind::RANK, test),
            KindTree::All(trees) => Filter::all(trees.iter().map(KindTree::filter)),
            KindTree::Any(trees) => Filter::any(trees.iter().map(KindTree::filter)),
            KindTree::Not(tree) => !tree.filter(),
        }
    }
}

impl Row {
    fn value(&self, of: Of) -> Datum {
        match of {
            Of::Key => self.key.into(),
            Of::Code => self.code.into(),
            Of::Mark => self.mark.into(),
            Of::Kind => self.kind.into(),
            Of::Text => self.text.clone().into(),
            Of::Amount => self.amount.into(),
            Of::Gain => self.gain.into(),
            Of::Version => self.version.into(),
        }
    }
}

impl Tree {
    /// The value that SQL gives the condition for a row.
    pub fn truth(&self, rows: &Rows, generation: usize, place: usize) -> Truth {
        let row = &rows.generations[generation][place];
        let same = |tree: &Tree| tree.truth(rows, generation, place);
        match self {
            Tree::Leaf(Of::Text, test) if rows.is_folded => {
                without_case(test).holds(&rows.folded(&row.text).into())
            }
            Tree::Leaf(of, test) => test.holds(&row.value(*of)),
            Tree::Refers(tree) => {
                let kind = row.kind.and_then(|id| rows.kinds.get(usize::try_from(id).ok()? - 1));
                kind.is_some_and(|(title, rank)| tree.truth(title, *rank) == Truth::True).into()
            }
            Tree::Parent(tree) => (tree.truth(rows, generation - 1, row.parent) == Truth::True).into(),
            Tree::Child(tree) => {
                let children = rows.generations[generation + 1].iter().enumerate();
                let mut own = children.filter(|(_, child)| child.parent == place);
                own.any(|(child, _)| tree.truth(rows, generation + 1, child) == Truth::True).into()
            }
            Tree::All(trees) => trees.iter().map(same).min().unwrap_or(Truth::True),
            Tree::Any(trees) => trees.iter().map(same).max().unwrap_or(Truth::False),
            Tree::Not(tree) => not(same(tree)),
        }
    }
}

impl Set {
    /// The row with the change; `None` if a number leaves its range.
    fn apply(&self, rows: &Rows, row: &Row) -> Option<Row> {
        let mut row = Row { version: row.version + 1, ..row.clone() };
        match self {
            Set::Amount(amount) => row.amount = *amount,
            Set::AmountPlusGain => {
                row.amount =
                    row.amount.map(|amount| amount.checked_add(row.gain).ok_or(())).transpose().ok()?;
            }
            Set::AmountOfProduct(by) => {
                let product = row.gain.checked_mul(*by)?;
                row.amount =
                    row.amount.map(|amount| product.checked_add(amount).ok_or(())).transpose().ok()?;
            }
            Set::GainLess(by) => row.gain = row.gain.checked_sub(*by)?,
            Set::Text(text) => row.text.clone_from(text),
            Set::Kind(kind) => row.kind = rows.kind(kind.as_ref()),
        }
        Some(row)
    }
}

impl Rows {
    /// The id of a row of the reference table, if it has any.
    fn kind(&self, place: Option<&Index>) -> Option<i64> {
        let place = place.filter(|_| !self.kinds.is_empty())?.index(self.kinds.len());
        i64::try_from(place + 1).ok()
    }

    /// A text as its column compares it.
    fn folded(&self, text: &Option<String>) -> Option<String> {
        text.as_ref().map(|text| if self.is_folded { text.to_ascii_lowercase() } else { text.clone() })
    }

    fn matching(&self, generation: usize, tree: &Tree) -> Vec<usize> {
        let places = 0..self.generations[generation].len();
        places.filter(|&place| tree.truth(self, generation, place) == Truth::True).collect()
    }
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "family_kinds", reference)]
pub struct Kind {
    #[id]
    id: i64,
    title: Option<String>,
    rank: Option<i64>,
}

/// One of the three models.
trait Member: Sharded<Id = i64> + Clone + PartialEq + std::fmt::Debug {
    const GENERATION: usize;

    fn leaf(of: Of, test: &Test) -> Filter<Self, Unrouted>;
    fn refers(tree: &KindTree) -> Filter<Self, Unrouted>;
    fn parent(tree: &Tree) -> Filter<Self, Unrouted>;
    fn child(tree: &Tree) -> Filter<Self, Unrouted>;
    fn ordered(select: Select<Self, Routed>, descending: bool) -> Select<Self, Routed>;
    fn set(update: Update<Self, Routed>, rows: &Rows, set: &Set) -> Update<Self, Routed>;
    fn change(&mut self, code: Option<i64>, amount: Option<i64>);
    /// The row of the tests, without its parent and key.
    fn row(&self, shard: usize) -> Row;

    fn filter(tree: &Tree) -> Filter<Self, Unrouted> {
        match tree {
            Tree::Leaf(of, test) => Self::leaf(*of, test),
            Tree::Refers(tree) => Self::refers(tree),
            Tree::Parent(tree) => Self::parent(tree),
            Tree::Child(tree) => Self::child(tree),
            Tree::All(trees) => Filter::all(trees.iter().map(Self::filter)),
            Tree::Any(trees) => Filter::any(trees.iter().map(Self::filter)),
            Tree::Not(tree) => !Self::filter(tree),
        }
    }
}

/// A model, and its conditions on its key, its parent and its children.
macro_rules! member {
    (
        $model:ident $generation:literal, #[$table:meta], text: [$(#[$text:meta])?], { $($home:tt)* },
        key: $key:expr, parent: $parent:expr, child: $child:expr
    ) => {
        #[derive(Sharded, Clone, Debug, PartialEq)]
        #[$table]
        pub struct $model {
            #[id]
            id: i64,
            $($home)*
            #[lookup]
            code: Option<i64>,
            #[lookup]
            mark: i64,
            #[references(Kind)]
            kind: Option<i64>,
            $(#[$text])?
            text: Option<String>,
            amount: Option<i64>,
            gain: i64,
            #[version]
            version: i64,
        }

        impl Member for $model {
            const GENERATION: usize = $generation;

            fn leaf(of: Of, test: &Test) -> Filter<Self, Unrouted> {
                let key: fn(&Test) -> Filter<Self, Unrouted> = $key;
                match of {
                    Of::Key => key(test),
                    Of::Code => compared(Self::CODE, test),
                    Of::Mark => compared(Self::MARK, test),
                    Of::Kind => compared(Self::KIND, test),
                    Of::Text => compared_text(Self::TEXT, test),
                    Of::Amount => compared(Self::AMOUNT, test),
                    Of::Gain => compared(Self::GAIN, test),
                    Of::Version => compared(Self::VERSION, test),
                }
            }

            fn refers(tree: &KindTree) -> Filter<Self, Unrouted> {
                Self::KIND.refers_to(tree.filter())
            }

            fn parent(tree: &Tree) -> Filter<Self, Unrouted> {
                let parent: fn(&Tree) -> Filter<Self, Unrouted> = $parent;
                parent(tree)
            }

            fn child(tree: &Tree) -> Filter<Self, Unrouted> {
                let child: fn(&Tree) -> Filter<Self, Unrouted> = $child;
                child(tree)
            }

            fn ordered(select: Select<Self, Routed>, descending: bool) -> Select<Self, Routed> {
                let text = if descending { Self::TEXT.desc() } else { Self::TEXT.asc() };
                select.order_by(text).order_by(Self::ID.asc())
            }

            fn set(update: Update<Self, Routed>, rows: &Rows, set: &Set) -> Update<Self, Routed> {
                match set {
                    Set::Amount(amount) => update.set(Self::AMOUNT, *amount),
                    Set::AmountPlusGain => update.set(Self::AMOUNT, Self::AMOUNT + Self::GAIN),
                    Set::AmountOfProduct(by) => {
                        update.set(Self::AMOUNT, Self::GAIN * *by + Self::AMOUNT)
                    }
                    Set::GainLess(by) => update.set(Self::GAIN, Self::GAIN - *by),
                    Set::Text(text) => update.set(Self::TEXT, text.clone()),
                    Set::Kind(kind) => update.set(Self::KIND, rows.kind(kind.as_ref())),
                }
            }

            fn change(&mut self, code: Option<i64>, amount: Option<i64>) {
                self.code = code;
                self.amount = amount;
            }

            fn row(&self, shard: usize) -> Row {
                let (parent, key) = (0, 0);
                let Self { id, code, mark, kind, amount, gain, version, .. } = *self;
                let text = self.text.clone();
                Row { shard, id, parent, key, code, mark, kind, text, amount, gain, version }
            }
        }
    };
}

/// Rows of the tests, without values that the model's rows do not hold.
fn own(row: &Row) -> Row {
    Row { parent: 0, key: 0, ..row.clone() }
}

fn read<T: Member>(session: &mut Session, rows: &Rows, case: &Case) -> Verdict {
    let tree = &case.trees[T::GENERATION];
    let select = || T::select().filter(T::filter(tree)).all_shards();
    let generation = &rows.generations[T::GENERATION];
    let mut wanted: Vec<Row> =
        rows.matching(T::GENERATION, tree).into_iter().map(|place| own(&generation[place])).collect();
    wanted.sort_by_key(|row| row.id);
    let mut found: Vec<Row> =
        succeeded(session.all(select()))?.iter().map(|row| row.row(row.shard().index())).collect();
    found.sort_by_key(|row| row.id);
    prop_assert_eq!(&found, &wanted, "generation {}", T::GENERATION);
    prop_assert_eq!(succeeded(session.one(select().count()))?, wanted.len() as u64);
    prop_assert_eq!(succeeded(session.one(select().exists()))?, !wanted.is_empty());

    // NULL comes first in ascending order and last in descending order.
    let (skip, take) = case.page;
    for descending in [false, true] {
        wanted.sort_by(|a, b| {
            let order = rows.folded(&a.text).cmp(&rows.folded(&b.text));
            if descending { order.reverse() } else { order }.then(a.id.cmp(&b.id))
        });
        let query = T::ordered(select(), descending).offset(skip);
        let query = if let Some(take) = take { query.limit(take) } else { query };
        let found: Vec<i64> = succeeded(session.all(query))?.iter().map(|row| *row.id()).collect();
        let take = take.map_or(usize::MAX, |take| take as usize);
        let ids: Vec<i64> = wanted.iter().skip(skip as usize).take(take).map(|row| row.id).collect();
        prop_assert_eq!(found, ids, "in order, descending: {}", descending);
    }
    Ok(())
}

/// Checks the whole table.
fn check_table<T: Member>(session: &mut Session, rows: &Rows) -> Verdict {
    let mut found: Vec<Row> = succeeded(session.all(T::select().all_shards()))?
        .iter()
        .map(|row| row.row(row.shard().index()))
        .collect();
    found.sort_by_key(|row| row.id);
    let mut wanted: Vec<Row> = rows.generations[T::GENERATION].iter().map(own).collect();
    wanted.sort_by_key(|row| row.id);
    prop_assert_eq!(found, wanted, "generation {}", T::GENERATION);
    Ok(())
}

fn update<T: Member>(session: &mut Session, rows: &mut Rows, tree: &Tree, set: &Set) -> Verdict {
    let update = T::update().filter(T::filter(tree)).all_shards();
    let affected = session.execute(T::set(update, rows, set));
    let places = rows.matching(T::GENERATION, tree);
    let changed: Option<Vec<Row>> =
        places.iter().map(|&place| set.apply(rows, &rows.generations[T::GENERATION][place])).collect();
    match changed {
        Some(changed) => {
            prop_assert_eq!(succeeded(affected)?, changed.len() as u64);
            for (place, row) in places.into_iter().zip(changed) {
                rows.generations[T::GENERATION][place] = row;
            }
        }
        // A number leaves its range: nothing is changed.
        None => prop_assert_eq!(affected.map_err(|error| error.kind()), Err(ErrorKind::Value)),
    }
    check_table::<T>(session, rows)
}

fn change<T: Member>(
    session: &mut Session,
    rows: &mut Rows,
    place: &Index,
    code: Option<i64>,
    amount: Option<i64>,
) -> Verdict {
    let generation = &mut rows.generations[T::GENERATION];
    if generation.is_empty() {
        return Ok(());
    }
    let place = place.index(generation.len());
    let known = generation[place].clone();
    let on = session_shard(session, known.shard);
    let found = succeeded(session.get(T::by_id(known.id).on_shard(&on)))?;
    let Some(mut row): Option<Stored<T>> = found else {
        return Err(TestCaseError::fail(format!("row {} is not there", known.id)));
    };
    row.change(code, amount);
    let is_taken = code.is_some_and(|code| {
        generation.iter().enumerate().any(|(other, row)| other != place && row.code == Some(code))
    });
    let done = session.update(&mut row).and_then(|()| session.flush());
    match is_taken {
        true => prop_assert_eq!(done.map_err(|error| error.kind()), Err(ErrorKind::Unique)),
        false => {
            succeeded(done)?;
            let is_changed = (code, amount) != (known.code, known.amount);
            let version = known.version + i64::from(is_changed);
            generation[place] = Row { code, amount, version, ..known };
            prop_assert_eq!(row.row(row.shard().index()), own(&generation[place]));
        }
    }
    check_table::<T>(session, rows)
}

fn session_shard(session: &Session, shard: usize) -> String {
    session.cluster().shards().by_index(shard).expect("a shard").name().to_owned()
}

/// The models of a family, and the tests over them. `text` has the attributes of the column of that name.
macro_rules! family {
    ($name:ident, is_folded: $is_folded:literal, text: $text:tt) => {
        pub mod $name {
            use super::*;

            member! {
                Elder 0, #[sharded(table = "elders")], text: $text,
                { #[shard_key(hash)] key: i64, },
                key: |test| compared(Elder::KEY, test),
                parent: |_| unreachable!("the first generation has no parent"),
                child: |tree| Elder::has_child(Middle::filter(tree))
            }
            member! {
                Middle 1, #[sharded(table = "middles")], text: $text,
                { #[shard_parent] elder: Parent<Elder>, },
                key: |_| unreachable!("only the first generation has a key"),
                parent: |tree| Middle::has_parent(Elder::filter(tree)),
                child: |tree| Middle::has_child(Young::filter(tree))
            }
            member! {
                Young 2, #[sharded(table = "youngs")], text: $text,
                { #[shard_parent] middle: Parent<Middle>, },
                key: |_| unreachable!("only the first generation has a key"),
                parent: |tree| Young::has_parent(Middle::filter(tree)),
                child: |_| unreachable!("the last generation has no children")
            }

            pub type Models = (Kind, Elder, Middle, Young);

            fn fill(world: &World, case: &Case) -> Result<(Session, Rows)> {
                let mut session = world.cluster.session();
                if world.dirty.get() {
                    session.execute(Young::delete().all_shards())?;
                    session.execute(Middle::delete().all_shards())?;
                    session.execute(Elder::delete().all_shards())?;
                    session.execute(Kind::delete().all_shards())?;
                    session.commit()?;
                    world.dirty.set(false);
                }
                let mut rows = Rows { is_folded: $is_folded, kinds: case.kinds.clone(), ..Rows::default() };
                for ((title, rank), id) in case.kinds.iter().zip(1..) {
                    session.add(Kind { id, title: title.clone(), rank: *rank })?;
                }
                let (mut elders, mut middles) = (Vec::new(), Vec::new());
                for generation in 0..3 {
                    for (made, number) in case.made[generation].iter().zip(0_i64..) {
                        let above = if generation == 0 { 0 } else { rows.generations[generation - 1].len() };
                        if generation > 0 && above == 0 {
                            continue;
                        }
                        let parent = if generation == 0 { 0 } else { made.parent.index(above) };
                        let key = if generation == 0 {
                            made.key
                        } else {
                            rows.generations[generation - 1][parent].key
                        };
                        let is_free = |code: &i64| {
                            rows.generations[generation].iter().all(|row| row.code != Some(*code))
                        };
                        let code = made.code.filter(is_free);
                        // Both in no order, and small numbers: conditions test them.
                        let (id, mark) = (number * 7 % 11 + 100, number * 5 % 13);
                        let (kind, text) = (rows.kind(made.kind.as_ref()), made.text.clone());
                        let (amount, gain, version) = (made.amount, made.gain, 1);
                        let row = match generation {
                            0 => {
                                let row = Elder { id, key, code, mark, kind, text, amount, gain, version };
                                let stored = session.add(row)?;
                                let row = stored.row(stored.shard().index());
                                elders.push(stored);
                                row
                            }
                            1 => {
                                let elder = elders[parent].link();
                                let row = Middle { id, elder, code, mark, kind, text, amount, gain, version };
                                let stored = session.add(row)?;
                                let row = stored.row(stored.shard().index());
                                middles.push(stored);
                                row
                            }
                            _ => {
                                let middle = middles[parent].link();
                                let row = Young { id, middle, code, mark, kind, text, amount, gain, version };
                                let stored = session.add(row)?;
                                stored.row(stored.shard().index())
                            }
                        };
                        rows.generations[generation].push(Row { parent, key, ..row });
                    }
                }
                if case.committed {
                    world.dirty.set(true);
                    session.commit()?;
                    session = world.cluster.session();
                }
                Ok((session, rows))
            }

            fn write(session: &mut Session, rows: &mut Rows, write: &Write) -> Verdict {
                match write {
                    Write::Update { generation: 0, tree, set } => update::<Elder>(session, rows, tree, set),
                    Write::Update { generation: 1, tree, set } => update::<Middle>(session, rows, tree, set),
                    Write::Update { tree, set, .. } => update::<Young>(session, rows, tree, set),
                    Write::Delete { tree } => {
                        let delete = Young::delete().filter(Young::filter(tree)).all_shards();
                        let places = rows.matching(Young::GENERATION, tree);
                        prop_assert_eq!(succeeded(session.execute(delete))?, places.len() as u64);
                        for place in places.into_iter().rev() {
                            rows.generations[Young::GENERATION].remove(place);
                        }
                        check_table::<Young>(session, rows)
                    }
                    Write::Change { generation: 0, row, code, amount } => {
                        change::<Elder>(session, rows, row, *code, *amount)
                    }
                    Write::Change { generation: 1, row, code, amount } => {
                        change::<Middle>(session, rows, row, *code, *amount)
                    }
                    Write::Change { row, code, amount, .. } => {
                        change::<Young>(session, rows, row, *code, *amount)
                    }
                }
            }

            fn check_all(session: &mut Session, rows: &Rows) -> Verdict {
                check_table::<Elder>(session, rows)?;
                check_table::<Middle>(session, rows)?;
                check_table::<Young>(session, rows)
            }

            fn check(world: &World, case: &Case) -> Verdict {
                let (mut session, mut rows) = succeeded(fill(world, case))?;
                let before = rows.clone();
                read::<Elder>(&mut session, &rows, case)?;
                read::<Middle>(&mut session, &rows, case)?;
                read::<Young>(&mut session, &rows, case)?;
                for one in &case.writes {
                    write(&mut session, &mut rows, one)?;
                }
                // The same conditions once more, about the rows as they are now.
                read::<Elder>(&mut session, &rows, case)?;
                if case.commits {
                    world.dirty.set(true);
                    succeeded(session.commit())?;
                    check_all(&mut world.cluster.session(), &rows)
                } else {
                    session.rollback();
                    check_all(&mut session, &if case.committed { before } else { Rows::default() })
                }
            }

            pub fn run(name: &str, thousandths: u64, worlds: Vec<World>) {
                runner::run(name, thousandths, (0..worlds.len(), cases()), |(world, case)| {
                    check(&worlds[world], &case)
                });
            }
        }
    };
}

family! { folded, is_folded: true, text: [#[sharded(collate = nocase)]] }
family! { exact, is_folded: false, text: [] }

/// The kinds of conditions that a case has. A condition in a relation is named from outside in. First is `!` if an odd number
/// of NOTs stands above the innermost relation. Then follow the relation (`P` to a parent, `C` to a child, `R` to a referenced
/// row), `!` for the NOTs in the relation, and the column.
pub fn shapes(case: &Case, seen: &mut dyn FnMut(String)) {
    for tree in &case.trees {
        shape(tree, Above::default(), seen);
    }
    for write in &case.writes {
        match write {
            Write::Update { set, tree, .. } => {
                let set = format!("{set:?}");
                seen(format!("update {}", set.split('(').next().unwrap_or_default()));
                shape(tree, Above::default(), &mut |shape| seen(format!("update where {shape}")));
            }
            Write::Delete { tree } => {
                shape(tree, Above::default(), &mut |shape| seen(format!("delete where {shape}")));
            }
            Write::Change { code, .. } => {
                seen(if code.is_some() { "change to a code" } else { "change to no code" }.into());
            }
        }
    }
}

/// The nodes above a condition.
#[derive(Clone, Copy, Default)]
struct Above {
    relations: usize,
    /// Whether the number of NOTs above the innermost relation is odd, and of those below it.
    odd_outside: bool,
    odd_inside: bool,
    innermost: Option<char>,
}

impl Above {
    fn under_not(self) -> Self {
        Above { odd_inside: !self.odd_inside, ..self }
    }

    fn within(self, relation: char) -> Self {
        Above {
            relations: self.relations + 1,
            odd_outside: self.odd_outside != self.odd_inside,
            odd_inside: false,
            innermost: Some(relation),
        }
    }

    fn named(self, what: &str) -> String {
        let not = |odd: bool| if odd { "!" } else { "" };
        let relation = self.innermost.map_or(String::new(), String::from);
        format!("{}{relation}{}{what}", not(self.odd_outside), not(self.odd_inside))
    }
}

fn shape(tree: &Tree, above: Above, seen: &mut dyn FnMut(String)) {
    match tree {
        Tree::Leaf(of, test) => {
            let test = format!("{test:?}");
            seen(above.named(&format!("{of:?}")));
            seen(above.named(&format!("{of:?} {}", test.split('(').next().unwrap_or_default())));
            seen(format!("{} relations", above.relations));
        }
        Tree::Refers(tree) => kind_shape(tree, above.within('R'), seen),
        Tree::Parent(tree) => shape(tree, above.within('P'), seen),
        Tree::Child(tree) => shape(tree, above.within('C'), seen),
        Tree::All(trees) | Tree::Any(trees) => {
            trees.iter().for_each(|tree| shape(tree, above, seen));
        }
        Tree::Not(tree) => shape(tree, above.under_not(), seen),
    }
}

fn kind_shape(tree: &KindTree, above: Above, seen: &mut dyn FnMut(String)) {
    match tree {
        KindTree::Title(_) => seen(above.named("title")),
        KindTree::Rank(_) => seen(above.named("rank")),
        KindTree::All(trees) | KindTree::Any(trees) => {
            trees.iter().for_each(|tree| kind_shape(tree, above, seen));
        }
        KindTree::Not(tree) => kind_shape(tree, above.under_not(), seen),
    }
}

/// Which values the rows of a case have.
pub fn contents(case: &Case, seen: &mut dyn FnMut(String)) {
    for (generation, made) in case.made.iter().enumerate() {
        for Made { code, kind, text, amount, gain, .. } in made {
            seen(format!("{generation}: code {}", if code.is_some() { "set" } else { "NULL" }));
            seen(format!("{generation}: kind {}", if kind.is_some() { "set" } else { "NULL" }));
            seen(format!("{generation}: text {}", if text.is_some() { "set" } else { "NULL" }));
            seen(format!("{generation}: amount {}", if amount.is_some() { "set" } else { "NULL" }));
            if gain.checked_mul(3).is_none() {
                seen(format!("{generation}: a gain at the edge"));
            }
        }
    }
    for (title, rank) in &case.kinds {
        seen(format!("a title {}", if title.is_some() { "set" } else { "NULL" }));
        seen(format!("a rank {}", if rank.is_some() { "set" } else { "NULL" }));
    }
}

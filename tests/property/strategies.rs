//! Random values, rows, predicates and queries.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::datum::{Column, Datum, INTEGERS, Kind, Line, REALS, TEXTS};
use super::measures::{Function, GROUPINGS, GroupBy, Measures, Operator, Which};
use super::predicate::{Test, Tree};
use super::subject::Subject;

/// The kind of a model's key, for generating its values.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub key: Kind,
    /// The key's values that its placement names; they are taken more often.
    pub edges: &'static [Datum],
    /// Whether `part` is in the key too.
    pub composite: bool,
}

impl Shape {
    pub fn of<T: Subject>() -> Self {
        Shape { key: T::KIND, edges: T::edges(), composite: T::COMPOSITE }
    }

    fn kind(self, column: Column) -> Kind {
        column.kind(self.key)
    }
}

fn integers() -> BoxedStrategy<i64> {
    prop_oneof![6 => select(&INTEGERS[..]), 3 => -8..8_i64, 1 => any::<i64>()].boxed()
}

fn texts() -> BoxedStrategy<String> {
    let letters =
        select(&['a', 'b', 'B', 'h', 'z', 'é', '日', '😀', '%', '_', '\\', '*', '?', '[', ']', '\''][..]);
    let random = vec(letters, 0..4).prop_map(|letters| letters.into_iter().collect());
    let near = select(&["", "a", "ab", "aB", "b", "ba", "h"][..]).prop_map(str::to_owned);
    prop_oneof![4 => near, 4 => select(&TEXTS[..]).prop_map(str::to_owned), 2 => random].boxed()
}

/// A value that is not NULL.
fn values(shape: Shape, column: Column) -> BoxedStrategy<Datum> {
    let random = match shape.kind(column) {
        Kind::Integer => integers().prop_map(Datum::Integer).boxed(),
        Kind::Real => select(&REALS[..]).prop_map(Datum::Real).boxed(),
        Kind::Text => texts().prop_map(Datum::Text).boxed(),
        Kind::Name => return select(shape.edges).boxed(),
    };
    match column {
        // Ids are small, so that predicates on them find something.
        Column::Id => prop_oneof![3 => (0..40_i64).prop_map(Datum::Integer), 1 => random].boxed(),
        Column::Key if !shape.edges.is_empty() => prop_oneof![1 => select(shape.edges), 1 => random].boxed(),
        _ => random,
    }
}

fn values_or_null(shape: Shape, column: Column) -> BoxedStrategy<Datum> {
    match column.is_nullable() {
        true => prop_oneof![2 => values(shape, column), 1 => Just(Datum::Null)].boxed(),
        false => values(shape, column),
    }
}

/// A row with any id; its key may be placed nowhere.
pub fn row(shape: Shape) -> BoxedStrategy<Line> {
    Column::ALL.map(|column| values_or_null(shape, column)).prop_map(Line).boxed()
}

/// Rows with ids from 1 on, in a random order; some have keys that are placed nowhere.
pub fn rows(shape: Shape) -> impl Strategy<Value = Vec<Line>> {
    vec(row(shape), 0..30)
        .prop_map(|rows| {
            let numbered = rows.into_iter().zip(1_i64..).map(|(mut row, id)| {
                row.set(Column::Id, Datum::Integer(id));
                row
            });
            numbered.collect::<Vec<_>>()
        })
        .prop_shuffle()
}

fn patterns() -> BoxedStrategy<String> {
    let pieces = select(
        &[
            "%", "%", "_", "a", "b", "B", "é", "日", "h", "\\%", "\\_", "\\\\", "\\a", "*", "?", "[", "]",
            "^", "-", "!",
        ][..],
    );
    let random = vec(pieces, 0..5).prop_map(|pieces| pieces.concat());
    let prefixes = select(&TEXTS[..]).prop_map(|text| {
        let escaped: String = text
            .chars()
            .flat_map(|character| {
                let escape = matches!(character, '%' | '_' | '\\').then_some('\\');
                escape.into_iter().chain([character])
            })
            .collect();
        format!("{escaped}%")
    });
    prop_oneof![2 => random, 1 => prefixes].boxed()
}

fn tests(shape: Shape, column: Column) -> BoxedStrategy<Test> {
    let one = || values(shape, column);
    let kind = shape.kind(column);
    let compared = prop_oneof![
        4 => one().prop_map(Test::Equal),
        1 => one().prop_map(Test::NotEqual),
        1 => one().prop_map(Test::Less),
        1 => one().prop_map(Test::LessOrEqual),
        1 => one().prop_map(Test::Greater),
        1 => one().prop_map(Test::GreaterOrEqual),
        1 => (one(), one()).prop_map(|(low, high)| Test::Between(low, high)),
        2 => narrow_range(shape, column),
        3 => vec(one(), 0..6).prop_map(Test::In),
        2 => vec(one(), 0..3).prop_map(Test::NotIn),
        1 => Just(Test::IsNull),
        1 => Just(Test::IsNotNull),
    ];
    if kind != Kind::Text {
        return compared.boxed();
    }
    prop_oneof![
        5 => compared,
        2 => patterns().prop_map(Test::Like),
        2 => texts().prop_map(Test::StartsWith),
        1 => texts().prop_map(Test::EndsWith),
        1 => texts().prop_map(Test::Contains),
    ]
    .boxed()
}

/// A range of a few integers, which can be looked at one by one; for other kinds any range.
fn narrow_range(shape: Shape, column: Column) -> BoxedStrategy<Test> {
    match shape.kind(column) {
        Kind::Integer => (integers(), 0..5_i64)
            .prop_map(|(low, length)| {
                Test::Between(Datum::Integer(low), Datum::Integer(low.saturating_add(length)))
            })
            .boxed(),
        _ => (values(shape, column), values(shape, column))
            .prop_map(|(low, high)| Test::Between(low, high))
            .boxed(),
    }
}

/// Predicates up to five levels deep. Half of the leaves are about the key.
pub fn trees(shape: Shape) -> BoxedStrategy<Tree> {
    let leaf = |column| tests(shape, column).prop_map(move |test| Tree::Leaf(column, test)).boxed();
    let mut key = vec![(4, leaf(Column::Key))];
    let mut others: Vec<_> =
        [Column::Id, Column::Amount, Column::Rank, Column::Name, Column::Note, Column::Weight]
            .into_iter()
            .map(|column| (1, leaf(column)))
            .collect();
    if shape.composite {
        key.push((3, leaf(Column::Part)));
        key.push((3, vec((integers(), texts()), 0..4).prop_map(Tree::Keys).boxed()));
        let some = |column| {
            vec(values(shape, column), 1..4).prop_map(move |some| Tree::Leaf(column, Test::In(some)))
        };
        let both = (some(Column::Key), some(Column::Part));
        key.push((3, both.prop_map(|(keys, parts)| Tree::All(vec![keys, parts])).boxed()));
    } else {
        others.push((1, leaf(Column::Part)));
    }
    let key = proptest::strategy::Union::new_weighted(key).boxed();
    let others = proptest::strategy::Union::new_weighted(others).boxed();
    // One in three predicates is about the key alone.
    prop_oneof![1 => deep(key.clone()), 2 => deep(prop_oneof![key, others].boxed())].boxed()
}

/// `AND`, `OR` and `NOT` over these leaves, up to five above each other. (`prop_recursive` aims at a size, and so
/// hardly ever gets that deep.)
pub fn deep(leaves: BoxedStrategy<Tree>) -> BoxedStrategy<Tree> {
    (0..5).fold(leaves.clone(), |below, _| {
        prop_oneof![
            2 => leaves.clone(),
            3 => vec(below.clone(), 1..3).prop_map(Tree::All),
            3 => vec(below.clone(), 1..3).prop_map(Tree::Any),
            2 => below.prop_map(|tree| Tree::Not(Box::new(tree))),
            1 => any::<bool>().prop_map(|all| if all { Tree::All(Vec::new()) } else { Tree::Any(Vec::new()) }),
        ]
        .boxed()
    })
}

/// A column to order by: descending or not, and the order of NULL, if it is given.
#[derive(Clone, Copy, Debug)]
pub struct By {
    pub column: Column,
    pub descending: bool,
    pub nulls_first: Option<bool>,
}

/// The shard to which a query is pinned.
#[derive(Clone, Debug)]
pub enum Pin {
    Shard(usize),
    Key(Datum, String),
}

/// An aggregate of a column; sums and means are of numbers.
pub fn aggregates(shape: Shape) -> BoxedStrategy<(Function, Column)> {
    let function = select(&[Function::Sum, Function::Mean, Function::Least, Function::Greatest][..]);
    (function, select(&Column::ALL[..]))
        .prop_map(move |(function, column)| match (function, shape.kind(column)) {
            (Function::Sum | Function::Mean, Kind::Text | Kind::Name) => (Function::Greatest, column),
            _ => (function, column),
        })
        .boxed()
}

/// Measures of all rows, or of groups by several columns, some left out and in some order.
pub fn measures() -> BoxedStrategy<Measures> {
    use Function::*;
    let integer =
        (select(&[Sum, Least, Greatest][..]), select(&[Column::Id, Column::Amount, Column::Rank][..]));
    let of_integers = (select(&[Mean, Variance, Deviation][..]), select(&[Column::Amount, Column::Rank][..]));
    let of_floats = (select(&[Sum, Mean, Least, Greatest][..]), Just(Column::Weight));
    let text = (select(&[Least, Greatest][..]), select(&[Column::Name, Column::Note][..]));
    let values = (integer, prop_oneof![of_integers, of_floats], text, select(&Column::ALL[..]));
    let limit = prop_oneof![6 => 0..6_u64, 1 => Just(u64::MAX)];
    let offset = prop_oneof![3 => Just(0), 2 => 0..5_u64, 1 => Just(u64::MAX)];
    option::weighted(0.85, 0..GROUPINGS.len())
        .prop_flat_map(move |grouping| {
            let columns = grouping.map_or(&[][..], |grouping| GROUPINGS[grouping]);
            let havings = vec(havings(), 0..if columns.is_empty() { 1 } else { 3 });
            let bounds = (option::of(limit.clone()), offset.clone());
            (Just(grouping), values.clone(), havings, group_orders(columns), bounds)
        })
        .prop_map(|(grouping, (integer, real, text, distinct), having, order, (limit, offset))| Measures {
            grouping,
            integer,
            real,
            text,
            distinct,
            having,
            order,
            limit,
            offset,
        })
        .boxed()
}

fn havings() -> BoxedStrategy<(Which, Operator, Datum)> {
    use Operator::*;
    let value = prop_oneof![
        3 => (0..4_i64).prop_map(|rows| (Which::Rows, Datum::Integer(rows))),
        3 => integers().prop_map(|integer| (Which::Integer, Datum::Integer(integer))),
        2 => texts().prop_map(|text| (Which::Text, Datum::Text(text))),
        2 => (0..4_i64).prop_map(|values| (Which::Distinct, Datum::Integer(values))),
    ];
    (value, select(&[Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual][..]))
        .prop_map(|((which, value), operator)| (which, operator, value))
        .boxed()
}

/// By some of the groups' columns and by measures; all rows are one group, which has no order.
fn group_orders(columns: &'static [Column]) -> BoxedStrategy<Vec<GroupBy>> {
    if columns.is_empty() {
        return Just(Vec::new()).boxed();
    }
    let which = select(&[Which::Rows, Which::Integer, Which::Text, Which::Distinct][..]);
    let by = prop_oneof![
        3 => bys(columns).prop_map(GroupBy::Column),
        1 => (which, any::<bool>()).prop_map(|(which, descending)| GroupBy::Measure(which, descending)),
    ];
    vec(by, 0..4).boxed()
}

/// One of these columns, in some direction.
fn bys(columns: &'static [Column]) -> impl Strategy<Value = By> {
    (select(columns), any::<bool>(), option::of(any::<bool>()))
        .prop_map(|(column, descending, nulls_first)| By { column, descending, nulls_first })
}

#[derive(Clone, Debug)]
pub struct Query {
    pub tree: Tree,
    pub pin: Option<Pin>,
    pub order: Vec<By>,
    pub limit: Option<u64>,
    pub offset: u64,
}

pub fn pins(shape: Shape) -> BoxedStrategy<Option<Pin>> {
    let pin = prop_oneof![
        (0..7_usize).prop_map(Pin::Shard),
        (values(shape, Column::Key), texts()).prop_map(|(key, part)| Pin::Key(key, part)),
    ];
    option::weighted(0.15, pin).boxed()
}

pub fn queries(shape: Shape) -> BoxedStrategy<Query> {
    let limit = prop_oneof![8 => 0..8_u64, 3 => 0..40_u64, 1 => Just(u64::MAX), 1 => Just(i64::MAX as u64)];
    let offset = prop_oneof![6 => Just(0), 6 => 0..6_u64, 2 => 0..40_u64, 1 => Just(u64::MAX)];
    (trees(shape), pins(shape), vec(bys(&Column::ALL), 0..4), option::of(limit), offset)
        .prop_map(|(tree, pin, order, limit, offset)| Query { tree, pin, order, limit, offset })
        .boxed()
}

/// The assignments of a bulk update: some of the columns that it may set, each once.
pub fn assignments(shape: Shape) -> BoxedStrategy<Vec<(Column, Datum)>> {
    let value = move |column| values_or_null(shape, column).prop_map(move |value| (column, value));
    proptest::sample::subsequence(&Column::SETTABLE[..], 1..=3)
        .prop_flat_map(move |columns| columns.into_iter().map(value).collect::<Vec<_>>())
        .boxed()
}

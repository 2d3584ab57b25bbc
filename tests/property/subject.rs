//! The trait that a model implements for the tests, for every kind of key.

use shard_runtime::{
    Column as Typed, Field, Filter, Insert, Models, Order, Result, Routed, Select, Session, Sharded,
    Unrouted, Update, count,
    query::{ColumnKind, IntoOperand, Number, Storable, UniqueId},
};

use super::datum::{Column, Datum, Kind, Line};
use super::layout::Layout;
use super::measures::{Found, Function, Measures, Wanted, datum};
use super::predicate::{Test, Tree};
use super::strategies::By;

/// A model with the columns of [`Column::ALL`], placed by its key.
pub trait Subject: Insert<Model = Self> + UniqueId + Sharded<Id = i64> + Clone + 'static {
    /// The kind of the key.
    const KIND: Kind;
    /// Whether `part` is in the key too.
    const COMPOSITE: bool = false;
    /// The models of its cluster.
    type Cluster: Models;

    /// The values of the key that its placement names.
    fn edges() -> &'static [Datum];

    /// The least number of shards that its placement needs: it names them `s0`, `s1`, ….
    fn shards() -> usize;

    /// The shard of the declaration, if it can be written down here; `None` for hashes.
    fn declared(key: &Datum, shards: usize) -> Option<Option<usize>>;

    fn build(line: &Line) -> Self;
    fn line(&self) -> Line;
    fn leaf(column: Column, test: &Test) -> Filter<Self, Unrouted>;
    fn keys(_: &[(i64, String)]) -> Filter<Self, Unrouted> {
        unreachable!("the key has one column")
    }
    fn order(by: By) -> Order<Self>;
    fn pin(key: &Datum, part: &str) -> Self::Key;
    fn set(update: Update<Self, Routed>, column: Column, value: &Datum) -> Update<Self, Routed>;

    fn aggregate(
        session: &mut Session,
        select: Select<Self, Routed>,
        function: Function,
        column: Column,
    ) -> Result<Datum>;

    /// The ids, keys and notes of the rows, read as a struct of their own; the other columns are NULL.
    fn briefs(session: &mut Session, select: Select<Self, Routed>) -> Result<Vec<Line>>;

    /// The values of a column, each once, and how many rows have it.
    fn groups(
        session: &mut Session,
        select: Select<Self, Routed>,
        column: Column,
        wanted: Groups,
    ) -> Result<Vec<(Datum, u64)>>;

    /// Measures with their types.
    fn wanted(measures: &Measures) -> Wanted<Self>;

    /// Groups by one of [`GROUPINGS`](super::measures::GROUPINGS).
    fn groups_by(
        session: &mut Session,
        select: Select<Self, Routed>,
        measures: &Measures,
        wanted: &Wanted<Self>,
    ) -> Result<Vec<Found>>;

    /// Adds the rows that the row refers to.
    fn before_adding(_: &mut Session, _: &Self) -> Result<()> {
        Ok(())
    }

    /// Removes all rows.
    fn clear(session: &mut Session) -> Result<()>;

    /// The shard of a key by the library's chooser; `None` if it is placed nowhere.
    fn place(key: &Datum, part: &str, layout: &Layout) -> Option<usize> {
        let row = Self::build(&Line::of_key(key.clone(), part));
        let place = row.shard_chooser(&layout.shards).ok();
        if let Some(owner) = layout.owner(key, &row) {
            assert_eq!(place, owner, "the shard of {key:?}");
        }
        place
    }

    /// A predicate as the library's filter.
    fn filter(tree: &Tree) -> Filter<Self, Unrouted> {
        match tree {
            Tree::Leaf(column, test) => Self::leaf(*column, test),
            Tree::Keys(keys) => Self::keys(keys),
            Tree::Not(tree) => !Self::filter(tree),
            Tree::All(trees) => match trees.as_slice() {
                [left, right] => Self::filter(left) & Self::filter(right),
                trees => Filter::all(trees.iter().map(Self::filter)),
            },
            Tree::Any(trees) => match trees.as_slice() {
                [left, right] => Self::filter(left) | Self::filter(right),
                trees => Filter::any(trees.iter().map(Self::filter)),
            },
        }
    }
}

/// The groups of a query, and their order and limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// All of them.
    All,
    /// Their values only, as distinct ones.
    Distinct,
    /// Of those with two rows at least the largest three but one.
    Largest,
}

/// A field that a [`Datum`] can be made of, and the other way round.
pub trait Cell: Field + IntoOperand<Self> {
    fn of(datum: &Datum) -> Self;
    fn datum(&self) -> Datum;
}

impl Cell for i64 {
    fn of(datum: &Datum) -> Self {
        datum.integer()
    }
    fn datum(&self) -> Datum {
        Datum::Integer(*self)
    }
}

impl Cell for f64 {
    fn of(datum: &Datum) -> Self {
        datum.real()
    }
    fn datum(&self) -> Datum {
        Datum::Real(*self)
    }
}

impl Cell for String {
    fn of(datum: &Datum) -> Self {
        datum.as_text().to_owned()
    }
    fn datum(&self) -> Datum {
        Datum::text(self)
    }
}

/// A nullable field of a [`Datum`].
pub fn nullable<C: Cell>(datum: &Datum) -> Option<C> {
    (*datum != Datum::Null).then(|| C::of(datum))
}

/// A test of a column as the library's filter.
pub fn compared<T, V, K, C>(column: Typed<T, V, K>, test: &Test) -> Filter<T, Unrouted>
where
    T: Sharded,
    V: Storable<Compare = C>,
    K: ColumnKind,
    C: Cell,
    Filter<T, Unrouted>: From<Filter<T, K::Equal>> + From<Filter<T, K::Order>>,
{
    match test {
        Test::Equal(value) => column.eq(C::of(value)).into(),
        Test::NotEqual(value) => column.ne(C::of(value)),
        Test::Less(value) => column.lt(C::of(value)).into(),
        Test::LessOrEqual(value) => column.le(C::of(value)).into(),
        Test::Greater(value) => column.gt(C::of(value)).into(),
        Test::GreaterOrEqual(value) => column.ge(C::of(value)).into(),
        Test::Between(low, high) => column.between(C::of(low), C::of(high)).into(),
        Test::In(values) => column.is_in(values.iter().map(C::of)).into(),
        Test::NotIn(values) => column.not_in(values.iter().map(C::of)),
        Test::IsNull => column.is_null(),
        Test::IsNotNull => column.is_not_null(),
        Test::Like(_) | Test::StartsWith(_) | Test::EndsWith(_) | Test::Contains(_) => {
            unreachable!("{test:?} is for columns of text")
        }
    }
}

/// A test of a column of text as the library's filter.
pub fn compared_text<T, V, K>(column: Typed<T, V, K>, test: &Test) -> Filter<T, Unrouted>
where
    T: Sharded,
    V: Storable<Compare = String>,
    K: ColumnKind,
    Filter<T, Unrouted>: From<Filter<T, K::Equal>> + From<Filter<T, K::Order>>,
{
    match test {
        Test::Like(pattern) => column.like(pattern.as_str()),
        Test::StartsWith(prefix) => column.starts_with(prefix.as_str()).into(),
        Test::EndsWith(suffix) => column.ends_with(suffix),
        Test::Contains(text) => column.contains(text),
        other => compared(column, other),
    }
}

/// An order as the library's.
pub fn ordered<T: Sharded, V: Storable, K: ColumnKind>(column: Typed<T, V, K>, by: By) -> Order<T> {
    let order = if by.descending { column.desc() } else { column.asc() };
    match by.nulls_first {
        None => order,
        Some(true) => order.nulls_first(),
        Some(false) => order.nulls_last(),
    }
}

/// An aggregate of a column that is no number: only its least and greatest value.
pub fn extreme<T, V, K, C>(
    session: &mut Session,
    select: Select<T, Routed>,
    function: Function,
    column: Typed<T, V, K>,
) -> Result<Datum>
where
    T: Sharded,
    V: Storable<Compare = C>,
    K: ColumnKind,
    C: Cell,
{
    let value = match function {
        Function::Least => session.one(select.aggregate(column.min()))?,
        _ => session.one(select.aggregate(column.max()))?,
    };
    Ok(value.map_or(Datum::Null, |value| value.datum()))
}

/// An aggregate of a column of numbers.
pub fn aggregate<T, V, K, C>(
    session: &mut Session,
    select: Select<T, Routed>,
    function: Function,
    column: Typed<T, V, K>,
) -> Result<Datum>
where
    T: Sharded,
    V: Storable<Compare = C>,
    K: ColumnKind,
    C: Cell + Number<Sum: Cell>,
{
    Ok(match function {
        Function::Sum => session.one(select.aggregate(column.sum()))?.map_or(Datum::Null, |sum| sum.datum()),
        Function::Mean => session.one(select.aggregate(column.avg()))?.map_or(Datum::Null, Datum::Real),
        _ => extreme(session, select, function, column)?,
    })
}

/// The groups of a column's values, with their numbers unless they are read as distinct values.
pub fn grouped<T, V, K>(
    session: &mut Session,
    select: Select<T, Routed>,
    column: Typed<T, V, K>,
    wanted: Groups,
) -> Result<Vec<(Datum, u64)>>
where
    T: Sharded,
    V: Storable,
    K: ColumnKind,
{
    let groups = || select.clone().group_by(column).aggregate(count());
    let groups = match wanted {
        Groups::All => groups(),
        Groups::Largest => groups().having(count().ge(2)).order_by(count().desc()).offset(1).limit(3),
        Groups::Distinct => {
            let values = session.all(select.columns(column).distinct())?;
            return Ok(values.into_iter().map(|value| (datum(&value), 0)).collect());
        }
    };
    Ok(session.all(groups)?.into_iter().map(|(value, rows)| (datum(&value), rows)).collect())
}

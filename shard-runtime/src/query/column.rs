//! A model's columns as typed constants, from which filters, orders and assignments are built.

use std::fmt;
use std::marker::PhantomData;

use super::expression::{Holds, Term};
use super::filter::{Filter, Node, Operator, Predicate, WholeKey};
use super::select::owned_key;
use crate::error::ValueError;
use crate::query::Sharded;
use crate::query::{Parent, Stored};
use crate::row::Storable;
use crate::schema::Key;
use crate::schema::PlacedLookup;
use crate::schema::Shard;
use crate::schema::{Routed, Routing, Unrouted};
use crate::sealed::Sealed;
use crate::value::{Field, Value, text_value};

/// A column of `T` that holds a `V`. `K` is the kind of the column; see [`kind`].
pub struct Column<T, V, K = kind::Plain> {
    index: usize,
    marker: Marker<T, V, K>,
}

/// The marker of type parameters that no field has.
pub(super) type Marker<T, V, K> = PhantomData<fn() -> (T, V, K)>;

impl<T, V, K> Clone for Column<T, V, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, V, K> Copy for Column<T, V, K> {}

impl<T, V, K> fmt::Debug for Column<T, V, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Column").field(&self.index).finish()
    }
}

/// The kind of a column: whether comparing it narrows the shards, and whether an update may set it.
pub mod kind {
    /// A column that does not narrow the shards.
    #[derive(Debug)]
    pub enum Plain {}
    /// The id, or a part of a key of several columns: no update sets it.
    #[derive(Debug)]
    pub enum Fixed {}
    /// A column with a `#[lookup]`: equality narrows.
    #[derive(Debug)]
    pub enum Lookup {}
    /// The version. Every change of its row increments it, and the application does not set it.
    #[derive(Debug)]
    pub enum Version {}
    /// The shard key, or the parent: equality narrows.
    #[derive(Debug)]
    pub enum Key {}
    /// A shard key that is placed by range: equality and order narrow.
    #[derive(Debug)]
    pub enum RangeKey {}
    /// A column of the kind `K` that refers to a row of the reference table `M`.
    #[derive(Debug)]
    pub struct References<M, K = Plain>(std::marker::PhantomData<fn() -> (M, K)>);
}

/// The marker of a filter that compares a column of this kind.
///
/// This trait is sealed: the planner prunes by these kinds only.
pub trait ColumnKind: Sealed + 'static {
    /// The marker of `=` and `IN`.
    type Equal: Routing;
    /// The marker of `<`, `>` and `BETWEEN`.
    type Order: Routing;
}

impl Sealed for kind::Plain {}
impl Sealed for kind::Fixed {}
impl Sealed for kind::Lookup {}
impl Sealed for kind::Version {}
impl Sealed for kind::Key {}
impl Sealed for kind::RangeKey {}
impl<M, K> Sealed for kind::References<M, K> {}

impl ColumnKind for kind::Plain {
    type Equal = Unrouted;
    type Order = Unrouted;
}

impl ColumnKind for kind::Fixed {
    type Equal = Unrouted;
    type Order = Unrouted;
}

impl ColumnKind for kind::Version {
    type Equal = Unrouted;
    type Order = Unrouted;
}

impl ColumnKind for kind::Lookup {
    type Equal = Routed;
    type Order = Unrouted;
}

impl ColumnKind for kind::Key {
    type Equal = Routed;
    type Order = Unrouted;
}

impl ColumnKind for kind::RangeKey {
    type Equal = Routed;
    type Order = Routed;
}

impl<M: 'static, K: ColumnKind> ColumnKind for kind::References<M, K> {
    type Equal = K::Equal;
    type Order = K::Order;
}

/// A column that a bulk update may set: not the id, not the version, no column that decides the shard, and none with a
/// lookup.
///
/// This trait is sealed: a bulk update of any other column would leave its row, version or lookup entry wrong.
#[diagnostic::on_unimplemented(
    message = "an update cannot set this column: it is the id or the version, it decides the shard, or it has a lookup",
    label = "cannot be set",
    note = "to change the shard key, move the row with `session.relocate(..)`",
    note = "every update increments the version automatically",
    note = "to change a value with a `#[lookup]`, change the row, and call `session.update(&mut row)`"
)]
pub trait Settable: ColumnKind {}

impl Settable for kind::Plain {}

#[diagnostic::do_not_recommend]
impl<M: 'static, K: Settable> Settable for kind::References<M, K> {}

/// A value that a column is compared with. A link has its shard, too.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    pub(crate) value: Result<Value<'static>, ValueError>,
    pub(crate) shard: Option<Shard>,
}

impl Operand {
    pub(crate) fn of<F: Field>(value: &F) -> Self {
        Operand { value: value.stored_value().map(Value::into_owned), shard: None }
    }

    /// Returns the lookup entry to read for a comparison with this operand. An operand that cannot be stored has none; the
    /// planner reports it.
    pub(crate) fn entry(&self, lookup: &PlacedLookup) -> Option<Value<'static>> {
        self.known().and_then(|value| lookup.entry(value))
    }
}

/// A value that a column of `V` can be compared with.
///
/// This is a `V` or a reference to one, `&str` for text, and a row or its link for a parent. A column of `i64` is compared with
/// all integers but `u64`, and one of `f64` with `f32`.
///
/// ```
/// # use shard_runtime::Sharded;
/// # #[derive(Sharded)]
/// # struct Account {
/// #     #[id]
/// #     #[shard_key(hash)]
/// #     id: i64,
/// #     cents: i64,
/// # }
/// let (ids, least) = (vec![1_i64, 2, 3], 100_i32);
/// let filter = Account::ID.is_in(&ids) & Account::CENTS.ge(least);
/// ```
///
/// An integer literal without a type is an `i32` here, as in other Rust code. Write a greater one with its type:
/// `5_000_000_000_i64`.
///
/// This trait is sealed: the planner prunes by operands, so an operand has exactly the value that the column would store.
#[diagnostic::on_unimplemented(
    message = "a column of `{V}` cannot be compared with `{Self}`",
    label = "not a `{V}`",
    note = "compare a column with a value of its own type, or a reference to one; an `i64` also with narrower integers",
    note = "compare a nullable column with the value itself, and use `.is_null()` for NULL"
)]
pub trait IntoOperand<V> {
    #[doc(hidden)]
    fn into_operand(self) -> Operand;
}

impl<F: Field> IntoOperand<F> for F {
    fn into_operand(self) -> Operand {
        Operand::of(&self)
    }
}

impl<F: Field> IntoOperand<F> for &F {
    fn into_operand(self) -> Operand {
        Operand::of(self)
    }
}

impl IntoOperand<String> for &str {
    fn into_operand(self) -> Operand {
        Operand { value: text_value(self).map(Value::into_owned), shard: None }
    }
}

impl IntoOperand<String> for &&str {
    fn into_operand(self) -> Operand {
        (*self).into_operand()
    }
}

impl IntoOperand<Vec<u8>> for &[u8] {
    fn into_operand(self) -> Operand {
        Operand { value: Ok(Value::Bytes(self.to_vec().into())), shard: None }
    }
}

// A number of a narrower type is converted to the column's type without a loss. Other integers have no such implementation: an
// untyped literal would become an `i32`, which cannot be compared with their columns.
macro_rules! widened {
    ($($column:ty: $($narrower:ty),*;)*) => {$($(
        #[diagnostic::do_not_recommend]
        impl IntoOperand<$column> for $narrower {
            fn into_operand(self) -> Operand {
                Operand::of(&<$column>::from(self))
            }
        }

        #[diagnostic::do_not_recommend]
        impl IntoOperand<$column> for &$narrower {
            fn into_operand(self) -> Operand {
                Operand::of(&<$column>::from(*self))
            }
        }
    )*)*};
}
widened! {
    i64: i8, i16, i32, u8, u16, u32;
    f64: f32;
}

impl<P: Sharded> IntoOperand<Parent<P>> for Parent<P> {
    fn into_operand(self) -> Operand {
        Operand { shard: Some(self.shard().clone()), ..Operand::of(self.id()) }
    }
}

impl<P: Sharded> IntoOperand<Parent<P>> for &Parent<P> {
    fn into_operand(self) -> Operand {
        self.clone().into_operand()
    }
}

impl<P: Sharded> IntoOperand<Parent<P>> for &Stored<P> {
    fn into_operand(self) -> Operand {
        self.link().into_operand()
    }
}

/// The value that a bulk update sets a column to.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Assigned {
    /// The same value in every row.
    Value(Operand),
    /// A value that is computed from each row's own columns, and the range of numbers that the column holds.
    Computed(Term, Holds),
}

/// A value that a column of `T` with values of `V` can be set to. This is a `V`, `&str` for text, another such column of the
/// row, or an expression of its columns.
///
/// This trait is sealed: an update sets a column only to a value that the column's type holds.
#[diagnostic::on_unimplemented(
    message = "a column of `{T}` that holds `{V}` cannot be set to `{Self}`",
    label = "not a `{V}`"
)]
pub trait IntoAssign<T, V> {
    #[doc(hidden)]
    fn into_assign(self) -> Assigned;
}

impl<T, V: Storable> IntoAssign<T, V> for V {
    fn into_assign(self) -> Assigned {
        Assigned::Value(Operand { value: self.column_value().map(Value::into_owned), shard: None })
    }
}

impl<T> IntoAssign<T, String> for &str {
    fn into_assign(self) -> Assigned {
        Assigned::Value(self.into_operand())
    }
}

/// A value that can be compared by order. Links to parents cannot: their ids have no order over shards.
///
/// This trait is sealed: the planner prunes ranges by the order of these values.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no order",
    label = "cannot be compared by `<`, `>` or `between`",
    note = "compare a link to a parent with `.eq(..)`, `.ne(..)` or `.is_in(..)`"
)]
pub trait Ordered: Field {}

#[diagnostic::do_not_recommend]
impl<F: Field> Ordered for F {}

impl<T, V, K> Column<T, V, K> {
    /// Returns the column at an index of the model's table.
    #[doc(hidden)]
    pub const fn new(index: usize) -> Self {
        Column { index, marker: PhantomData }
    }

    /// Returns the column's index in the model's table.
    pub(crate) const fn index(self) -> usize {
        self.index
    }
}

impl<T: Sharded, V: Storable, K: ColumnKind> Column<T, V, K> {
    fn compare<R>(self, operator: Operator, value: impl IntoOperand<V::Compare>) -> Filter<T, R> {
        Filter::of(Node::Compare { column: self.index, operator, operand: value.into_operand() })
    }

    /// Returns a filter for rows whose value equals this one.
    pub fn eq(self, value: impl IntoOperand<V::Compare>) -> Filter<T, K::Equal> {
        self.compare(Operator::Equal, value)
    }

    /// Returns a filter for rows whose value differs from this one. It does not match NULL.
    pub fn ne(self, value: impl IntoOperand<V::Compare>) -> Filter<T, Unrouted> {
        self.compare(Operator::NotEqual, value)
    }

    /// Returns a filter for rows whose value is less. Text is compared byte by byte, or as its column declares
    /// ([`Collation`](crate::Collation)).
    pub fn lt(self, value: impl IntoOperand<V::Compare>) -> Filter<T, K::Order>
    where
        V::Compare: Ordered,
    {
        self.compare(Operator::Less, value)
    }

    /// Returns a filter for rows whose value is less or equal.
    pub fn le(self, value: impl IntoOperand<V::Compare>) -> Filter<T, K::Order>
    where
        V::Compare: Ordered,
    {
        self.compare(Operator::LessOrEqual, value)
    }

    /// Returns a filter for rows whose value is greater.
    pub fn gt(self, value: impl IntoOperand<V::Compare>) -> Filter<T, K::Order>
    where
        V::Compare: Ordered,
    {
        self.compare(Operator::Greater, value)
    }

    /// Returns a filter for rows whose value is greater or equal.
    pub fn ge(self, value: impl IntoOperand<V::Compare>) -> Filter<T, K::Order>
    where
        V::Compare: Ordered,
    {
        self.compare(Operator::GreaterOrEqual, value)
    }

    /// Returns a filter for rows whose value is between these two, both included.
    pub fn between(
        self,
        low: impl IntoOperand<V::Compare>,
        high: impl IntoOperand<V::Compare>,
    ) -> Filter<T, K::Order>
    where
        V::Compare: Ordered,
    {
        let side =
            |operator, operand| Predicate::new(Node::Compare { column: self.index, operator, operand });
        Filter::new(Predicate::all([
            side(Operator::GreaterOrEqual, low.into_operand()),
            side(Operator::LessOrEqual, high.into_operand()),
        ]))
    }

    /// Returns a filter for rows whose value is one of these; with no values, it matches no row. Each shard receives only its
    /// own values. The values are given by value or by reference: `is_in([1, 2])`, `is_in(&ids)`.
    pub fn is_in<O: IntoOperand<V::Compare>>(
        self,
        values: impl IntoIterator<Item = O>,
    ) -> Filter<T, K::Equal> {
        let operands: Vec<Operand> = values.into_iter().map(IntoOperand::into_operand).collect();
        Filter::of(match operands.is_empty() {
            true => Node::Nothing,
            false => Node::In { column: self.index, operands },
        })
    }

    /// Returns a filter for rows whose value is none of these. It does not match NULL, except with no values: then it matches
    /// every row.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     owner: Option<String>,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// let owners = [Some("Ada"), Some("Bob"), None];
    /// session.add_all((1..).zip(owners).map(|(id, owner)| Account { id, owner: owner.map(str::to_owned) }))?;
    /// let others = Account::select().filter(Account::OWNER.not_in(["Ada"])).all_shards();
    /// assert_eq!(session.one(others)?.id, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn not_in<O: IntoOperand<V::Compare>>(
        self,
        values: impl IntoIterator<Item = O>,
    ) -> Filter<T, Unrouted> {
        self.is_in(values).not()
    }

    /// Returns a filter for rows without a value.
    pub fn is_null(self) -> Filter<T, Unrouted> {
        Filter::of(Node::IsNull { column: self.index })
    }

    /// Returns a filter for rows with a value.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     owner: Option<String>,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// session.add_all([Account { id: 1, owner: Some("Ada".into()) }, Account { id: 2, owner: None }])?;
    /// let owned = Account::select().filter(Account::OWNER.is_not_null()).all_shards();
    /// assert_eq!(session.one(owned)?.id, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_not_null(self) -> Filter<T, Unrouted> {
        self.is_null().not()
    }

    /// Returns the ascending order by this column. NULL comes first by default.
    pub fn asc(self) -> Order<T> {
        Order { column: self.index, descending: false, nulls_first: true, marker: PhantomData }
    }

    /// Returns the descending order by this column. NULL comes last by default.
    pub fn desc(self) -> Order<T> {
        Order { column: self.index, descending: true, nulls_first: false, marker: PhantomData }
    }
}

impl<T: Sharded, V: Storable<Compare = String>, K: ColumnKind> Column<T, V, K> {
    /// Returns a filter for rows whose text matches the pattern: `%` stands for any text, `_` for one character, and a
    /// backslash takes the next character literally. Upper and lower case differ on every database, unless the column declares
    /// otherwise ([`Collation`](crate::Collation)).
    pub fn like(self, pattern: impl Into<String>) -> Filter<T, Unrouted> {
        Filter::of(Node::Like { column: self.index, pattern: pattern.into() })
    }

    /// Returns a filter for rows whose text starts with this one, which has no wildcards.
    pub fn starts_with(self, prefix: impl Into<String>) -> Filter<T, K::Order> {
        Filter::of(Node::StartsWith { column: self.index, prefix: prefix.into() })
    }

    /// Returns a filter for rows whose text ends with this one, which has no wildcards.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     rate: String,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// session.add_all([Account { id: 1, rate: "5%".into() }, Account { id: 2, rate: "50".into() }])?;
    /// let percent = Account::select().filter(Account::RATE.ends_with("%")).all_shards();
    /// assert_eq!(session.one(percent)?.id, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn ends_with(self, suffix: impl AsRef<str>) -> Filter<T, Unrouted> {
        self.like(format!("%{}", escaped(suffix.as_ref())))
    }

    /// Returns a filter for rows whose text contains this one, which has no wildcards.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     name: String,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// session.add_all([Account { id: 1, name: "tax_2026".into() }, Account { id: 2, name: "taxi 9".into() }])?;
    /// let taxes = Account::select().filter(Account::NAME.contains("x_2")).all_shards();
    /// assert_eq!(session.one(taxes)?.id, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn contains(self, text: impl AsRef<str>) -> Filter<T, Unrouted> {
        self.like(format!("%{}%", escaped(text.as_ref())))
    }
}

/// Returns the pattern of `like` that matches only this text.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// A shard key of several columns, compared as a whole: `Model::SHARD_KEY.eq((tenant, device))`.
pub struct CompositeKey<T, K> {
    columns: &'static [usize],
    marker: PhantomData<fn() -> (T, K)>,
}

impl<T, K> Clone for CompositeKey<T, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, K> Copy for CompositeKey<T, K> {}

impl<T, K> fmt::Debug for CompositeKey<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CompositeKey").field(&self.columns).finish()
    }
}

impl<T: Sharded, K: Key> CompositeKey<T, K> {
    /// Returns the key in these columns.
    #[doc(hidden)]
    pub const fn new(columns: &'static [usize]) -> Self {
        CompositeKey { columns, marker: PhantomData }
    }

    /// Returns a filter for rows whose key equals this one.
    pub fn eq(self, key: impl Into<K>) -> Filter<T, Routed> {
        self.is_in([key])
    }

    /// Returns a filter for rows whose key is one of these; with no keys, it matches no row. Each shard receives only its own
    /// keys.
    pub fn is_in<I: Into<K>>(self, keys: impl IntoIterator<Item = I>) -> Filter<T, Routed> {
        let keys: Vec<WholeKey> = keys.into_iter().map(|key| owned_key(&key.into())).collect();
        Filter::of(match keys.is_empty() {
            true => Node::Nothing,
            false => Node::KeyIn { columns: self.columns, keys },
        })
    }
}

/// The order of a query's rows by one column.
pub struct Order<T> {
    pub(crate) column: usize,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
    marker: PhantomData<fn() -> T>,
}

untyped!(Order<T> { column, descending, nulls_first; marker });

impl<T> Order<T> {
    /// Orders rows without a value before all others.
    pub fn nulls_first(mut self) -> Self {
        self.nulls_first = true;
        self
    }

    /// Orders rows without a value after all others.
    pub fn nulls_last(mut self) -> Self {
        self.nulls_first = false;
        self
    }
}

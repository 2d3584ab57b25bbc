//! What generated code and the macros call. Not part of the public interface.

use crate::error::{Result, ValueError};
use crate::planner::route;
use crate::query::Parent;
use crate::query::Sharded;
use crate::query::{Column, Predicate};
use crate::row::Row;
use crate::row::Storable;
use crate::schema::Constant;
use crate::schema::Table;
use crate::schema::{Shard, ShardSet, Shards};
use crate::value::{ColumnType, Field, Value};

pub use crate::schema::{NoLiteral, PlacedKey, Placement, Range};
pub use crate::testing::Asked;

/// The shard of a row whose key stands in its own columns.
pub fn place(table: &'static Table, key: &[Result<Value<'_>, ValueError>], shards: &Shards) -> Result<usize> {
    route::place_row(table, key, shards)
}

/// The shard of a row that lives where its parent lives.
pub fn place_with<P: Sharded>(parent: &Parent<P>, shards: &Shards) -> Result<usize> {
    shards.place_of(parent.shard())
}

/// The default of the constant that a key enum which names shards has as its own. The derive asks for it without a bound,
/// so that a type which cannot be a key has one error.
pub trait NamesNoShards {
    const __NAMES_SHARDS: bool = false;
}

impl<T: ?Sized> NamesNoShards for T {}

/// Returns the first error of a row's columns, with the column's number.
pub fn first_error<const N: usize>(
    columns: [Result<(), ValueError>; N],
) -> std::result::Result<(), (usize, ValueError)> {
    let numbered = columns.into_iter().enumerate();
    { numbered }.try_for_each(|(number, column)| column.map_err(|error| (number, error)))
}

/// The shards to ask for an id that does not decide the shard.
pub fn probe(loaded_from: Option<&Shard>, shards: &Shards) -> Result<ShardSet> {
    match loaded_from {
        Some(shard) => Ok(ShardSet::one(shards.place_of(shard)?)),
        None => Ok(ShardSet::all(shards)),
    }
}

/// The shard to ask for an id that is the key.
pub fn place_id<I: Field>(table: &'static Table, id: &I, shards: &Shards) -> Result<ShardSet> {
    Ok(ShardSet::one(route::place_row(table, &[id.stored_value()], shards)?))
}

/// The shards that a predicate leaves.
pub fn narrow(table: &'static Table, predicate: &Predicate, shards: &Shards) -> Result<ShardSet> {
    route::narrow(table, predicate, shards)
}

/// A key's column as the value that the user's chooser takes.
pub fn key_part<F: Field>(key: &[Value<'_>], index: usize) -> Result<F, ValueError> {
    F::from_value(key.get(index).map_or(Value::Null, Value::borrowed))
}

/// What the user's chooser says, as a place in the cluster's order.
pub fn chosen(shard: Option<&Shard>) -> Option<usize> {
    shard.map(Shard::index)
}

/// The model that a `#[shard_parent]` field links to.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a link to a parent",
    label = "not a `Parent<..>`",
    note = "write `#[shard_parent] field: Parent<Model>`",
    note = "where the parent's id is its shard key, a bare id names it: `#[shard_parent(Model)] field: i64`"
)]
pub trait ParentLink {
    /// The parent's model.
    type Parent: Sharded;
}

impl<P: Sharded> ParentLink for Parent<P> {
    type Parent = P;
}

/// A column's type, which is the type of the field that it is read into.
#[diagnostic::on_unimplemented(
    message = "the column holds `{Self}`, and this field `{V}`",
    label = "not the column's type",
    note = "a projection's field has the type that the model's field has"
)]
pub trait ReadAs<V>: Storable {
    /// The row's value at this place.
    fn read_as(row: &Row<'_>, place: usize) -> Result<V>;
}

impl<V: Storable> ReadAs<V> for V {
    fn read_as(row: &Row<'_>, place: usize) -> Result<V> {
        V::load(row, place)
    }
}

/// The place of a projection's column in its model's table.
pub const fn place_of<T, V, K>(column: Column<T, V, K>) -> usize {
    column.index()
}

/// What a projection's field is, read from a row that has its columns from `first` on, and this one at that place
/// among them.
pub fn read_column<V, T, C: ReadAs<V>, K>(
    _: Column<T, C, K>,
    row: &Row<'_>,
    first: usize,
    place: usize,
) -> Result<V> {
    C::read_as(row, first + place)
}

/// What a `#[lookup]` may stand on.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no lookup",
    label = "cannot have a `#[lookup]`",
    note = "a lookup is of text, integers, bytes, UUIDs, or an `Option` of one of these"
)]
pub trait LookupValue: Storable {
    /// The kind of column.
    const KIND: ColumnType;
}

impl<F: Field> LookupValue for F {
    const KIND: ColumnType = F::TYPE;
}

impl<F: Field> LookupValue for Option<F> {
    const KIND: ColumnType = F::TYPE;
}

/// A literal of an attribute, to be made a [`Constant`] by the method that its type has.
pub struct Literal<T>(pub T);

macro_rules! literals {
    ($($integer:ty),*) => {$(
        impl Literal<$integer> {
            /// The literal as a constant.
            pub const fn constant(self) -> Constant {
                Constant::Integer(self.0 as i64)
            }
        }
    )*};
}
literals!(i8, i16, i32, i64, u8, u16, u32);

impl Literal<u64> {
    /// The literal as a constant.
    pub const fn constant(self) -> Constant {
        assert!(self.0 <= i64::MAX as u64, "a key above `i64::MAX` cannot be stored");
        Constant::Integer(self.0 as i64)
    }
}

impl Literal<&'static str> {
    /// The literal as a constant.
    pub const fn constant(self) -> Constant {
        Constant::Text(self.0)
    }
}

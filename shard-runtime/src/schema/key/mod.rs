//! Shard keys: the types that can be one, and the placement of their values. Uses `value`.

pub(crate) mod placement;

pub mod hash;
pub use placement::{Constant, Placement, Range};

use crate::error::ValueError;
use crate::schema::{ColumnShape, any_value};
use crate::schema::{Routed, Routing, Unrouted};
use crate::sealed::Seal;
use crate::value::{ColumnType, Field, Value};

/// A type whose values determine a row's shard.
///
/// Implemented for the integers, `String`, `Vec<u8>` and `uuid::Uuid`. `#[derive(ShardKey)]` implements it for newtypes and
/// for enums without data. An enum names the shard of each variant with `#[shard("name")]`, or of none: then the model places
/// it, as with `#[shard_key(hash)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a shard key",
    label = "not a shard key",
    note = "a shard key is an integer, `String`, `Vec<u8>`, `uuid::Uuid`, or an enum or newtype with `#[derive(ShardKey)]`",
    note = "it is never NULL, so `Option` cannot be one, and never a float, whose equality is not exact"
)]
#[cfg_attr(
    not(feature = "uuid"),
    diagnostic::on_unimplemented(note = "`uuid::Uuid` needs the feature `uuid` of `shard-runtime`")
)]
pub trait ShardKey: Field {
    /// The type of a literal in `#[shard_key(list(..))]` and `#[shard_key(range(..))]`: the integer itself, `&'static
    /// str` for text, [`NoLiteral`] if the key has no literal.
    type Literal;

    /// Each value as it is stored with the name of its shard, if the type names them: an enum with `#[shard("name")]` on
    /// its variants.
    #[doc(hidden)]
    const SHARDS: Option<Entries> = None;
}

/// Stored values, each with the name of its shard.
type Entries = &'static [(Constant, &'static str)];

/// The literal type of a key without literals.
#[derive(Debug)]
pub enum NoLiteral {}

macro_rules! shard_keys {
    ($($key:ty => $literal:ty),* $(,)?) => {$(
        impl ShardKey for $key {
            type Literal = $literal;
        }
    )*};
}
shard_keys! {
    i8 => i8, i16 => i16, i32 => i32, i64 => i64,
    u8 => u8, u16 => u16, u32 => u32, u64 => u64,
    String => &'static str,
    Vec<u8> => NoLiteral,
}

#[cfg(feature = "uuid")]
impl ShardKey for uuid::Uuid {
    type Literal = NoLiteral;
}

/// A whole key: one [`ShardKey`], or a tuple of several.
///
/// This trait is sealed: the planner prunes by the kinds of key that this crate can compare and place.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a shard key",
    label = "not a shard key",
    note = "a shard key is an integer, `String`, `Vec<u8>`, `uuid::Uuid`, or an enum or newtype with `#[derive(ShardKey)]`",
    note = "it is never NULL, so `Option` cannot be one, and never a float, whose equality is not exact"
)]
#[cfg_attr(
    not(feature = "uuid"),
    diagnostic::on_unimplemented(note = "`uuid::Uuid` needs the feature `uuid` of `shard-runtime`")
)]
pub trait Key {
    /// The marker of a query without a filter. The query must be narrowed before it runs, unless every shard holds every row.
    type Unfiltered: Routing;

    /// [`ShardKey::SHARDS`] of each column's type.
    #[doc(hidden)]
    const SHARDS: &'static [Option<Entries>] = &[];

    /// The column of a key of one column.
    #[doc(hidden)]
    const COLUMN: ColumnShape = (ColumnType::Integer, false, true, any_value);

    /// Returns the values of the key's columns, in their order.
    fn values(&self) -> Result<Vec<Value<'_>>, ValueError>;

    /// Returns the value of the one column of the key.
    #[doc(hidden)]
    fn column_value(&self) -> Result<Value<'_>, ValueError> {
        Err(ValueError::new("the key has several columns"))
    }

    /// Returns the key of one column with this value.
    #[doc(hidden)]
    fn from_value(_: Value<'_>) -> Result<Self, ValueError>
    where
        Self: Sized,
    {
        Err(ValueError::new("the key has several columns"))
    }

    #[doc(hidden)]
    const SEAL: Seal;
}

impl<K: ShardKey> Key for K {
    type Unfiltered = Unrouted;
    const SHARDS: &'static [Option<Entries>] = &[<K as ShardKey>::SHARDS];
    const COLUMN: ColumnShape =
        (K::TYPE, false, K::IS_EXACT, |value, _| <K as Field>::from_value(value).map(drop));

    fn column_value(&self) -> Result<Value<'_>, ValueError> {
        self.stored_value()
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        <K as Field>::from_value(value)
    }

    const SEAL: Seal = Seal;

    fn values(&self) -> Result<Vec<Value<'_>>, ValueError> {
        Ok(vec![self.stored_value()?])
    }
}

macro_rules! tuple_keys {
    ($($name:ident $index:tt),*) => {
        impl<$($name: ShardKey),*> Key for ($($name,)*) {
            type Unfiltered = Unrouted;
            const SHARDS: &'static [Option<Entries>] = &[$($name::SHARDS),*];
            const SEAL: Seal = Seal;

            fn values(&self) -> Result<Vec<Value<'_>>, ValueError> {
                Ok(vec![$(self.$index.stored_value()?),*])
            }
        }

        #[diagnostic::do_not_recommend]
        impl<$($name: ShardKey),*> DecidesShard for ($($name,)*) {}
    };
}
tuple_keys!(A 0, B 1);
tuple_keys!(A 0, B 1, C 2);
tuple_keys!(A 0, B 1, C 2, D 3);

/// The key of a [reference table](crate::query::Reference), whose rows are on every shard. It has no values, so no query can be
/// pinned by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Everywhere {}

impl Key for Everywhere {
    type Unfiltered = Routed;
    const SEAL: Seal = Seal;

    fn values(&self) -> Result<Vec<Value<'_>>, ValueError> {
        match *self {}
    }
}

/// A key whose values have one shard each: every key except [`Everywhere`].
///
/// This trait is sealed: a parent, and a row that moves, need a key with one shard.
#[diagnostic::on_unimplemented(
    message = "a reference table has every row on every shard, so it cannot be a parent, and its rows cannot be moved",
    label = "decides no shard",
    note = "to refer to its row, store the id: `#[references(Model)] field: Id`",
    note = "to place the row that refers to it, mark a `#[shard_key]` or a `#[shard_parent]` of its own"
)]
pub trait DecidesShard: Key {}

#[diagnostic::do_not_recommend]
impl<K: ShardKey> DecidesShard for K {}

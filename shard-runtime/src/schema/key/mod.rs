//! Shard keys: the types that can be one, and how a key's value is placed on a shard.

pub(crate) mod placement;

pub mod hash;
pub use placement::{Constant, Placement, Range};

use crate::error::ValueError;
use crate::schema::{Routed, Routing, Unrouted};
use crate::value::{Field, Value};

/// A type whose values can decide where a row lives.
///
/// Implemented for the integers, `String`, `Vec<u8>` and `uuid::Uuid`. `#[derive(ShardKey)]` implements it for newtypes and
/// for enums without data. An enum names the shard of each variant with `#[shard("name")]`, or of none: then the model places
/// it, as with `#[shard_key(hash)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a shard key",
    label = "not a shard key",
    note = "a shard key is an integer, `String`, `Vec<u8>`, a UUID, or a type with `#[derive(ShardKey)]`",
    note = "it is never NULL, so `Option` cannot be one, and never a float, whose equality is not exact"
)]
pub trait ShardKey: Field {
    /// How a value is written in `#[shard_key(list(..))]` and `#[shard_key(range(..))]`:
    /// the integer itself, `&'static str` for text, [`NoLiteral`] where there is no way.
    type Literal;
}

/// A key type that says itself where each of its values lives: an enum with `#[derive(ShardKey)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which shard its values live on",
    label = "needs a placement",
    note = "write `#[shard_key(hash)]`, `#[shard_key(range(\"a\" => ..1000, \"b\" => 1000..))]`, \
            `#[shard_key(list(\"Asia\" => \"asia\", ..))]` or `#[shard_key(with = path::to::chooser)]`",
    note = "or make the key an enum with `#[derive(ShardKey)]` and `#[shard(\"name\")]` on each variant"
)]
pub trait PlacedKey: ShardKey {
    /// Each value as it is stored, and the name of its shard.
    const ENTRIES: &'static [(Constant, &'static str)];
}

/// Stands for the literal of a key type that has none.
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

/// A whole key: one [`ShardKey`], or a tuple of several that form one together.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a shard key",
    label = "not a shard key",
    note = "a shard key is an integer, `String`, `Vec<u8>`, a UUID, or a type with `#[derive(ShardKey)]`",
    note = "it is never NULL, so `Option` cannot be one, and never a float, whose equality is not exact"
)]
pub trait Key {
    /// The marker of a query that nothing narrows yet: a key has to be said before it runs, unless every shard holds
    /// every row.
    type Unfiltered: Routing;

    /// The values of the key's columns, in their order.
    fn values(&self) -> Result<Vec<Value<'_>>, ValueError>;
}

impl<K: ShardKey> Key for K {
    type Unfiltered = Unrouted;

    fn values(&self) -> Result<Vec<Value<'_>>, ValueError> {
        Ok(vec![self.stored_value()?])
    }
}

macro_rules! tuple_keys {
    ($($name:ident $place:tt),*) => {
        impl<$($name: ShardKey),*> Key for ($($name,)*) {
            type Unfiltered = Unrouted;

            fn values(&self) -> Result<Vec<Value<'_>>, ValueError> {
                Ok(vec![$(self.$place.stored_value()?),*])
            }
        }

        #[diagnostic::do_not_recommend]
        impl<$($name: ShardKey),*> DecidesShard for ($($name,)*) {}
    };
}
tuple_keys!(A 0, B 1);
tuple_keys!(A 0, B 1, C 2);
tuple_keys!(A 0, B 1, C 2, D 3);

/// In place of the key of a [reference table](crate::Reference), whose rows live on every shard. It has no values: there
/// is nothing to pin a query to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Everywhere {}

impl Key for Everywhere {
    type Unfiltered = Routed;

    fn values(&self) -> Result<Vec<Value<'_>>, ValueError> {
        match *self {}
    }
}

/// A key whose values each have one shard: every one but [`Everywhere`].
#[diagnostic::on_unimplemented(
    message = "a row of a reference table lives on every shard, so it decides no shard and moves to none",
    label = "a reference table's",
    note = "a row that refers to it holds its id: `#[references(Model)] field: Id`; and where that row is stored is decided by a \
            `#[shard_key]` or a `#[shard_parent]` of its own"
)]
pub trait DecidesShard: Key {}

#[diagnostic::do_not_recommend]
impl<K: ShardKey> DecidesShard for K {}

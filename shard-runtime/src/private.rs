//! The functions that generated code and the macros call. Not part of the public interface.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::marker::PhantomData;

use crate::planner::route;
use crate::schema::{ColumnShape, DecidesShard, Key, any_value};

// The types with which generated code describes a model.
pub use crate::collation::Collation;
pub use crate::error::{Result, ValueError};
pub use crate::query::{
    Child, Column, CompositeKey, Holds, IdIsKey, Identified, Insert, KnownId, Lineage, Parent, Predicate,
    Projection, Reference, RefersTo, SequenceId, Sharded, UniqueId, Version, kind,
};
pub use crate::row::{Row, Storable};
pub use crate::schema::{
    ColumnDef, ColumnDefault, Constant, Everywhere, IdKind, Index, KeyColumns, LookupDef, NoLiteral,
    ParentDef, Placement, Range, ReferenceDef, Shard, ShardKey, ShardSet, Shards, Table,
};
pub use crate::value::{ColumnType, Field, Value};

#[cfg(feature = "testing")]
pub use crate::testing::StatementCounts;

/// Returns the shard of a row that has its key in its own columns.
pub fn place(table: &'static Table, key: &[Result<Value<'_>, ValueError>], shards: &Shards) -> Result<usize> {
    route::place_row(table, key, shards)
}

/// The value of a column of a row.
pub type ColumnValue<'r> = Result<Value<'r>, ValueError>;

/// Returns the error for a column that the model does not have.
pub fn no_column(column: usize) -> ColumnValue<'static> {
    Err(ValueError::new(format!("the model has no column {column}")))
}

/// Returns the shards to read for an id that does not decide the shard.
pub fn probe(loaded_from: Option<&Shard>, shards: &Shards) -> Result<ShardSet> {
    match loaded_from {
        Some(shard) => Ok(ShardSet::one(shards.index_of(shard)?)),
        None => Ok(ShardSet::all(shards)),
    }
}

/// Returns the shards that can hold rows that match a predicate.
pub fn narrow(table: &'static Table, predicate: &Predicate, shards: &Shards) -> Result<ShardSet> {
    route::narrow(table, predicate, shards)
}

/// The function in `#[shard_key(with = ..)]`, for a key of one column. It takes a reference to the column's type, or to
/// a type that this one borrows as, such as `str` for `String`. `Given` has the types of its arguments.
#[diagnostic::on_unimplemented(
    message = "this function does not choose a shard for the key `{A}`",
    label = "expected `fn(&{A}, &Shards) -> Option<&Shard>`",
    note = "write `fn chooser<'s>(key: &{A}, shards: &'s Shards) -> Option<&'s Shard>`; take text as `&str`, bytes as `&[u8]`"
)]
pub trait Chooser<A, Given> {
    fn choose(&self, a: &A, shards: &Shards) -> Option<usize>;
}

/// The function for a key of two columns.
#[diagnostic::on_unimplemented(
    message = "this function does not choose a shard for the key `({A}, {B})`",
    label = "expected `fn(&{A}, &{B}, &Shards) -> Option<&Shard>`",
    note = "write `fn chooser<'s>(a: &{A}, b: &{B}, shards: &'s Shards) -> Option<&'s Shard>`; take text as `&str`, bytes as `&[u8]`"
)]
pub trait Chooser2<A, B, Given> {
    fn choose(&self, a: &A, b: &B, shards: &Shards) -> Option<usize>;
}

/// The function for a key of three columns.
#[diagnostic::on_unimplemented(
    message = "this function does not choose a shard for the key `({A}, {B}, {C})`",
    label = "expected `fn(&{A}, &{B}, &{C}, &Shards) -> Option<&Shard>`",
    note = "write `fn chooser<'s>(a: &{A}, b: &{B}, c: &{C}, shards: &'s Shards) -> Option<&'s Shard>`; take text as `&str`, bytes as `&[u8]`"
)]
pub trait Chooser3<A, B, C, Given> {
    fn choose(&self, a: &A, b: &B, c: &C, shards: &Shards) -> Option<usize>;
}

/// The function for a key of four columns.
#[diagnostic::on_unimplemented(
    message = "this function does not choose a shard for the key `({A}, {B}, {C}, {D})`",
    label = "expected `fn(&{A}, &{B}, &{C}, &{D}, &Shards) -> Option<&Shard>`",
    note = "write `fn chooser<'s>(a: &{A}, b: &{B}, c: &{C}, d: &{D}, shards: &'s Shards) -> Option<&'s Shard>`; take text as `&str`, bytes as `&[u8]`"
)]
pub trait Chooser4<A, B, C, D, Given> {
    fn choose(&self, a: &A, b: &B, c: &C, d: &D, shards: &Shards) -> Option<usize>;
}

/// Returns the index of the shard that the user's function chooses for a key of one column.
pub fn choose<A, Given>(chooser: impl Chooser<A, Given>, a: &A, shards: &Shards) -> Option<usize> {
    chooser.choose(a, shards)
}

/// Returns the index of the shard that the user's function chooses for a key of two columns.
pub fn choose2<A, B, Given>(
    chooser: impl Chooser2<A, B, Given>,
    a: &A,
    b: &B,
    shards: &Shards,
) -> Option<usize> {
    chooser.choose(a, b, shards)
}

/// Returns the index of the shard that the user's function chooses for a key of three columns.
pub fn choose3<A, B, C, Given>(
    chooser: impl Chooser3<A, B, C, Given>,
    a: &A,
    b: &B,
    c: &C,
    shards: &Shards,
) -> Option<usize> {
    chooser.choose(a, b, c, shards)
}

/// Returns the index of the shard that the user's function chooses for a key of four columns.
pub fn choose4<A, B, C, D, Given>(
    chooser: impl Chooser4<A, B, C, D, Given>,
    a: &A,
    b: &B,
    c: &C,
    d: &D,
    shards: &Shards,
) -> Option<usize> {
    chooser.choose(a, b, c, d, shards)
}

macro_rules! choosers {
    ($($chooser:ident: $($key:ident as $given:ident $value:ident),+;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<F, $($key: Borrow<$given>, $given: ?Sized,)+> $chooser<$($key,)+ fn($(&$given),+)> for F
        where
            F: for<'k, 's> Fn($(&'k $given,)+ &'s Shards) -> Option<&'s Shard>,
        {
            fn choose(&self, $($value: &$key,)+ shards: &Shards) -> Option<usize> {
                self($($value.borrow(),)+ shards).map(Shard::index)
            }
        }
    )*};
}
choosers! {
    Chooser: A as GivenA a;
    Chooser2: A as GivenA a, B as GivenB b;
    Chooser3: A as GivenA a, B as GivenB b, C as GivenC c;
    Chooser4: A as GivenA a, B as GivenB b, C as GivenC c, D as GivenD d;
}

/// A model that can be a parent. The compiler names this trait in the error for a cycle of parents.
pub trait ItselfOrAnAncestorHasAShardKey: Sharded<Key: DecidesShard> {}

impl<P: Sharded<Key: DecidesShard>> ItselfOrAnAncestorHasAShardKey for P {}

/// The assertions of the derive about the parents of `M`. If the ancestors are models, the compiler takes the constants
/// of the implementations below, otherwise those of [`UncheckedParents`]. So a struct that is not a model is one error,
/// at the link.
#[derive(Debug)]
pub struct Parents<M>(PhantomData<M>);

/// See [`Parents`].
pub trait UncheckedParents {
    const ARE_REFERENCE: bool = false;
    const ARE_CYCLE: bool = false;
}

impl<M> UncheckedParents for Parents<M> {}

impl<M: Identified<Above: Identified>> Parents<M> {
    /// Whether the parent is a reference table.
    pub const ARE_REFERENCE: bool = <M::Above as Identified>::LINEAGE.is_reference;
}

/// Detects cycles of up to eight models. A longer cycle is an error where its models are used.
impl<M, A, B, C, D, E, F, G, H> Parents<M>
where
    M: Identified<Above = A>,
    A: Identified<Above = B>,
    B: Identified<Above = C>,
    C: Identified<Above = D>,
    D: Identified<Above = E>,
    E: Identified<Above = F>,
    F: Identified<Above = G>,
    G: Identified<Above = H>,
    H: Identified,
{
    /// Whether the ancestors of `M` are a cycle, and `M` has the least path of it: so one model reports the cycle.
    pub const ARE_CYCLE: bool = is_first_of_cycle(&[
        M::LINEAGE,
        A::LINEAGE,
        B::LINEAGE,
        C::LINEAGE,
        D::LINEAGE,
        E::LINEAGE,
        F::LINEAGE,
        G::LINEAGE,
        H::LINEAGE,
    ]);
}

const fn is_first_of_cycle(lineage: &[Lineage]) -> bool {
    let (mut is_first, mut returned, mut at) = (true, false, 1);
    while at < lineage.len() {
        if !lineage[at].has_link {
            return false;
        }
        match compare_paths(lineage[0].path, lineage[at].path) {
            Ordering::Equal => returned = true,
            Ordering::Greater => is_first = false,
            Ordering::Less => {}
        }
        at += 1;
    }
    is_first && returned
}

const fn compare_paths(a: [&str; 2], b: [&str; 2]) -> Ordering {
    match compare(a[0].as_bytes(), b[0].as_bytes()) {
        Ordering::Equal => compare(a[1].as_bytes(), b[1].as_bytes()),
        modules => modules,
    }
}

const fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    match (at < a.len(), at < b.len()) {
        (false, false) => Ordering::Equal,
        (false, true) => Ordering::Less,
        (true, false) => Ordering::Greater,
        (true, true) if a[at] < b[at] => Ordering::Less,
        (true, true) => Ordering::Greater,
    }
}

/// Returns whether the id of a table is its shard key. Another check refuses a reference table as a parent.
pub const fn id_decides_shard(table: &Table) -> bool {
    match (table.key, table.placement) {
        (_, Placement::Everywhere) => true,
        (KeyColumns::Columns([column]), _) => *column == table.id,
        _ => false,
    }
}

/// The column of the id of `T`. Generated code uses the types of ids, keys and links through their models. The compiler
/// checks the types of a model once, so that it reports a wrong type once.
#[derive(Debug)]
pub struct IdColumn<T>(PhantomData<T>);

impl<T: Sharded> IdColumn<T> {
    pub const TYPE: ColumnType = <T::Id as Storable>::TYPE;
    pub const COLUMN: ColumnShape = <T::Id as Storable>::COLUMN;

    pub fn column_value(id: &T::Id) -> Result<Value<'_>, ValueError> {
        Storable::column_value(id)
    }

    pub fn load(row: &Row<'_>, index: usize) -> Result<T::Id> {
        Storable::load(row, index)
    }
}

/// The columns of the key of `T`.
#[derive(Debug)]
pub struct KeyColumn<T>(PhantomData<T>);

impl<T: Sharded> KeyColumn<T> {
    pub const COLUMN: ColumnShape = <T::Key as Key>::COLUMN;
    /// The placement of a key type that names the shards of its values.
    pub const PLACEMENT: Placement = Placement::List {
        entries: match <T::Key as Key>::SHARDS {
            [Some(entries)] => entries,
            _ => &[],
        },
        otherwise: None,
    };

    /// Returns whether this column's type names the shards of its values.
    pub const fn names_shards(column: usize) -> bool {
        <T::Key as Key>::SHARDS[column].is_some()
    }

    pub fn column_value(key: &T::Key) -> Result<Value<'_>, ValueError> {
        key.column_value()
    }

    pub fn load(row: &Row<'_>, index: usize) -> Result<T::Key> {
        row.read(index, T::Key::from_value)
    }

    /// Returns the key as the value that the user's chooser takes.
    pub fn part(key: &[Value<'_>], index: usize) -> Result<T::Key, ValueError> {
        T::Key::from_value(key.get(index).map_or(Value::Null, Value::borrowed))
    }

    /// Returns the shard to read for an id that is the key.
    pub fn place(id: &T::Id, shards: &Shards) -> Result<ShardSet> {
        Ok(ShardSet::one(route::place_row(T::TABLE, &[id.stored_value()], shards)?))
    }
}

/// Replaces the column of a field whose type is an error that the derive has reported.
#[derive(Debug)]
pub struct InvalidColumn<T>(PhantomData<T>);

impl<T> InvalidColumn<T> {
    pub const COLUMN: ColumnShape = (ColumnType::Integer, false, true, any_value);

    pub fn column_value<V>(_: &V) -> Result<Value<'_>, ValueError> {
        Ok(Value::Null)
    }

    pub fn load<V>(row: &Row<'_>, index: usize) -> Result<V> {
        row.read(index, |_| Err(ValueError::new("the field's type is invalid")))
    }
}

/// Returns one column of a key of several columns as the value that the user's chooser takes.
pub fn key_part<F: Field>(key: &[Value<'_>], index: usize) -> Result<F, ValueError> {
    F::from_value(key.get(index).map_or(Value::Null, Value::borrowed))
}

/// A link to a parent, the type of a `#[shard_parent]` field.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a link to a parent",
    label = "not a `Parent<..>`",
    note = "write `#[shard_parent] field: Parent<Model>`",
    note = "if the parent's id is its shard key, a field can hold that id: `#[shard_parent(Model)] field: i64`"
)]
pub trait ParentLink: Storable {
    /// The parent's model.
    type Parent: Identified;
    /// Returns the shard of a row that is on the shard of its parent.
    fn place(&self, shards: &Shards) -> Result<usize>;
    /// Returns the parent's id.
    fn parent_id(&self) -> &<Self::Parent as Identified>::RowId;
}

impl<P: Identified<RowId: Field>> ParentLink for Parent<P> {
    type Parent = P;

    fn place(&self, shards: &Shards) -> Result<usize> {
        shards.index_of(self.shard())
    }

    fn parent_id(&self) -> &P::RowId {
        self.row_id()
    }
}

/// A column's type, which must be the type of the projection's field.
#[diagnostic::on_unimplemented(
    message = "the column holds a `{Self}`, but this field a `{V}`",
    label = "not the column's type",
    note = "give the projection's field the type of the model's field"
)]
pub trait ReadAs<V>: Storable {
    /// Returns the row's value at this index.
    fn read_as(row: &Row<'_>, index: usize) -> Result<V>;
}

impl<V: Storable> ReadAs<V> for V {
    fn read_as(row: &Row<'_>, index: usize) -> Result<V> {
        V::load(row, index)
    }
}

/// Returns the index of a projection's column in its model's table.
pub const fn column_index<T, V, K>(column: Column<T, V, K>) -> usize {
    column.index()
}

/// Reads a field of a projection from a row. The columns of the projection begin at `first`; the field's column is at
/// `index` among them.
pub fn read_column<V, T, C: ReadAs<V>, K>(
    _: Column<T, C, K>,
    row: &Row<'_>,
    first: usize,
    index: usize,
) -> Result<V> {
    C::read_as(row, first + index)
}

/// The types of columns that can have a `#[lookup]`.
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

/// The types of fields that can have a default value.
#[diagnostic::on_unimplemented(
    message = "a column of `{Self}` has no default",
    label = "cannot have a `default`",
    note = "a default is a `bool`, an integer, a float or text, or of an enum or a newtype that is stored as one of these"
)]
pub trait HasDefault: Storable {
    /// Checks that the type has this value.
    fn check_default(value: Value<'_>) -> Result<(), ValueError>;
}

impl<F: Field> HasDefault for F {
    fn check_default(value: Value<'_>) -> Result<(), ValueError> {
        F::from_value(value).map(drop)
    }
}

impl<F: Field> HasDefault for Option<F> {
    fn check_default(value: Value<'_>) -> Result<(), ValueError> {
        F::from_value(value).map(drop)
    }
}

/// Checks that the field's type has this value.
pub fn default_of<V: HasDefault>(value: Value<'_>) -> Result<(), ValueError> {
    V::check_default(value)
}

/// A literal of an attribute. The method of its type converts it to a [`Constant`].
#[derive(Debug)]
pub struct Literal<T>(pub T);

macro_rules! literals {
    ($($integer:ty),*) => {$(
        impl Literal<$integer> {
            /// Returns the literal as a constant.
            pub const fn constant(self) -> Constant {
                Constant::Integer(self.0 as i64)
            }
        }
    )*};
}
literals!(i8, i16, i32, i64, u8, u16, u32);

impl Literal<u64> {
    /// Returns the literal as a constant.
    pub const fn constant(self) -> Constant {
        assert!(self.0 <= i64::MAX as u64, "a key above `i64::MAX` cannot be stored");
        Constant::Integer(self.0 as i64)
    }
}

impl Literal<NoLiteral> {
    /// Is never called: the compiler has reported that the key has no literals.
    pub const fn constant(self) -> Constant {
        match self.0 {}
    }
}

impl Literal<&'static str> {
    /// Returns the literal as a constant.
    pub const fn constant(self) -> Constant {
        Constant::Text(self.0)
    }
}

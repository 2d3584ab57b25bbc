//! The traits that the derive implements: [`Sharded`] with its choosers, loader and values, and the description of
//! a model's table.

use std::fmt;

use crate::error::{Result, ValueError};
use crate::query::{ById, Delete, Filter, Holds, Number, Predicate, Select, Update};
use crate::row::{Row, RowSource};
use crate::schema::LookupDef;
use crate::schema::Routing;
use crate::schema::Table;
use crate::schema::{DecidesShard, Key};
use crate::schema::{Shard, ShardSet, Shards};
use crate::sealed::Seal;
use crate::value::{Field, Value};

/// The part of a model that does not depend on its parents: the type of its id. `#[derive(Sharded)]` implements it for every
/// model, also for one that is not [`Sharded`] because of its parents. So a struct with a link to such a model compiles, and
/// the compiler reports the error only at that model.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a sharded model",
    label = "not a sharded model",
    note = "write `#[derive(Sharded)]` on the struct"
)]
pub trait Identified: Sized + 'static {
    /// The type of the `#[id]` field, as in [`Sharded::Id`].
    type RowId;

    /// The model of the `#[shard_parent]` link, or the model itself without a link. It has no bound: a bound would add an
    /// error for a struct that is no model.
    #[doc(hidden)]
    type Above;

    /// The properties that are checked for the ancestors of a model.
    #[doc(hidden)]
    const LINEAGE: Lineage;
}

/// The properties of a model that the derive checks for its ancestors.
#[derive(Clone, Copy, Debug)]
pub struct Lineage {
    /// The model's module and name, which distinguish the models of a cycle.
    pub(crate) path: [&'static str; 2],
    /// Whether the model has a `#[shard_parent]` link.
    pub(crate) has_link: bool,
    /// Whether every row is on every shard.
    pub(crate) is_reference: bool,
}

impl Lineage {
    /// Returns the properties of a model with a `#[shard_parent]` link.
    pub const fn child(module: &'static str, name: &'static str) -> Self {
        Lineage { path: [module, name], has_link: true, is_reference: false }
    }

    /// Returns the properties of a model without a link.
    pub const fn root(module: &'static str, name: &'static str) -> Self {
        Lineage { path: [module, name], has_link: false, is_reference: false }
    }

    /// Returns the properties of a reference table.
    pub const fn reference(module: &'static str, name: &'static str) -> Self {
        Lineage { path: [module, name], has_link: false, is_reference: true }
    }
}

/// A struct whose rows are spread over shards. `#[derive(Sharded)]` implements it.
///
/// The three choosers are pure: they need no connection.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a sharded model",
    label = "not a sharded model",
    note = "write `#[derive(Sharded)]` on the struct"
)]
pub trait Sharded: Identified<RowId = <Self as Sharded>::Id> + Send + Sync + 'static {
    /// The type of the `#[id]` field.
    type Id: Field + Clone + fmt::Debug + PartialEq;

    /// The key that decides the shard: the key field's type, a tuple of several, or the parent's key. For a reference table
    /// it is [`Everywhere`](crate::routing::Everywhere).
    type Key: Key;

    /// The table, its columns, its key and its parent.
    const TABLE: &'static Table;

    /// The index of the `#[version]` column, and the numbers that it holds.
    #[doc(hidden)]
    const VERSION: Option<(usize, Holds)> = None;

    /// The columns with `#[lookup]`.
    #[doc(hidden)]
    const LOOKUPS: &'static [LookupDef] = &[];

    /// Returns the row's id.
    fn id(&self) -> &Self::Id;

    /// Sets the id that the database has generated.
    #[doc(hidden)]
    fn set_id(&mut self, id: Self::Id);

    /// Sets the version that was written.
    #[doc(hidden)]
    fn set_version(&mut self, _: i64) -> Result<(), ValueError> {
        Ok(())
    }

    /// Returns the index of this row's shard in the cluster's order. A row of a reference table is on all shards; then this
    /// is the index of the first.
    ///
    /// # Errors
    /// [`ErrorKind::UnmappedKey`](crate::ErrorKind::UnmappedKey) if the key's value is placed on no shard.
    fn shard_chooser(&self, shards: &Shards) -> Result<usize>;

    /// Returns the shards to read for a row of this id. It is one shard if the id decides the shard, or if `loaded_from`
    /// names the shard of the row that it is loaded for. Otherwise these are all shards.
    ///
    /// # Errors
    /// [`ErrorKind::UnmappedKey`](crate::ErrorKind::UnmappedKey) if the id is the key and is placed on no shard.
    fn identity_chooser(id: &Self::Id, loaded_from: Option<&Shard>, shards: &Shards) -> Result<ShardSet>;

    /// Returns the shards that can hold rows matching the predicate: never too few, and no more than needed for predicates on
    /// the key alone. For a reference table these are all shards, each of which holds every row.
    ///
    /// # Errors
    /// [`ErrorKind::UnmappedKey`](crate::ErrorKind::UnmappedKey) if the predicate compares with a key that is placed on no
    /// shard.
    fn execute_chooser(predicate: &Predicate, shards: &Shards) -> Result<ShardSet>;

    /// Reads a row, column by column in the order of [`Table::columns`].
    fn load(row: &Row<'_>) -> Result<Self>;

    /// Returns the value of the column with this index.
    ///
    /// # Errors
    /// If no column holds the value.
    fn value_of_column(&self, column: usize) -> Result<Value<'_>, ValueError>;

    /// Returns a query for all rows of this model, to be narrowed with `filter`, `on` or `all_shards`. For a reference table
    /// it runs as it is, and reads one shard.
    fn select() -> Select<Self, <Self::Key as Key>::Unfiltered> {
        Select::new()
    }

    /// Returns a bulk update of this model's rows.
    fn update() -> Update<Self, <Self::Key as Key>::Unfiltered> {
        Update::new()
    }

    /// Returns a bulk delete of this model's rows.
    fn delete() -> Delete<Self, <Self::Key as Key>::Unfiltered> {
        Delete::new()
    }

    /// Returns a query for the row with this id on one shard, which `on` or `on_shard` names.
    fn by_id(id: impl Into<Self::Id>) -> ById<Self> {
        ById::new(id.into())
    }

    /// Returns the condition that the row's parent matches `filter`. A child is on the shard of its parent, so each shard
    /// searches only its own rows. A condition that narrows the parents narrows their children. For a condition on the
    /// parent's parent, nest it: `Remark::has_parent(Report::has_parent(..))`.
    ///
    /// ```
    /// # use shard_runtime::{Parent, Routed, Filter, Sharded};
    /// # #[derive(Sharded)]
    /// # struct City {
    /// #     #[id(sequence)]
    /// #     id: i64,
    /// #     #[shard_key(hash)]
    /// #     country: String,
    /// #     name: String,
    /// # }
    /// # #[derive(Sharded)]
    /// # struct Report {
    /// #     #[id(auto)]
    /// #     id: i64,
    /// #     #[shard_parent]
    /// #     city: Parent<City>,
    /// #     temperature: f64,
    /// # }
    /// let of_tokyo = Report::has_parent(City::COUNTRY.eq("Japan") & City::NAME.eq("Tokyo"));
    /// let warm: Filter<Report, Routed> = of_tokyo & Report::TEMPERATURE.gt(30.0);
    /// ```
    fn has_parent<P: ParentOf<Self>, R: Routing>(filter: Filter<P, R>) -> Filter<Self, R::And<R>> {
        filter.on_parent()
    }

    /// Returns the condition that at least one child of the row matches `filter`; with `!`, that no child does. Each shard
    /// searches only its own rows. A condition that narrows the children narrows their parents.
    ///
    /// ```
    /// # use shard_runtime::{Filter, Parent, Sharded, Unrouted};
    /// # #[derive(Sharded)]
    /// # struct City {
    /// #     #[id(sequence)]
    /// #     id: i64,
    /// #     #[shard_key(hash)]
    /// #     country: String,
    /// #     name: String,
    /// # }
    /// # #[derive(Sharded)]
    /// # struct Report {
    /// #     #[id(auto)]
    /// #     id: i64,
    /// #     #[shard_parent]
    /// #     city: Parent<City>,
    /// #     temperature: f64,
    /// # }
    /// let hot = City::has_child(Report::TEMPERATURE.gt(30.0));
    /// let without_reports = !City::has_child(Filter::<Report, _>::everything());
    /// let hot_in_japan = City::COUNTRY.eq("Japan") & hot;
    /// ```
    fn has_child<C: Sharded, R: Routing>(filter: Filter<C, R>) -> Filter<Self, R::And<R>>
    where
        Self: ParentOf<C>,
    {
        filter.on_children()
    }
}

/// The type of a `#[version]` field. Every change of its row increments it. So [`Session::update`](crate::Session::update)
/// and [`Session::delete`](crate::Session::delete) detect that another session has changed the row since it was read.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a version",
    label = "not a version",
    note = "a version is an `i64`, `i32`, `u64` or `u32`, which every update of the row increments; it is never NULL"
)]
pub trait Version: Number {
    /// The version of a new row.
    const FIRST: Self;
    #[doc(hidden)]
    const RANGE: Holds = <Self as Number>::HOLDS;
    #[doc(hidden)]
    fn of_number(number: i64) -> Result<Self, ValueError> {
        Self::from_value(Value::Integer(number))
    }
}

macro_rules! versions {
    ($($integer:ty),*) => {$(
        impl Version for $integer {
            const FIRST: Self = 1;
        }
    )*};
}
versions!(i32, i64, u32, u64);

/// A model whose ids are unique over the cluster, so that an id alone names a row.
#[diagnostic::on_unimplemented(
    message = "ids of `{Self}` are unique only within one shard",
    label = "this id may name a row on every shard",
    note = "name the shard, with `session.get({Self}::by_id(id).on(key))`, or read the row through its parent",
    note = "for ids that are unique over the cluster use `#[id(sequence)]` or `#[id(uuid)]`"
)]
pub trait UniqueId: Sharded {}

/// A model whose rows have their ids before they are stored, so that a row may already exist when it is saved.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be saved: its ids are generated when rows are added",
    label = "a new row has no id yet",
    note = "add a new row's insert struct, `New…`, with `session.add(..)`, and change a stored row with `session.update(&mut row)`",
    note = "rows can be saved if the caller gives the id: `#[id]`, or `#[id(uuid)]` with a UUID that the caller makes"
)]
pub trait KnownId: Sharded {}

/// A model whose ids the cluster generates, in the order of a sequence.
#[diagnostic::on_unimplemented(
    message = "ids of `{Self}` are not generated by a sequence",
    label = "has no sequence",
    note = "the cluster generates ids of models with `#[id(sequence)]`"
)]
pub trait SequenceId {}

/// A model whose id alone decides its shard: children may hold the bare id.
#[diagnostic::on_unimplemented(
    message = "the id of `{Self}` does not decide its shard",
    label = "a bare id does not name the parent's shard",
    note = "hold the parent's handle instead: `#[shard_parent] field: Parent<{Self}>`",
    note = "a bare id works where the parent's id is its shard key: `#[id] #[shard_key(..)]` on one field"
)]
pub trait IdIsKey: Sharded {}

/// A model whose rows are stored on the shards of their parents: one with a `#[shard_parent]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a child",
    label = "has no parent",
    note = "a child has `#[shard_parent] field: Parent<Model>`",
    note = "rows of unrelated models can be on different shards: read one model, then the other by the values found"
)]
pub trait Child: Sharded {
    /// The parent's model.
    type Parent: Sharded<Key: DecidesShard>;

    /// The index of the column that holds the parent's id.
    const PARENT_COLUMN: usize;

    /// Returns the parent's id.
    fn parent_id(&self) -> &<Self::Parent as Sharded>::Id;
}

/// A model whose rows are on the shards of rows of `P`, their parents.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a child of `{P}`",
    label = "not a child of `{P}`",
    note = "a child of `{P}` has `#[shard_parent] field: Parent<{P}>`",
    note = "rows of unrelated models can be on different shards: read one model, then the other by the values found"
)]
pub trait ChildOf<P: Sharded>: Child<Parent = P> {}

#[diagnostic::do_not_recommend]
impl<C: Child> ChildOf<C::Parent> for C {}

/// A model whose rows are on one shard with their children, rows of `C`: the other side of [`ChildOf`].
///
/// This trait is sealed: that rows share a shard follows from `#[shard_parent]` alone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the parent of `{C}`",
    label = "not the parent of `{C}`",
    note = "a child of `{Self}` has `#[shard_parent] field: Parent<{Self}>`",
    note = "for a condition on the parent's parent, write `Child::has_parent(Parent::has_parent(..))`",
    note = "rows of unrelated models can be on different shards: read one model, then the other by the values found"
)]
pub trait ParentOf<C>: Sharded {
    #[doc(hidden)]
    const SEAL: Seal;
}

// Not for `C::Parent` itself: for any other model the compiler would then report mismatched types, without this message.
#[diagnostic::do_not_recommend]
impl<C: Child<Parent: Same<P>>, P: Sharded> ParentOf<C> for P {
    const SEAL: Seal = Seal;
}

/// A row that [`Session::add`](crate::Session::add) takes: the struct itself if the caller sets the id, `New…` if it is
/// generated.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be added to a session",
    label = "cannot be added",
    note = "if the id is generated, add the insert struct that the derive makes, whose name is `New` and the model's"
)]
pub trait Insert: Sized {
    /// The model whose row this becomes.
    type Model: Sharded;

    #[doc(hidden)]
    fn into_model(
        self,
        next_id: &mut dyn FnMut() -> Result<<Self::Model as Sharded>::Id>,
    ) -> Result<Self::Model>;
}

/// Returns the total size of a row's values.
///
/// # Errors
/// [`ErrorKind::Value`](crate::ErrorKind::Value) if a value cannot be stored.
pub(crate) fn size_of<T: Sharded>(row: &T) -> Result<usize> {
    let size = |column| value_of(row, column).map(|value| value.size());
    (0..T::TABLE.columns.len()).map(size).sum()
}

/// Replaces every column's value by the one that a read of the row from its shard returns (R58).
///
/// # Errors
/// [`ErrorKind::Value`](crate::ErrorKind::Value) if a value cannot be stored, or could not be read again.
pub(crate) fn normalize<T: Sharded>(row: &mut T, shard: &Shard) -> Result<()> {
    if T::TABLE.columns.iter().all(|column| column.is_exact) {
        return Ok(());
    }
    let values = UnreadRow(values_of(row)?);
    let read = T::load(&Row { source: &values, shard, table: T::TABLE, columns: None })?;
    *row = read;
    Ok(())
}

/// The values of a row that was not read from a database.
struct UnreadRow<'v>(Vec<Value<'v>>);

impl RowSource for UnreadRow<'_> {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        let value = self.0.get(index).map(Value::borrowed);
        value.ok_or_else(|| ValueError::new(format!("the row has no column {index}")))
    }
}

/// Returns the values of a row's columns, in the table's order.
pub(crate) fn values_of<T: Sharded>(row: &T) -> Result<Vec<Value<'_>>> {
    (0..T::TABLE.columns.len()).map(|column| value_of(row, column)).collect()
}

/// Returns the value of a column. An error names the table and the column.
pub(crate) fn value_of<T: Sharded>(row: &T, column: usize) -> Result<Value<'_>> {
    row.value_of_column(column).map_err(|error| T::TABLE.error_at(column, error))
}

/// The models that a cluster holds: one, or a tuple of up to 32. More models stand in nested tuples: `((A, B), (C, D))`.
///
/// This trait is sealed: a cluster creates and checks the tables of derived models only.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a sharded model nor a tuple of up to 32",
    label = "not models",
    note = "write `#[derive(Sharded)]` on each model; put more than 32 models in nested tuples: `((A, B), (C, D))`"
)]
pub trait Models {
    #[doc(hidden)]
    const SEAL: Seal;
    #[doc(hidden)]
    fn tables(list: &mut Vec<&'static Table>);
    /// Adds the columns with lookups, each with the table of its rows.
    #[doc(hidden)]
    fn lookups(list: &mut Vec<(&'static Table, LookupDef)>);
}

impl<T: Sharded> Models for T {
    const SEAL: Seal = Seal;

    fn tables(list: &mut Vec<&'static Table>) {
        list.push(T::TABLE);
    }

    fn lookups(list: &mut Vec<(&'static Table, LookupDef)>) {
        list.extend(T::LOOKUPS.iter().map(|lookup| (T::TABLE, *lookup)));
    }
}

/// Implements [`Models`] for the tuple of all of these types, and for each shorter one.
macro_rules! tuples_of_models {
    () => {};
    ($first:ident $($more:ident)*) => {
        tuples_of_models!(@one $first $($more)*);
        tuples_of_models!($($more)*);
    };
    (@one $($name:ident)*) => {
        impl<$($name: Models),*> Models for ($($name,)*) {
            const SEAL: Seal = Seal;

            fn tables(list: &mut Vec<&'static Table>) {
                $($name::tables(list);)*
            }

            fn lookups(list: &mut Vec<(&'static Table, LookupDef)>) {
                $($name::lookups(list);)*
            }
        }
    };
}
tuples_of_models!(
    A B C D E F G H I J K L M N O P Q R S U V W X Y Z Aa Ab Ac Ad Ae Af Ag
);

/// Holds between a type and itself only.
pub trait Same<T> {}

impl<T> Same<T> for T {}

//! Reading some columns of the rows only, and each combination of their values once.

use std::marker::PhantomData;

use super::column::{Column, ColumnKind, Marker};
use super::filter::{IsRouted, Routing};
use super::select::{Explainable, Query, SelectCore, Visitor};
use crate::cluster::Layout;
use crate::error::Result;
use crate::model::{Row, Sharded};
use crate::plan::{Plan, Projection};
use crate::session::Session;
use crate::value::Storable;

/// Some columns of the rows that a select finds; made by [`Select::columns`](crate::Select::columns).
#[must_use = "a query does nothing until a session runs it"]
pub struct Columns<T, R, C> {
    core: SelectCore,
    columns: Vec<usize>,
    distinct: bool,
    marker: Marker<T, R, C>,
}

/// A column of `T`, or a tuple of up to eight: what is read is the value, or a tuple of the values. The columns of a
/// [`Projection`](crate::Projection) are read as the struct.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a column of `{T}`, nor a tuple of its columns",
    label = "not columns of `{T}`",
    note = "columns are the model's constants, tuples of them, or the `COLUMNS` of a struct with `#[derive(Projection)]`"
)]
pub trait ColumnList<T> {
    /// The value, or the tuple of the values.
    type Output;

    #[doc(hidden)]
    const COUNT: usize;
    #[doc(hidden)]
    fn places(&self, places: &mut Vec<usize>);
    #[doc(hidden)]
    fn load(row: &Row<'_>, first: usize) -> Result<Self::Output>;
}

impl<T: Sharded, V: Storable, K: ColumnKind> ColumnList<T> for Column<T, V, K> {
    type Output = V;
    const COUNT: usize = 1;

    fn places(&self, places: &mut Vec<usize>) {
        places.push(self.index());
    }

    fn load(row: &Row<'_>, first: usize) -> Result<V> {
        V::load(row, first)
    }
}

macro_rules! tuples_of_columns {
    ($($name:ident $place:tt),*) => {
        impl<T, $($name: ColumnList<T>),*> ColumnList<T> for ($($name,)*) {
            type Output = ($($name::Output,)*);
            const COUNT: usize = 0 $(+ $name::COUNT)*;

            fn places(&self, places: &mut Vec<usize>) {
                $(self.$place.places(places);)*
            }

            fn load(row: &Row<'_>, first: usize) -> Result<Self::Output> {
                let mut next = first;
                Ok(($({
                    let place = next;
                    next += $name::COUNT;
                    let _ = next;
                    $name::load(row, place)?
                },)*))
            }
        }
    };
}
tuples_of_columns!(A 0);
tuples_of_columns!(A 0, B 1);
tuples_of_columns!(A 0, B 1, C 2);
tuples_of_columns!(A 0, B 1, C 2, D 3);
tuples_of_columns!(A 0, B 1, C 2, D 3, E 4);
tuples_of_columns!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples_of_columns!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples_of_columns!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

impl<T: Sharded, R: Routing, C: ColumnList<T>> Columns<T, R, C> {
    pub(super) fn new(core: SelectCore, list: &C) -> Self {
        let mut columns = Vec::with_capacity(C::COUNT);
        list.places(&mut columns);
        Columns { core, columns, distinct: false, marker: PhantomData }
    }

    /// Of rows that agree in these columns, one; over all shards. They come in the order asked for, which is of
    /// these columns, and where it leaves them equal in the columns' own.
    pub fn distinct(mut self) -> Self {
        self.distinct = true;
        self
    }
}

impl<T, R, C> Columns<T, R, C> {
    fn projection(&self) -> Projection<'_> {
        Projection::Columns { columns: &self.columns, distinct: self.distinct }
    }
}

impl<T, R, C> Clone for Columns<T, R, C> {
    fn clone(&self) -> Self {
        let Columns { core, columns, distinct, marker } = self;
        Columns { core: core.clone(), columns: columns.clone(), distinct: *distinct, marker: *marker }
    }
}

impl<T: Sharded, R: IsRouted, C: ColumnList<T>> Query for Columns<T, R, C> {
    type Output = C::Output;

    fn visit(
        mut self,
        session: &mut Session,
        at_most: Option<u64>,
        visit: &mut Visitor<'_, C::Output>,
    ) -> Result<()> {
        self.core.at_most(at_most);
        session.visit(&self.core, self.projection(), |row| visit(C::load(row, 0)?))
    }
}

impl<T: Sharded, R, C> Explainable for Columns<T, R, C> {
    fn plan(&self, layout: &Layout) -> Result<Plan<'_>> {
        Plan::read(&self.core, self.projection(), layout)
    }
}

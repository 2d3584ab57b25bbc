//! Reading some columns of the rows only, and each combination of their values once.

use std::marker::PhantomData;

use super::column::{Column, ColumnKind, Marker};
use super::cursor::Cursor;
use super::select::{Explainable, Query, SelectCore, Visitor};
use crate::error::Result;
use crate::planner::Layout;
use crate::planner::{Explain, Plan, Projection};
use crate::query::Sharded;
use crate::row::Row;
use crate::row::Storable;
use crate::schema::{IsRouted, Routing};
use crate::session::Session;

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

    /// Each row together with the cursor of a page that ends with it, to be taken by `after`. What the rows are
    /// ordered by need not be among the columns.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     owner: String,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// # session.add_all((1..9).map(|id| Account { id, owner: format!("{id}"), cents: id / 3 }))?;
    /// let query = Account::select().all_shards().order_by(Account::CENTS.desc());
    /// let page = session.all(query.clone().limit(3).columns(Account::OWNER).with_cursor())?;
    /// let (_, end) = &page[2];
    ///
    /// let next = session.all(query.clone().after(end).limit(3).columns(Account::OWNER).with_cursor())?;
    /// # let whole = session.all(query.columns(Account::OWNER))?;
    /// # assert!(page.iter().chain(&next).map(|(owner, _)| owner).eq(&whole[..6]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When it is run: [`ErrorKind::Query`](crate::ErrorKind::Query) where the query has no order and its rows are not
    /// distinct.
    pub fn with_cursor(self) -> WithCursor<T, R, C> {
        WithCursor { columns: self }
    }

    /// Only the rows that come after a page of this query, as [`Select::after`](crate::Select::after) has it. Said
    /// after `distinct`, the cursor is one of distinct rows.
    ///
    /// # Errors
    /// When it is run: [`ErrorKind::Query`](crate::ErrorKind::Query) where the cursor is of a query with other filters,
    /// pins or order, or, of distinct rows, with other columns.
    pub fn after(mut self, cursor: &Cursor) -> Self {
        self.core.after = Some(cursor.clone());
        self
    }

    /// Of rows that agree in these columns, one; over all shards. Where a column's [`Collation`](crate::Collation) makes
    /// several spellings one value, the row has the least of them. They come in the order asked for, which is of
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

/// Some columns of the rows, each row with its cursor; made by [`Columns::with_cursor`].
#[must_use = "a query does nothing until a session runs it"]
pub struct WithCursor<T, R, C> {
    columns: Columns<T, R, C>,
}

impl<T, R, C> WithCursor<T, R, C> {
    /// The columns that distinct rows are made of.
    fn distinct(&self) -> Option<&[usize]> {
        self.columns.distinct.then_some(self.columns.columns.as_slice())
    }

    /// The columns that are read: those that were asked for, then what the cursors hold; and where in them each of
    /// the cursors' values is.
    fn read(&self) -> Result<(Vec<usize>, Vec<usize>)> {
        let mut read = self.columns.columns.clone();
        let mut places = Vec::new();
        for column in self.columns.core.cursor_columns(self.distinct())? {
            let place = read.iter().position(|&other| other == column);
            places.push(place.unwrap_or(read.len()));
            // Distinct rows are made of no other column: that they are ordered by one is refused when they are planned.
            if place.is_none() && !self.columns.distinct {
                read.push(column);
            }
        }
        Ok((read, places))
    }
}

impl<T, R, C> Clone for WithCursor<T, R, C> {
    fn clone(&self) -> Self {
        WithCursor { columns: self.columns.clone() }
    }
}

impl<T: Sharded, R: IsRouted, C: ColumnList<T>> Query for WithCursor<T, R, C> {
    type Output = (C::Output, Cursor);

    fn visit(
        mut self,
        session: &mut Session,
        at_most: Option<u64>,
        visit: &mut Visitor<'_, Self::Output>,
    ) -> Result<()> {
        self.columns.core.at_most(at_most);
        let (columns, places) = self.read()?;
        let core = &self.columns.core;
        let projection = Projection::Columns { columns: &columns, distinct: self.columns.distinct };
        session.visit(core, projection, |row| {
            let value = |&place: &usize| {
                let kind = columns.get(place).and_then(|&column| core.target.table.columns.get(column));
                row.read(place, |value| match kind {
                    Some(column) => value.into_owned().into_kind(column.kind),
                    None => Ok(value.into_owned()),
                })
            };
            let values = places.iter().map(value).collect::<Result<_>>()?;
            visit((C::load(row, 0)?, Cursor::new(core, self.distinct(), row.shard, values)))
        })
    }
}

impl<T: Sharded, R, C> Explainable for WithCursor<T, R, C> {
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        let (columns, _) = self.read()?;
        let projection = Projection::Columns { columns: &columns, distinct: self.columns.distinct };
        Plan::read(&self.columns.core, projection, layout)?.explain(layout)
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
    fn explain(&self, layout: &Layout) -> Result<Explain> {
        Plan::read(&self.core, self.projection(), layout)?.explain(layout)
    }
}

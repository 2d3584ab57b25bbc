//! Queries that read some columns only, and queries for distinct rows.

use std::marker::PhantomData;

use super::column::{Column, ColumnKind, Marker};
use super::cursor::Cursor;
use super::request::{Read, Request, SelectList};
use super::select::{Query, SelectCore};
use crate::error::Result;
use crate::query::Sharded;
use crate::row::Row;
use crate::row::Storable;
use crate::schema::{IsRouted, Routing};
use crate::sealed::Sealed;

/// Some columns of the rows that a select finds; made by [`Select::columns`](crate::Select::columns).
#[must_use = "a query does nothing until a session runs it"]
pub struct Columns<T, R, C> {
    pub(crate) core: SelectCore,
    columns: Vec<usize>,
    distinct: bool,
    marker: Marker<T, R, C>,
}

untyped!(Columns<T, R, C> { core, columns, distinct; marker });

/// A column of `T`, or a tuple of up to eight. The output is the value, or a tuple of the values. The columns of a
/// [`Projection`](crate::Projection) are read as the struct.
///
/// This trait is sealed: a list names columns by their indexes in the table, which only generated code has.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a column of `{T}`, nor a tuple of its columns",
    label = "not columns of `{T}`",
    note = "columns are the model's constants, tuples of them, or the `COLUMNS` of a struct with `#[derive(Projection)]`"
)]
pub trait ColumnList<T>: Sealed {
    /// The value, or the tuple of the values.
    type Output;

    #[doc(hidden)]
    const COUNT: usize;
    #[doc(hidden)]
    fn indexes(&self, indexes: &mut Vec<usize>);
    #[doc(hidden)]
    fn load(row: &Row<'_>, first: usize) -> Result<Self::Output>;
}

impl<T, V, K> Sealed for Column<T, V, K> {}

impl<T: Sharded, V: Storable, K: ColumnKind> ColumnList<T> for Column<T, V, K> {
    type Output = V;
    const COUNT: usize = 1;

    fn indexes(&self, indexes: &mut Vec<usize>) {
        indexes.push(self.index());
    }

    fn load(row: &Row<'_>, first: usize) -> Result<V> {
        V::load(row, first)
    }
}

macro_rules! tuples_of_columns {
    ($($name:ident $field:tt),*) => {
        impl<T, $($name: ColumnList<T>),*> ColumnList<T> for ($($name,)*) {
            type Output = ($($name::Output,)*);
            const COUNT: usize = 0 $(+ $name::COUNT)*;

            fn indexes(&self, indexes: &mut Vec<usize>) {
                $(self.$field.indexes(indexes);)*
            }

            fn load(row: &Row<'_>, first: usize) -> Result<Self::Output> {
                let mut next = first;
                Ok(($({
                    let index = next;
                    next += $name::COUNT;
                    let _ = next;
                    $name::load(row, index)?
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
        list.indexes(&mut columns);
        Columns { core, columns, distinct: false, marker: PhantomData }
    }

    /// Returns each row with the cursor of a page that ends with it, for `after`. The columns of the order need not be
    /// among the selected columns.
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
    /// When it is run: [`ErrorKind::Query`](crate::ErrorKind::Query) if the query has no order and its rows are not distinct.
    pub fn with_cursor(self) -> WithCursor<T, R, C> {
        WithCursor::new(self)
    }

    /// Keeps the rows after the cursor of a page, as [`Select::after`](crate::Select::after) does. Called after
    /// `distinct`, it takes a cursor of distinct rows.
    ///
    /// # Errors
    /// When it is run: [`ErrorKind::Cursor`](crate::ErrorKind::Cursor) if a query with other filters, pins or order created
    /// the cursor, or, for distinct rows, with other columns.
    pub fn after(mut self, cursor: &Cursor) -> Self {
        self.core.after = Some(cursor.clone());
        self
    }

    /// Keeps one of the rows that are equal in these columns, over all shards. If a column's [`Collation`](crate::Collation)
    /// makes several spellings equal, the row has the least of them. The order may use only these columns. Rows that it
    /// leaves equal are ordered by the columns themselves.
    pub fn distinct(mut self) -> Self {
        self.distinct = true;
        self
    }
}

impl<T, R, C> Columns<T, R, C> {
    pub(crate) fn select_list(&self) -> SelectList<'_> {
        SelectList::Columns { columns: &self.columns, distinct: self.distinct }
    }

    /// Returns the columns of distinct rows; `None` if the rows need not be distinct.
    fn distinct_in(&self) -> Option<&[usize]> {
        self.distinct.then_some(self.columns.as_slice())
    }
}

/// Some columns of the rows, each row with its cursor; made by [`Columns::with_cursor`].
#[must_use = "a query does nothing until a session runs it"]
pub struct WithCursor<T, R, C> {
    pub(crate) columns: Columns<T, R, C>,
    /// The columns that are read.
    read: Vec<usize>,
    /// The indexes of the cursor's values among them.
    indexes: Vec<usize>,
}

untyped!(WithCursor<T, R, C> { columns, read, indexes });

impl<T, R, C> WithCursor<T, R, C> {
    /// Reads the selected columns and, after them, those whose values a cursor holds.
    fn new(columns: Columns<T, R, C>) -> Self {
        let mut read = columns.columns.clone();
        let mut indexes = Vec::new();
        for column in columns.core.cursor_columns(columns.distinct_in()).unwrap_or_default() {
            let index = read.iter().position(|&other| other == column);
            indexes.push(index.unwrap_or(read.len()));
            // Distinct rows have no other columns. The planner refuses to order them by one.
            if index.is_none() && !columns.distinct {
                read.push(column);
            }
        }
        WithCursor { columns, read, indexes }
    }

    /// Returns the columns to read.
    ///
    /// # Errors
    /// [`ErrorKind::Query`](crate::ErrorKind::Query) if the query has no order.
    pub(crate) fn select_list(&self) -> Result<SelectList<'_>> {
        self.columns.core.cursor_columns(self.columns.distinct_in())?;
        Ok(SelectList::Columns { columns: &self.read, distinct: self.columns.distinct })
    }
}

impl<T, R, C> Sealed for WithCursor<T, R, C> {}

impl<T: Sharded, R: IsRouted, C: ColumnList<T>> Query for WithCursor<T, R, C> {
    type Output = (C::Output, Cursor);

    fn at_most(&mut self, rows: u64) {
        self.columns.core.at_most(rows);
    }

    fn request(&self) -> Result<Request<'_>> {
        Ok(Request(Read::Select(&self.columns.core, self.select_list()?)))
    }

    fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<Self::Output> {
        let core = &self.columns.core;
        move |row| {
            let value = |&index: &usize| {
                let column = self.read.get(index).and_then(|&column| row.table.columns.get(column));
                row.read(index, |value| match column {
                    Some(column) => value.into_owned().into_kind(column.kind),
                    None => Ok(value.into_owned()),
                })
            };
            let values = self.indexes.iter().map(value).collect::<Result<_>>()?;
            Ok((C::load(row, 0)?, Cursor::new(core, self.columns.distinct_in(), row.shard, values)))
        }
    }
}

impl<T, R, C> Sealed for Columns<T, R, C> {}

impl<T: Sharded, R: IsRouted, C: ColumnList<T>> Query for Columns<T, R, C> {
    type Output = C::Output;

    fn at_most(&mut self, rows: u64) {
        self.core.at_most(rows);
    }

    fn request(&self) -> Result<Request<'_>> {
        Ok(Request(Read::Select(&self.core, self.select_list())))
    }

    fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<C::Output> {
        |row| C::load(row, 0)
    }
}

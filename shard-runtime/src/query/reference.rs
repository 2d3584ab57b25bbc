//! Joins with reference tables and conditions on them. Every shard holds all their rows, so a row is joined on its own shard.

use std::marker::PhantomData;

use super::column::{Column, ColumnKind, kind};
use super::cursor::Cursor;
use super::filter::Filter;
use super::joined::JoinedModels;
use super::relation::Relation;
use super::request::{Read, Request, SelectList};
use super::select::{Query, Select};
use crate::error::Result;
use crate::query::Stored;
use crate::query::{Reference, RefersTo, Sharded};
use crate::row::Row;
use crate::row::Storable;
use crate::schema::ReferenceDef;
use crate::schema::{IsRouted, Routing, Unrouted};
use crate::sealed::Sealed;
use crate::value::Value;

impl<T: Sharded, V: Storable, M: Reference, K: ColumnKind> Column<T, V, kind::References<M, K>> {
    /// Returns a filter for rows that refer to a row matching `filter`. With `!`, it matches all other rows, also those that
    /// refer to no row. It does not narrow the shards.
    ///
    /// ```
    /// # use shard_runtime::{Filter, Routed, Sharded, Unrouted};
    /// # #[derive(Sharded)]
    /// # #[sharded(reference)]
    /// # struct Currency {
    /// #     #[id]
    /// #     code: String,
    /// #     name: String,
    /// # }
    /// # #[derive(Sharded)]
    /// # struct Order {
    /// #     #[id(sequence)]
    /// #     id: i64,
    /// #     #[shard_key(hash)]
    /// #     customer: String,
    /// #     #[references(Currency)]
    /// #     currency: String,
    /// # }
    /// let in_dollars: Filter<Order, Unrouted> = Order::CURRENCY.refers_to(Currency::NAME.like("%dollar"));
    /// let of_ada: Filter<Order, Routed> = Order::CUSTOMER.eq("Ada") & in_dollars;
    /// ```
    pub fn refers_to<R: Routing>(self, filter: Filter<M, R>) -> Filter<T, Unrouted> {
        Filter::new(filter.predicate.related(Relation::Reference(self.reference())))
    }

    fn reference(self) -> ReferenceDef {
        ReferenceDef { table: M::TABLE, column: self.index() }
    }
}

/// Rows of `T`, each with the rows of reference tables that it refers to; made by [`Select::with_reference`]. `J` is the
/// tuple of these: [`Stored`] rows, or an `Option` of one if the column may be NULL.
#[must_use = "a query does nothing until a session runs it"]
pub struct WithReferences<T, J, R> {
    pub(crate) select: Select<T, R>,
    references: Vec<ReferenceDef>,
    marker: PhantomData<fn() -> J>,
}

untyped!(WithReferences<T, J, R> { select, references; marker });

impl<T: Sharded, R: Routing> Select<T, R> {
    /// Returns each row with the row of a reference table that it refers to in this column; an `Option` if the column may be
    /// NULL. Both are read from the same shard, in one statement per shard. Order, limit and offset are those of this select.
    /// Further calls join up to three columns.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # #[sharded(reference)]
    /// # struct Currency {
    /// #     #[id]
    /// #     code: String,
    /// #     name: String,
    /// # }
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Order {
    /// #     #[id(sequence)]
    /// #     id: i64,
    /// #     #[shard_key(hash)]
    /// #     customer: String,
    /// #     #[references(Currency)]
    /// #     currency: String,
    /// #     #[references(Currency)]
    /// #     paid_in: Option<String>,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<(Currency, Order)>(["a", "b"])?;
    /// # let mut session = cluster.session();
    /// # session.add(Currency { code: "EUR".into(), name: "Euro".into() })?;
    /// # session.add(NewOrder { customer: "Ada".into(), currency: "EUR".into(), paid_in: None })?;
    /// let orders = Order::select().all_shards().order_by(Order::ID.asc());
    /// for (order, currency, paid) in
    ///     session.all(orders.with_reference(Order::CURRENCY).with_reference(Order::PAID_IN))?
    /// {
    ///     let paid = paid.map_or("nothing yet".to_owned(), |currency| currency.name.clone());
    ///     println!("{}: in {}, paid in {paid}", order.id, currency.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_reference<M: Reference, V: RefersTo<M>, K: ColumnKind>(
        self,
        column: Column<T, V, kind::References<M, K>>,
    ) -> WithReferences<T, (V::Row,), R> {
        WithReferences { select: self, references: vec![column.reference()], marker: PhantomData }
    }
}

impl<T: Sharded, J, R: Routing> WithReferences<T, J, R> {
    fn and<I>(mut self, reference: ReferenceDef) -> WithReferences<T, I, R> {
        self.references.push(reference);
        WithReferences { select: self.select, references: self.references, marker: PhantomData }
    }

    /// Returns the cursor of a page of this query that ends with this row, as [`Select::cursor`] does.
    ///
    /// # Errors
    /// [`ErrorKind::Query`](crate::ErrorKind::Query) if the query has no order.
    pub fn cursor(&self, last: &Stored<T>) -> Result<Cursor> {
        self.select.cursor(last)
    }

    /// Keeps the rows after the cursor of a page, as [`Select::after`] does.
    ///
    /// # Errors
    /// When it is run: [`ErrorKind::Cursor`](crate::ErrorKind::Cursor) if a query with other filters, pins or order created
    /// the cursor.
    pub fn after(self, cursor: &Cursor) -> Self {
        WithReferences { select: self.select.after(cursor), ..self }
    }
}

impl<T, J, R> WithReferences<T, J, R> {
    pub(crate) fn select_list(&self) -> SelectList<'_> {
        SelectList::RowsWithReferences(&self.references)
    }
}

impl<T, J, R> Sealed for WithReferences<T, J, R> {}

/// The output of a join for a referenced row: a [`Stored`] row, or an `Option` of one.
pub trait ReferredRow: Sized {
    /// The model of the reference table.
    type Model: Reference;

    #[doc(hidden)]
    fn read(joined: &mut Joined<Self::Model>, row: &Row<'_>) -> Result<Self>;
}

impl<M: Reference> ReferredRow for Stored<M> {
    type Model = M;

    fn read(joined: &mut Joined<M>, row: &Row<'_>) -> Result<Self> {
        joined.rows.at(row, joined.link, joined.first)
    }
}

impl<M: Reference> ReferredRow for Option<Stored<M>> {
    type Model = M;

    fn read(joined: &mut Joined<M>, row: &Row<'_>) -> Result<Self> {
        match row.read(joined.link, |value| Ok(value == Value::Null))? {
            true => Ok(None),
            false => Stored::read(joined, row).map(Some),
        }
    }
}

/// The referenced rows of one column of a join. Each is decoded once and shared.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "it cannot be named outside of this crate")]
pub struct Joined<M: Sharded> {
    rows: JoinedModels<M>,
    /// The index of the referring column in the joined row.
    link: usize,
    /// The index of the first column of the referenced row.
    first: usize,
}

impl<M: Sharded> Joined<M> {
    /// Returns a join whose columns begin after this many others.
    fn after(columns: &mut usize, reference: Option<&ReferenceDef>) -> Self {
        let first = *columns;
        *columns += M::TABLE.columns.len();
        Joined {
            rows: JoinedModels::default(),
            link: reference.map_or(first, |reference| reference.column),
            first,
        }
    }
}

macro_rules! joined_once_more {
    ($($row:ident),*) => {
        impl<T: Sharded, $($row,)* R: Routing> WithReferences<T, ($($row,)*), R> {
            /// Adds the row that another column refers to, as [`Select::with_reference`] does.
            pub fn with_reference<M: Reference, V: RefersTo<M>, K: ColumnKind>(
                self,
                column: Column<T, V, kind::References<M, K>>,
            ) -> WithReferences<T, ($($row,)* V::Row,), R> {
                self.and(column.reference())
            }
        }
    };
}
joined_once_more!(A);
joined_once_more!(A, B);

macro_rules! joined {
    ($($row:ident),*) => {
        impl<T: Sharded, $($row: ReferredRow,)* R: IsRouted> Query for WithReferences<T, ($($row,)*), R> {
            type Output = (Stored<T>, $($row),*);

            fn at_most(&mut self, rows: u64) {
                self.select.core.at_most(rows);
            }

            fn request(&self) -> Result<Request<'_>> {
                Ok(Request(Read::Select(&self.select.core, self.select_list())))
            }

            #[allow(non_snake_case)]
            fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<Self::Output> {
                let (mut columns, mut references) = (T::TABLE.columns.len(), self.references.iter());
                $(let mut $row = Joined::<$row::Model>::after(&mut columns, references.next());)*
                move |row| Ok((Stored::loaded(row)?, $($row::read(&mut $row, row)?),*))
            }
        }
    };
}
joined!(A);
joined!(A, B);
joined!(A, B, C);

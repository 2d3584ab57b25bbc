//! Parents and children: filters on a child by its parent, filters on a parent by its children, and joins of children with
//! their parents. A child and its parent are on one shard, so each shard evaluates these alone.

use std::fmt;
use std::marker::PhantomData;

use super::cursor::Cursor;
use super::filter::Filter;
use super::joined::JoinedModels;
use super::request::{Read, Request, SelectList};
use super::select::{Query, Select};
use crate::error::Result;
use crate::query::Stored;
use crate::query::{ChildOf, Sharded};
use crate::row::Row;
use crate::schema::{IsRouted, Routing};
use crate::schema::{ReferenceDef, Table};
use crate::sealed::Sealed;

/// The relation of a row to the rows that a condition tests.
#[derive(Clone, Copy)]
pub(crate) enum Relation {
    /// The row's parent, of this table. There is exactly one.
    Parent(&'static Table),
    /// The row's children, of this table. There may be none.
    Children(&'static Table),
    /// The row of a reference table whose id is in this column. There is at most one.
    Reference(ReferenceDef),
}

impl Relation {
    /// Returns the table of the related rows.
    pub(crate) fn table(self) -> &'static Table {
        match self {
            Relation::Parent(table) | Relation::Children(table) => table,
            Relation::Reference(reference) => reference.table,
        }
    }
}

impl PartialEq for Relation {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Relation::Parent(a), Relation::Parent(b)) | (Relation::Children(a), Relation::Children(b)) => {
                a.is(b)
            }
            (Relation::Reference(a), Relation::Reference(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Debug for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = &self.table().model;
        match self {
            Relation::Parent(_) => f.debug_tuple("Parent").field(model).finish(),
            Relation::Children(_) => f.debug_tuple("Children").field(model).finish(),
            Relation::Reference(ReferenceDef { column, .. }) => {
                f.debug_tuple("Reference").field(model).field(column).finish()
            }
        }
    }
}

/// Makes a filter of one on related rows. It is narrowed if that one is: `R::And<R>` is `R`. In this form the compiler infers
/// the marker from the given filter. Otherwise it would infer it from the use of the result, such as `!` of it.
impl<T: Sharded, R: Routing> Filter<T, R> {
    pub(crate) fn on_parent<C>(self) -> Filter<C, R::And<R>> {
        Filter::new(self.predicate.related(Relation::Parent(T::TABLE)))
    }

    pub(crate) fn on_children<P>(self) -> Filter<P, R::And<R>> {
        Filter::new(self.predicate.related(Relation::Children(T::TABLE)))
    }
}

/// Rows of `T`, each with its parent `P`, or with its parent and grandparent `(P, G)`; made by [`Select::with_parent`].
#[must_use = "a query does nothing until a session runs it"]
pub struct WithParent<T, P, R> {
    pub(crate) select: Select<T, R>,
    marker: PhantomData<fn() -> P>,
}

untyped!(
    WithParent < T,
    P,
    R > {
        select;
        marker
    }
);

impl<T: Sharded, R: Routing> Select<T, R> {
    /// Returns each row with its parent, read from the same shard in one statement per shard. Order, limit and offset are
    /// those of this select. Rows of one parent share it. All parents of the result are kept in memory until its end, also in
    /// [`Session::for_each`](crate::Session::for_each).
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Parent, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct City {
    /// #     #[id(sequence)]
    /// #     id: i64,
    /// #     #[shard_key(hash)]
    /// #     country: String,
    /// #     name: String,
    /// # }
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Report {
    /// #     #[id(auto)]
    /// #     id: i64,
    /// #     #[shard_parent]
    /// #     city: Parent<City>,
    /// #     temperature: f64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::builder()
    /// #     .shard("a", "sqlite::memory:")
    /// #     .shard("b", "sqlite::memory:")
    /// #     .create::<(City, Report)>()?;
    /// # let mut session = cluster.session();
    /// # let tokyo = session.add(NewCity { country: "Japan".into(), name: "Tokyo".into() })?;
    /// # session.add(NewReport { city: tokyo.link(), temperature: 24.0 })?;
    /// let warmest = Report::select().all_shards().order_by(Report::TEMPERATURE.desc()).limit(3);
    /// for (report, city) in session.all(warmest.with_parent())? {
    ///     println!("{} in {}", report.temperature, city.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_parent<P: Sharded>(self) -> WithParent<T, P, R>
    where
        T: ChildOf<P>,
    {
        WithParent { select: self, marker: PhantomData }
    }
}

impl<T: Sharded, P: Sharded, R: Routing> WithParent<T, P, R> {
    /// Adds the parent's own parent: `remarks.with_parent().with_parent()` returns
    /// `(remark, report, city)`, also in one statement per shard.
    pub fn with_parent<G: Sharded>(self) -> WithParent<T, (P, G), R>
    where
        P: ChildOf<G>,
    {
        WithParent { select: self.select, marker: PhantomData }
    }
}

impl<T: Sharded, P, R: Routing> WithParent<T, P, R> {
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
        WithParent { select: self.select.after(cursor), marker: PhantomData }
    }
}

impl<T, P, R> Sealed for WithParent<T, P, R> {}

impl<T: Sharded, P: Sharded, R: IsRouted> Query for WithParent<T, P, R> {
    type Output = (Stored<T>, Stored<P>);

    fn at_most(&mut self, rows: u64) {
        self.select.core.at_most(rows);
    }

    fn request(&self) -> Result<Request<'_>> {
        Ok(Request(Read::Select(&self.select.core, SelectList::RowsWithParents(1))))
    }

    fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<Self::Output> {
        let mut parents = JoinedModels::default();
        move |row| Ok((Stored::loaded(row)?, parents.of(row, T::TABLE, 0)?))
    }
}

impl<T: Sharded, P: Sharded, G: Sharded, R: IsRouted> Query for WithParent<T, (P, G), R> {
    type Output = (Stored<T>, Stored<P>, Stored<G>);

    fn at_most(&mut self, rows: u64) {
        self.select.core.at_most(rows);
    }

    fn request(&self) -> Result<Request<'_>> {
        Ok(Request(Read::Select(&self.select.core, SelectList::RowsWithParents(2))))
    }

    fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<Self::Output> {
        let (mut parents, mut grandparents) = (JoinedModels::default(), JoinedModels::default());
        move |row| {
            let parent = parents.of(row, T::TABLE, 0)?;
            let grandparent = grandparents.of(row, P::TABLE, T::TABLE.columns.len())?;
            Ok((Stored::loaded(row)?, parent, grandparent))
        }
    }
}

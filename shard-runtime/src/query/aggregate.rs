//! Aggregates: the number of rows, measures of all rows, and measures of groups.

use std::marker::PhantomData;

use super::column::{Marker, Order};
use super::columns::ColumnList;
use super::groups::{GroupCore, GroupOrderCore};
use super::measure::{Having, Measure, MeasureList, Measures};
use super::request::{Read, Request};
use super::select::{OrderBy, Query, Select, SelectCore};
use crate::error::Result;
use crate::query::Sharded;
use crate::row::Row;
use crate::row::Storable;
use crate::schema::{IsRouted, Routing};
use crate::sealed::Sealed;

/// The number of rows that a select finds; made by [`Select::count`].
#[must_use = "a query does nothing until a session runs it"]
pub struct Count<T, R> {
    pub(crate) select: Select<T, R>,
}

untyped!(Count < T, R > { select });

/// Measures of all rows that a select finds; made by [`Select::aggregate`].
#[must_use = "a query does nothing until a session runs it"]
pub struct Aggregate<T, R, M> {
    pub(crate) core: GroupCore,
    marker: Marker<T, R, M>,
}

untyped!(
    Aggregate < T,
    R,
    M > {
        core;
        marker
    }
);

/// The rows that a select finds, grouped by the values in some columns; made by [`Select::group_by`].
#[must_use = "groups do nothing until `aggregate` is called"]
pub struct GroupBy<T, R, C> {
    select: SelectCore,
    keys: Vec<usize>,
    marker: Marker<T, R, C>,
}

untyped!(GroupBy<T, R, C> { select, keys; marker });

/// Measures of groups of rows; made by [`GroupBy::aggregate`]. Each row of the result is a group's values and its measures.
#[must_use = "a query does nothing until a session runs it"]
pub struct Groups<T, R, C, M> {
    pub(crate) core: GroupCore,
    marker: PhantomData<(Marker<T, R, C>, M)>,
}

untyped!(
    Groups < T,
    R,
    C,
    M > {
        core;
        marker
    }
);

/// The order of groups: by one of their columns, or by a measure.
pub struct GroupOrder<T> {
    core: GroupOrderCore,
    marker: PhantomData<fn() -> T>,
}

untyped!(GroupOrder<T> { core; marker });

impl<T> From<Order<T>> for GroupOrder<T> {
    fn from(Order { column, descending, nulls_first, .. }: Order<T>) -> Self {
        let core = GroupOrderCore::Key(OrderBy { column, descending, nulls_first });
        GroupOrder { core, marker: PhantomData }
    }
}

impl<T, O> Measure<T, O> {
    /// Returns the ascending order by the measure. Groups without a value come first.
    pub fn asc(self) -> GroupOrder<T> {
        let core = GroupOrderCore::Measure { measure: self.core, descending: false };
        GroupOrder { core, marker: PhantomData }
    }

    /// Returns the descending order by the measure. Groups without a value come last.
    pub fn desc(self) -> GroupOrder<T> {
        let core = GroupOrderCore::Measure { measure: self.core, descending: true };
        GroupOrder { core, marker: PhantomData }
    }
}

impl<T: Sharded, R: Routing> Select<T, R> {
    /// Returns the number of rows of this query's result, after its `limit` and `offset`. To count the rows of a group, use
    /// the measure [`count`](fn@crate::count).
    pub fn count(self) -> Count<T, R> {
        Count { select: self }
    }

    /// Returns measures of all rows: one, `aggregate(City::POPULATION.sum())`, or a tuple of them,
    /// `aggregate((count(), City::POPULATION.sum()))`. The result is always one row.
    ///
    /// # Errors
    /// When it runs: [`ErrorKind::Query`](crate::ErrorKind::Query) if the select has a limit or an offset.
    pub fn aggregate<M: MeasureList<T>>(self, measures: M) -> Aggregate<T, R, M> {
        Aggregate { core: GroupCore::new(self.core, Vec::new(), &measures), marker: PhantomData }
    }

    /// Groups the rows of all shards by the values in one column or a tuple of columns. If a column's
    /// [`Collation`](crate::Collation) makes several spellings equal, the group has the least of them.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded, count};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// #     owner: String,
    /// #     cents: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::builder()
    /// #     .shard("a", "sqlite::memory:")
    /// #     .shard("b", "sqlite::memory:")
    /// #     .create::<Account>()?;
    /// # let mut session = cluster.session();
    /// # for (id, owner) in [(1, "Bob"), (2, "Ada"), (3, "Bob"), (4, "Eve")] {
    /// #     session.add(Account { id, owner: owner.into(), cents: 100 * id })?;
    /// # }
    /// let total = Account::CENTS.sum();
    /// let owners = Account::select()
    ///     .all_shards()
    ///     .group_by(Account::OWNER)
    ///     .aggregate((count(), total))
    ///     .having(total.gt(200))
    ///     .order_by(total.desc());
    /// let found: Vec<(String, (u64, Option<i64>))> = session.all(owners)?;
    /// assert_eq!(found[0], ("Bob".to_owned(), (2, Some(400))));
    /// assert_eq!(found.len(), 2); // and Eve's one
    /// # Ok(())
    /// # }
    /// ```
    pub fn group_by<C: ColumnList<T>>(self, columns: C) -> GroupBy<T, R, C> {
        let mut keys = Vec::new();
        columns.indexes(&mut keys);
        GroupBy { select: self.core, keys, marker: PhantomData }
    }
}

impl<T: Sharded, R: Routing, C: ColumnList<T>> GroupBy<T, R, C> {
    /// Selects the measures of each group: one, or a tuple of them.
    pub fn aggregate<M: MeasureList<T>>(self, measures: M) -> Groups<T, R, C, M> {
        Groups { core: GroupCore::new(self.select, self.keys, &measures), marker: PhantomData }
    }
}

impl<T, R, C, M> Groups<T, R, C, M> {
    /// Keeps the groups that match the condition. Repeated calls are combined with AND.
    pub fn having(mut self, condition: Having<T>) -> Self {
        self.core.add_measure(condition.core.measure);
        self.core.having.push(condition.core);
        self
    }

    /// Orders the groups by a column (`City::NAME.asc()`) or a measure (`count().desc()`). Each further call orders the
    /// groups that are equal so far. Groups that are still equal are ordered by their values, ascending.
    ///
    /// An order by a measure holds all groups in memory before the first is returned. It does not for a count, a sum, a
    /// minimum or a maximum if each group is of one shard: in groups by the shard key, and in a query of one shard.
    pub fn order_by(mut self, order: impl Into<GroupOrder<T>>) -> Self {
        let core = order.into().core;
        if let GroupOrderCore::Measure { measure, .. } = core {
            self.core.add_measure(measure);
        }
        self.core.order.push(core);
        self
    }

    /// Limits the number of groups over all shards.
    pub fn limit(mut self, groups: u64) -> Self {
        self.core.limit = Some(groups);
        self
    }

    /// Skips the first groups of the merged result.
    pub fn offset(mut self, groups: u64) -> Self {
        self.core.offset = groups;
        self
    }
}

impl<T, R> Sealed for Count<T, R> {}

impl<T: Sharded, R: IsRouted> Query for Count<T, R> {
    type Output = u64;

    fn request(&self) -> Result<Request<'_>> {
        Ok(Request(Read::Count(&self.select.core)))
    }

    fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<u64> {
        |row| u64::load(row, 0)
    }
}

impl<T, R, M> Sealed for Aggregate<T, R, M> {}

impl<T: Sharded, R: IsRouted, M: MeasureList<T>> Query for Aggregate<T, R, M> {
    type Output = M::Output;

    fn request(&self) -> Result<Request<'_>> {
        Ok(Request(Read::Groups(&self.core)))
    }

    fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<M::Output> {
        |row| M::load(&mut Measures::of(row, &self.core))
    }
}

impl<T, R, C, M> Sealed for Groups<T, R, C, M> {}

impl<T: Sharded, R: IsRouted, C: ColumnList<T>, M: MeasureList<T>> Query for Groups<T, R, C, M> {
    type Output = (C::Output, M::Output);

    fn at_most(&mut self, groups: u64) {
        self.core.limit = Some(self.core.limit.map_or(groups, |limit| limit.min(groups)));
    }

    fn request(&self) -> Result<Request<'_>> {
        Ok(Request(Read::Groups(&self.core)))
    }

    fn decoder(&self) -> impl FnMut(&Row<'_>) -> Result<Self::Output> {
        |row| Ok((C::load(row, 0)?, M::load(&mut Measures::of(row, &self.core))?))
    }
}

//! One answer from many rows: how many there are, measures of all of them, and measures of groups.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use super::column::{Column, ColumnKind, Marker, Order};
use super::columns::ColumnList;
use super::filter::{IsRouted, Operator, Routing};
use super::measure::{Having, HavingCore, Measure, MeasureCore, MeasureList, Measures, Number, SumOf};
use super::select::{Explainable, OrderBy, Query, Select, SelectCore, Visitor};
use crate::cluster::Layout;
use crate::error::{Error, Result, ValueError};
use crate::model::{Row, RowSource, Sharded};
use crate::partial::Partial;
use crate::plan::{Plan, Projection};
use crate::session::Session;
use crate::shards::Shard;
use crate::value::{Field, Storable, Value};

/// The number of rows that a select finds.
#[must_use = "a query does nothing until a session runs it"]
pub struct Count<T, R> {
    select: Select<T, R>,
}

/// Measures of all rows that a select finds; made by [`Select::aggregate`].
#[must_use = "a query does nothing until a session runs it"]
pub struct Aggregate<T, R, M> {
    core: GroupCore,
    marker: Marker<T, R, M>,
}

/// The rows that a select finds, by the values in some columns; made by [`Select::group_by`].
#[must_use = "groups are of something: say `aggregate`"]
pub struct GroupBy<T, R, C> {
    select: SelectCore,
    keys: Vec<usize>,
    marker: Marker<T, R, C>,
}

/// Measures of groups of rows; made by [`GroupBy::aggregate`]. An answer's row is the group's values and its
/// measures.
#[must_use = "a query does nothing until a session runs it"]
pub struct Groups<T, R, C, M> {
    core: GroupCore,
    marker: PhantomData<(Marker<T, R, C>, M)>,
}

/// Measures of groups, without their types.
#[derive(Clone, Debug)]
pub(crate) struct GroupCore {
    pub(crate) select: SelectCore,
    pub(crate) keys: Vec<usize>,
    /// Those that are read, then those that are only compared or ordered by.
    pub(crate) measures: Vec<MeasureCore>,
    having: Vec<HavingCore>,
    order: Vec<GroupOrderCore>,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
}

#[derive(Clone, Copy, Debug)]
enum GroupOrderCore {
    Key(OrderBy),
    Measure { measure: MeasureCore, descending: bool },
}

/// How groups are ordered: by one of their columns, or by a measure.
pub struct GroupOrder<T> {
    core: GroupOrderCore,
    marker: PhantomData<fn() -> T>,
}

impl<T> From<Order<T>> for GroupOrder<T> {
    fn from(Order { column, descending, nulls_first, .. }: Order<T>) -> Self {
        let core = GroupOrderCore::Key(OrderBy { column, descending, nulls_first });
        GroupOrder { core, marker: PhantomData }
    }
}

impl<T, O> Measure<T, O> {
    /// Groups in ascending order of the measure; those without a value first.
    pub fn asc(self) -> GroupOrder<T> {
        let core = GroupOrderCore::Measure { measure: self.core, descending: false };
        GroupOrder { core, marker: PhantomData }
    }

    /// Groups in descending order of the measure; those without a value last.
    pub fn desc(self) -> GroupOrder<T> {
        let core = GroupOrderCore::Measure { measure: self.core, descending: true };
        GroupOrder { core, marker: PhantomData }
    }
}

impl<T: Sharded, R: Routing> Select<T, R> {
    /// How many rows there are; `limit` and `offset` are counted in.
    pub fn count(self) -> Count<T, R> {
        Count { select: self }
    }

    /// The sum of a column over all rows: `aggregate(column.sum())`.
    pub fn sum<V, K>(self, column: Column<T, V, K>) -> Aggregate<T, R, Measure<T, Option<SumOf<V>>>>
    where
        V: Storable<Compare: Number>,
        K: ColumnKind,
    {
        self.aggregate(column.sum())
    }

    /// The mean of a column over all rows: `aggregate(column.avg())`.
    pub fn avg<V, K>(self, column: Column<T, V, K>) -> Aggregate<T, R, Measure<T, Option<f64>>>
    where
        V: Storable<Compare: Number>,
        K: ColumnKind,
    {
        self.aggregate(column.avg())
    }

    /// The least value of a column: `aggregate(column.min())`.
    pub fn min<V, K>(self, column: Column<T, V, K>) -> Aggregate<T, R, Measure<T, Option<V::Compare>>>
    where
        V: Storable<Compare: Field>,
        K: ColumnKind,
    {
        self.aggregate(column.min())
    }

    /// The greatest value of a column: `aggregate(column.max())`.
    pub fn max<V, K>(self, column: Column<T, V, K>) -> Aggregate<T, R, Measure<T, Option<V::Compare>>>
    where
        V: Storable<Compare: Field>,
        K: ColumnKind,
    {
        self.aggregate(column.max())
    }

    /// Measures of all rows, several at once: `aggregate((count(), City::POPULATION.sum()))`. Always one answer.
    ///
    /// # Errors
    /// When it is run: [`ErrorKind::Query`](crate::ErrorKind::Query) where the select has a limit or an offset,
    /// which have no place in it.
    pub fn aggregate<M: MeasureList<T>>(self, measures: M) -> Aggregate<T, R, M> {
        Aggregate { core: GroupCore::new(self.core, Vec::new(), &measures), marker: PhantomData }
    }

    /// The rows by the values in these columns, over all shards: one, or a tuple of them.
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
        columns.places(&mut keys);
        GroupBy { select: self.core, keys, marker: PhantomData }
    }
}

impl<T: Sharded, R: Routing, C: ColumnList<T>> GroupBy<T, R, C> {
    /// What is wanted of each group: a measure, or a tuple of them.
    pub fn aggregate<M: MeasureList<T>>(self, measures: M) -> Groups<T, R, C, M> {
        Groups { core: GroupCore::new(self.select, self.keys, &measures), marker: PhantomData }
    }
}

impl<T, R, C, M> Groups<T, R, C, M> {
    /// Only groups for which this holds; said again, both hold.
    pub fn having(mut self, condition: Having<T>) -> Self {
        self.core.want(condition.core.measure);
        self.core.having.push(condition.core);
        self
    }

    /// In this order: a group's column (`City::NAME.asc()`) or a measure (`count().desc()`). Said again, the second
    /// order decides where the first is equal; where all are equal, the groups' values do, ascending. By a measure,
    /// all groups are in memory before the first is answered.
    pub fn order_by(mut self, order: impl Into<GroupOrder<T>>) -> Self {
        let core = order.into().core;
        if let GroupOrderCore::Measure { measure, .. } = core {
            self.core.want(measure);
        }
        self.core.order.push(core);
        self
    }

    /// At most this many groups in all.
    pub fn limit(mut self, groups: u64) -> Self {
        self.core.limit = Some(groups);
        self
    }

    /// Without the first groups of the whole answer.
    pub fn offset(mut self, groups: u64) -> Self {
        self.core.offset = groups;
        self
    }
}

impl GroupCore {
    fn new<T, M: MeasureList<T>>(select: SelectCore, keys: Vec<usize>, list: &M) -> Self {
        let mut measures = Vec::new();
        list.cores(&mut measures);
        GroupCore { select, keys, measures, having: Vec::new(), order: Vec::new(), limit: None, offset: 0 }
    }

    fn want(&mut self, measure: MeasureCore) {
        if !self.measures.contains(&measure) {
            self.measures.push(measure);
        }
    }

    /// The groups' columns in the order in which shards answer them, and whether it is the order of the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Query`](crate::ErrorKind::Query) where groups are ordered by a column that is none of theirs.
    pub(crate) fn key_order(&self) -> Result<(Vec<OrderBy>, bool)> {
        let mut order: Vec<OrderBy> = Vec::new();
        let mut is_answers = true;
        for by in &self.order {
            match by {
                GroupOrderCore::Key(by) if !self.keys.contains(&by.column) => {
                    let said = "groups are ordered by the columns that they are made by, and this is none";
                    let error = Error::new(crate::error::ErrorKind::Query, said);
                    return Err(self.select.target.table.error_at(by.column, error));
                }
                GroupOrderCore::Key(by) => order.push(*by),
                GroupOrderCore::Measure { .. } => is_answers = false,
            }
        }
        for &column in &self.keys {
            if !order.iter().any(|by| by.column == column) {
                order.push(OrderBy { column, descending: false, nulls_first: true });
            }
        }
        Ok((order, is_answers))
    }

    /// Whether some groups are left out because of a measure.
    pub(crate) fn has_conditions(&self) -> bool {
        !self.having.is_empty()
    }

    fn holds(&self, group: &Group) -> Result<bool> {
        for HavingCore { measure, operator, value } in &self.having {
            let error = |error: ValueError| self.select.target.table.error_at(measure.column, error);
            let wanted = value.as_ref().map_err(|wrong| error(wrong.clone()))?;
            let found = self.measured(group, *measure);
            if *found == Value::Null || !holds(*operator, found.order(wanted)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn measured<'g>(&self, group: &'g Group, measure: MeasureCore) -> &'g Value<'static> {
        let place = self.measures.iter().position(|other| *other == measure);
        place.and_then(|place| group.values.get(place)).unwrap_or(&Value::Null)
    }

    fn compare(&self, a: &Group, b: &Group) -> Ordering {
        let ordering = |by: &GroupOrderCore| match *by {
            GroupOrderCore::Key(by) => {
                let place = self.keys.iter().position(|&column| column == by.column).unwrap_or(0);
                let value = |group: &'_ Group| group.keys.get(place).cloned().unwrap_or(Value::Null);
                by.order(&value(a), &value(b))
            }
            GroupOrderCore::Measure { measure, descending } => {
                let (a, b) = (self.measured(a, measure), self.measured(b, measure));
                if descending { b.order(a) } else { a.order(b) }
            }
        };
        self.order.iter().map(ordering).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Visits the groups in the answer's order.
    fn visit(
        &self,
        session: &mut Session,
        at_most: Option<u64>,
        visit: &mut dyn FnMut(&Group) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let limit = self.limit.into_iter().chain(at_most).min();
        let (_, is_answers_order) = self.key_order()?;
        let (mut skip, mut left) = (self.offset, limit.unwrap_or(u64::MAX));
        if left == 0 {
            return Ok(());
        }
        let mut bounded = |group: &Group| {
            if skip > 0 {
                skip -= 1;
                return Ok(ControlFlow::Continue(()));
            }
            left -= 1;
            let more = visit(group)?;
            Ok(if left == 0 { ControlFlow::Break(()) } else { more })
        };
        if is_answers_order {
            return self.each(session, limit, |group| {
                if self.holds(&group)? { bounded(&group) } else { Ok(ControlFlow::Continue(())) }
            });
        }
        let mut groups = Vec::new();
        self.each(session, None, |group| {
            if self.holds(&group)? {
                groups.push(group);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        groups.sort_by(|a, b| self.compare(a, b));
        for group in &groups {
            if bounded(group)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Visits the groups in the order in which shards answer them, those of several shards merged.
    fn each(
        &self,
        session: &mut Session,
        limit: Option<u64>,
        mut visit: impl FnMut(Group) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut current: Option<Partials> = None;
        let mut over = false;
        let cluster = session.cluster().clone();
        let core = session.pinned_query(self, |core| &mut core.select.target)?;
        let plan = Plan::groups(&core, limit, cluster.layout())?;
        let spans_shards = plan.spans_shards;
        session.visit_plan(&plan, |row| {
            let next = Partials::read(row, self.keys.len(), &plan.measures)?;
            match current.take() {
                Some(mut group) if spans_shards && group.keys == next.keys => {
                    group.merge(next, &plan.measures);
                    current = Some(group);
                }
                before => {
                    current = Some(next);
                    if let Some(group) = before {
                        over = visit(group.whole(row.table, &plan.measures)?)?.is_break();
                    }
                }
            }
            Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        match current {
            Some(group) if !over => visit(group.whole(self.select.target.table, &plan.measures)?).map(drop),
            _ => Ok(()),
        }
    }
}

fn holds(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
    }
}

/// A group as one shard has it, or several of them together.
struct Partials {
    keys: Vec<Value<'static>>,
    partials: Vec<Partial>,
    shard: Shard,
}

impl Partials {
    fn read(row: &Row<'_>, keys: usize, measures: &[MeasureCore]) -> Result<Self> {
        let keys = (0..keys)
            .map(|place| row.read(place, |value| Ok(value.into_owned())))
            .collect::<Result<Vec<_>>>()?;
        let mut place = keys.len();
        let mut partials = Vec::with_capacity(measures.len());
        for measure in measures {
            let partial = Partial::read(measure.function, row.source, place);
            let located =
                |error: ValueError| row.table.error_at(measure.column, error).on_shard(row.shard.name());
            partials.push(partial.map_err(located)?);
            place += measure.function.width();
        }
        Ok(Partials { keys, partials, shard: row.shard.clone() })
    }

    fn merge(&mut self, other: Partials, measures: &[MeasureCore]) {
        for ((partial, other), measure) in self.partials.iter_mut().zip(other.partials).zip(measures) {
            let so_far = std::mem::replace(partial, Partial::Nothing);
            *partial = so_far.merge(measure.function, other);
        }
    }

    fn whole(self, table: &'static crate::model::Table, measures: &[MeasureCore]) -> Result<Group> {
        let value = |(partial, measure): (Partial, &MeasureCore)| {
            partial.value(measure.function).map_err(|error| table.error_at(measure.column, error))
        };
        let values = self.partials.into_iter().zip(measures).map(value).collect::<Result<_>>()?;
        Ok(Group { keys: self.keys, values, shard: self.shard })
    }
}

/// A group of the answer: its columns' values, and its measures'.
struct Group {
    keys: Vec<Value<'static>>,
    values: Vec<Value<'static>>,
    shard: Shard,
}

impl RowSource for Group {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        self.keys
            .get(index)
            .map(Value::borrowed)
            .ok_or_else(|| ValueError::new("the group has no such column"))
    }
}

impl Group {
    fn measures<T: Sharded, M: MeasureList<T>>(&self, measures: &[MeasureCore]) -> Result<M::Output> {
        M::load(T::TABLE, &mut Measures { measures, values: &self.values, next: 0 })
    }
}

impl<T: Sharded, R: IsRouted> Query for Count<T, R> {
    type Output = u64;

    fn visit(self, session: &mut Session, _: Option<u64>, visit: &mut Visitor<'_, u64>) -> Result<()> {
        let core = &self.select.core;
        let mut total: u64 = 0;
        session.visit(core, Projection::Count, |row| {
            total = total.saturating_add(u64::load(row, 0)?);
            Ok(ControlFlow::Continue(()))
        })?;
        let rest = total.saturating_sub(core.offset);
        visit(core.limit.map_or(rest, |limit| rest.min(limit))).map(drop)
    }
}

impl<T: Sharded, R: IsRouted, M: MeasureList<T>> Query for Aggregate<T, R, M> {
    type Output = M::Output;

    fn visit(self, session: &mut Session, _: Option<u64>, visit: &mut Visitor<'_, M::Output>) -> Result<()> {
        let mut answer = None;
        self.core.visit(session, None, &mut |group| {
            answer = Some(group.measures::<T, M>(&self.core.measures)?);
            Ok(ControlFlow::Break(()))
        })?;
        let answer = match answer {
            Some(answer) => answer,
            // No shard was asked: there is no row.
            None => {
                let nothing = |measure: &MeasureCore| Partial::Nothing.value(measure.function);
                let values = self.core.measures.iter().map(nothing).collect::<Result<Vec<_>, _>>()?;
                M::load(T::TABLE, &mut Measures { measures: &self.core.measures, values: &values, next: 0 })?
            }
        };
        visit(answer).map(drop)
    }
}

impl<T: Sharded, R: IsRouted, C: ColumnList<T>, M: MeasureList<T>> Query for Groups<T, R, C, M> {
    type Output = (C::Output, M::Output);

    fn visit(
        self,
        session: &mut Session,
        at_most: Option<u64>,
        visit: &mut Visitor<'_, Self::Output>,
    ) -> Result<()> {
        self.core.visit(session, at_most, &mut |group| {
            let columns = Some(self.core.keys.as_slice());
            let row = Row { source: group, shard: &group.shard, table: T::TABLE, columns };
            visit((C::load(&row, 0)?, group.measures::<T, M>(&self.core.measures)?))
        })
    }
}

impl<T: Sharded, R> Explainable for Count<T, R> {
    fn plan(&self, layout: &Layout) -> Result<Plan<'_>> {
        Plan::read(&self.select.core, Projection::Count, layout)
    }
}

impl<T: Sharded, R, M> Explainable for Aggregate<T, R, M> {
    fn plan(&self, layout: &Layout) -> Result<Plan<'_>> {
        Plan::groups(&self.core, None, layout)
    }
}

impl<T: Sharded, R, C, M> Explainable for Groups<T, R, C, M> {
    fn plan(&self, layout: &Layout) -> Result<Plan<'_>> {
        Plan::groups(&self.core, self.core.limit, layout)
    }
}

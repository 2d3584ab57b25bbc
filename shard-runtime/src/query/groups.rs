//! Groups of rows: read from the shards in the order of their columns' values, merged where several shards have a
//! part of one, left out and ordered by their measures.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::filter::Operator;
use super::measure::{HavingCore, MeasureCore, MeasureList, Measures};
use super::select::{OrderBy, SelectCore};
use crate::accumulator::Accumulator;
use crate::error::{Result, ValueError};
use crate::planner::{Grouping, Plan};
use crate::query::Sharded;
use crate::row::{Row, RowSource};
use crate::schema::Shard;
use crate::schema::Table;
use crate::session::{EntriesRead, Session};
use crate::value::Value;

/// Measures of groups, without their types.
#[derive(Clone, Debug)]
pub(crate) struct GroupCore {
    pub(crate) select: SelectCore,
    pub(crate) keys: Vec<usize>,
    /// Those that are read, then those that are only compared or ordered by.
    pub(crate) measures: Vec<MeasureCore>,
    pub(crate) having: Vec<HavingCore>,
    pub(crate) order: Vec<GroupOrderCore>,
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GroupOrderCore {
    Key(OrderBy),
    Measure { measure: MeasureCore, descending: bool },
}

impl GroupCore {
    pub(super) fn new<T, M: MeasureList<T>>(select: SelectCore, keys: Vec<usize>, list: &M) -> Self {
        let mut measures = Vec::new();
        list.cores(&mut measures);
        GroupCore { select, keys, measures, having: Vec::new(), order: Vec::new(), limit: None, offset: 0 }
    }

    pub(super) fn want(&mut self, measure: MeasureCore) {
        if !self.measures.contains(&measure) {
            self.measures.push(measure);
        }
    }

    /// A measure as shards are asked for it.
    pub(crate) fn asked(&self, measure: MeasureCore, asked: &[MeasureCore]) -> MeasureCore {
        let place = self.measures.iter().position(|other| *other == measure);
        place.and_then(|place| asked.get(place)).copied().unwrap_or(measure)
    }

    fn holds(&self, group: &Group) -> Result<bool> {
        for HavingCore { measure, operator, value } in &self.having {
            let error = |error: ValueError| self.select.target.table.error_at(measure.column, error);
            let wanted = value.as_ref().map_err(|wrong| error(wrong.clone()))?;
            let found = self.measured(group, *measure);
            let collation = self.select.target.table.collation(measure.column);
            if *found == Value::Null || !holds(*operator, collation.order(found, wanted)) {
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
        let collation = |column| self.select.target.table.collation(column);
        let ordering = |by: &GroupOrderCore| match *by {
            GroupOrderCore::Key(by) => {
                let place = self.keys.iter().position(|&column| column == by.column).unwrap_or(0);
                let value = |group: &'_ Group| group.keys.get(place).cloned().unwrap_or(Value::Null);
                by.order(collation(by.column), &value(a), &value(b))
            }
            GroupOrderCore::Measure { measure, descending } => {
                let (a, b) = (self.measured(a, measure), self.measured(b, measure));
                let order = collation(measure.column).order(a, b);
                if descending { order.reverse() } else { order }
            }
        };
        self.order.iter().map(ordering).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Visits the groups in the answer's order.
    pub(super) fn visit(
        &self,
        session: &mut Session,
        at_most: Option<u64>,
        visit: &mut dyn FnMut(&Group) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let limit = self.limit.into_iter().chain(at_most).min();
        let (mut skip, mut left) = (self.offset, limit.unwrap_or(u64::MAX));
        let cluster = session.cluster().clone();
        let mut bounded = |group: &Group| {
            if skip > 0 {
                skip -= 1;
                return Ok(ControlFlow::Continue(()));
            }
            left -= 1;
            let more = visit(group)?;
            Ok(if left == 0 { ControlFlow::Break(()) } else { more })
        };
        session.planned(self, |session, core, entries| {
            let plan = Plan::groups(core, limit, cluster.layout())?;
            if limit == Some(0) {
                return Ok(true); // nobody is asked, but what is wrong with the query was said
            }
            let is_wanted = |group: &Group| match plan.grouping.has_conditions {
                true => self.holds(group),
                false => Ok(true),
            };
            if !plan.grouping.is_unordered {
                return self.each(session, &plan, entries, |group| {
                    if is_wanted(&group)? { bounded(&group) } else { Ok(ControlFlow::Continue(())) }
                });
            }
            let mut groups = Vec::new();
            let as_read = self.each(session, &plan, entries, |group| {
                if is_wanted(&group)? {
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
            Ok(as_read)
        })
    }

    /// Whether these are parts of one group, however its values are spelled.
    fn is_one_group(&self, a: &Partials, b: &Partials) -> bool {
        let table = self.select.target.table;
        let mut values = self.keys.iter().zip(a.keys.iter().zip(&b.keys));
        values.all(|(&column, (a, b))| table.collation(column).order(a, b).is_eq())
    }

    /// Visits the groups in the order in which shards answer them, those of several shards merged. Returns false, and has
    /// visited nothing, if the entries that the plan depends on have changed before the rows could be locked.
    fn each(
        &self,
        session: &mut Session,
        plan: &Plan<'_>,
        entries: Option<&mut EntriesRead>,
        mut visit: impl FnMut(Group) -> Result<ControlFlow<()>>,
    ) -> Result<bool> {
        let mut current: Option<Partials> = None;
        let mut over = false;
        let Grouping { measures, spans_shards, .. } = &plan.grouping;
        let as_read = session.visit_located(plan, entries, |row| {
            let next = Partials::read(row, self.keys.len(), measures)?;
            match current.take() {
                Some(mut group) if *spans_shards && self.is_one_group(&group, &next) => {
                    group.merge(next, row.table, measures);
                    current = Some(group);
                }
                before => {
                    current = Some(next);
                    if let Some(group) = before {
                        over = visit(group.whole(row.table, measures)?)?.is_break();
                    }
                }
            }
            Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        match current {
            Some(group) if !over => visit(group.whole(self.select.target.table, measures)?).map(|_| as_read),
            _ => Ok(as_read),
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
    partials: Vec<Accumulator>,
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
            let partial = Accumulator::read(measure.function, row.source, place);
            let located =
                |error: ValueError| row.table.error_at(measure.column, error).on_shard(row.shard.name());
            partials.push(partial.map_err(located)?);
            place += measure.function.width();
        }
        Ok(Partials { keys, partials, shard: row.shard.clone() })
    }

    fn merge(&mut self, other: Partials, table: &Table, measures: &[MeasureCore]) {
        for (key, other) in self.keys.iter_mut().zip(other.keys) {
            if other.order(key).is_lt() {
                *key = other; // another spelling
            }
        }
        for ((partial, other), measure) in self.partials.iter_mut().zip(other.partials).zip(measures) {
            let so_far = std::mem::replace(partial, Accumulator::Nothing);
            *partial = so_far.merge(measure.function, table.collation(measure.column), other);
        }
    }

    fn whole(self, table: &'static Table, measures: &[MeasureCore]) -> Result<Group> {
        let value = |(partial, measure): (Accumulator, &MeasureCore)| {
            partial.value(measure.function).map_err(|error| table.error_at(measure.column, error))
        };
        let values = self.partials.into_iter().zip(measures).map(value).collect::<Result<_>>()?;
        Ok(Group { keys: self.keys, values, shard: self.shard })
    }
}

/// A group of the answer: its columns' values, and its measures'.
pub(super) struct Group {
    keys: Vec<Value<'static>>,
    values: Vec<Value<'static>>,
    pub(super) shard: Shard,
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
    pub(super) fn measures<T: Sharded, M: MeasureList<T>>(
        &self,
        measures: &[MeasureCore],
    ) -> Result<M::Output> {
        M::load(T::TABLE, &mut Measures { measures, values: &self.values, next: 0 })
    }
}

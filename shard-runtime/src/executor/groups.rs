//! Groups of a result: merges the rows of several shards that are parts of one group, and filters, orders and limits the
//! groups. Pure: the rows come from the caller.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use crate::accumulator::Accumulator;
use crate::error::{Result, ValueError};
use crate::planner::{Grouping, LimitOffset};
use crate::query::{GroupCore, GroupOrderCore, HavingCore, MeasureCore, Operator};
use crate::row::{Row, RowSource};
use crate::schema::{Shard, Table};
use crate::value::Value;

/// Visits the rows of a result.
pub(crate) type VisitRow<'v> = dyn FnMut(&Row<'_>) -> Result<ControlFlow<()>> + 'v;

/// Makes groups of the rows of a plan's merged result.
pub(crate) struct GroupMerge<'q> {
    core: &'q GroupCore,
    grouping: &'q Grouping,
    /// The group that the next row may belong to.
    current: Option<Partials>,
    /// The groups so far, if they are ordered at the end.
    unordered: Vec<MergedGroup>,
    bounds: LimitOffset,
    has_found: bool,
    is_over: bool,
}

impl<'q> GroupMerge<'q> {
    pub(crate) fn new(core: &'q GroupCore, grouping: &'q Grouping) -> Self {
        let bounds = LimitOffset { skip: core.offset, take: core.limit };
        let (current, unordered) = (None, Vec::new());
        GroupMerge { core, grouping, current, unordered, bounds, has_found: false, is_over: false }
    }

    /// Takes the next row. Breaks if no more are needed.
    pub(crate) fn take(&mut self, row: &Row<'_>, visit: &mut VisitRow<'_>) -> Result<ControlFlow<()>> {
        let next = Partials::read(row, self.core.keys.len(), &self.grouping.measures)?;
        let table = self.core.select.target.table;
        match &mut self.current {
            Some(group) if self.grouping.spans_shards && is_one_group(self.core, group, &next) => {
                group.merge(next, table, &self.grouping.measures);
                Ok(ControlFlow::Continue(()))
            }
            current => match current.replace(next) {
                Some(group) => self.found(group, visit),
                None => Ok(ControlFlow::Continue(())),
            },
        }
    }

    /// Visits the groups that are left after the last row. `shard` is the shard of an aggregate over no rows.
    pub(crate) fn end(mut self, shard: &Shard, visit: &mut VisitRow<'_>) -> Result<()> {
        if self.is_over {
            return Ok(());
        }
        if let Some(group) = self.current.take()
            && self.found(group, visit)?.is_break()
        {
            return Ok(());
        }
        if self.core.keys.is_empty() && !self.has_found {
            return self.visit(&nothing(self.core, shard)?, visit).map(drop);
        }
        let mut groups = std::mem::take(&mut self.unordered);
        groups.sort_by(|a, b| compare(self.core, a, b));
        for group in &groups {
            if self.visit(group, visit)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn found(&mut self, group: Partials, visit: &mut VisitRow<'_>) -> Result<ControlFlow<()>> {
        self.has_found = true;
        let group = group.whole(self.core.select.target.table, &self.grouping.measures)?;
        if self.grouping.has_conditions && !holds(self.core, &group)? {
            return Ok(ControlFlow::Continue(()));
        }
        if self.grouping.is_unordered {
            self.unordered.push(group);
            return Ok(ControlFlow::Continue(()));
        }
        self.visit(&group, visit)
    }

    fn visit(&mut self, group: &MergedGroup, visit: &mut VisitRow<'_>) -> Result<ControlFlow<()>> {
        let (table, columns) = (self.core.select.target.table, Some(self.core.keys.as_slice()));
        let row = Row { source: group, shard: &group.shard, table, columns };
        let more = self.bounds.count(|| visit(&row))?;
        self.is_over = more.is_break();
        Ok(more)
    }
}

/// Returns the aggregate of no rows.
fn nothing(core: &GroupCore, shard: &Shard) -> Result<MergedGroup> {
    let nothing = |measure: &MeasureCore| Accumulator::Nothing.value(measure.function);
    let values = core.measures.iter().map(nothing).collect::<Result<_, _>>()?;
    Ok(MergedGroup { keys: Vec::new(), values, shard: shard.clone() })
}

fn holds(core: &GroupCore, group: &MergedGroup) -> Result<bool> {
    for HavingCore { measure, operator, value } in &core.having {
        let error = |error: ValueError| core.select.target.table.error_at(measure.column, error);
        let bound = value.as_ref().map_err(|wrong| error(wrong.clone()))?;
        let found = measured(core, group, *measure);
        let collation = core.select.target.table.collation(measure.column);
        if *found == Value::Null || !compares(*operator, collation.order(found, bound)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn measured<'g>(core: &GroupCore, group: &'g MergedGroup, measure: MeasureCore) -> &'g Value<'static> {
    let index = core.measures.iter().position(|other| *other == measure);
    index.and_then(|index| group.values.get(index)).unwrap_or(&Value::Null)
}

fn compare(core: &GroupCore, a: &MergedGroup, b: &MergedGroup) -> Ordering {
    let collation = |column| core.select.target.table.collation(column);
    let ordering = |by: &GroupOrderCore| match *by {
        GroupOrderCore::Key(by) => {
            let index = core.keys.iter().position(|&column| column == by.column).unwrap_or(0);
            let value = |group: &'_ MergedGroup| group.keys.get(index).cloned().unwrap_or(Value::Null);
            by.order(collation(by.column), &value(a), &value(b))
        }
        GroupOrderCore::Measure { measure, descending } => {
            let (a, b) = (measured(core, a, measure), measured(core, b, measure));
            let order = collation(measure.column).order(a, b);
            if descending { order.reverse() } else { order }
        }
    };
    core.order.iter().map(ordering).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
}

/// Returns whether these are parts of one group, by the collations of its columns.
fn is_one_group(core: &GroupCore, a: &Partials, b: &Partials) -> bool {
    let table = core.select.target.table;
    let mut values = core.keys.iter().zip(a.keys.iter().zip(&b.keys));
    values.all(|(&column, (a, b))| table.collation(column).order(a, b).is_eq())
}

fn compares(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
    }
}

/// A group's part on one shard, or the merged parts of several.
struct Partials {
    keys: Vec<Value<'static>>,
    partials: Vec<Accumulator>,
    shard: Shard,
}

impl Partials {
    fn read(row: &Row<'_>, keys: usize, measures: &[MeasureCore]) -> Result<Self> {
        let keys = (0..keys)
            .map(|index| row.read(index, |value| Ok(value.into_owned())))
            .collect::<Result<Vec<_>>>()?;
        let mut index = keys.len();
        let mut partials = Vec::with_capacity(measures.len());
        for measure in measures {
            let partial = Accumulator::read(measure.function, row.source, index);
            let located =
                |error: ValueError| row.table.error_at(measure.column, error).on_shard(row.shard.name());
            partials.push(partial.map_err(located)?);
            index += measure.function.width();
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

    fn whole(self, table: &'static Table, measures: &[MeasureCore]) -> Result<MergedGroup> {
        let value = |(partial, measure): (Accumulator, &MeasureCore)| {
            partial.value(measure.function).map_err(|error| table.error_at(measure.column, error))
        };
        let values = self.partials.into_iter().zip(measures).map(value).collect::<Result<_>>()?;
        Ok(MergedGroup { keys: self.keys, values, shard: self.shard })
    }
}

/// A group: its columns, then its measures.
struct MergedGroup {
    keys: Vec<Value<'static>>,
    /// One for each measure.
    values: Vec<Value<'static>>,
    /// One of the shards that it is on.
    shard: Shard,
}

impl RowSource for MergedGroup {
    fn value(&self, index: usize) -> Result<Value<'_>, ValueError> {
        let measure = |index: usize| self.values.get(index);
        let value = self.keys.get(index).or_else(|| measure(index.checked_sub(self.keys.len())?));
        value.map(Value::borrowed).ok_or_else(|| ValueError::new("the group has no such column"))
    }
}

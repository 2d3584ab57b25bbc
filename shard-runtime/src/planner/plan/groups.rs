//! Plans of groups. If each group is on one shard, that shard applies the conditions, the order and the limit that
//! it computes exactly as the merge would.

use super::{MergeBy, Plan, SelectList, locks, on_first, separates_shards, steps, tables};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::route;
use crate::planner::sql;
use crate::planner::sql::SqlContext;
use crate::query::{Function, GroupCore, GroupOrderCore, HavingCore, MeasureCore, OrderBy};
use crate::schema::ShardSet;
use crate::schema::Table;
use crate::value::{ColumnType, Value};

/// The work that is left for the merge of groups.
#[derive(Default)]
pub(crate) struct Grouping {
    /// The measures that follow the columns of the groups in a row.
    pub(crate) measures: Vec<MeasureCore>,
    /// Whether rows of several shards can be parts of one group.
    pub(crate) spans_shards: bool,
    /// Whether each group is on one shard.
    is_whole: bool,
    /// Whether the merge applies conditions.
    pub(crate) has_conditions: bool,
    /// Whether the merge orders the groups.
    pub(crate) is_unordered: bool,
}

impl Grouping {
    pub(super) fn explained(&self) -> impl Iterator<Item = &'static str> {
        let message = [
            (self.spans_shards, "groups of one key together"),
            (self.is_whole, "groups pushed down whole"),
            (self.has_conditions, "then left out by their measures"),
            (self.is_unordered, "then ordered by their measures"),
        ];
        message.into_iter().filter(|(holds, _)| *holds).map(|(_, how)| how)
    }
}

impl<'q> Plan<'q> {
    /// Plans the reading of groups.
    pub(crate) fn groups(core: &'q GroupCore, layout: &Layout) -> Result<Self> {
        let GroupCore { select, keys, limit, .. } = core;
        let limit = *limit;
        let table = select.target.table;
        if select.limit.is_some() || select.offset > 0 {
            let message = "an aggregate reads all rows; remove `limit` and `offset` from its rows";
            return Err(Error::new(ErrorKind::Query, message).in_table(table.name));
        }
        let model = layout.model(table)?;
        let tables = tables(&select.target, layout)?;
        let limit_is_zero = limit == Some(0);
        let chosen = route::shards_to_read(&select.target, layout.shards())?;
        let shards = if limit_is_zero { ShardSet::none() } else { chosen };
        let are_whole = shards.len() < 2 || separates_shards(table, keys);
        let measures: Vec<MeasureCore> = core
            .measures
            .iter()
            .map(|measure| match measure.function {
                Function::CountDistinct if are_whole || separates_shards(table, &[measure.column]) => {
                    MeasureCore { function: Function::CountDistinctHere, ..*measure }
                }
                _ => *measure,
            })
            .collect();
        let (having, has_conditions) = conditions(core, &measures, are_whole)?;
        let (order, is_answers_order) = order(core, &measures, are_whole)?;
        // The first groups of the result are among the first of every shard that has a part of them.
        let every = limit.filter(|_| is_answers_order && !has_conditions && !keys.is_empty());
        let bounds = (every.map(|limit| limit.saturating_add(core.offset)), 0);
        let projection = SelectList::Groups { keys, measures: &measures, having: &having, order: &order };
        let render = |_: usize, site: &SqlContext<'_>| {
            let target = &select.target;
            sql::select(site, target.condition(), projection, None, &[], bounds, target.for_update)
        };
        let lock = |_: usize, site: &SqlContext<'_>| {
            sql::lock(site, select.target.condition(), None, &[], (None, 0))
        };
        let steps = steps(&select.target, &shards, layout, model, render)?;
        let merge: Vec<MergeBy> = order.iter().filter_map(|by| merged(table, by, keys, &measures)).collect();
        // Results that are merged are read at the same time, and so lock rows on several servers at the same time.
        let locks_apart = select.target.for_update && steps.len() > 1 && !merge.is_empty();
        let on_first = on_first(&select.target, &shards, layout, model, render)?;
        let locks = match locks_apart {
            true => locks(&select.target, &shards, layout, model, lock)?,
            false => Vec::new(),
        };
        let plan = Plan { on_first, ..Plan::new(&select.target, tables, steps) };
        let one_value = keys.is_empty().then_some("one value from all");
        let grouping = Grouping {
            measures,
            spans_shards: !are_whole,
            is_whole: are_whole,
            has_conditions,
            is_unordered: !is_answers_order,
        };
        Ok(Plan {
            locks,
            columns: Some(keys.clone()),
            order: merge,
            grouping,
            one_value,
            limit_is_zero,
            ..plan
        })
    }
}

/// Returns the conditions that the shards apply, and whether the merge has others.
///
/// # Errors
/// [`ErrorKind::Value`] if a value cannot be stored.
fn conditions(
    core: &GroupCore,
    measures: &[MeasureCore],
    are_whole: bool,
) -> Result<(Vec<HavingCore>, bool)> {
    let table = core.select.target.table;
    let mut pushed = Vec::new();
    for condition in &core.having {
        let error = |error| table.error_at(condition.measure.column, error);
        let value = condition.value.as_ref().map_err(|wrong| error(wrong.clone()))?;
        let measure = core.on_shards(condition.measure, measures);
        if are_whole && is_compared_alike(table, measure, value) {
            pushed.push(HavingCore { measure, ..condition.clone() });
        }
    }
    let has_others = pushed.len() < core.having.len();
    Ok((pushed, has_others))
}

/// Returns whether a shard compares a measure with a value as the merge does. This holds for counts, sums, minima and maxima,
/// because values of one kind are compared alike. A mean is one sum divided by one count in both, rounded once. Only the
/// merge computes variances, from moments.
fn is_compared_alike(table: &Table, measure: MeasureCore, value: &Value<'_>) -> bool {
    let kind = match measure.function {
        Function::Count | Function::CountDistinctHere => Some(ColumnType::Integer),
        Function::Mean => Some(ColumnType::Real),
        Function::Sum | Function::Min | Function::Max => {
            table.columns.get(measure.column).map(|column| column.kind)
        }
        Function::CountDistinct | Function::Variance | Function::Deviation => None,
    };
    kind.is_some_and(|kind| value.is_a(kind))
}

/// Returns the order of the groups in the results of the shards, and whether it is the order of the merged result. It is the
/// requested order, if that has only columns of the groups, or measures by which whole groups can be merged. Otherwise it is
/// the order of the columns, which brings the parts of one group together. Means and variances are not columns of a shard's
/// result.
///
/// # Errors
/// [`ErrorKind::Query`] if the groups are ordered by a column that is none of their own.
fn order(core: &GroupCore, measures: &[MeasureCore], are_whole: bool) -> Result<(Vec<GroupOrderCore>, bool)> {
    let merges = |by: &GroupOrderCore| match by {
        GroupOrderCore::Key(_) => true,
        GroupOrderCore::Measure { measure, .. } => {
            let one_column = core.on_shards(*measure, measures).function.width() == 1;
            let is_sum = measure.function == Function::Sum;
            let is_made_here = matches!(measure.function, Function::Variance | Function::Deviation);
            are_whole && (one_column || is_sum) && !is_made_here
        }
    };
    let is_answers_order = core.order.iter().all(merges);
    let mut order: Vec<GroupOrderCore> = Vec::new();
    for by in &core.order {
        match *by {
            GroupOrderCore::Key(by) if !core.keys.contains(&by.column) => {
                let message = "groups can only be ordered by their own columns and measures";
                let error = Error::new(ErrorKind::Query, message);
                return Err(core.select.target.table.error_at(by.column, error));
            }
            GroupOrderCore::Measure { .. } if !is_answers_order => {}
            GroupOrderCore::Measure { measure, descending } => {
                order
                    .push(GroupOrderCore::Measure { measure: core.on_shards(measure, measures), descending });
            }
            by => order.push(by),
        }
    }
    for &column in &core.keys {
        if !order.iter().any(|by| matches!(by, GroupOrderCore::Key(by) if by.column == column)) {
            order.push(GroupOrderCore::Key(OrderBy { column, descending: false, nulls_first: true }));
        }
    }
    Ok((order, is_answers_order))
}

/// Returns the merge order of the results for one column of their order.
fn merged(table: &Table, by: &GroupOrderCore, keys: &[usize], measures: &[MeasureCore]) -> Option<MergeBy> {
    match *by {
        GroupOrderCore::Key(by) => {
            let index = keys.iter().position(|&column| column == by.column)?;
            Some(MergeBy::column(table, index, by))
        }
        GroupOrderCore::Measure { measure, descending } => {
            let index = measures.iter().position(|other| *other == measure)?;
            let before: usize = measures.iter().take(index).map(|measure| measure.function.width()).sum();
            let by = OrderBy { column: measure.column, descending, nulls_first: !descending };
            Some(MergeBy {
                function: Some(measure.function),
                ..MergeBy::column(table, keys.len() + before, by)
            })
        }
    }
}

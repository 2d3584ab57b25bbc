//! Plans: the statement of each shard, and the merge of the results. Uses `route`, `sql` and `layout`; no I/O.

mod groups;
mod lookups;
mod own_values;

use std::cmp::Ordering;

pub(crate) use groups::Grouping;
pub(crate) use lookups::questions;
use own_values::{OwnValues, SplitLists};

use super::Explain;
use crate::collation::Collation;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::LimitOffset;
use crate::planner::route;
use crate::planner::sql;
use crate::planner::sql::{After, Dialect, SqlContext, Statement};
use crate::query::SelectList;
use crate::query::{Function, OrderBy, Pin, SelectCore, Target, WriteCore};
use crate::row::LoadModel;
use crate::schema::ShardSet;
use crate::schema::{KeyColumns, Table};

/// A plan: the statement of each shard, and the merge of the results.
pub struct Plan<'q> {
    pub(crate) target: &'q Target,
    /// The tables that are read: the table of the model, and those of related models.
    pub(crate) tables: Vec<&'static Table>,
    pub(crate) steps: Vec<PlanStep<'q>>,
    /// The statement that locks the rows of a reference table on the first shard, if the rows are read on another shard.
    /// Every session locks them there.
    pub(crate) on_first: Option<PlanStep<'q>>,
    /// The statements that lock rows on servers before they are read, one server after the other. A read for update has them
    /// if it does not itself lock the rows in the order of their ids.
    pub(crate) locks: Vec<PlanStep<'q>>,
    /// The columns of the results, if not all of the table.
    pub(crate) columns: Option<Vec<usize>>,
    /// The order by which the results of several shards are merged.
    pub(crate) order: Vec<MergeBy>,
    /// Whether rows that are equal by that order are returned once.
    pub(crate) distinct: bool,
    /// The limit and offset of the merged result; a single shard applies them itself.
    pub(crate) bounds: LimitOffset,
    /// The merge of groups.
    pub(crate) grouping: Grouping,
    /// Decodes a row of the result as its model, if only the models are read.
    pub(crate) load: Option<LoadModel>,
    /// The description of the merge to one value, if there is one.
    one_value: Option<&'static str>,
    limit_is_zero: bool,
    /// Whether it writes rows.
    writes: bool,
}

/// The statement of one shard.
pub(crate) struct PlanStep<'q> {
    pub(crate) shard: usize,
    pub(crate) statement: Statement<'q>,
}

impl<'q> Plan<'q> {
    pub(crate) fn read(core: &'q SelectCore, projection: SelectList<'_>, layout: &Layout) -> Result<Self> {
        let table = core.target.table;
        let model = layout.model(table)?;
        let mut tables = tables(&core.target, layout)?;
        if let SelectList::RowsWithParents(generations) = projection {
            let parent = |table: &&'static Table| table.parent.map(|parent| parent.table);
            tables.extend(std::iter::successors(Some(table), parent).skip(1).take(generations));
        }
        if let SelectList::RowsWithReferences(references) = projection {
            tables.extend(references.iter().map(|reference| reference.table));
        }
        let limit_is_zero = core.limit == Some(0);
        let chosen = route::shards_to_read(&core.target, layout.shards())?;
        let shards = if limit_is_zero { ShardSet::none() } else { chosen };
        // One shard applies limit and offset itself. Any of several shards may have all rows of the result: each returns up
        // to limit plus offset rows, or counts so many, and the merge applies both.
        let several = core.limit.map(|limit| limit.saturating_add(core.offset));
        let one_value = match projection {
            SelectList::Count => Some("one value from all"),
            SelectList::Existence => Some("whether one of them has a row"),
            _ => None,
        };
        let (limit, offset, merged) = match projection {
            SelectList::Count => (several, 0, LimitOffset::default()),
            _ if shards.len() < 2 => (core.limit, core.offset, LimitOffset::default()),
            _ => (several, 0, LimitOffset { skip: core.offset, take: core.limit }),
        };
        let distinct_in = match projection {
            SelectList::Columns { columns, distinct: true } => Some(columns),
            _ => None,
        };
        let ReadShape { columns, merge, order, distinct } = ReadShape::of(table, projection, &core.order)?;
        let projection = match &columns {
            Some(columns) => SelectList::Columns { columns, distinct },
            None => projection,
        };
        let bounded = limit.is_some() || offset > 0;
        let finds_rows = projection != SelectList::Count;
        let is_one_row = shards.len() == 1 && limit == Some(1);
        let locks_apart =
            core.target.for_update && !is_one_row && (!order.is_empty() || (bounded && finds_rows));
        let begin = match core.begin(distinct_in)? {
            Some(cursor) => Some((cursor, cursor.shard_index_in(table, layout.shards())?)),
            None => None,
        };
        let after = |shard: usize| {
            begin.map(|(cursor, first)| match distinct {
                // A row that is equal to the cursor's row is the cursor's row, on any shard.
                true => After { cursor, order: &order, shard: Ordering::Less },
                // The row of a reference table is on this shard, too: every shard could have returned it.
                false if table.is_reference() => After { cursor, order: &core.order, shard: Ordering::Equal },
                // A shard before the cursor's has returned its rows that are equal to the cursor's row.
                false => After { cursor, order: &core.order, shard: shard.cmp(&first) },
            })
        };
        let (bounds, target) = ((limit, offset), &core.target);
        let render = |shard: usize, site: &SqlContext<'_>| {
            let (condition, after) = (target.condition(), after(shard));
            sql::select(site, condition, projection, after, &order, bounds, target.for_update)
        };
        let lock = |shard: usize, site: &SqlContext<'_>| {
            let bounds = if distinct { (None, 0) } else { bounds };
            sql::lock(site, target.condition(), after(shard), &order, bounds)
        };
        let steps = steps(target, &shards, layout, model, render)?;
        let (on_first, locks) = match locks_apart {
            true => (
                on_first(target, &shards, layout, model, lock)?,
                locks(target, &shards, layout, model, lock)?,
            ),
            false => (on_first(target, &shards, layout, model, render)?, Vec::new()),
        };
        let plan = Plan::new(&core.target, tables, steps);
        Ok(Plan {
            on_first,
            locks,
            columns,
            order: merge,
            distinct,
            bounds: merged,
            one_value,
            limit_is_zero,
            ..plan
        })
    }

    fn new(target: &'q Target, tables: Vec<&'static Table>, steps: Vec<PlanStep<'q>>) -> Self {
        Plan {
            target,
            tables,
            steps,
            on_first: None,
            locks: Vec::new(),
            columns: None,
            order: Vec::new(),
            distinct: false,
            bounds: LimitOffset::default(),
            grouping: Grouping::default(),
            load: None,
            one_value: None,
            limit_is_zero: false,
            writes: false,
        }
    }

    pub(crate) fn write(core: &'q WriteCore, layout: &Layout) -> Result<Self> {
        let model = layout.model(core.target.table)?;
        let tables = tables(&core.target, layout)?;
        let shards = route::shards_to_write(&core.target, layout.shards())?;
        let steps = steps(&core.target, &shards, layout, model, |_, site| sql::write(site, core))?;
        Ok(Plan { writes: true, ..Plan::new(&core.target, tables, steps) })
    }

    /// Adds the written rows to the result.
    pub(crate) fn returning(mut self) -> Self {
        let all: Vec<usize> = (0..self.target.table.columns.len()).collect();
        let returning = sql::returning(self.target.table, &all);
        // The rows of a reference table are the same on every shard.
        let steps = if self.target.table.is_reference() { 1 } else { self.steps.len() };
        self.steps.iter_mut().take(steps).for_each(|step| step.statement.sql.push_str(&returning));
        self
    }

    pub(crate) fn shards(&self) -> ShardSet {
        self.steps.iter().map(|step| step.shard).collect()
    }

    pub(crate) fn explain(&self, layout: &Layout) -> Result<Explain> {
        let shards = layout.shards();
        let reason = match self.target.pins.as_slice() {
            _ if self.limit_is_zero => "LIMIT 0: no shard".to_owned(),
            [Pin::Row(_)] if !self.steps.is_empty() => "the shard of its parent".to_owned(),
            [_, ..] if !self.steps.is_empty() => {
                format!("pinned to {}", self.shards().names(shards).join(", "))
            }
            _ if self.target.table.is_reference() && !self.steps.is_empty() => {
                if self.writes { route::EVERY_SHARD } else { route::ANY_SHARD }.to_owned()
            }
            _ => route::reason(self.target.table, &self.target.predicate, shards)?,
        };
        let reason = match self.locks(layout)? {
            Some(Dialect::Sqlite) => format!("{reason}; locks the database against other writers"),
            Some(Dialect::Postgres) => format!("{reason}; locks the rows"),
            None => reason,
        };
        let explained = match self.steps.is_empty() {
            true => lookups::LookupExplanation { reason, statements: Vec::new() },
            false => lookups::explained(self.target, reason, layout)?,
        };
        let statements = self.steps.iter().map(|step| (step.shard, step.statement.sql.clone()));
        Ok(Explain::new(explained.reason, statements, self.merged(), shards)
            .with_lookups(explained.statements, layout))
    }

    /// Returns the dialect that locks least, if the read locks.
    fn locks(&self, layout: &Layout) -> Result<Option<Dialect>> {
        let mut least = None;
        for step in self.steps.iter().filter(|_| self.target.for_update) {
            let dialect = layout.location(step.shard)?.dialect;
            least = if dialect == Dialect::Postgres { Some(dialect) } else { least.or(Some(dialect)) };
        }
        Ok(least)
    }

    fn merged(&self) -> Option<String> {
        if self.steps.len() < 2 {
            return None;
        }
        if let Some(how) = self.one_value {
            return Some(how.to_owned());
        }
        let mut how = Vec::new();
        if !self.order.is_empty() {
            let name = |by: &MergeBy| {
                let column = self.target.table.columns.get(by.by.column).map_or("", |column| column.name);
                by.function.map_or_else(|| column.to_owned(), |function| function.of(column))
            };
            let columns: Vec<String> = self.order.iter().map(name).collect();
            let distinct = if self.distinct { ", each once" } else { "" };
            how.push(format!("merged by {}{distinct}", columns.join(", ")));
        }
        how.extend(self.grouping.explained().map(str::to_owned));
        if self.bounds.skip > 0 {
            how.push(format!("{} rows left out", self.bounds.skip));
        }
        if let Some(rows) = self.bounds.take {
            how.push(format!("{rows} rows kept"));
        }
        (!how.is_empty()).then(|| how.join(", "))
    }
}

/// Returns the tables that a read or write reads.
///
/// # Errors
/// [`ErrorKind::UnknownModel`](crate::ErrorKind::UnknownModel) if one is not registered.
fn tables(target: &Target, layout: &Layout) -> Result<Vec<&'static Table>> {
    let mut tables = vec![target.table];
    target.predicate.for_each_related(&mut |table| tables.push(table));
    tables.iter().try_for_each(|table| layout.model(table).map(drop))?;
    Ok(tables)
}

/// Returns whether rows of several shards are never equal in these columns: they include the whole key, or the link to the
/// parent. Equal ids on two shards name two parents.
fn separates_shards(table: &Table, columns: &[usize]) -> bool {
    match table.key {
        KeyColumns::Columns(key) => key.iter().all(|column| columns.contains(column)),
        KeyColumns::Parent(column) => columns.contains(&column),
    }
}

/// One column of the order by which results are merged.
pub(crate) struct MergeBy {
    /// The index of the column in the rows of the results.
    pub(crate) index: usize,
    pub(crate) by: OrderBy,
    pub(crate) collation: Collation,
    /// The function of the column, if it is a measure.
    pub(crate) function: Option<Function>,
}

impl MergeBy {
    /// Orders by a column of the table.
    fn column(table: &Table, index: usize, by: OrderBy) -> Self {
        MergeBy { index, by, collation: table.collation(by.column), function: None }
    }
}

/// The columns of a read, the order of each shard's statement, and the order of the merge.
struct ReadShape {
    columns: Option<Vec<usize>>,
    merge: Vec<MergeBy>,
    order: Vec<OrderBy>,
    distinct: bool,
}

impl ReadShape {
    fn of(table: &Table, projection: SelectList<'_>, requested: &[OrderBy]) -> Result<Self> {
        let by = |column| OrderBy { column, descending: false, nulls_first: true };
        let is_ordered_by = |column| requested.iter().any(|by| by.column == column);
        let merged = |columns: Option<&[usize]>, order: &[OrderBy]| -> Vec<MergeBy> {
            let index =
                |column| columns.map_or(Some(column), |list| list.iter().position(|&other| other == column));
            let merge = |by: &OrderBy| Some(MergeBy::column(table, index(by.column)?, *by));
            order.iter().filter_map(merge).collect()
        };
        // Rows that are equal by the requested order are ordered by id. So the result does not depend on the index that the
        // database reads, and one page begins where another ends.
        let total = || {
            let by_id = (!requested.is_empty() && !is_ordered_by(table.id)).then(|| by(table.id));
            requested.iter().copied().chain(by_id).collect()
        };
        Ok(match projection {
            SelectList::Rows | SelectList::RowsWithParents(_) | SelectList::RowsWithReferences(_) => {
                ReadShape { columns: None, merge: merged(None, requested), order: total(), distinct: false }
            }
            SelectList::Columns { columns, distinct: false } => {
                // Columns that only the order needs follow the requested ones.
                let mut columns = columns.to_vec();
                for by in requested {
                    if !columns.contains(&by.column) {
                        columns.push(by.column);
                    }
                }
                let merge = merged(Some(&columns), requested);
                ReadShape { columns: Some(columns), merge, order: total(), distinct: false }
            }
            SelectList::Columns { columns, distinct: true } => {
                if let Some(other) = requested.iter().find(|by| !columns.contains(&by.column)) {
                    let message = "`distinct` queries can only be ordered by selected columns";
                    return Err(table.error_at(other.column, Error::new(ErrorKind::Query, message)));
                }
                let mut merge = merged(Some(columns), requested);
                for (index, &column) in columns.iter().enumerate() {
                    if merge.iter().all(|merge| merge.index != index) {
                        merge.push(MergeBy::column(table, index, by(column)));
                    }
                }
                let order = merge.iter().map(|merge| merge.by).collect();
                ReadShape { columns: Some(columns.to_vec()), merge, order, distinct: true }
            }
            SelectList::Count | SelectList::Existence | SelectList::Groups { .. } => {
                ReadShape { columns: None, merge: Vec::new(), order: Vec::new(), distinct: false }
            }
        })
    }
}

fn steps<'q>(
    target: &'q Target,
    shards: &ShardSet,
    layout: &Layout,
    model: usize,
    render: impl Fn(usize, &SqlContext<'_>) -> Result<Statement<'q>>,
) -> Result<Vec<PlanStep<'q>>> {
    let lists = SplitLists::default();
    let step = |&shard: &usize| {
        let own = OwnValues { target, layout, shard, lists: &lists };
        Ok(PlanStep { shard, statement: render(shard, &layout.site(model, shard, &own)?)? })
    };
    shards.indexes().iter().map(step).collect()
}

/// Returns the step on the first shard, for a read that locks rows of a reference table on other shards.
fn on_first<'q>(
    target: &'q Target,
    shards: &ShardSet,
    layout: &Layout,
    model: usize,
    render: impl Fn(usize, &SqlContext<'_>) -> Result<Statement<'q>>,
) -> Result<Option<PlanStep<'q>>> {
    if !target.for_update || !target.table.is_reference() || shards.is_empty() || shards.contains(0) {
        return Ok(None);
    }
    Ok(steps(target, &ShardSet::one(0), layout, model, render)?.pop())
}

/// Returns the statements that lock rows on the shards that lock single rows.
fn locks<'q>(
    target: &'q Target,
    shards: &ShardSet,
    layout: &Layout,
    model: usize,
    render: impl Fn(usize, &SqlContext<'_>) -> Result<Statement<'q>>,
) -> Result<Vec<PlanStep<'q>>> {
    let mut on_servers = Vec::new();
    for &shard in shards.indexes() {
        if layout.location(shard)?.dialect == Dialect::Postgres {
            on_servers.push(shard);
        }
    }
    steps(target, &on_servers.into_iter().collect(), layout, model, render)
}

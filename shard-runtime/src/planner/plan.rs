//! A query and a cluster's layout become what each shard is asked. Pure: [`Explain`] prints a plan without a
//! connection.

mod groups;
mod lookups;

use std::cmp::Ordering;

pub(crate) use groups::Grouping;
pub(crate) use lookups::questions;

use super::Explain;
use crate::collation::Collation;
use crate::error::{Error, ErrorKind, Result};
use crate::planner::Layout;
use crate::planner::LimitOffset;
use crate::planner::route;
use crate::planner::sql;
use crate::planner::sql::{After, Dialect, ShardFilter, SqlContext, Statement};
use crate::query::SelectList;
use crate::query::{Function, Operand, OrderBy, Pin, SelectCore, Target, WriteCore};
use crate::schema::ShardSet;
use crate::schema::{KeyColumns, Table};
use crate::value::Value;

/// What each shard is asked, and what is done with the answers.
pub struct Plan<'q> {
    pub(crate) target: &'q Target,
    /// The tables that are read: the model's own, and those that it relates to.
    pub(crate) tables: Vec<&'static Table>,
    pub(crate) steps: Vec<Step<'q>>,
    /// The statement that locks the rows of a reference table on the first shard, which all lock, if it is read on another.
    pub(crate) on_first: Option<Step<'q>>,
    /// The statements that lock rows on servers before they are read, one server after the other: those of a read to write
    /// that does not lock them in the order of their ids itself.
    pub(crate) locks: Vec<Step<'q>>,
    /// Which of the table's columns the answers have, where they do not have them all.
    pub(crate) columns: Option<Vec<usize>>,
    /// How the shards' ordered answers become one.
    pub(crate) order: Vec<MergeBy>,
    /// Whether rows come once that are equal by that order.
    pub(crate) distinct: bool,
    /// Which rows of the merged answer are wanted; where one shard answers, it sees to that itself.
    pub(crate) bounds: LimitOffset,
    /// What the answers' rows are of groups, where they are.
    pub(crate) grouping: Grouping,
    /// How the shards' answers become one value, where they do.
    one_value: Option<&'static str>,
    asks_nobody_by_limit: bool,
    /// Whether it changes rows.
    writes: bool,
}

/// What one shard is asked.
pub(crate) struct Step<'q> {
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
        let asks_nobody_by_limit = core.limit == Some(0);
        let chosen = route::shards_to_read(&core.target, layout.shards())?;
        let shards = if asks_nobody_by_limit { ShardSet::none() } else { chosen };
        // One shard does everything itself; of several each may hold all the rows that are wanted. Partial
        // values are bounded by whoever merges them.
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
        let Shape { columns, merge, order, distinct } = Shape::of(table, projection, &core.order)?;
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
            Some(cursor) => Some((cursor, layout.shards().require(&cursor.shard)?.index())),
            None => None,
        };
        let after = |shard: usize| {
            begin.map(|(cursor, place)| match distinct {
                // A row that is equal to the cursor's is the cursor's, whatever shard has it.
                true => After { cursor, order: &order, shard: Ordering::Less },
                // The cursor's row of a reference table is here too, wherever that was read.
                false if table.is_reference() => After { cursor, order: &core.order, shard: Ordering::Equal },
                // A shard that comes before the cursor's has given its rows that are equal to the cursor's already.
                false => After { cursor, order: &core.order, shard: shard.cmp(&place) },
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
            asks_nobody_by_limit,
            ..plan
        })
    }

    fn new(target: &'q Target, tables: Vec<&'static Table>, steps: Vec<Step<'q>>) -> Self {
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
            one_value: None,
            asks_nobody_by_limit: false,
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

    /// The same, with the rows that are written as the answer.
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
            _ if self.asks_nobody_by_limit => "LIMIT 0: no shard".to_owned(),
            [Pin::Row(_)] if !self.steps.is_empty() => "where its parent lives".to_owned(),
            [_, ..] if !self.steps.is_empty() => {
                format!("pinned to {}", self.shards().names(shards).join(", "))
            }
            _ if self.target.table.is_reference() && !self.steps.is_empty() => {
                if self.writes { route::EVERY_SHARD } else { route::ANY_SHARD }.to_owned()
            }
            _ => route::reason(self.target.table, &self.target.predicate, shards)?,
        };
        let reason = match self.locks(layout)? {
            Some(Dialect::Sqlite) => format!("{reason}; nobody else writes there meanwhile"),
            Some(Dialect::Postgres) => format!("{reason}; nobody else changes these rows meanwhile"),
            None => reason,
        };
        let asked = match self.steps.is_empty() {
            true => lookups::Asked { reason, statements: Vec::new() },
            false => lookups::explained(self.target, reason, layout)?,
        };
        let statements = self.steps.iter().map(|step| (step.shard, step.statement.sql.clone()));
        Ok(Explain::new(asked.reason, statements, self.merged(), shards).after(asked.statements, layout))
    }

    /// Which database does so with the least, where others are kept from writing.
    fn locks(&self, layout: &Layout) -> Result<Option<Dialect>> {
        let mut least = None;
        for step in self.steps.iter().filter(|_| self.target.for_update) {
            let dialect = layout.place(step.shard)?.dialect;
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

/// The tables that a read or write looks at.
///
/// # Errors
/// [`ErrorKind::UnknownModel`](crate::ErrorKind::UnknownModel) where the cluster does not hold one of them.
fn tables(target: &Target, layout: &Layout) -> Result<Vec<&'static Table>> {
    let mut tables = vec![target.table];
    target.predicate.for_each_related(&mut |table| tables.push(table));
    tables.iter().try_for_each(|table| layout.model(table).map(drop))?;
    Ok(tables)
}

/// Whether rows that agree in these columns are of one shard: where the whole key is among them, or the link to the
/// parent, whose id is another parent's on another shard.
fn tells_shards_apart(table: &Table, columns: &[usize]) -> bool {
    match table.key {
        KeyColumns::Columns(key) => key.iter().all(|column| columns.contains(column)),
        KeyColumns::Parent(column) => columns.contains(&column),
    }
}

/// One column of the order by which answers are merged.
pub(crate) struct MergeBy {
    /// The column's place in the answers' rows.
    pub(crate) place: usize,
    pub(crate) by: OrderBy,
    pub(crate) collation: Collation,
    /// What is made of the column, where it is a measure.
    pub(crate) function: Option<Function>,
}

impl MergeBy {
    /// One of the table's columns as it is.
    fn column(table: &Table, place: usize, by: OrderBy) -> Self {
        MergeBy { place, by, collation: table.collation(by.column), function: None }
    }
}

/// The columns that are asked for, and the orders: the one that shards are asked for and the one that their
/// answers are merged by.
struct Shape {
    columns: Option<Vec<usize>>,
    merge: Vec<MergeBy>,
    order: Vec<OrderBy>,
    distinct: bool,
}

impl Shape {
    fn of(table: &Table, projection: SelectList<'_>, asked: &[OrderBy]) -> Result<Self> {
        let by = |column| OrderBy { column, descending: false, nulls_first: true };
        let is_ordered_by = |column| asked.iter().any(|by| by.column == column);
        let merged = |columns: Option<&[usize]>, order: &[OrderBy]| -> Vec<MergeBy> {
            let place =
                |column| columns.map_or(Some(column), |list| list.iter().position(|&other| other == column));
            let merge = |by: &OrderBy| Some(MergeBy::column(table, place(by.column)?, *by));
            order.iter().filter_map(merge).collect()
        };
        // What is equal by the order asked for is ordered by id, so that the same data gives the same answer
        // whatever index the database reads it by, and one page begins where another ends.
        let total = || {
            let by_id = (!asked.is_empty() && !is_ordered_by(table.id)).then(|| by(table.id));
            asked.iter().copied().chain(by_id).collect()
        };
        Ok(match projection {
            SelectList::Rows | SelectList::RowsWithParents(_) | SelectList::RowsWithReferences(_) => {
                Shape { columns: None, merge: merged(None, asked), order: total(), distinct: false }
            }
            SelectList::Columns { columns, distinct: false } => {
                // Columns that are only ordered by come after those that are asked for.
                let mut columns = columns.to_vec();
                for by in asked {
                    if !columns.contains(&by.column) {
                        columns.push(by.column);
                    }
                }
                let merge = merged(Some(&columns), asked);
                Shape { columns: Some(columns), merge, order: total(), distinct: false }
            }
            SelectList::Columns { columns, distinct: true } => {
                if let Some(other) = asked.iter().find(|by| !columns.contains(&by.column)) {
                    let message =
                        "distinct rows are ordered by the columns that they are made of, and this is none";
                    return Err(table.error_at(other.column, Error::new(ErrorKind::Query, message)));
                }
                let mut merge = merged(Some(columns), asked);
                for (place, &column) in columns.iter().enumerate() {
                    if merge.iter().all(|merge| merge.place != place) {
                        merge.push(MergeBy::column(table, place, by(column)));
                    }
                }
                let order = merge.iter().map(|merge| merge.by).collect();
                Shape { columns: Some(columns.to_vec()), merge, order, distinct: true }
            }
            SelectList::Count | SelectList::Existence | SelectList::Groups { .. } => {
                Shape { columns: None, merge: Vec::new(), order: Vec::new(), distinct: false }
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
) -> Result<Vec<Step<'q>>> {
    shards
        .indexes()
        .iter()
        .map(|&shard| {
            let own = OwnValues { target, layout, shard };
            Ok(Step { shard, statement: render(shard, &layout.site(model, shard, &own)?)? })
        })
        .collect()
}

/// The step on the first shard of a read that locks rows of a reference table on other shards.
fn on_first<'q>(
    target: &'q Target,
    shards: &ShardSet,
    layout: &Layout,
    model: usize,
    render: impl Fn(usize, &SqlContext<'_>) -> Result<Statement<'q>>,
) -> Result<Option<Step<'q>>> {
    if !target.for_update || !target.table.is_reference() || shards.is_empty() || shards.contains(0) {
        return Ok(None);
    }
    Ok(steps(target, &ShardSet::one(0), layout, model, render)?.pop())
}

/// The statements that lock rows on those of the shards that lock rows one by one.
fn locks<'q>(
    target: &'q Target,
    shards: &ShardSet,
    layout: &Layout,
    model: usize,
    render: impl Fn(usize, &SqlContext<'_>) -> Result<Statement<'q>>,
) -> Result<Vec<Step<'q>>> {
    let mut on_servers = Vec::new();
    for &shard in shards.indexes() {
        if layout.place(shard)?.dialect == Dialect::Postgres {
            on_servers.push(shard);
        }
    }
    steps(target, &on_servers.into_iter().collect(), layout, model, render)
}

/// One shard's share of a query's values. A pin wins over where a key belongs, but not over where a link
/// points.
struct OwnValues<'a> {
    target: &'a Target,
    layout: &'a Layout,
    shard: usize,
}

impl ShardFilter for OwnValues<'_> {
    fn holds(&self, table: &Table, column: usize, operand: &Operand) -> bool {
        if let Some(link) = &operand.shard {
            return self.layout.shards().by_index(self.shard).is_some_and(|shard| shard == link);
        }
        match (table.key, operand.known()) {
            (KeyColumns::Columns(&[key]), Some(value)) if key == column => {
                self.holds_key(table, std::slice::from_ref(value))
            }
            _ => true,
        }
    }

    fn holds_key(&self, table: &Table, key: &[Value<'_>]) -> bool {
        if !self.target.pins.is_empty() {
            return true;
        }
        // Placed nowhere: no row has it.
        table.placement.place(key, self.layout.shards()).is_ok_and(|place| place == self.shard)
    }
}

//! A query and a cluster's layout become what each shard is asked. Pure: [`Explain`] prints a plan without a
//! connection.

use std::fmt;

use crate::cluster::Layout;
use crate::error::Result;
use crate::model::{KeyColumns, Table};
use crate::query::{Operand, OrderBy, Pin, SelectCore, Target, WriteCore};
use crate::route;
use crate::shards::ShardSet;
pub(crate) use crate::sql::Projection;
use crate::sql::{self, Share, Site, Statement};
use crate::value::Value;

/// What each shard is asked, and what is done with the answers.
pub struct Plan<'q> {
    pub(crate) target: &'q Target,
    /// The tables that are read: the model's own, and those that it relates to.
    pub(crate) tables: Vec<&'static Table>,
    pub(crate) steps: Vec<Step<'q>>,
    /// How the shards' ordered answers become one.
    pub(crate) order: &'q [OrderBy],
    /// How many rows of the merged answer are left out, and how many are kept; where one shard answers, it
    /// does both itself.
    pub(crate) skip: u64,
    pub(crate) take: Option<u64>,
    /// Whether the shards' answers are partial values of one.
    is_partial: bool,
    asks_nobody_by_limit: bool,
}

/// What one shard is asked.
pub(crate) struct Step<'q> {
    pub(crate) shard: usize,
    pub(crate) statement: Statement<'q>,
}

impl<'q> Plan<'q> {
    pub(crate) fn read(core: &'q SelectCore, projection: Projection, layout: &Layout) -> Result<Self> {
        let model = layout.model(core.target.table)?;
        let mut tables = tables(&core.target, layout)?;
        if let (Projection::RowsWithParent, Some(parent)) = (projection, core.target.table.parent) {
            tables.push(parent.table);
        }
        let asks_nobody_by_limit = core.limit == Some(0);
        let chosen = route::target_shards(&core.target, layout.shards())?;
        let shards = if asks_nobody_by_limit { ShardSet::none() } else { chosen };
        // One shard does everything itself; of several each may hold all the rows that are wanted. Partial
        // values are bounded by whoever merges them.
        let several = core.limit.map(|limit| limit.saturating_add(core.offset));
        let (limit, offset, skip, take) = match projection {
            _ if projection.is_rows() && shards.len() < 2 => (core.limit, core.offset, 0, None),
            Projection::Rows | Projection::RowsWithParent => (several, 0, core.offset, core.limit),
            Projection::Count => (several, 0, 0, None),
            Projection::Aggregate(..) => (core.limit, core.offset, 0, None),
        };
        let order: &[OrderBy] = if projection.is_rows() { &core.order } else { &[] };
        let total = total_order(core.target.table, order);
        let steps = steps(&core.target, &shards, layout, model, |site| {
            sql::select(site, &core.target.predicate, projection, &total, limit, offset)
        })?;
        let is_partial = !projection.is_rows();
        Ok(Plan { target: &core.target, tables, steps, order, skip, take, is_partial, asks_nobody_by_limit })
    }

    pub(crate) fn write(core: &'q WriteCore, layout: &Layout) -> Result<Self> {
        let model = layout.model(core.target.table)?;
        let tables = tables(&core.target, layout)?;
        let shards = route::target_shards(&core.target, layout.shards())?;
        let steps = steps(&core.target, &shards, layout, model, |site| sql::write(site, core))?;
        Ok(Plan {
            target: &core.target,
            tables,
            steps,
            order: &[],
            skip: 0,
            take: None,
            is_partial: false,
            asks_nobody_by_limit: false,
        })
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
            _ => route::reason(self.target.table, &self.target.predicate, shards)?,
        };
        Ok(Explain {
            reason,
            statements: self
                .steps
                .iter()
                .filter_map(|step| {
                    Some((shards.at(step.shard)?.name().to_owned(), step.statement.sql.clone()))
                })
                .collect(),
            merged: self.merged(),
        })
    }

    fn merged(&self) -> Option<String> {
        if self.steps.len() < 2 {
            return None;
        }
        if self.is_partial {
            return Some("one value from all".to_owned());
        }
        let mut how = Vec::new();
        if !self.order.is_empty() {
            let columns: Vec<&str> = self
                .order
                .iter()
                .filter_map(|by| self.target.table.columns.get(by.column))
                .map(|column| column.name)
                .collect();
            how.push(format!("merged by {}", columns.join(", ")));
        }
        if self.skip > 0 {
            how.push(format!("{} rows left out", self.skip));
        }
        if let Some(rows) = self.take {
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

/// An order in which no two rows of a shard are equal, so that the same data gives the same answer whatever
/// index the database reads it by, and one page begins where another ends: what is equal is ordered by id.
fn total_order(table: &Table, order: &[OrderBy]) -> Vec<OrderBy> {
    let by_id = OrderBy { column: table.id, descending: false, nulls_first: true };
    let is_total = order.is_empty() || order.iter().any(|by| by.column == table.id);
    order.iter().copied().chain((!is_total).then_some(by_id)).collect()
}

fn steps<'q>(
    target: &'q Target,
    shards: &ShardSet,
    layout: &Layout,
    model: usize,
    render: impl Fn(&Site<'_>) -> Result<Statement<'q>>,
) -> Result<Vec<Step<'q>>> {
    shards
        .indexes()
        .iter()
        .map(|&shard| {
            let own = Own { target, layout, shard };
            Ok(Step { shard, statement: render(&layout.site(model, shard, &own)?)? })
        })
        .collect()
}

/// One shard's share of a query's values. A pin wins over where a key belongs, but not over where a link
/// points.
struct Own<'a> {
    target: &'a Target,
    layout: &'a Layout,
    shard: usize,
}

impl Share for Own<'_> {
    fn holds(&self, table: &Table, column: usize, operand: &Operand) -> bool {
        if let Some(link) = &operand.shard {
            return self.layout.shards().at(self.shard).is_some_and(|shard| shard == link);
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

/// Which shards a query asks, why, and what; made by [`Cluster::explain`](crate::Cluster::explain) without
/// asking anybody. It prints as a tree: the shards and the reason, then the SQL for each shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    reason: String,
    statements: Vec<(String, String)>,
    merged: Option<String>,
}

impl Explain {
    /// The names of the shards that would be asked, in the cluster's order.
    pub fn shards(&self) -> Vec<&str> {
        self.statements.iter().map(|(shard, _)| shard.as_str()).collect()
    }

    /// Why these shards: `continent = Asia`, `no key: all shards`, `pinned to asia`.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What becomes of several shards' answers: `merged by temperature, 3 rows kept`; `None` where one shard's
    /// answer is the answer, or where one follows the other.
    pub fn merge(&self) -> Option<&str> {
        self.merged.as_deref()
    }

    /// What each shard would be asked: its name and the SQL, without the values.
    pub fn statements(&self) -> impl Iterator<Item = (&str, &str)> {
        self.statements.iter().map(|(shard, sql)| (shard.as_str(), sql.as_str()))
    }
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.statements.is_empty() {
            true => write!(f, "nobody: {}", self.reason)?,
            false => write!(f, "{}: {}", self.shards().join(", "), self.reason)?,
        }
        let width = self.statements.iter().map(|(shard, _)| shard.chars().count()).max().unwrap_or(0);
        for (place, (shard, sql)) in self.statements.iter().enumerate() {
            let branch =
                if place + 1 == self.statements.len() && self.merged.is_none() { "└─" } else { "├─" };
            write!(f, "\n{branch} {shard:width$}  {sql}")?;
        }
        match &self.merged {
            Some(how) => write!(f, "\n└─ {how}"),
            None => Ok(()),
        }
    }
}

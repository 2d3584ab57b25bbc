//! The lookups that are read before a query, their values, and their shards. Uses `route` and `plan`.

use std::collections::HashSet;

use super::Plan;
use crate::error::Result;
use crate::planner::Layout;
use crate::planner::route;
use crate::query::SelectList;
use crate::query::{Node, Operand, Predicate, SelectCore, Target, Whereabouts};
use crate::schema::ShardSet;
use crate::schema::{PlacedLookup, lookup};
use crate::value::Value;

/// The query of one lookup.
pub(crate) struct LookupQuery<'l> {
    pub(crate) lookup: &'l PlacedLookup,
    /// The entries with the values of the query.
    pub(crate) entries: SelectCore,
}

/// Returns the lookups that are read before a query. There are none if a pin or a key names one shard, or if the entries
/// could not reduce the shards.
pub(crate) fn questions<'l>(target: &Target, layout: &'l Layout) -> Result<Vec<LookupQuery<'l>>> {
    let (lookups, shards) = (layout.lookups(), layout.shards());
    if lookups.is_empty() || !target.pins.is_empty() {
        return Ok(Vec::new());
    }
    let mut compared: Vec<(&'l PlacedLookup, Vec<Value<'static>>)> = Vec::new();
    target.predicate.for_each_looked_up(target.table, lookups, &mut |lookup, operands| {
        let values = operands.iter().filter_map(|operand| operand.entry(lookup));
        match compared.iter_mut().find(|(other, _)| other.model == lookup.model) {
            Some((_, more)) => more.extend(values),
            None => compared.push((lookup, values.collect())),
        }
    });
    if compared.is_empty() {
        return Ok(Vec::new());
    }
    let without = route::choose(target, &target.predicate, shards)?;
    let least = target.predicate.located(target.table, lookups, &|_, _| Whereabouts::Nowhere);
    if without.len() < 2 || route::choose(target, &least, shards)? == without {
        return Ok(Vec::new());
    }
    let question = |(lookup, values)| LookupQuery { lookup, entries: entries(lookup, values) };
    Ok(compared.into_iter().map(question).collect())
}

/// Returns the query of the entries with these values, each once.
fn entries(lookup: &PlacedLookup, values: Vec<Value<'static>>) -> SelectCore {
    let mut seen = HashSet::new();
    let once = values.into_iter().filter(|value| seen.insert(value.to_string()));
    let operands: Vec<Operand> = once.map(|value| Operand { value: Ok(value), shard: None }).collect();
    let node = match operands.is_empty() {
        true => Node::Nothing,
        false => Node::In { column: lookup::VALUE, operands },
    };
    SelectCore::of(Target::own(lookup.entries, Predicate::new(node)))
}

/// The explanation of a plan with its lookups.
pub(super) struct LookupExplanation {
    pub(super) reason: String,
    pub(super) statements: Vec<(usize, String)>,
}

/// Explains the lookups that are read before a query; `reason` is the reason for its shards without them.
pub(super) fn explained(target: &Target, reason: String, layout: &Layout) -> Result<LookupExplanation> {
    let mut explanation = LookupExplanation { reason, statements: Vec::new() };
    for LookupQuery { lookup, entries } in questions(target, layout)? {
        let plan = Plan::read(&entries, SelectList::Rows, layout)?;
        let shards: ShardSet = plan.shards();
        let names = shards.names(layout.shards()).join(", ");
        let message =
            format!("the shards that the lookup of {}.{} on {names} names", lookup.table.name, lookup.name());
        explanation.reason = match explanation.reason.starts_with("no key") {
            true => message,
            false => format!("{}, restricted to {message}", explanation.reason),
        };
        explanation.statements.extend(plan.steps.into_iter().map(|step| (step.shard, step.statement.sql)));
    }
    Ok(explanation)
}

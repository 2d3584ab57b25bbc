//! Reads a predicate as regions: alternatives, each a set of values for every coordinate. Uses `chain`, `region`,
//! `values`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::chain::Chain;
use super::region::{self, Region};
use super::values::ValueSet;
use super::{key_error, too_deep};
use crate::error::Result;
use crate::query::{Node, Operand, Operator, Relation, WholeKey};
use crate::schema::{Constant, Placement, Rest};
use crate::schema::{KeyColumns, Table};
use crate::schema::{ShardSet, Shards};
use crate::value::Value;

/// The number of composite keys that get a region each. More keys are described by one region for each shard.
const EACH: usize = 16;

/// Reads a condition on a model, or on one of its ancestors.
pub(super) struct ConditionReader<'s> {
    chain: &'s Chain,
    /// The number of levels above the model, and the table there.
    level: usize,
    table: &'static Table,
    shards: &'s Shards,
}

impl<'s> ConditionReader<'s> {
    /// Returns a reader of conditions on the model itself.
    pub(super) fn of(chain: &'s Chain, shards: &'s Shards) -> Option<Self> {
        Self::at(chain, 0, shards)
    }

    fn at(chain: &'s Chain, level: usize, shards: &'s Shards) -> Option<Self> {
        Some(ConditionReader { chain, level, table: chain.table(level)?, shards })
    }

    /// Returns alternatives, one of which holds wherever the condition can be true; if `negated`, wherever it can be false or
    /// NULL.
    pub(super) fn read<'p>(&self, node: &'p Node, negated: bool) -> Result<Vec<Region<'p>>> {
        Ok(match node {
            Node::Everything if negated => Vec::new(),
            Node::Nothing if !negated => Vec::new(),
            Node::Everything | Node::Nothing => self.anything(),
            Node::Not(inner) => self.read(inner, !negated)?,
            Node::And(nodes) if !negated => self.all_of(nodes, negated)?,
            Node::Or(nodes) if negated => self.all_of(nodes, negated)?,
            Node::And(nodes) | Node::Or(nodes) => self.any_of(nodes, negated)?,
            Node::Compare { column, operator, operand } => {
                let operator = if negated { operator.negated() } else { *operator };
                self.comparison(*column, operator, operand)?
            }
            Node::In { column, operands } => self.membership(*column, operands, negated)?,
            Node::KeyIn { columns, keys } => self.whole_keys(columns, keys, negated)?,
            Node::TooDeep => return Err(too_deep(self.table)),
            Node::StartsWith { column, prefix } => {
                let matches = ValueSet::prefixed(prefix.as_str().into());
                self.on_key(*column, if negated { matches.complement() } else { matches })
            }
            Node::Like { column, pattern } => {
                let known = self.listed();
                let matches = match negated {
                    true => ValueSet::unlike(pattern, &known),
                    false => ValueSet::like(pattern, &known),
                };
                self.on_key(*column, matches)
            }
            Node::IsNull { column } => match self.coordinate(*column).is_some() && !negated {
                true => Vec::new(), // a key is never NULL
                false => self.anything(),
            },
            Node::Related { relation, inner } => self.related(*relation, inner, negated)?,
        })
    }

    fn related<'p>(&self, relation: Relation, inner: &'p Node, negated: bool) -> Result<Vec<Region<'p>>> {
        match relation {
            // A row has one parent, so that the complement of its condition is exact.
            Relation::Parent(_) => match Self::at(self.chain, self.level + 1, self.shards) {
                Some(parent) => parent.read(inner, negated),
                None => Ok(self.anything()),
            },
            Relation::Children(table) => {
                let chain = Chain::of(table);
                let Some(child) = ConditionReader::of(&chain, self.shards) else {
                    return Ok(self.anything());
                };
                let regions = child.read(inner, negated)?;
                if negated {
                    return Ok(self.anything()); // there may be no child at all, on any shard of the parent
                }
                let same = self.chain.in_chain_of_child(&chain, self.level);
                Ok(region::simplify(regions.iter().map(|region| region.projected(&same)).collect()))
            }
            Relation::Reference(reference) => {
                // Every shard holds the referenced row, so that only a contradiction restricts the shards.
                let chain = Chain::of(reference.table);
                let Some(reader) = ConditionReader::of(&chain, self.shards) else {
                    return Ok(self.anything());
                };
                let is_contradiction = reader.read(inner, negated)?.is_empty() && !negated;
                Ok(if is_contradiction { Vec::new() } else { self.anything() })
            }
        }
    }

    /// Returns the coordinate of a column of the table at this level.
    fn coordinate(&self, column: usize) -> Option<usize> {
        self.chain.coordinate(self.level, column)
    }

    fn anything<'p>(&self) -> Vec<Region<'p>> {
        vec![Region::anything(self.chain.len())]
    }

    fn all_of<'p>(&self, nodes: &'p [Node], negated: bool) -> Result<Vec<Region<'p>>> {
        // Every part is read, even after a contradiction: a key that maps to no shard is always an error. Halves are
        // intersected, so that the cost of many parts grows slowly.
        match nodes {
            [] => Ok(self.anything()),
            [node] => self.read(node, negated),
            nodes => {
                let (left, right) = nodes.split_at(nodes.len() / 2);
                let (left, right) = (self.all_of(left, negated)?, self.all_of(right, negated)?);
                Ok(region::intersect(&left, &right))
            }
        }
    }

    fn any_of<'p>(&self, nodes: &'p [Node], negated: bool) -> Result<Vec<Region<'p>>> {
        let mut regions = Vec::new();
        for node in nodes {
            regions.extend(self.read(node, negated)?);
        }
        Ok(region::simplify(regions))
    }

    /// Returns the texts that the placement lists.
    fn listed(&self) -> Vec<Cow<'static, str>> {
        if let Some(rule) = self.shards.rule(self.table) {
            let Rest::List { entries, .. } = rule.rest() else { return Vec::new() };
            let single = rule.keys().iter().filter_map(|(key, _)| key.first());
            let values = entries.iter().map(|(value, _)| value).chain(single);
            let text = |value: &Value<'static>| match value {
                Value::Text(text) => Some(text.clone()),
                _ => None,
            };
            return values.filter_map(text).collect();
        }
        let Placement::List { entries, .. } = self.table.placement else { return Vec::new() };
        let text = |(constant, _): &(Constant, &'static str)| match constant {
            Constant::Text(text) => Some(Cow::Borrowed(*text)),
            Constant::Integer(_) => None,
        };
        entries.iter().filter_map(text).collect()
    }

    /// Returns the keys with one of these values in this column; every key, if the column is not part of the key.
    fn on_key<'p>(&self, column: usize, values: ValueSet<'p>) -> Vec<Region<'p>> {
        let Some(coordinate) = self.coordinate(column) else { return self.anything() };
        Region::column(self.chain.len(), coordinate, values).into_iter().collect()
    }

    fn comparison<'p>(
        &self,
        column: usize,
        operator: Operator,
        operand: &'p Operand,
    ) -> Result<Vec<Region<'p>>> {
        if self.coordinate(column).is_none() {
            return self.located(std::slice::from_ref(operand), operator != Operator::Equal);
        }
        if operand.shard.is_some() && operator != Operator::Equal {
            return Ok(self.anything()); // another id, or the same on another shard
        }
        let value = self.value(column, operand)?;
        if operator == Operator::Equal {
            self.check_placed(column, &value)?;
        }
        let regions = self.on_key(column, ValueSet::compared(operator, value));
        self.pinned(regions, operand)
    }

    fn membership<'p>(
        &self,
        column: usize,
        operands: &'p [Operand],
        negated: bool,
    ) -> Result<Vec<Region<'p>>> {
        if self.coordinate(column).is_none() {
            return self.located(operands, negated);
        }
        if operands.iter().any(|operand| operand.shard.is_some()) {
            if negated {
                return Ok(self.anything());
            }
            // The links of each shard are one alternative.
            let mut by_shard: BTreeMap<Option<usize>, Vec<Value<'p>>> = BTreeMap::new();
            for operand in operands {
                let shard = operand.shard.as_ref().map(|shard| self.shards.index_of(shard)).transpose()?;
                by_shard.entry(shard).or_default().push(self.value(column, operand)?);
            }
            let mut regions = Vec::new();
            for (shard, values) in by_shard {
                let mut region = self.on_key(column, ValueSet::points(values));
                if let Some(shard) = shard {
                    region.iter_mut().for_each(|region| region.keep_to(shard));
                }
                regions.extend(region);
            }
            return Ok(regions);
        }
        let mut values = Vec::with_capacity(operands.len());
        for operand in operands {
            let value = self.value(column, operand)?;
            if !negated {
                self.check_placed(column, &value)?;
            }
            values.push(value);
        }
        let points = ValueSet::points(values);
        Ok(self.on_key(column, if negated { points.complement() } else { points }))
    }

    /// Returns the rows with one of these values in a column that is not part of the key. If a lookup has named the
    /// shard of each value, they are on those shards.
    fn located<'p>(&self, operands: &'p [Operand], negated: bool) -> Result<Vec<Region<'p>>> {
        if negated || operands.iter().any(|operand| operand.shard.is_none()) {
            return Ok(self.anything());
        }
        let mut found = ShardSet::none();
        for shard in operands.iter().filter_map(|operand| operand.shard.as_ref()) {
            found.insert(self.shards.index_of(shard)?);
        }
        let on = |&shard: &usize| {
            let mut region = Region::anything(self.chain.len());
            region.keep_to(shard);
            region
        };
        Ok(found.indexes().iter().map(on).collect())
    }

    fn whole_keys<'p>(
        &self,
        columns: &[usize],
        keys: &'p [WholeKey],
        negated: bool,
    ) -> Result<Vec<Region<'p>>> {
        let mut by_shard: BTreeMap<usize, Vec<Region<'p>>> = BTreeMap::new();
        for key in keys {
            let values = key.as_ref().map_err(|error| key_error(self.table, error.clone().into()))?;
            let known = columns.iter().zip(values);
            let region = Region::key(
                self.chain.len(),
                known.filter_map(|(&column, value)| Some((self.coordinate(column)?, value.borrowed()))),
            );
            let placed = self.table.place(values, self.shards);
            match placed.map_err(|error| key_error(self.table, error)) {
                Ok(shard) => by_shard.entry(shard).or_default().push(region),
                Err(_) if negated => {}
                Err(error) => return Err(error),
            }
        }
        if negated {
            let others = by_shard.into_values().flatten().map(Region::complement);
            let others: Vec<Vec<Region<'p>>> = others.collect();
            return Ok(match others.len() <= EACH {
                true => others.iter().fold(self.anything(), |all, other| region::intersect(&all, other)),
                false => self.anything(),
            });
        }
        Ok(match keys.len() <= EACH {
            true => by_shard.into_values().flatten().collect(),
            false => by_shard
                .into_iter()
                .map(|(shard, regions)| {
                    let mut hull = Region::hull(regions, self.chain.len());
                    hull.keep_to(shard);
                    hull
                })
                .collect(),
        })
    }

    fn value<'p>(&self, column: usize, operand: &'p Operand) -> Result<Value<'p>> {
        match &operand.value {
            Ok(value) => Ok(value.borrowed()),
            Err(error) => Err(self.table.error_at(column, error.clone())),
        }
    }

    /// Returns an error if the predicate compares the key with a value that maps to no shard (R05).
    fn check_placed(&self, column: usize, value: &Value<'_>) -> Result<()> {
        match (&self.table.placement, self.table.key) {
            (Placement::Hash, _) | (_, KeyColumns::Parent(_)) => Ok(()),
            (_, KeyColumns::Columns([key])) if *key == column => {
                self.table
                    .place(std::slice::from_ref(value), self.shards)
                    .map_err(|error| key_error(self.table, error))?;
                Ok(())
            }
            // One column of several determines no shard; `Region::place` checks all of them.
            _ => Ok(()),
        }
    }

    /// Restricts the regions to the shard of the link in the comparison.
    fn pinned<'p>(&self, mut regions: Vec<Region<'p>>, operand: &Operand) -> Result<Vec<Region<'p>>> {
        if let Some(shard) = &operand.shard {
            let index = self.shards.index_of(shard)?;
            regions.iter_mut().for_each(|region| region.keep_to(index));
        }
        Ok(regions)
    }
}

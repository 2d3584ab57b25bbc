//! From a predicate to the shards that may hold its rows. Pure.
//!
//! A predicate is read as a set of *key values* (see [`ValueSet`]): a comparison with the key is a set,
//! `AND` intersects, `OR` unites, `NOT` is pushed down to the comparisons, where the complement is exact
//! because a key is never NULL; whatever says nothing about the key is "every value". Only at the end are
//! values placed on shards. Working with values rather than with shards is what makes the answer minimal:
//! `k = 1 AND k = 2` is empty even where 1 and 2 live on the same shard.

mod region;
mod values;

use std::collections::BTreeMap;

use region::Region;
use values::ValueSet;
pub(crate) use values::text_after;

use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::key::{Constant, Placement};
use crate::model::{KeyColumns, Table};
use crate::query::{DEEPEST, Node, Operand, Operator, Pin, Predicate, Target, WholeKey};
use crate::shards::{ShardSet, Shards};
use crate::value::Value;

/// The shard of a row whose key has these values.
pub(crate) fn place_row(
    table: &'static Table,
    key: &[Result<Value<'_>, ValueError>],
    shards: &Shards,
) -> Result<usize> {
    let columns = match table.key {
        KeyColumns::Columns(columns) => columns,
        KeyColumns::Parent(_) => &[],
    };
    if let [Ok(value)] = key {
        let placed = table.placement.place(std::slice::from_ref(value), shards);
        return placed.map_err(|error| key_error(table, error));
    }
    let mut values = Vec::with_capacity(key.len());
    for (place, value) in key.iter().enumerate() {
        match value {
            Ok(value) => values.push(value.borrowed()),
            Err(error) => {
                return Err(table.error_at(columns.get(place).copied().unwrap_or(table.id), error.clone()));
            }
        }
    }
    table.placement.place(&values, shards).map_err(|error| key_error(table, error))
}

/// Adds the table and the key's column to an error about a key's value.
fn key_error(table: &'static Table, error: Error) -> Error {
    match table.key {
        KeyColumns::Columns(&[column]) | KeyColumns::Parent(column) => table.error_at(column, error),
        KeyColumns::Columns(_) => error.in_table(table.name),
    }
}

/// The shards that a read or write asks: those of its pin where it has one, otherwise those that its chooser
/// leaves.
///
/// # Errors
/// [`ErrorKind::UnknownShard`] for a pin to a shard that there is not, [`ErrorKind::ContradictingPins`].
pub(crate) fn target_shards(target: &Target, shards: &Shards) -> Result<ShardSet> {
    let mut pinned: Option<usize> = None;
    for pin in &target.pins {
        let index = pin_shard(target.table, pin, shards)?;
        if let Some(other) = pinned.filter(|&other| other != index) {
            let names = ShardSet::from_iter([other, index]).names(shards).join(" and to ");
            return Err(Error::new(ErrorKind::ContradictingPins, format!("the query is pinned to {names}"))
                .in_table(target.table.name));
        }
        pinned = Some(index);
    }
    let chosen = (target.chooser)(&target.predicate, shards)?;
    Ok(match pinned {
        // A contradiction holds for no row, wherever it is looked for.
        Some(_) if chosen.is_empty() && is_contradiction(target.table, &target.predicate, shards)? => {
            ShardSet::none()
        }
        Some(index) => ShardSet::one(index),
        None => chosen,
    })
}

/// The shard that a pin names.
pub(crate) fn pin_shard(table: &'static Table, pin: &Pin, shards: &Shards) -> Result<usize> {
    match pin {
        Pin::Name(name) => Ok(shards.named_shard(name)?.index()),
        Pin::Row(shard) => shards.place_of(shard),
        Pin::Key(Ok(values)) => {
            table.placement.place(values, shards).map_err(|error| key_error(table, error))
        }
        Pin::Key(Err(error)) => Err(key_error(table, error.clone().into())),
    }
}

fn is_contradiction(table: &'static Table, predicate: &Predicate, shards: &Shards) -> Result<bool> {
    Ok(regions(table, predicate, shards)?.is_empty())
}

/// The shards that may hold rows for which the predicate holds.
///
/// # Errors
/// [`ErrorKind::Unmapped`] where the predicate asks for a key that is placed nowhere, [`ErrorKind::Value`]
/// where a value of the key cannot be stored.
pub(crate) fn narrow(table: &'static Table, predicate: &Predicate, shards: &Shards) -> Result<ShardSet> {
    let mut found = ShardSet::none();
    for region in regions(table, predicate, shards)? {
        region.place(table, shards, &mut found)?;
    }
    Ok(found)
}

/// Why [`narrow`] finds what it finds, for a person.
pub(crate) fn reason(table: &'static Table, predicate: &Predicate, shards: &Shards) -> Result<String> {
    let regions = regions(table, predicate, shards)?;
    if regions.is_empty() {
        return Ok("a contradiction: no shard".to_owned());
    }
    let parts: Vec<String> = regions.iter().map(|region| region.describe(table, shards)).collect();
    Ok(match parts.iter().any(String::is_empty) {
        true => "no key: all shards".to_owned(),
        false => parts.join(" OR "),
    })
}

fn regions<'p>(table: &'static Table, predicate: &'p Predicate, shards: &Shards) -> Result<Vec<Region<'p>>> {
    Reader { table, shards, key: key_columns(table) }.read(predicate.node(), false)
}

fn key_columns(table: &Table) -> Vec<usize> {
    match table.key {
        KeyColumns::Columns(columns) => columns.to_vec(),
        KeyColumns::Parent(column) => vec![column],
    }
}

/// So many keys of several columns are kept apart; more are described by one region for each shard.
const EACH: usize = 16;

/// The error for conditions that are nested too deeply.
pub(crate) fn too_deep(table: &Table) -> Error {
    let said = format!("conditions are nested in each other more than {DEEPEST} deep");
    Error::new(ErrorKind::Query, said).in_table(table.name)
}

/// Reads a predicate as regions: alternatives, each a set of values for every column of the key.
struct Reader<'s> {
    table: &'static Table,
    shards: &'s Shards,
    key: Vec<usize>,
}

impl Reader<'_> {
    fn read<'p>(&self, node: &'p Node, negated: bool) -> Result<Vec<Region<'p>>> {
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
            Node::IsNull { column } => match self.key.contains(column) && !negated {
                true => Vec::new(), // a key is never NULL
                false => self.anything(),
            },
        })
    }

    fn anything<'p>(&self) -> Vec<Region<'p>> {
        vec![Region::anything(self.key.len())]
    }

    fn all_of<'p>(&self, nodes: &'p [Node], negated: bool) -> Result<Vec<Region<'p>>> {
        // Every part is read, even after a contradiction: a key that is placed nowhere is an error wherever it
        // stands. Halves are intersected, so that many parts cost little more than few.
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

    /// The texts that the placement lists.
    fn listed(&self) -> Vec<&'static str> {
        let Placement::List { entries, .. } = self.table.placement else { return Vec::new() };
        let text = |(constant, _): &(Constant, &'static str)| match constant {
            Constant::Text(text) => Some(*text),
            Constant::Integer(_) => None,
        };
        entries.iter().filter_map(text).collect()
    }

    /// Keys that have one of these values in this column; every key, where it is none of the key's.
    fn on_key<'p>(&self, column: usize, values: ValueSet<'p>) -> Vec<Region<'p>> {
        let Some(place) = self.key.iter().position(|&key| key == column) else {
            return self.anything();
        };
        Region::column(self.key.len(), place, values).into_iter().collect()
    }

    fn comparison<'p>(
        &self,
        column: usize,
        operator: Operator,
        operand: &'p Operand,
    ) -> Result<Vec<Region<'p>>> {
        if !self.key.contains(&column) {
            return Ok(self.anything());
        }
        if operand.shard.is_some() && operator != Operator::Equal {
            return Ok(self.anything()); // another id, or the same on another shard
        }
        let value = self.known(column, operand)?;
        if operator == Operator::Equal {
            self.check_placed(&value)?;
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
        if !self.key.contains(&column) {
            return Ok(self.anything());
        }
        if operands.iter().any(|operand| operand.shard.is_some()) {
            if negated {
                return Ok(self.anything());
            }
            let mut regions = Vec::new();
            for operand in operands {
                let value = self.known(column, operand)?;
                let region = self.on_key(column, ValueSet::points([value]));
                regions.extend(self.pinned(region, operand)?);
            }
            return Ok(region::simplify(regions));
        }
        let mut values = Vec::with_capacity(operands.len());
        for operand in operands {
            let value = self.known(column, operand)?;
            if !negated {
                self.check_placed(&value)?;
            }
            values.push(value);
        }
        let points = ValueSet::points(values);
        Ok(self.on_key(column, if negated { points.complement() } else { points }))
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
            let region = Region::key(self.key.iter().map(|column| {
                let place = columns.iter().position(|other| other == column);
                place.and_then(|place| values.get(place)).map_or(Value::Null, Value::borrowed)
            }));
            let placed = self.table.placement.place(values, self.shards);
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
                    let mut hull = Region::hull(regions, self.key.len());
                    hull.keep_to(shard);
                    hull
                })
                .collect(),
        })
    }

    fn known<'p>(&self, column: usize, operand: &'p Operand) -> Result<Value<'p>> {
        match &operand.value {
            Ok(value) => Ok(value.borrowed()),
            Err(error) => Err(self.table.error_at(column, error.clone())),
        }
    }

    /// A key that a predicate asks for by its value has a shard, or the query is an error (R05).
    fn check_placed(&self, value: &Value<'_>) -> Result<()> {
        match (&self.table.placement, self.table.key) {
            (Placement::Hash, _) | (_, KeyColumns::Parent(_)) => Ok(()),
            (placement, KeyColumns::Columns([_])) => {
                placement
                    .place(std::slice::from_ref(value), self.shards)
                    .map_err(|error| key_error(self.table, error))?;
                Ok(())
            }
            _ => Ok(()), // one column of several decides nothing; `Region::place` looks at all of them
        }
    }

    /// Keeps the regions to the shard of the link that was compared with.
    fn pinned<'p>(&self, mut regions: Vec<Region<'p>>, operand: &Operand) -> Result<Vec<Region<'p>>> {
        if let Some(shard) = &operand.shard {
            let index = self.shards.place_of(shard)?;
            regions.iter_mut().for_each(|region| region.keep_to(index));
        }
        Ok(regions)
    }
}

//! Regions: one alternative of a predicate as a set of values for every coordinate, and the shards of compared links.
//! Uses `chain` and `values`.

use super::chain::Chain;
use super::values::ValueSet;
use crate::error::{ErrorKind, Result};
use crate::schema::{Bounds, Placement, Rest, Table};
use crate::schema::{ShardSet, Shards};
use crate::value::Value;

/// The number of alternatives above which keys of several columns are described by one region.
const ALTERNATIVES: usize = 4096;

/// The number of pairs of alternatives above which their intersections are not computed one by one.
const PAIRS: usize = 65_536;

/// The number of alternatives above which those that differ in one coordinate are not merged.
const COMPARED: usize = 256;

/// The number of combinations above which keys of several columns are not placed one by one.
const COMBINATIONS: usize = 4096;

/// Rows whose coordinates (see [`Chain`]) have values in these sets, on these shards if they are known.
#[derive(Clone, Debug)]
pub(super) struct Region<'p> {
    columns: Vec<ValueSet<'p>>,
    shards: Option<ShardSet>,
}

impl<'p> Region<'p> {
    pub(super) fn anything(columns: usize) -> Self {
        Region { columns: vec![ValueSet::everything(); columns], shards: None }
    }

    /// Returns the keys with one column in this set; `None` if it is empty.
    pub(super) fn column(columns: usize, coordinate: usize, set: ValueSet<'p>) -> Option<Self> {
        let mut region = Self::anything(columns);
        if set.is_empty() {
            return None;
        }
        if let Some(column) = region.columns.get_mut(coordinate) {
            *column = set;
        }
        Some(region)
    }

    /// Returns one key: its coordinates and their values.
    pub(super) fn key(columns: usize, values: impl Iterator<Item = (usize, Value<'p>)>) -> Self {
        let mut region = Self::anything(columns);
        for (coordinate, value) in values {
            if let Some(column) = region.columns.get_mut(coordinate) {
                *column = ValueSet::points([value]);
            }
        }
        region
    }

    /// Returns the restriction of other coordinates; each has the index of the equal coordinate here.
    pub(super) fn projected(&self, same: &[Option<usize>]) -> Self {
        let set = |known: &Option<usize>| known.and_then(|coordinate| self.columns.get(coordinate)).cloned();
        let columns = same.iter().map(|known| set(known).unwrap_or_else(ValueSet::everything)).collect();
        Region { columns, shards: self.shards.clone() }
    }

    /// Returns the keys outside of this region: those that differ in one of its columns.
    pub(super) fn complement(self) -> Vec<Self> {
        let count = self.columns.len();
        let others = self.columns.into_iter().enumerate();
        others.filter_map(|(coordinate, set)| Self::column(count, coordinate, set.complement())).collect()
    }

    pub(super) fn keep_to(&mut self, shard: usize) {
        self.shards = Some(ShardSet::one(shard));
    }

    fn differs_only_in(&self, coordinate: usize, other: &Self) -> bool {
        let mut columns = self.columns.iter().zip(&other.columns).enumerate();
        self.shards == other.shards && columns.all(|(at, (a, b))| at == coordinate || a == b)
    }

    fn intersection(&self, other: &Self) -> Option<Self> {
        let columns: Vec<ValueSet<'p>> =
            self.columns.iter().zip(&other.columns).map(|(a, b)| a.intersection(b)).collect();
        let shards = match (&self.shards, &other.shards) {
            (Some(a), Some(b)) => {
                Some(a.indexes().iter().copied().filter(|&shard| b.contains(shard)).collect())
            }
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        let is_empty = columns.iter().any(ValueSet::is_empty)
            || shards.as_ref().is_some_and(|shards: &ShardSet| shards.is_empty());
        (!is_empty).then_some(Region { columns, shards })
    }

    /// Returns the least region that contains all of these.
    pub(super) fn hull(regions: Vec<Self>, columns: usize) -> Self {
        let mut sets: Vec<Vec<ValueSet<'p>>> = (0..columns).map(|_| Vec::new()).collect();
        let mut shards = Some(ShardSet::none());
        for region in regions {
            for (column, set) in sets.iter_mut().zip(region.columns) {
                column.push(set);
            }
            shards = match (shards, region.shards) {
                (Some(a), Some(b)) => Some(a.indexes().iter().chain(b.indexes()).copied().collect()),
                _ => None,
            };
        }
        Region { columns: sets.into_iter().map(ValueSet::union).collect(), shards }
    }

    /// Adds the shards that hold keys of this region.
    pub(super) fn place(&self, chain: &Chain, shards: &Shards, found: &mut ShardSet) -> Result<()> {
        let Some((table, key)) = chain.root() else { return Ok(()) };
        let key: Vec<&ValueSet<'p>> =
            key.iter().filter_map(|&coordinate| self.columns.get(coordinate)).collect();
        let placed = match (table.placement, key.as_slice()) {
            (Placement::Everywhere, _) => None,
            (_, key) if shards.rule(table).is_some() => place_by(table, key, shards)?,
            (Placement::List { entries, otherwise }, [set]) => {
                Some(place_list(entries, otherwise, set, shards)?)
            }
            (Placement::Range(ranges), [set]) => {
                let mut placed = ShardSet::none();
                for range in ranges {
                    let bounds = ValueSet::range(range.from.map(|b| b.value()), range.to.map(|b| b.value()));
                    if set.intersects(&bounds) {
                        placed.insert(shards.require(range.shard)?.index());
                    }
                }
                Some(placed)
            }
            (_, key) => place_each(table, key, shards)?,
        };
        for shard in placed.unwrap_or_else(|| ShardSet::all(shards)).indexes() {
            if self.shards.as_ref().is_none_or(|only| only.contains(*shard)) {
                found.insert(*shard);
            }
        }
        Ok(())
    }

    /// Returns whether each column of a composite key is restricted. Otherwise no shard can be pruned.
    fn has_whole_key(&self, chain: &Chain) -> bool {
        let key = chain.root().map_or_else(Vec::new, |(_, key)| key);
        let is_restricted = |&coordinate: &usize| {
            self.columns.get(coordinate).is_some_and(|set| !set.describe(&chain.name(coordinate)).is_empty())
        };
        key.len() < 2 || key.iter().all(is_restricted)
    }

    /// Returns the region as a condition, for people; empty if it has every key.
    pub(super) fn describe(&self, chain: &Chain, shards: &Shards) -> String {
        let described = self.columns.iter().enumerate();
        let mut parts: Vec<String> = described
            .map(|(coordinate, set)| set.describe(&chain.name(coordinate)))
            .filter(|part| !part.is_empty())
            .collect();
        if let Some(only) = &self.shards {
            parts.push(format!("on {}", only.names(shards).join(", ")));
        } else if !parts.is_empty() && !self.has_whole_key(chain) {
            return format!("{} is only a part of the key: all shards", parts.join(" AND "));
        }
        parts.join(" AND ").replace(" AND on ", " on ")
    }
}

fn place_list(
    entries: &[(crate::schema::Constant, &'static str)],
    otherwise: Option<&'static str>,
    set: &ValueSet<'_>,
    shards: &Shards,
) -> Result<ShardSet> {
    let mut placed = ShardSet::none();
    for (constant, shard) in entries {
        if set.contains(&constant.value()) {
            placed.insert(shards.require(shard)?.index());
        }
    }
    if let Some(shard) = otherwise {
        let unlisted = ValueSet::points(entries.iter().map(|(constant, _)| constant.value())).complement();
        if set.intersects(&unlisted) {
            placed.insert(shards.require(shard)?.index());
        }
    }
    Ok(placed)
}

/// Returns the shards that hold keys of these sets by a recorded rule; `None` for every shard.
fn place_by(table: &'static Table, columns: &[&ValueSet<'_>], shards: &Shards) -> Result<Option<ShardSet>> {
    let (Some(rule), [set]) = (shards.rule(table), columns) else {
        return place_each(table, columns, shards);
    };
    let rest = match rule.keys().is_empty() {
        true => None,
        false => {
            let single = rule.keys().iter().filter_map(|(key, _)| key.first()).map(Value::borrowed);
            Some(set.intersection(&ValueSet::points(single).complement()))
        }
    };
    let rest = rest.as_ref().unwrap_or(set);
    let mut placed = match rule.rest() {
        Rest::Hash(_) | Rest::Function { .. } => return place_each(table, columns, shards),
        Rest::List { entries, otherwise } => {
            let of = |(value, shard): &(Value<'static>, usize)| rest.contains(value).then_some(*shard);
            let listed: ShardSet = entries.iter().filter_map(of).collect();
            let unlisted =
                || ValueSet::points(entries.iter().map(|(value, _)| value.borrowed())).complement();
            let otherwise = otherwise.filter(|_| rest.intersects(&unlisted()));
            listed.indexes().iter().copied().chain(otherwise).collect::<ShardSet>()
        }
        Rest::Range(ranges) => {
            let of = |range: &Bounds| {
                let (from, to) = (range.from.as_ref(), range.to.as_ref());
                let bounds = ValueSet::range(from.map(Value::borrowed), to.map(Value::borrowed));
                rest.intersects(&bounds).then_some(range.shard)
            };
            ranges.iter().filter_map(of).collect()
        }
    };
    for (key, shard) in rule.keys() {
        if key.first().is_some_and(|value| set.contains(value)) {
            placed.insert(*shard);
        }
    }
    Ok(Some(placed))
}

/// Places every combination of the values; `None` (every shard) if there are too many.
fn place_each(table: &'static Table, columns: &[&ValueSet<'_>], shards: &Shards) -> Result<Option<ShardSet>> {
    let mut lists = Vec::with_capacity(columns.len());
    for set in columns {
        match set.enumerate() {
            Some(values) => lists.push(values),
            None => return Ok(None),
        }
    }
    let combinations = lists.iter().try_fold(1_usize, |product, list| product.checked_mul(list.len()));
    if lists.len() > 1 && combinations.is_none_or(|combinations| combinations > COMBINATIONS) {
        return Ok(None);
    }
    let mut placed = ShardSet::none();
    for combination in 0..combinations.unwrap_or(0) {
        let mut rest = combination;
        let key: Vec<Value<'_>> = lists
            .iter()
            .map(|list| {
                let value = list[rest % list.len()].borrowed();
                rest /= list.len();
                value
            })
            .collect();
        match table.place(&key, shards) {
            Ok(shard) => placed.insert(shard),
            // The reader checks a key of one column; a key of several is checked here if it is the only one. Other
            // keys that map to no shard have no rows.
            Err(error)
                if error.kind() == ErrorKind::UnmappedKey
                    && (lists.len() == 1 || combinations != Some(1)) => {}
            Err(error) => return Err(super::key_error(table, error)),
        }
        if placed.len() == shards.len() {
            break;
        }
    }
    Ok(Some(placed))
}

/// Intersects two lists of alternatives.
pub(super) fn intersect<'p>(left: &[Region<'p>], right: &[Region<'p>]) -> Vec<Region<'p>> {
    if left.len().saturating_mul(right.len()) > PAIRS
        && let (Some(a), Some(b)) = (left.first(), right.first())
    {
        let (a, b) =
            (Region::hull(left.to_vec(), a.columns.len()), Region::hull(right.to_vec(), b.columns.len()));
        return a.intersection(&b).into_iter().collect();
    }
    simplify(left.iter().flat_map(|a| right.iter().filter_map(|b| a.intersection(b))).collect())
}

/// Merges alternatives that one region describes exactly: those on the same shards that differ in one coordinate. If
/// many are left, one region that contains them all replaces them.
pub(super) fn simplify(regions: Vec<Region<'_>>) -> Vec<Region<'_>> {
    let Some(columns) = regions.first().map(|region| region.columns.len()) else { return regions };
    let mut simple = regions;
    for coordinate in 0..columns {
        if simple.len() < 2 || (columns > 1 && simple.len() > COMPARED) {
            break;
        }
        let mut alike: Vec<Vec<Region<'_>>> = Vec::new();
        for region in simple {
            let first = |group: &&mut Vec<Region<'_>>| {
                group.first().is_some_and(|first| first.differs_only_in(coordinate, &region))
            };
            match alike.iter_mut().find(first) {
                Some(group) => group.push(region),
                None => alike.push(vec![region]),
            }
        }
        simple = alike.into_iter().map(|group| Region::hull(group, columns)).collect();
    }
    match simple.len() > ALTERNATIVES {
        true => vec![Region::hull(simple, columns)],
        false => simple,
    }
}

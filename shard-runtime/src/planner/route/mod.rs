//! Pruning: from a predicate to the shards that can hold its rows. Uses `schema` and the predicates of `query`; no
//! I/O.
//!
//! A predicate is read as a set of *key values* (see [`ValueSet`]). A comparison with the key is a set, `AND`
//! intersects, `OR` unites. `NOT` is pushed down to the comparisons, whose complement is exact because a key is never
//! NULL. A condition on another column is "every value". A condition on a parent restricts the values of its key, and
//! so does one on children that restricts their parent (see [`Chain`]). Only at the end are values placed on shards.
//! The result is minimal because these are sets of values and not of shards: `k = 1 AND k = 2` is empty even if 1 and
//! 2 are on the same shard.

mod chain;
mod reader;
mod region;
mod values;

use chain::Chain;
use reader::ConditionReader;
use region::Region;
pub(crate) use values::text_after;

use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::query::{DEEPEST, Pin, Predicate, Target};
use crate::schema::{KeyColumns, Table};
use crate::schema::{ShardSet, Shards};
use crate::value::Value;

/// Returns the shard of a row whose key has these values.
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
        let placed = table.place(std::slice::from_ref(value), shards);
        return placed.map_err(|error| key_error(table, error));
    }
    let mut values = Vec::with_capacity(key.len());
    for (index, value) in key.iter().enumerate() {
        match value {
            Ok(value) => values.push(value.borrowed()),
            Err(error) => {
                return Err(table.error_at(columns.get(index).copied().unwrap_or(table.id), error.clone()));
            }
        }
    }
    table.place(&values, shards).map_err(|error| key_error(table, error))
}

/// Adds the table and the key's column to an error about a key's value.
fn key_error(table: &'static Table, error: Error) -> Error {
    match table.key {
        KeyColumns::Columns(&[column]) | KeyColumns::Parent(column) => table.error_at(column, error),
        KeyColumns::Columns(_) => error.in_table(table.name),
    }
}

/// Returns the shards of a read or a write: the shard of its pin, otherwise those that its chooser returns.
///
/// # Errors
/// [`ErrorKind::UnknownShard`] for a pin to an unknown shard, [`ErrorKind::ContradictingPins`].
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
    let chosen = choose(target, target.condition(), shards)?;
    Ok(match pinned {
        // A contradiction holds for no row on any shard.
        Some(_) if chosen.is_empty() && is_contradiction(target.table, target.condition(), shards)? => {
            ShardSet::none()
        }
        Some(index) => ShardSet::one(index),
        None => chosen,
    })
}

/// The reason for the shard of a read of a reference table.
pub(crate) const ANY_SHARD: &str = "reference table: any shard";

/// The reason for the shards of a write of a reference table.
pub(crate) const EVERY_SHARD: &str = "reference table: every shard";

/// Returns the shards of a read: those of [`target_shards`], but only the first one for a reference table, which is
/// whole on each of them.
pub(crate) fn shards_to_read(target: &Target, shards: &Shards) -> Result<ShardSet> {
    let chosen = target_shards(target, shards)?;
    Ok(match target.table.is_reference() {
        true => chosen.indexes().iter().copied().take(1).collect(),
        false => chosen,
    })
}

/// Returns the shards of a write: those of [`target_shards`], and all of them for a reference table.
///
/// # Errors
/// [`ErrorKind::Query`] for a pin: a write on one shard would make the copies of a reference table differ.
pub(crate) fn shards_to_write(target: &Target, shards: &Shards) -> Result<ShardSet> {
    if target.table.is_reference() && !target.pins.is_empty() {
        let message = "a reference table is written on every shard; remove the pin";
        return Err(Error::new(ErrorKind::Query, message).in_table(target.table.name));
    }
    target_shards(target, shards)
}

/// Returns the shards that a condition leaves.
pub(crate) fn choose(target: &Target, condition: &Predicate, shards: &Shards) -> Result<ShardSet> {
    match target.chooser {
        Some(chooser) => chooser(condition, shards),
        None => narrow(target.table, condition, shards),
    }
}

/// Returns the shard that a pin names.
pub(crate) fn pin_shard(table: &'static Table, pin: &Pin, shards: &Shards) -> Result<usize> {
    match pin {
        Pin::Name(name) => Ok(shards.require(name)?.index()),
        Pin::Row(shard) | Pin::Session(shard) => shards.index_of(shard),
        Pin::Key(Ok(values)) => table.place(values, shards).map_err(|error| key_error(table, error)),
        Pin::Key(Err(error)) => Err(key_error(table, error.clone().into())),
    }
}

fn is_contradiction(table: &'static Table, predicate: &Predicate, shards: &Shards) -> Result<bool> {
    Ok(regions(&Chain::of(table), predicate, shards)?.is_empty())
}

/// Returns the shards that can hold rows for which the predicate holds.
///
/// # Errors
/// [`ErrorKind::UnmappedKey`] if the predicate compares the key with a value that maps to no shard,
/// [`ErrorKind::Value`] if a value of the key cannot be stored.
pub(crate) fn narrow(table: &'static Table, predicate: &Predicate, shards: &Shards) -> Result<ShardSet> {
    let mut found = ShardSet::none();
    let chain = Chain::of(table);
    for region in regions(&chain, predicate, shards)? {
        region.place(&chain, shards, &mut found)?;
    }
    Ok(found)
}

/// Returns the reason for the result of [`narrow`], for people.
pub(crate) fn reason(table: &'static Table, predicate: &Predicate, shards: &Shards) -> Result<String> {
    let chain = Chain::of(table);
    let regions = regions(&chain, predicate, shards)?;
    if regions.is_empty() {
        return Ok("a contradiction: no shard".to_owned());
    }
    let parts: Vec<String> = regions.iter().map(|region| region.describe(&chain, shards)).collect();
    Ok(match parts.iter().any(String::is_empty) {
        true => "no key: all shards".to_owned(),
        false => parts.join(" OR "),
    })
}

fn regions<'p>(chain: &Chain, predicate: &'p Predicate, shards: &Shards) -> Result<Vec<Region<'p>>> {
    ConditionReader::of(chain, shards).map_or(Ok(Vec::new()), |reader| reader.read(predicate.node(), false))
}

/// Returns the error for conditions that are nested too deeply.
pub(crate) fn too_deep(table: &Table) -> Error {
    let message = format!("conditions are nested more than {DEEPEST} levels deep");
    Error::new(ErrorKind::Query, message).in_table(table.name)
}

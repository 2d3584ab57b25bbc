//! The rules that map a key's value to a shard: list, range, hash, or the application's function. Uses `hash` and
//! `shards`.

use std::cmp::Ordering;

use super::hash;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{Shard, Shards};
use crate::value::Value;

/// The start of the recorded line that names the shard of values that are not listed.
pub(crate) const OTHERWISE: &str = "list otherwise => ";

/// A constant key value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant {
    /// An integer.
    Integer(i64),
    /// Text.
    Text(&'static str),
}

impl Constant {
    /// Returns the constant as a value.
    pub fn value(self) -> Value<'static> {
        match self {
            Constant::Integer(integer) => Value::Integer(integer),
            Constant::Text(text) => Value::Text(text.into()),
        }
    }

    /// Returns whether `self` is less than `other`: integers by size, text byte by byte. It is a `const fn`, so that the
    /// compiler checks the bounds that the derive writes.
    pub const fn is_less(self, other: Constant) -> bool {
        match (self, other) {
            (Constant::Integer(a), Constant::Integer(b)) => a < b,
            (Constant::Text(a), Constant::Text(b)) => {
                let (a, b) = (a.as_bytes(), b.as_bytes());
                let mut at = 0;
                while at < a.len() && at < b.len() {
                    if a[at] != b[at] {
                        return a[at] < b[at];
                    }
                    at += 1;
                }
                a.len() < b.len()
            }
            (Constant::Integer(_), Constant::Text(_)) => true,
            (Constant::Text(_), Constant::Integer(_)) => false,
        }
    }

    fn is(self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Constant::Integer(a), Value::Integer(b)) => a == *b,
            (Constant::Text(a), Value::Text(b)) => a == b,
            _ => false,
        }
    }
}

/// A range of key values and the shard of their rows: inclusive below, exclusive above (R03).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least value; `None` for no bound below.
    pub from: Option<Constant>,
    /// The first value above the range; `None` for no bound above.
    pub to: Option<Constant>,
    /// The shard's name.
    pub shard: &'static str,
}

impl Range {
    fn holds(&self, value: &Value<'_>) -> bool {
        self.from.is_none_or(|from| value.order(&from.value()) != Ordering::Less)
            && self.to.is_none_or(|to| value.order(&to.value()) == Ordering::Less)
    }
}

/// The rule that maps a key's value to a shard. The shard depends on the value and the declared shards only (R01).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Placement {
    /// Each value has its shard; `otherwise` has all other values, if it is declared.
    List {
        /// The values and their shards' names.
        entries: &'static [(Constant, &'static str)],
        /// The shard of every value that is not listed.
        otherwise: Option<&'static str>,
    },
    /// PostgreSQL's `PARTITION BY HASH`: of n shards, the shard with index r holds the keys for which
    /// `satisfies_hash_partition` is true with modulus n, remainder r.
    Hash,
    /// Ranges in ascending order, without overlap.
    Range(&'static [Range]),
    /// Every shard holds every row.
    Everywhere,
    /// The application's function of the values of the key's columns.
    Custom(fn(&[Value<'_>], &Shards) -> Result<Option<usize>>),
}

impl Placement {
    /// Returns the index of the shard that holds this key, given as the values of its columns; 0 for a reference
    /// table.
    ///
    /// # Errors
    /// [`ErrorKind::UnmappedKey`] if the value maps to no shard, [`ErrorKind::UnknownShard`] if the cluster does not
    /// have its shard.
    pub fn place(&self, key: &[Value<'_>], shards: &Shards) -> Result<usize> {
        let named = match (self, key) {
            (Placement::Everywhere, _) => return Ok(shards.serving().next().map_or(0, Shard::index)),
            (Placement::Hash, key) => return Ok(hash::remainder(key_hash(key), shards.len() as u64) as usize),
            (Placement::Custom(choose), key) => return choose(key, shards)?.ok_or_else(|| unmapped(key)),
            (Placement::List { entries, otherwise }, [value]) => entries
                .iter()
                .find(|(constant, _)| constant.is(value))
                .map(|(_, shard)| *shard)
                .or(*otherwise),
            (Placement::Range(ranges), [value]) => {
                ranges.iter().find(|range| range.holds(value)).map(|range| range.shard)
            }
            (Placement::List { .. } | Placement::Range(_), _) => None,
        };
        Ok(shards.require(named.ok_or_else(|| unmapped(key))?)?.index())
    }

    /// Returns the shard names that the placement mentions, in its order, with repetitions.
    pub(crate) fn mentioned(&self) -> Vec<&'static str> {
        match self {
            Placement::List { entries, otherwise } => {
                entries.iter().map(|(_, shard)| *shard).chain(*otherwise).collect()
            }
            Placement::Range(ranges) => ranges.iter().map(|range| range.shard).collect(),
            Placement::Hash | Placement::Everywhere | Placement::Custom(_) => Vec::new(),
        }
    }

    /// Returns the placement as text lines, which are recorded in every shard and compared when the cluster is opened. For a
    /// function of the application they do not depend on its results, which cannot be compared.
    pub(crate) fn describe(&self, shards: &Shards) -> Vec<String> {
        match self {
            Placement::List { entries, otherwise } => entries
                .iter()
                .map(|(constant, shard)| format!("list {} => {shard}", constant.value()))
                .chain(otherwise.map(|shard| format!("{OTHERWISE}{shard}")))
                .collect(),
            Placement::Hash => shards
                .iter()
                .map(|shard| format!("hash modulus {} remainder {} => {shard}", shards.len(), shard.index()))
                .collect(),
            Placement::Range(ranges) => ranges.iter().map(range_line).collect(),
            Placement::Everywhere => vec!["a reference table, whole on every shard".to_owned()],
            Placement::Custom(_) => {
                vec![format!("a function of the application, over {} shards", shards.len())]
            }
        }
    }
}

/// Returns the line of a range.
pub(crate) fn range_line(range: &Range) -> String {
    let bound = |bound: Option<Constant>| bound.map(|b| b.value().to_string()).unwrap_or_default();
    format!("range {}..{} => {}", bound(range.from), bound(range.to), range.shard)
}

/// Returns the hash of a key, given as the values of its columns.
pub(crate) fn key_hash(key: &[Value<'_>]) -> u64 {
    let seed = hash::PARTITION_SEED;
    hash::row_hash(key.iter().map(|value| match value {
        Value::Integer(integer) => hash::hash_integer(*integer, seed),
        Value::Text(text) => hash::hash_text(text, seed),
        Value::Bytes(bytes) => hash::hash_bytes(bytes, seed),
        Value::Uuid(uuid) => hash::hash_uuid(uuid, seed),
        // No other kind of value is a `ShardKey`; text is exact for all of them.
        other => hash::hash_text(&other.to_string(), seed),
    }))
}

/// Returns the error for a key that maps to no shard.
pub(crate) fn unmapped(key: &[Value<'_>]) -> Error {
    let values: Vec<String> = key.iter().map(|value| format!("`{value}`")).collect();
    Error::new(
        ErrorKind::UnmappedKey,
        format!("key {} maps to no shard; add it to the placement or correct the value", values.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: Placement = Placement::List {
        entries: &[(Constant::Text("x"), "a"), (Constant::Text("y"), "b"), (Constant::Text("z"), "b")],
        otherwise: None,
    };
    const FALLBACK: Placement =
        Placement::List { entries: &[(Constant::Integer(-1), "a")], otherwise: Some("c") };
    const RANGES: Placement = Placement::Range(&[
        Range { from: None, to: Some(Constant::Integer(0)), shard: "a" },
        Range { from: Some(Constant::Integer(0)), to: Some(Constant::Integer(10)), shard: "b" },
        Range { from: Some(Constant::Integer(20)), to: None, shard: "c" },
    ]);
    const WORDS: Placement = Placement::Range(&[
        Range { from: None, to: Some(Constant::Text("h")), shard: "a" },
        Range { from: Some(Constant::Text("h")), to: None, shard: "b" },
    ]);
    const CUSTOM: Placement = Placement::Custom(|key, shards| {
        Ok(match key {
            [Value::Integer(number)] if *number < 0 => None,
            [Value::Integer(number)] => Some(*number as usize % shards.len()),
            _ => Some(shards.require("nowhere")?.index()),
        })
    });
    const ELSEWHERE: Placement =
        Placement::List { entries: &[(Constant::Integer(1), "zz")], otherwise: None };

    /// Each line is a placement and a key, with the name of the shard or the kind of the error.
    #[test]
    fn r01_a_key_has_the_shard_that_its_placement_names() {
        let shards = Shards::named(["a", "b", "c"]).unwrap();
        let text = |text: &'static str| Value::Text(text.into());
        let lines: [(Placement, Vec<Value<'_>>, &str); 33] = [
            (LIST, vec![text("x")], "a"),
            (LIST, vec![text("z")], "b"),
            // Values are compared exactly, byte by byte, and with their kind.
            (LIST, vec![text("X")], "UnmappedKey"),
            (LIST, vec![text("x ")], "UnmappedKey"),
            (LIST, vec![text("")], "UnmappedKey"),
            (LIST, vec![Value::Integer(1)], "UnmappedKey"),
            (LIST, vec![], "UnmappedKey"),
            (LIST, vec![text("x"), text("x")], "UnmappedKey"),
            (FALLBACK, vec![Value::Integer(-1)], "a"),
            (FALLBACK, vec![Value::Integer(i64::MIN)], "c"),
            (ELSEWHERE, vec![Value::Integer(1)], "UnknownShard"),
            // Ranges are inclusive below and exclusive above (R03).
            (RANGES, vec![Value::Integer(i64::MIN)], "a"),
            (RANGES, vec![Value::Integer(-1)], "a"),
            (RANGES, vec![Value::Integer(0)], "b"),
            (RANGES, vec![Value::Integer(9)], "b"),
            (RANGES, vec![Value::Integer(10)], "UnmappedKey"),
            (RANGES, vec![Value::Integer(19)], "UnmappedKey"),
            (RANGES, vec![Value::Integer(20)], "c"),
            (RANGES, vec![Value::Integer(i64::MAX)], "c"),
            (WORDS, vec![text("")], "a"),
            (WORDS, vec![text("gzzz")], "a"),
            (WORDS, vec![text("h")], "b"),
            (WORDS, vec![text("ä")], "b"),
            // PostgreSQL's `satisfies_hash_partition` with modulus 3.
            (Placement::Hash, vec![Value::Integer(0)], "c"),
            (Placement::Hash, vec![Value::Integer(2)], "a"),
            (Placement::Hash, vec![Value::Integer(3)], "b"),
            (Placement::Hash, vec![Value::Integer(4)], "a"),
            (Placement::Hash, vec![Value::Integer(-1)], "c"),
            (Placement::Hash, vec![text("")], "c"),
            (CUSTOM, vec![Value::Integer(5)], "c"),
            (CUSTOM, vec![Value::Integer(-5)], "UnmappedKey"),
            (CUSTOM, vec![text("x")], "UnknownShard"),
            (Placement::Everywhere, vec![text("x")], "a"),
        ];
        for (placement, key, expected) in lines {
            let found = match placement.place(&key, &shards) {
                Ok(index) => shards.by_index(index).unwrap().name().to_owned(),
                Err(error) => format!("{:?}", error.kind()),
            };
            assert_eq!(found, expected, "{placement:?} {key:?}");
        }
    }

    /// The lines are recorded in every cluster: a change of them would make clusters on disk unreadable.
    #[test]
    fn the_recorded_lines_of_a_placement_stay() {
        let shards = Shards::named(["a", "b"]).unwrap();
        let lines: [(Placement, &[&str]); 6] = [
            (LIST, &["list x => a", "list y => b", "list z => b"]),
            (FALLBACK, &["list -1 => a", "list otherwise => c"]),
            (RANGES, &["range ..0 => a", "range 0..10 => b", "range 20.. => c"]),
            (Placement::Hash, &["hash modulus 2 remainder 0 => a", "hash modulus 2 remainder 1 => b"]),
            (Placement::Everywhere, &["a reference table, whole on every shard"]),
            (CUSTOM, &["a function of the application, over 2 shards"]),
        ];
        for (placement, expected) in lines {
            assert_eq!(placement.describe(&shards), expected);
        }
    }

    #[test]
    fn bounds_are_compared_as_values_are() {
        let texts = ["", "A", "a", "aa", "b", "ä"].map(Constant::Text);
        let numbers = [i64::MIN, -1, 0, 1, i64::MAX].map(Constant::Integer);
        for all in [&texts[..], &numbers[..]] {
            for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))) {
                assert_eq!(a.is_less(b), a.value().order(&b.value()) == Ordering::Less, "{a:?} {b:?}");
            }
        }
    }
}

//! The rule that a cluster has recorded for the keys of a table, if it differs from the declared one. Uses `hash`,
//! `placement` and `shards`; no I/O.
//!
//! A rule is read from lines. Values are literals of SQL, so that a line has one meaning:
//!
//! ```text
//! hash modulus 4 remainder 0 => a
//! list 'Asia' => asia
//! list otherwise => rest
//! range ..1000 => a
//! function 0 => a
//! key 42 => whale
//! ```
//!
//! The lines of a hash are PostgreSQL's: each modulus divides the next larger one, and together they contain each key once. A
//! line `function n` names the shard of the n-th shard that the application's function can return. A line `key` names the
//! shard of one key, and overrides the other lines.

mod declared;
mod literal;

use super::key::placement::{Placement, key_hash, unmapped};
use super::{KeyColumns, Shards, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::value::{ColumnType, Value};
pub(crate) use declared::{DeclaredLine, Owner, rule_lines};
use literal::Literals;

/// The largest modulus of a hash. The rule holds a shard in memory for each remainder of it.
const LARGEST_MODULUS: usize = 1 << 16;

/// The recorded rule of a table. Shards are indexes of [`Shards`].
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    keys: Vec<(Vec<Value<'static>>, usize)>,
    rest: Rest,
}

/// The rule of the keys without a line of their own.
#[derive(Clone, Debug)]
pub(crate) enum Rest {
    List {
        entries: Vec<(Value<'static>, usize)>,
        otherwise: Option<usize>,
    },
    /// The shard of each remainder of the largest modulus.
    Hash(Vec<usize>),
    Range(Vec<Bounds>),
    /// The shards that the application's function can return, by the names that the function uses, and the shard of each.
    Function {
        function_shards: Shards,
        shards: Vec<usize>,
    },
}

/// A range of keys: inclusive below, exclusive above.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) from: Option<Value<'static>>,
    pub(crate) to: Option<Value<'static>>,
    pub(crate) shard: usize,
}

impl Bounds {
    fn holds(&self, value: &Value<'_>) -> bool {
        self.from.as_ref().is_none_or(|from| value.order(from).is_ge())
            && self.to.as_ref().is_none_or(|to| value.order(to).is_lt())
    }

    fn overlaps(&self, other: &Self) -> bool {
        let is_below = |a: &Self, b: &Self| match (&a.to, &b.from) {
            (Some(to), Some(from)) => to.order(from).is_le(),
            _ => false,
        };
        !is_below(self, other) && !is_below(other, self)
    }
}

impl Rule {
    /// Reads the rule of a table. `function_shards` are the shards that the application's function can return.
    ///
    /// # Errors
    /// [`ErrorKind::Layout`] if a line cannot be read, names a shard that is not configured, or contradicts another one.
    pub(crate) fn read(
        table: &Table,
        lines: &[impl AsRef<str>],
        function_shards: Option<Shards>,
        shards: &Shards,
    ) -> Result<Self> {
        let kinds = key_kinds(table);
        let mut reader = RuleReader::default();
        for line in lines {
            let line = line.as_ref();
            let read = reader.line(line, &kinds, function_shards.as_ref(), shards);
            read.map_err(|why| unreadable(table, line, &why))?;
        }
        let keys = std::mem::take(&mut reader.keys);
        let rest = reader.rest(function_shards).map_err(|why| unreadable(table, "", &why))?;
        Ok(Rule { keys, rest })
    }

    /// Returns the index of the shard that holds this key; see [`Placement::place`].
    pub(crate) fn place(&self, key: &[Value<'_>], declared: &Placement) -> Result<usize> {
        if let Some(shard) = self.single(key) {
            return Ok(shard);
        }
        match (&self.rest, key) {
            (Rest::Hash(remainders), key) => {
                let at = super::hash::remainder(key_hash(key), remainders.len() as u64);
                usize::try_from(at).ok().and_then(|at| remainders.get(at)).copied()
            }
            (Rest::List { entries, otherwise }, [value]) => {
                entries.iter().find(|(entry, _)| entry == value).map(|(_, shard)| *shard).or(*otherwise)
            }
            (Rest::Range(ranges), [value]) => {
                ranges.iter().find(|range| range.holds(value)).map(|range| range.shard)
            }
            (Rest::Function { function_shards, shards }, key) => match declared {
                Placement::Custom(choose) => {
                    choose(key, function_shards)?.and_then(|index| shards.get(index)).copied()
                }
                _ => None,
            },
            (Rest::List { .. } | Rest::Range(_), _) => None,
        }
        .ok_or_else(|| unmapped(key))
    }

    /// Returns the shard of a key that has a line of its own.
    fn single(&self, key: &[Value<'_>]) -> Option<usize> {
        self.keys.iter().find(|(single, _)| single.as_slice() == key).map(|(_, shard)| *shard)
    }

    /// Returns the keys that have lines of their own, and their shards.
    pub(crate) fn keys(&self) -> &[(Vec<Value<'static>>, usize)] {
        &self.keys
    }

    pub(crate) fn rest(&self) -> &Rest {
        &self.rest
    }
}

/// Returns a key in the form of its line.
pub(crate) fn key_literal(key: &[Value<'_>]) -> String {
    let literals: Vec<String> = key.iter().map(literal::literal).collect();
    literals.join(", ")
}

/// Returns the types of the columns that place a table's rows.
pub(crate) fn key_kinds(table: &Table) -> Vec<ColumnType> {
    match (table.key, table.parent) {
        (KeyColumns::Parent(_), Some(parent)) => key_kinds(parent.table),
        (KeyColumns::Parent(_), None) => Vec::new(),
        (KeyColumns::Columns(columns), _) => {
            columns.iter().filter_map(|&column| table.columns.get(column)).map(|column| column.kind).collect()
        }
    }
}

fn unreadable(table: &Table, line: &str, why: &str) -> Error {
    let line = if line.is_empty() { "the recorded lines".to_owned() } else { format!("the line `{line}`") };
    let message = format!(
        "{line} of the recorded layout cannot be used: {why}; use the release that has recorded it or a later one, or restore the \
         control database"
    );
    Error::new(ErrorKind::Layout, message).in_table(table.name)
}

/// The parts of a rule that were read so far.
#[derive(Default)]
struct RuleReader {
    keys: Vec<(Vec<Value<'static>>, usize)>,
    entries: Vec<(Value<'static>, usize)>,
    otherwise: Option<usize>,
    hash: Vec<(usize, usize, usize)>,
    ranges: Vec<Bounds>,
    returned: Vec<(usize, usize)>,
}

impl RuleReader {
    fn line(
        &mut self,
        line: &str,
        kinds: &[ColumnType],
        function_shards: Option<&Shards>,
        shards: &Shards,
    ) -> Result<(), String> {
        let wrong = || "it is not of a known form".to_owned();
        let (word, rest) = line.split_once(' ').ok_or_else(wrong)?;
        let mut rest = Literals::new(rest);
        let shard = |rest: Literals<'_>| {
            let name = rest.shard().ok_or_else(wrong)?;
            let shard = shards.get(name);
            shard.map(super::Shard::index).ok_or_else(|| format!("shard `{name}` is not configured; add it"))
        };
        match word {
            "hash" => {
                let modulus = rest.number("modulus ").ok_or_else(wrong)?;
                let remainder = rest.number(" remainder ").ok_or_else(wrong)?;
                self.hash.push((modulus, remainder, shard(rest)?));
            }
            "function" => {
                let index = rest.number("").ok_or_else(wrong)?;
                if function_shards.is_none_or(|function_shards| index >= function_shards.len()) {
                    return Err("the function returns no such shard".to_owned());
                }
                self.returned.push((index, shard(rest)?));
            }
            "list" if rest.word("otherwise") => {
                if self.otherwise.replace(shard(rest)?).is_some() {
                    return Err("there is another line for it".to_owned());
                }
            }
            "list" => {
                let [kind] = kinds else { return Err("the key has several columns".to_owned()) };
                let value = rest.value(*kind).ok_or_else(wrong)?;
                if self.entries.iter().any(|(other, _)| *other == value) {
                    return Err("there is another line for it".to_owned());
                }
                self.entries.push((value, shard(rest)?));
            }
            "range" => {
                let [kind] = kinds else { return Err("the key has several columns".to_owned()) };
                let from = rest.value(*kind);
                if !rest.word("..") {
                    return Err(wrong());
                }
                let to = rest.value(*kind);
                let range = Bounds { from, to, shard: shard(rest)? };
                if self.ranges.iter().any(|other| other.overlaps(&range)) {
                    return Err("it overlaps another range".to_owned());
                }
                self.ranges.push(range);
            }
            "key" => {
                let mut key = Vec::with_capacity(kinds.len());
                for (index, kind) in kinds.iter().enumerate() {
                    if index > 0 && !rest.word(", ") {
                        return Err(wrong());
                    }
                    key.push(rest.value(*kind).ok_or_else(wrong)?);
                }
                if self.keys.iter().any(|(other, _)| *other == key) {
                    return Err("there is another line for it".to_owned());
                }
                self.keys.push((key, shard(rest)?));
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn rest(self, function_shards: Option<Shards>) -> Result<Rest, String> {
        let RuleReader { entries, otherwise, hash, mut ranges, returned, .. } = self;
        let is_list = !entries.is_empty() || otherwise.is_some();
        let kinds = [is_list, !hash.is_empty(), !ranges.is_empty(), !returned.is_empty()];
        if kinds.into_iter().filter(|is_used| *is_used).count() != 1 {
            return Err("they are not of one kind".to_owned());
        }
        if is_list {
            return Ok(Rest::List { entries, otherwise });
        }
        if !hash.is_empty() {
            return cover(&hash).map(Rest::Hash);
        }
        if !ranges.is_empty() {
            ranges.sort_by(|a, b| match (&a.from, &b.from) {
                (Some(a), Some(b)) => a.order(b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            });
            return Ok(Rest::Range(ranges));
        }
        let function_shards = function_shards.ok_or("the table has no function")?;
        let of = |index| returned.iter().find(|(of, _)| *of == index).map(|(_, shard)| *shard);
        let shards: Option<Vec<usize>> = (0..function_shards.len()).map(of).collect();
        let shards = shards.ok_or("a shard that the function returns has no line")?;
        Ok(Rest::Function { function_shards, shards })
    }
}

/// Returns the shard of each remainder of the largest modulus.
fn cover(lines: &[(usize, usize, usize)]) -> Result<Vec<usize>, String> {
    let mut moduli: Vec<usize> = lines.iter().map(|(modulus, ..)| *modulus).collect();
    moduli.sort_unstable();
    moduli.dedup();
    let divides = |pair: &[usize]| matches!(pair, [less, more] if more.checked_rem(*less) == Some(0));
    let largest = moduli.last().copied().unwrap_or_default();
    if largest == 0 || largest > LARGEST_MODULUS || !moduli.windows(2).all(divides) {
        return Err(format!(
            "each modulus divides the next larger one and is at most {LARGEST_MODULUS}, found {moduli:?}"
        ));
    }
    let mut remainders: Vec<Option<usize>> = vec![None; largest];
    for &(modulus, remainder, shard) in lines {
        if remainder >= modulus {
            return Err(format!("remainder {remainder} is not less than modulus {modulus}"));
        }
        for entry in remainders.iter_mut().skip(remainder).step_by(modulus) {
            if entry.replace(shard).is_some() {
                return Err(format!("two lines have keys of modulus {modulus}, remainder {remainder}"));
            }
        }
    }
    let all: Option<Vec<usize>> = remainders.iter().copied().collect();
    let missing = || remainders.iter().position(Option::is_none).unwrap_or_default();
    all.ok_or_else(|| format!("no line has the keys of modulus {largest}, remainder {}", missing()))
}

#[cfg(test)]
mod tests;

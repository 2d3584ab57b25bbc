//! The target shards of a copy's rows, by the recorded layout of the other cluster. Rows of several shards with the same id are
//! refused if they could belong on one target. Uses `change::rows`.

use std::collections::BTreeMap;

use crate::cluster::change::links::{Endpoint, Links};
use crate::cluster::change::plan::read_rule;
use crate::cluster::change::rows::Tables;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{IdKind, KeyColumns, Rule, Table};
use crate::transaction::Cluster;

/// The number of ids that are compared at a time.
const CHUNK: u32 = 1_000;

/// The largest number of parts that a hash is divided into to compare two layouts.
const MOST_PARTS: u64 = 4_096;

/// The tables that are copied, and the targets of their rows.
pub(super) struct Placing {
    /// Without the tables of lookup entries, which name shards: they are made again.
    pub(super) all: Vec<&'static Table>,
    pub(super) rules: Vec<Option<Rule>>,
    /// By table and source: the targets that get its rows, if each target gets those of one source.
    pub(super) fed: Vec<Option<Vec<Vec<usize>>>>,
}

pub(super) fn placing(
    source: &Cluster,
    target: &Cluster,
    sources: &[Endpoint<'_>],
    targets: &[Endpoint<'_>],
) -> Result<Placing> {
    let tables = |cluster: &Cluster| cluster.0.layout.tables().collect::<Vec<&'static Table>>();
    let (here, there) = (tables(source), tables(target));
    let mut placing = Placing { all: Vec::new(), rules: Vec::new(), fed: Vec::new() };
    for &table in here.iter().filter(|table| !source.0.layout.holds_entries(table)) {
        placing.all.push(table);
        if table.is_reference() {
            placing.rules.push(None);
            placing.fed.push(None);
            continue;
        }
        let lines = target.0.recorded.current_lines(table, &there, target.0.layout.shards())?;
        placing.rules.push(Some(read_rule(target, table, &lines)?));
        let own = source.0.recorded.current_lines(table, &here, source.0.layout.shards())?;
        let names = |endpoints: &[Endpoint<'_>]| {
            endpoints.iter().map(|endpoint| endpoint.name.to_owned()).collect::<Vec<_>>()
        };
        placing.fed.push(match sources.len() {
            1 => None,
            _ => fed((&own, &names(sources)), (&lines, &names(targets))),
        });
    }
    Ok(placing)
}

/// Returns the targets of each source, if each target gets the keys of one source.
fn fed(
    (own, sources): (&[String], &[String]),
    (lines, targets): (&[String], &[String]),
) -> Option<Vec<Vec<usize>>> {
    let moduli = own.iter().chain(lines).filter_map(|line| Some(part(line)?.0));
    let modulus = moduli.fold(1, least_common_multiple);
    if modulus > MOST_PARTS {
        return None;
    }
    let (own, lines) = (parts(own, modulus), parts(lines, modulus));
    if !own.keys().eq(lines.keys()) {
        return None;
    }
    let mut fed = vec![Vec::new(); sources.len()];
    let mut source_of = BTreeMap::new();
    for (source, target) in own.values().zip(lines.values()) {
        let source = sources.iter().position(|name| name == source)?;
        let target = targets.iter().position(|name| name == target)?;
        if *source_of.entry(target).or_insert(source) != source {
            return None;
        }
        let fed: &mut Vec<usize> = fed.get_mut(source)?;
        if !fed.contains(&target) {
            fed.push(target);
        }
    }
    Some(fed)
}

fn least_common_multiple(a: u64, b: u64) -> u64 {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a.checked_div(divisor).unwrap_or(1).saturating_mul(b)
}

/// Returns the modulus and the remainder of a line of a hash.
fn part(line: &str) -> Option<(u64, u64)> {
    let (head, _) = line.rsplit_once(" => ")?;
    let (modulus, remainder) = head.strip_prefix("hash modulus ")?.split_once(" remainder ")?;
    Some((modulus.parse().ok().filter(|modulus| *modulus > 0)?, remainder.parse().ok()?))
}

/// Returns the shard of each line, with a hash divided into parts of this modulus.
fn parts(lines: &[String], all: u64) -> BTreeMap<String, &str> {
    let mut parts = BTreeMap::new();
    for line in lines {
        let (head, shard) = line.rsplit_once(" => ").unwrap_or((line, ""));
        match part(line) {
            Some((modulus, remainder)) => {
                let step = usize::try_from(modulus).unwrap_or(usize::MAX);
                let each = (remainder..all).step_by(step);
                parts.extend(each.map(|remainder| (format!("hash {remainder}"), shard)));
            }
            None => _ = parts.insert(head.to_owned(), shard),
        }
    }
    parts
}

/// Refuses rows of several sources that have the same id, unless each target gets the rows of one source.
///
/// # Errors
/// [`ErrorKind::Configuration`]
pub(super) fn check_ids(links: &Links, tables: &Tables<'_>, sources: &[Endpoint<'_>]) -> Result<()> {
    for &table in tables.all() {
        let is_unique = match table.key {
            // The same id is the same key, on the same shard.
            KeyColumns::Columns(key) => key == [table.id],
            KeyColumns::Parent(_) => false,
        } || matches!(table.id_kind, IdKind::Sequence | IdKind::Uuid);
        if is_unique || table.is_reference() || tables.is_divided(table) {
            continue;
        }
        for (at, &one) in sources.iter().enumerate() {
            let mut after = None;
            loop {
                let ids = tables.ids_after(links.at(one)?, one, table, (after.as_ref(), CHUNK))?;
                for &other in sources.iter().skip(at + 1) {
                    if let Some(id) = tables.ids_listed(links.at(other)?, other, table, &ids)?.first() {
                        return Err(shared(table, (one.name, other.name), &id.to_string()));
                    }
                }
                match ids.last().filter(|_| ids.len() == CHUNK as usize) {
                    Some(last) => after = Some(last.clone()),
                    None => break,
                }
            }
        }
    }
    Ok(())
}

fn shared(table: &Table, (one, other): (&str, &str), id: &str) -> Error {
    let why = match table.id_kind {
        IdKind::Auto => "each shard has counted the table's ids itself (`#[id(auto)]`)",
        _ => "the table's ids are not unique over the shards",
    };
    let message = format!(
        "{why}: `{one}` and `{other}` both have a row with id {id}, and the other cluster may have them on one shard; give it a \
         layout in which each shard gets rows of one shard only, as the same number of shards, or use `#[id(sequence)]`"
    );
    Error::new(ErrorKind::Configuration, message).in_table(table.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    fn fed_by(own: &[&str], sources: &[&str], lines: &[&str], targets: &[&str]) -> Option<Vec<Vec<usize>>> {
        fed((&texts(own), &texts(sources)), (&texts(lines), &texts(targets)))
    }

    #[test]
    fn layouts_are_compared_by_parts() {
        let halves = ["hash modulus 2 remainder 0 => a", "hash modulus 2 remainder 1 => b"];
        let swapped = ["hash modulus 2 remainder 1 => x", "hash modulus 2 remainder 0 => y"];
        assert_eq!(fed_by(&halves, &["a", "b"], &swapped, &["x", "y"]), Some(vec![vec![1], vec![0]]));
        let split = [
            "hash modulus 4 remainder 0 => x",
            "hash modulus 4 remainder 1 => y",
            "hash modulus 4 remainder 2 => z",
            "hash modulus 4 remainder 3 => y",
        ];
        assert_eq!(fed_by(&halves, &["a", "b"], &split, &["x", "y", "z"]), Some(vec![vec![0, 2], vec![1]]));
        let thirds = [
            "hash modulus 3 remainder 0 => x",
            "hash modulus 3 remainder 1 => y",
            "hash modulus 3 remainder 2 => z",
        ];
        assert_eq!(fed_by(&halves, &["a", "b"], &thirds, &["x", "y", "z"]), None);
        assert_eq!(fed_by(&halves, &["a", "b"], &["hash modulus 1 remainder 0 => x"], &["x"]), None);
        let listed = ["list 'r' => a", "list 'g' => b"];
        assert_eq!(fed_by(&listed, &["a", "b"], &listed, &["b", "a"]), Some(vec![vec![1], vec![0]]));
        assert_eq!(fed_by(&listed, &["a", "b"], &["list 'r' => a"], &["a", "b"]), None);
        let whale = ["key 7 => b", "hash modulus 2 remainder 0 => a", "hash modulus 2 remainder 1 => b"];
        assert_eq!(fed_by(&whale, &["a", "b"], &halves, &["a", "b"]), None);
    }
}

//! The lines of a declared placement, compared with a recorded rule.

use std::fmt;

use super::literal::literal;
use super::{Bounds, Rest, Rule};
use crate::schema::key::placement::{OTHERWISE, Placement, range_line};
use crate::schema::{Constant, Range, Shards};
use crate::value::Value;

/// A line of a declared list or of declared ranges.
pub(crate) struct DeclaredLine<'s> {
    /// The line that `create` records.
    pub(crate) line: String,
    /// The line in the form of a [`Rule`].
    pub(crate) rule_line: String,
    /// The declared shard.
    pub(crate) shard: &'static str,
    /// The owner of these keys under the rule.
    pub(crate) owner: Owner<'s>,
}

/// The shard that holds some keys under a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner<'s> {
    None,
    Shard(&'s str),
    /// The lines of the rule divide the keys otherwise.
    Several,
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::None => f.write_str("no shard"),
            Owner::Shard(shard) => write!(f, "`{shard}`"),
            Owner::Several => f.write_str("shards by other lines"),
        }
    }
}

impl Rule {
    /// Returns the lines of a rule that gives the keys of a list or of ranges to one shard; none for other placements.
    pub(crate) fn lines_on(placement: &Placement, shard: &str) -> Vec<String> {
        let bound = |bound: Option<Constant>| bound.map(|bound| literal(&bound.value())).unwrap_or_default();
        match placement {
            Placement::List { entries, otherwise } => entries
                .iter()
                .map(|(constant, _)| format!("list {} => {shard}", literal(&constant.value())))
                .chain(otherwise.map(|_| format!("{OTHERWISE}{shard}")))
                .collect(),
            Placement::Range(ranges) => ranges
                .iter()
                .map(|range| format!("range {}..{} => {shard}", bound(range.from), bound(range.to)))
                .collect(),
            Placement::Hash | Placement::Everywhere | Placement::Custom(_) => Vec::new(),
        }
    }

    /// Returns the lines of a list or of ranges, with the owner of their keys under this rule.
    pub(crate) fn declared_lines<'s>(
        &self,
        placement: &Placement,
        shards: &'s Shards,
    ) -> Vec<DeclaredLine<'s>> {
        match placement {
            Placement::List { entries, otherwise } => {
                let entry = |(constant, shard): &(Constant, &'static str)| DeclaredLine {
                    line: format!("list {} => {shard}", constant.value()),
                    rule_line: format!("list {} => {shard}", literal(&constant.value())),
                    shard,
                    owner: owner(self.place(&[constant.value()], placement).ok(), shards),
                };
                let rest = |shard: &'static str| DeclaredLine {
                    line: format!("{OTHERWISE}{shard}"),
                    rule_line: format!("{OTHERWISE}{shard}"),
                    shard,
                    owner: match &self.rest {
                        Rest::List { otherwise, .. } => owner(*otherwise, shards),
                        _ => Owner::Several,
                    },
                };
                entries.iter().map(entry).chain(otherwise.map(rest)).collect()
            }
            Placement::Range(ranges) => {
                ranges.iter().map(|range| self.declared_range(range, shards)).collect()
            }
            Placement::Hash | Placement::Everywhere | Placement::Custom(_) => Vec::new(),
        }
    }

    fn declared_range<'s>(&self, range: &Range, shards: &'s Shards) -> DeclaredLine<'s> {
        let bound = |bound: Option<Constant>| bound.map(Constant::value);
        let text = |bound: &Option<Value<'_>>| bound.as_ref().map(literal).unwrap_or_default();
        let bounds = Bounds { from: bound(range.from), to: bound(range.to), shard: 0 };
        let owner = match &self.rest {
            Rest::Range(ranges) => match ranges.iter().find(|other| other.overlaps(&bounds)) {
                None => Owner::None,
                Some(same) if (&same.from, &same.to) == (&bounds.from, &bounds.to) => {
                    owner(Some(same.shard), shards)
                }
                Some(_) => Owner::Several,
            },
            _ => Owner::Several,
        };
        let rule_line = format!("range {}..{} => {}", text(&bounds.from), text(&bounds.to), range.shard);
        DeclaredLine { line: range_line(range), rule_line, shard: range.shard, owner }
    }
}

/// Returns the lines of a declared list, or of declared ranges, as lines of a [`Rule`].
pub(crate) fn rule_lines(placement: &Placement) -> Vec<String> {
    let text = |bound: Option<Constant>| bound.map(|bound| literal(&bound.value())).unwrap_or_default();
    match placement {
        Placement::List { entries, otherwise } => {
            let entry = |(constant, shard): &(Constant, &'static str)| {
                format!("list {} => {shard}", literal(&constant.value()))
            };
            let rest = otherwise.map(|shard| format!("{OTHERWISE}{shard}"));
            entries.iter().map(entry).chain(rest).collect()
        }
        Placement::Range(ranges) => {
            let line =
                |range: &Range| format!("range {}..{} => {}", text(range.from), text(range.to), range.shard);
            ranges.iter().map(line).collect()
        }
        Placement::Hash | Placement::Everywhere | Placement::Custom(_) => Vec::new(),
    }
}

fn owner(shard: Option<usize>, shards: &Shards) -> Owner<'_> {
    match shard.and_then(|shard| shards.by_index(shard)) {
        Some(shard) => Owner::Shard(shard.name()),
        None => Owner::None,
    }
}

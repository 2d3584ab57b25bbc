//! Predicates as trees, and their evaluation, without the library.

use std::cmp::Ordering;
use std::fmt;

use super::datum::{Column, Datum};

/// How a column is tested.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Equal(Datum),
    NotEqual(Datum),
    Less(Datum),
    LessOrEqual(Datum),
    Greater(Datum),
    GreaterOrEqual(Datum),
    Between(Datum, Datum),
    In(Vec<Datum>),
    NotIn(Vec<Datum>),
    Like(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    IsNull,
    IsNotNull,
}

#[derive(Clone, PartialEq)]
pub enum Tree {
    Leaf(Column, Test),
    /// `SHARD_KEY.is_in(..)` on the key of two columns; one pair stands for `eq`.
    Keys(Vec<(i64, String)>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
}

/// On one line, so that a case that fails can be read.
impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tree::Leaf(column, test) => write!(f, "{column:?} {test:?}"),
            Tree::Keys(keys) => write!(f, "(Key, Part) In({keys:?})"),
            Tree::All(trees) => write!(f, "All{trees:?}"),
            Tree::Any(trees) => write!(f, "Any{trees:?}"),
            Tree::Not(tree) => write!(f, "Not({tree:?})"),
        }
    }
}

/// SQL's three truth values, in the order in which `AND` takes the least and `OR` the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    False,
    Unknown,
    True,
}

impl Truth {
    pub fn negated(self) -> Self {
        match self {
            Truth::False => Truth::True,
            Truth::Unknown => Truth::Unknown,
            Truth::True => Truth::False,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Truth::True } else { Truth::False }
    }
}

impl Test {
    /// Whether it holds for this value, as in SQL.
    pub fn holds(&self, value: &Datum) -> Truth {
        let compared = |other: &Datum, holds: fn(Ordering) -> bool| {
            value.order(other).map_or(Truth::Unknown, |order| holds(order).into())
        };
        match self {
            Test::IsNull => (*value == Datum::Null).into(),
            Test::IsNotNull => (*value != Datum::Null).into(),
            Test::In(values) if values.is_empty() => Truth::False,
            Test::In(values) => {
                values.iter().map(|other| compared(other, Ordering::is_eq)).max().unwrap_or(Truth::False)
            }
            Test::NotIn(values) => Test::In(values.clone()).holds(value).negated(),
            Test::Equal(other) => compared(other, Ordering::is_eq),
            Test::NotEqual(other) => compared(other, Ordering::is_ne),
            Test::Less(other) => compared(other, Ordering::is_lt),
            Test::LessOrEqual(other) => compared(other, Ordering::is_le),
            Test::Greater(other) => compared(other, Ordering::is_gt),
            Test::GreaterOrEqual(other) => compared(other, Ordering::is_ge),
            Test::Between(low, high) => compared(low, Ordering::is_ge).min(compared(high, Ordering::is_le)),
            Test::Like(_) | Test::StartsWith(_) | Test::EndsWith(_) | Test::Contains(_)
                if *value == Datum::Null =>
            {
                Truth::Unknown
            }
            Test::Like(pattern) => {
                let pattern: Vec<char> = pattern.chars().collect();
                is_like(&value.as_text().chars().collect::<Vec<_>>(), &pattern).into()
            }
            Test::StartsWith(prefix) => value.as_text().starts_with(prefix).into(),
            Test::EndsWith(suffix) => value.as_text().ends_with(suffix).into(),
            Test::Contains(text) => value.as_text().contains(text).into(),
        }
    }

    /// The values that it names, with which its truth may change.
    pub fn literals(&self) -> Vec<Datum> {
        match self {
            Test::Equal(value)
            | Test::NotEqual(value)
            | Test::Less(value)
            | Test::LessOrEqual(value)
            | Test::Greater(value)
            | Test::GreaterOrEqual(value) => vec![value.clone()],
            Test::Between(low, high) => vec![low.clone(), high.clone()],
            Test::In(values) | Test::NotIn(values) => values.clone(),
            Test::StartsWith(prefix) => ends_of_prefix(prefix),
            Test::Like(pattern) => ends_of_prefix(&literal_prefix(pattern).0),
            Test::EndsWith(text) | Test::Contains(text) => vec![Datum::text(text)],
            Test::IsNull | Test::IsNotNull => Vec::new(),
        }
    }
}

/// The bounds of the texts that start with this one.
fn ends_of_prefix(prefix: &str) -> Vec<Datum> {
    let mut ends = vec![Datum::text(prefix)];
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        let after = (u32::from(last) + 1..=0x10_FFFF).find_map(char::from_u32);
        if let Some(after) = after {
            characters.push(after);
            ends.push(Datum::Text(characters.into_iter().collect()));
            break;
        }
    }
    ends
}

/// The text before a pattern's first wildcard, and whether there is no wildcard.
pub fn literal_prefix(pattern: &str) -> (String, bool) {
    let mut prefix = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' | '_' => return (prefix, false),
            '\\' => prefix.extend(characters.next()),
            other => prefix.push(other),
        }
    }
    (prefix, true)
}

fn is_like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|start| is_like(&text[start..], rest)),
        ['_', rest @ ..] => !text.is_empty() && is_like(&text[1..], rest),
        ['\\', literal, rest @ ..] | [literal, rest @ ..] => {
            text.first() == Some(literal) && is_like(&text[1..], rest)
        }
    }
}

impl Tree {
    /// Whether it holds for a row, as in SQL; `leaf` returns the result of a column's test.
    pub fn truth(&self, leaf: &dyn Fn(Column, &Test) -> Truth) -> Truth {
        match self {
            Tree::Leaf(column, test) => leaf(*column, test),
            Tree::Keys(_) => self.spelled_out().truth(leaf),
            Tree::All(trees) => trees.iter().map(|tree| tree.truth(leaf)).min().unwrap_or(Truth::True),
            Tree::Any(trees) => trees.iter().map(|tree| tree.truth(leaf)).max().unwrap_or(Truth::False),
            Tree::Not(tree) => tree.truth(leaf).negated(),
        }
    }

    /// Returns whether it may hold. For each leaf `may(column, test, negated)` returns whether it, or its negation, may.
    pub fn may_hold(&self, may: &dyn Fn(Column, &Test, bool) -> bool) -> bool {
        self.may(may, false)
    }

    fn may(&self, leaf: &dyn Fn(Column, &Test, bool) -> bool, negated: bool) -> bool {
        match self {
            Tree::Leaf(column, test) => leaf(*column, test, negated),
            Tree::Keys(_) => self.spelled_out().may(leaf, negated),
            Tree::Not(tree) => tree.may(leaf, !negated),
            Tree::All(trees) if !negated => trees.iter().all(|tree| tree.may(leaf, negated)),
            Tree::Any(trees) if negated => trees.iter().all(|tree| tree.may(leaf, negated)),
            Tree::All(trees) | Tree::Any(trees) => trees.iter().any(|tree| tree.may(leaf, negated)),
        }
    }

    /// `Keys` as comparisons of the two columns.
    fn spelled_out(&self) -> Tree {
        let Tree::Keys(keys) = self else { return self.clone() };
        let same = |(key, part): &(i64, String)| {
            Tree::All(vec![
                Tree::Leaf(Column::Key, Test::Equal(Datum::Integer(*key))),
                Tree::Leaf(Column::Part, Test::Equal(Datum::text(part))),
            ])
        };
        Tree::Any(keys.iter().map(same).collect())
    }

    /// Visits every leaf, and whether it stands under an odd number of `NOT`.
    pub fn leaves<'t>(&'t self, visit: &mut dyn FnMut(Column, &'t Test, bool)) {
        self.visit(visit, false);
    }

    fn visit<'t>(&'t self, visit: &mut dyn FnMut(Column, &'t Test, bool), negated: bool) {
        match self {
            Tree::Leaf(column, test) => visit(*column, test, negated),
            Tree::Keys(_) => {}
            Tree::Not(tree) => tree.visit(visit, !negated),
            Tree::All(trees) | Tree::Any(trees) => {
                trees.iter().for_each(|tree| tree.visit(visit, negated));
            }
        }
    }

    /// All the pairs that stand in `Keys`.
    pub fn keys(&self) -> Vec<(i64, String)> {
        match self {
            Tree::Keys(keys) => keys.clone(),
            Tree::Leaf(..) => Vec::new(),
            Tree::Not(tree) => tree.keys(),
            Tree::All(trees) | Tree::Any(trees) => trees.iter().flat_map(Tree::keys).collect(),
        }
    }

    /// At most how many alternatives it has, written as an `OR` of `AND`s.
    pub fn alternatives(&self, negated: bool) -> usize {
        let of = |trees: &[Tree]| trees.iter().map(|tree| tree.alternatives(negated)).collect::<Vec<_>>();
        match (self, negated) {
            (Tree::Leaf(..), _) => 1,
            (Tree::Keys(keys), false) => keys.len(),
            (Tree::Keys(keys), true) => 2_usize.saturating_pow(keys.len() as u32),
            (Tree::Not(tree), _) => tree.alternatives(!negated),
            (Tree::All(trees), false) | (Tree::Any(trees), true) => {
                of(trees).into_iter().fold(1, usize::saturating_mul)
            }
            (Tree::All(trees) | Tree::Any(trees), _) => of(trees).into_iter().sum(),
        }
    }
}

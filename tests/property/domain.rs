//! Brute force: finds the shards on which a predicate may have rows, from the key's values.
//!
//! The literals of the predicate and the values that the placement names cut the key's values into cells. Each literal is a
//! cell, and so is every gap between two of them. Within a cell a comparison does not change, so one value stands for all. To
//! find the cell's shards, many of its values are placed one by one.

use std::collections::BTreeSet;

use super::datum::{Column, Datum, Kind};
use super::layout::Layout;
use super::predicate::{Test, Tree, Truth, literal_prefix};
use super::subject::Subject;

/// How many values of a gap are placed: with seven shards a hash misses one of them in 10^-13 of the gaps.
const SAMPLES: usize = 200;

/// The library describes so many alternatives of a key of several columns exactly, at least.
const ALTERNATIVES: usize = 1_000;

/// The shards that a predicate must read, and those that it may read.
#[derive(Debug, Default)]
pub struct Shares {
    /// The shards that can hold a row for which the predicate holds, judged by its key alone.
    pub least: BTreeSet<usize>,
    /// `LIKE` is read by the text before its first wildcard, its negation not at all.
    pub most: BTreeSet<usize>,
    /// Whether any key may match, be it placed or not.
    pub possible: bool,
}

/// The shards of a predicate, for all values of the columns that are not in the key.
pub fn shares<T: Subject>(tree: &Tree, layout: &Layout) -> Shares {
    let keys = cells(T::KIND, literals(tree, Column::Key), T::edges());
    let parts = match T::COMPOSITE {
        true => cells(Kind::Text, literals(tree, Column::Part), &[]),
        false => vec![vec![Datum::text("")]],
    };
    let mut shares = Shares::default();
    for (keys, parts) in keys.iter().flat_map(|keys| parts.iter().map(move |parts| (keys, parts))) {
        cell::<T>(tree, layout, keys, parts, &mut shares);
    }
    if T::COMPOSITE && tree.alternatives(false) > ALTERNATIVES {
        shares.most = layout.serving.iter().copied().collect();
    }
    shares
}

fn cell<T: Subject>(tree: &Tree, layout: &Layout, keys: &[Datum], parts: &[Datum], shares: &mut Shares) {
    let of_key = |column: Column| column == Column::Key || (T::COMPOSITE && column == Column::Part);
    let value = |column: Column, key: &Datum, part: &Datum| match column {
        Column::Key => key.clone(),
        _ => part.clone(),
    };
    let must = |key: &Datum, part: &Datum| {
        tree.may_hold(&|column, test, negated| match of_key(column) {
            true => (test.holds(&value(column, key, part)) == Truth::True) != negated,
            false => !is_never(test, negated),
        })
    };
    let may = tree.may_hold(&|column, test, negated| match of_key(column) {
        true => may_be_like(test, &value(column, &keys[0], &parts[0]), negated),
        false => !is_never(test, negated),
    });
    // Within the cell only `LIKE` changes.
    let changes = has_like(tree);
    let all_of_it = !changes && must(&keys[0], &parts[0]);
    shares.possible |= may;
    for (key, part) in keys.iter().flat_map(|key| parts.iter().map(move |part| (key, part))).take(2 * SAMPLES)
    {
        if shares.least.len() == layout.serving.len()
            || (shares.most.len() == layout.serving.len() && !all_of_it && !changes)
        {
            return;
        }
        let Some(place) = T::place(key, part.as_text(), layout) else { continue };
        if may {
            shares.most.insert(place);
        }
        if all_of_it || (changes && must(key, part)) {
            shares.least.insert(place);
        }
    }
}

/// `IN ()` holds for nothing, in any column; nor does the negation of `NOT IN ()`.
fn is_never(test: &Test, negated: bool) -> bool {
    match test {
        Test::In(values) => values.is_empty() && !negated,
        Test::NotIn(values) => values.is_empty() && negated,
        _ => false,
    }
}

/// Whether the library writes the test as `LIKE`, by whose wildcards nothing is narrowed.
pub fn is_like(test: &Test) -> bool {
    matches!(test, Test::Like(_) | Test::EndsWith(_) | Test::Contains(_))
}

/// Whether a test of the key, or its negation, may hold, as far as narrowing looks.
fn may_be_like(test: &Test, value: &Datum, negated: bool) -> bool {
    match test {
        Test::EndsWith(_) | Test::Contains(_) => true,
        Test::Like(_) if negated => true,
        Test::Like(pattern) => match literal_prefix(pattern) {
            (text, true) => value.as_text() == text,
            (prefix, false) => value.as_text().starts_with(&prefix),
        },
        test => (test.holds(value) == Truth::True) != negated,
    }
}

fn has_like(tree: &Tree) -> bool {
    let mut found = false;
    tree.leaves(&mut |column, test, _| {
        found |= matches!(column, Column::Key | Column::Part) && is_like(test);
    });
    found
}

fn literals(tree: &Tree, of: Column) -> Vec<Datum> {
    let mut literals = Vec::new();
    tree.leaves(&mut |column, test, _| {
        if column == of {
            literals.extend(test.literals());
        }
    });
    literals.extend(tree.keys().into_iter().map(|(key, part)| match of {
        Column::Key => Datum::Integer(key),
        _ => Datum::Text(part),
    }));
    literals
}

/// The cells, each with some of its values, or all of them if they are few.
fn cells(kind: Kind, mut literals: Vec<Datum>, edges: &[Datum]) -> Vec<Vec<Datum>> {
    literals.extend(edges.iter().cloned());
    match kind {
        Kind::Name => edges.iter().map(|name| vec![name.clone()]).collect(),
        Kind::Integer => cells_of_integers(literals.iter().map(Datum::integer).collect()),
        Kind::Text => cells_of_texts(literals.iter().map(Datum::as_text).collect()),
        Kind::Real => unreachable!("a float is no key"),
    }
}

fn cells_of_integers(mut bounds: BTreeSet<i64>) -> Vec<Vec<Datum>> {
    bounds.extend([i64::MIN, i64::MAX]);
    let bounds: Vec<i64> = bounds.into_iter().collect();
    let mut cells: Vec<Vec<Datum>> = bounds.iter().map(|bound| vec![Datum::Integer(*bound)]).collect();
    for pair in bounds.windows(2) {
        let gap = (pair[0] + 1)..pair[1];
        if !gap.is_empty() {
            cells.push(gap.take(SAMPLES).map(Datum::Integer).collect());
        }
    }
    cells
}

fn cells_of_texts(mut bounds: BTreeSet<&str>) -> Vec<Vec<Datum>> {
    bounds.insert("");
    let bounds: Vec<&str> = bounds.into_iter().collect();
    let mut cells: Vec<Vec<Datum>> = bounds.iter().map(|bound| vec![Datum::text(bound)]).collect();
    for (place, low) in bounds.iter().enumerate() {
        // No literal holds U+0001, so these stand between this bound and the next.
        let gap: Vec<Datum> = (0..SAMPLES).map(|number| Datum::Text(format!("{low}\u{1}{number}"))).collect();
        if let (Some(high), Some(last)) = (bounds.get(place + 1), gap.last()) {
            assert!(last.as_text() < *high, "{last:?} is not below {high:?}");
        }
        cells.push(gap);
    }
    cells
}

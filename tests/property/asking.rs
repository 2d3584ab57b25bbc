//! Which shards a statement asks: those that it must, and no others.

use std::collections::HashSet;

use proptest::prelude::*;
use shard_runtime::{ErrorKind, Result};

use super::datum::{Column, Kind};
use super::domain::shares;
use super::layout::Layout;
use super::predicate::{Test, Tree};
use super::runner::Verdict;
use super::strategies::Pin;
use super::subject::Subject;

/// The place that a pin names; an error where its key is placed nowhere.
pub fn pinned<T: Subject>(pin: Option<&Pin>, layout: &Layout) -> Result<Option<usize>, ErrorKind> {
    match pin {
        None => Ok(None),
        Some(Pin::Shard(number)) => Ok(Some(layout.shard(*number).index())),
        Some(Pin::Key(key, part)) => T::place(key, part, layout).map(Some).ok_or(ErrorKind::UnmappedKey),
    }
}

/// Whether a predicate asks for a key, by its value, that is placed nowhere.
pub fn names_unplaced<T: Subject>(tree: &Tree, layout: &Layout) -> bool {
    let mut found = false;
    tree.leaves(&mut |column, test, negated| {
        let values = match test {
            Test::Equal(value) if !negated => std::slice::from_ref(value),
            Test::NotEqual(value) if negated => std::slice::from_ref(value),
            Test::In(values) if !negated => values.as_slice(),
            Test::NotIn(values) if negated => values.as_slice(),
            _ => &[],
        };
        let unplaced = |value| !T::COMPOSITE && T::place(value, "", layout).is_none();
        found |= column == Column::Key && values.iter().any(unplaced);
    });
    found
}

/// Checks the shards that were read, or the error.
pub fn check_asked<T: Subject>(tree: &Tree, pin: Option<usize>, asked: &[usize], layout: &Layout) -> Verdict {
    let shares = shares::<T>(tree, layout);
    let once: HashSet<usize> = asked.iter().copied().collect();
    prop_assert_eq!(once.len(), asked.len(), "a shard is asked twice: {:?}", asked);
    if let Some(pin) = pin {
        prop_assert!(asked.is_empty() || asked == [pin], "pinned to {}, asked {:?}", pin, asked);
        prop_assert!(!asked.is_empty() || !shares.least.contains(&pin), "pinned to {}, asked no shard", pin);
        // With a pin, an enum that has no variant left is not seen to be a contradiction.
        let contradicts = !shares.possible && T::KIND != Kind::Name;
        prop_assert!(!contradicts || asked.is_empty(), "a contradiction, but {:?} was asked", asked);
        return Ok(());
    }
    let missing: Vec<&usize> = shares.least.iter().filter(|place| !asked.contains(place)).collect();
    prop_assert!(missing.is_empty(), "asked {:?}, but rows may be on {:?} too", asked, missing);
    check_needless::<T>(tree, None, asked, layout)
}

/// Checks the shards that were read, if a read may end before every shard is read.
pub fn check_needless<T: Subject>(
    tree: &Tree,
    pin: Option<usize>,
    asked: &[usize],
    layout: &Layout,
) -> Verdict {
    if let Some(pin) = pin {
        prop_assert!(asked.is_empty() || asked == [pin], "pinned to {}, asked {:?}", pin, asked);
        return Ok(());
    }
    let shares = shares::<T>(tree, layout);
    let without_keys = layout.without_keys();
    let may_be_asked = |shard: &usize| shares.most.contains(shard) || without_keys.contains(shard);
    let needless: Vec<&usize> = asked.iter().filter(|shard| !may_be_asked(shard)).collect();
    prop_assert!(needless.is_empty(), "asked {:?}, but no row can be on {:?}", asked, needless);
    Ok(())
}

//! Aggregates: a cluster's are those of one big table, up to the rounding of floats.

use proptest::prelude::*;
use shard_runtime::{ErrorKind, Result, Session};

use super::asking::{names_unplaced, pinned};
use super::datum::{Column, Datum};
use super::measures::Function;
use super::oracle::Oracle;
use super::reading::select;
use super::runner::Verdict;
use super::strategies::Query;
use super::subject::Subject;
use super::world::{World, succeeded};

pub fn check_aggregate<T: Subject>(
    world: &World,
    session: &mut Session,
    oracle: &Oracle,
    query: &Query,
    function: Function,
    column: Column,
) -> Verdict {
    let layout = &world.layout;
    let select = select::<T>(query, layout);
    let found = T::aggregate(session, select, function, column);
    let pin = match pinned::<T>(query.pin.as_ref(), layout) {
        Ok(pin) if !names_unplaced::<T>(&query.tree, layout) => pin,
        _ => {
            prop_assert_eq!(found.map_err(|error| error.kind()), Err(ErrorKind::UnmappedKey));
            return Ok(());
        }
    };
    let rows = oracle.select(query, pin);
    let values: Vec<&Datum> =
        rows.iter().map(|(_, line)| line.get(column)).filter(|value| **value != Datum::Null).collect();
    let by_order = |a: &&&Datum, b: &&&Datum| a.order(b).expect("no NULL");
    match function {
        _ if values.is_empty() => prop_assert_eq!(succeeded(found)?, Datum::Null),
        Function::Least => {
            prop_assert_eq!(&succeeded(found)?, *values.iter().min_by(by_order).expect("a value"))
        }
        Function::Greatest => {
            prop_assert_eq!(&succeeded(found)?, *values.iter().max_by(by_order).expect("a value"));
        }
        _ => check_sum(found, function, &values)?,
    }
    Ok(())
}

/// A sum of integers is exact or refused; one of floats, and a mean, is as near as floats are.
pub fn check_sum(found: Result<Datum>, function: Function, values: &[&Datum]) -> Verdict {
    let integers: Option<Vec<i128>> = values
        .iter()
        .map(|value| matches!(value, Datum::Integer(_)).then(|| value.integer().into()))
        .collect();
    if let (Function::Sum, Some(integers)) = (function, &integers) {
        let (sum, reach): (i128, i128) = (integers.iter().sum(), integers.iter().map(|i| i.abs()).sum());
        match found {
            Err(error) => prop_assert!(
                error.kind() == ErrorKind::Value && reach > i64::MAX.into(),
                "{:?}, but the sum is {}",
                error,
                sum
            ),
            Ok(found) => prop_assert_eq!(i128::from(found.integer()), sum),
        }
        return Ok(());
    }
    let floats: Vec<f64> = match integers {
        Some(integers) => integers.iter().map(|integer| *integer as f64).collect(),
        None => values.iter().map(|value| value.real()).collect(),
    };
    let count = if matches!(function, Function::Mean) { floats.len() as f64 } else { 1.0 };
    let sum: f64 = floats.iter().sum();
    let reach: f64 = floats.iter().map(|float| float.abs()).sum();
    match succeeded(found)? {
        Datum::Real(found) if reach.is_finite() => {
            prop_assert!((found - sum / count).abs() <= reach * 1e-9, "{} instead of {}", found, sum / count);
        }
        Datum::Real(found) => prop_assert_eq!(found, sum / count, "of {:?}", floats),
        // Infinities of both signs have no sum.
        found => prop_assert!(found == Datum::Null && sum.is_nan(), "{:?} of {:?}", found, floats),
    }
    Ok(())
}

//! Partial values of aggregates: read from a row of one shard, merged, and converted to the final value. Uses
//! `value`, `collation`, `row`.
//!
//! A sum is a sum of sums, a mean is a sum and a count, a variance is three moments. Distinct values are a set.

use std::collections::HashSet;

use crate::collation::Collation;
use crate::error::{Result, ValueError};
use crate::row::RowSource;
use crate::value::{Value, codec, mismatch};

/// The functions of aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// The number of rows, without a column.
    Count,
    /// The number of distinct values.
    CountDistinct,
    /// The number of distinct values, if no two shards have a value in common.
    CountDistinctHere,
    Sum,
    Mean,
    Min,
    Max,
    /// The sample variance.
    Variance,
    /// The sample standard deviation.
    Deviation,
}

impl Function {
    /// Returns the text of the aggregate for people.
    pub(crate) fn of(self, column: &str) -> String {
        match self {
            Function::Count => "count".to_owned(),
            Function::CountDistinct | Function::CountDistinctHere => format!("count_distinct({column})"),
            Function::Sum => format!("sum({column})"),
            Function::Mean => format!("avg({column})"),
            Function::Min => format!("min({column})"),
            Function::Max => format!("max({column})"),
            Function::Variance => format!("variance({column})"),
            Function::Deviation => format!("stddev({column})"),
        }
    }

    /// Returns the number of columns of its partial value in a row of a shard.
    pub(crate) fn width(self) -> usize {
        match self {
            Function::Sum | Function::Mean => 2,
            _ => 1,
        }
    }
}

/// A partial value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Accumulator {
    /// No row has a value.
    Nothing,
    Count(u64),
    /// The distinct values, as bytes.
    Distinct(HashSet<Vec<u8>>),
    /// Integers are summed in twice their width: only the final sum must fit.
    Integer(i128),
    Real(f64),
    Mean {
        sum: f64,
        rows: u64,
    },
    Value(Value<'static>),
    Moments(Moments),
}

/// The number of values, their mean, and the sum of their squared distances from it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) rows: u64,
    pub(crate) mean: f64,
    pub(crate) squares: f64,
}

impl Moments {
    /// Adds one value (Welford 1962).
    pub(crate) fn add(&mut self, value: f64) {
        self.rows += 1;
        let distance = value - self.mean;
        self.mean += distance / self.rows as f64;
        self.squares += distance * (value - self.mean);
    }

    /// Returns the moments of both sets of values (Chan, Golub and LeVeque 1979).
    fn with(self, other: Self) -> Self {
        let rows = self.rows + other.rows;
        let (a, b, all) = (self.rows as f64, other.rows as f64, rows as f64);
        let distance = other.mean - self.mean;
        Moments {
            rows,
            mean: self.mean + distance * b / all,
            squares: self.squares + other.squares + distance * distance * a * b / all,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; 24] {
        codec::moments(self.rows, self.mean, self.squares)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (rows, mean, squares) = codec::read_moments(bytes)?;
        Some(Moments { rows, mean, squares })
    }
}

impl Accumulator {
    /// Reads the partial value in a row of a shard, from this column on.
    pub(crate) fn read(function: Function, row: &dyn RowSource, index: usize) -> Result<Self, ValueError> {
        let count = |index| match row.value(index)? {
            Value::Integer(rows) => Ok(rows.unsigned_abs()),
            other => Err(mismatch("a number of rows", &other)),
        };
        let value = row.value(index)?;
        Ok(match (function, value) {
            (Function::Count | Function::CountDistinctHere, _) => Accumulator::Count(count(index)?),
            (Function::Sum | Function::Mean, _) if count(index + 1)? == 0 => Accumulator::Nothing,
            (Function::Sum, Value::Integer(sum)) => Accumulator::Integer(sum.into()),
            (Function::Sum, Value::Real(sum)) => Accumulator::Real(sum),
            // The SQL sum of `Infinity` and `-Infinity` is NULL.
            (Function::Sum, Value::Null) => Accumulator::Real(f64::NAN),
            (Function::Mean, Value::Real(sum)) => Accumulator::Mean { sum, rows: count(index + 1)? },
            (Function::Mean, Value::Null) => Accumulator::Mean { sum: f64::NAN, rows: count(index + 1)? },
            (_, Value::Null) => Accumulator::Nothing,
            (Function::Min | Function::Max, value) => Accumulator::Value(value.into_owned()),
            (Function::CountDistinct, Value::Bytes(bytes)) => Accumulator::Distinct(
                codec::set(&bytes)
                    .map(|set| set.into_iter().map(<[u8]>::to_vec).collect())
                    .ok_or_else(|| ValueError::new("the set of values is truncated"))?,
            ),
            (Function::Variance | Function::Deviation, Value::Bytes(bytes)) => Accumulator::Moments(
                Moments::from_bytes(&bytes).ok_or_else(|| ValueError::new("the moments are truncated"))?,
            ),
            (_, other) => return Err(mismatch("a partial value", &other)),
        })
    }

    /// Merges the partial values of two shards, of a column with this collation.
    pub(crate) fn merge(self, function: Function, collation: Collation, other: Self) -> Self {
        match (self, other) {
            (Accumulator::Nothing, only) | (only, Accumulator::Nothing) => only,
            (Accumulator::Count(a), Accumulator::Count(b)) => Accumulator::Count(a.saturating_add(b)),
            (Accumulator::Distinct(a), Accumulator::Distinct(b)) => {
                let (mut more, fewer) = if a.len() < b.len() { (b, a) } else { (a, b) };
                more.extend(fewer);
                Accumulator::Distinct(more)
            }
            (Accumulator::Integer(a), Accumulator::Integer(b)) => Accumulator::Integer(a.saturating_add(b)),
            (Accumulator::Real(a), Accumulator::Real(b)) => Accumulator::Real(a + b),
            (Accumulator::Mean { sum: a, rows: n }, Accumulator::Mean { sum: b, rows: m }) => {
                Accumulator::Mean { sum: a + b, rows: n.saturating_add(m) }
            }
            (Accumulator::Value(a), Accumulator::Value(b)) => {
                let takes_b = collation.prefers(&b, &a, function == Function::Max);
                Accumulator::Value(if takes_b { b } else { a })
            }
            (Accumulator::Moments(a), Accumulator::Moments(b)) => Accumulator::Moments(a.with(b)),
            (a, _) => a,
        }
    }

    /// Returns the final value; NULL if no row has a value.
    ///
    /// # Errors
    /// If a sum of integers does not fit into 64 bits.
    pub(crate) fn value(self, function: Function) -> Result<Value<'static>, ValueError> {
        let integer = |count: u64| Value::Integer(i64::try_from(count).unwrap_or(i64::MAX));
        Ok(match self {
            Accumulator::Nothing if matches!(function, Function::Count | Function::CountDistinct) => {
                integer(0)
            }
            Accumulator::Nothing => Value::Null,
            Accumulator::Count(count) => integer(count),
            Accumulator::Distinct(values) => integer(values.len() as u64),
            Accumulator::Integer(sum) => Value::Integer(
                i64::try_from(sum)
                    .map_err(|_| ValueError::new(format!("the sum {sum} does not fit an integer")))?,
            ),
            Accumulator::Real(sum) => number(sum),
            Accumulator::Mean { sum, rows } => number(sum / rows as f64),
            Accumulator::Value(value) => value,
            Accumulator::Moments(Moments { rows, .. }) if rows < 2 => Value::Null,
            Accumulator::Moments(Moments { rows, squares, .. }) => {
                let variance = squares / (rows - 1) as f64;
                number(if function == Function::Deviation { variance.sqrt() } else { variance })
            }
        })
    }
}

/// Returns NULL for NaN, as the databases do.
fn number(value: f64) -> Value<'static> {
    if value.is_nan() { Value::Null } else { Value::Real(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|value| moments.add(*value));
        moments
    }

    #[test]
    fn r27_variances_are_merged_without_losing_digits() {
        // Far from zero, where the mean of squares minus the square of the mean has no digit left.
        let values: Vec<f64> = (0..1_000).map(|index| 1e9 + f64::from(index % 10)).collect();
        let whole = moments(&values);
        let merged = values.chunks(137).map(moments).reduce(Moments::with).unwrap();
        let variance = |moments: Moments| {
            Accumulator::Moments(Moments::from_bytes(&moments.to_bytes()).unwrap())
                .value(Function::Variance)
                .unwrap()
        };
        for moments in [whole, merged] {
            let Value::Real(found) = variance(moments) else { panic!("no number") };
            assert!((found - 8.25 * 1_000.0 / 999.0).abs() < 1e-6, "{found}");
        }
        assert_eq!(variance(moments(&[5.0])), Value::Null);
    }

    #[test]
    fn r27_sets_are_united() {
        let set = |values: &[&str]| {
            let mut bytes = Vec::new();
            values.iter().for_each(|value| codec::put_in_set(value.as_bytes(), &mut bytes));
            Accumulator::Distinct(codec::set(&bytes).unwrap().into_iter().map(<[u8]>::to_vec).collect())
        };
        let both = set(&["a", "b", ""]).merge(Function::CountDistinct, Collation::Binary, set(&["b", "cc"]));
        assert_eq!(both.value(Function::CountDistinct), Ok(Value::Integer(4)));
        assert_eq!(codec::set(&[1, 2, 3]), None);
        assert_eq!(codec::set(&[0, 0, 0, 0, 0, 0, 0, 9, 1]), None);
    }
}

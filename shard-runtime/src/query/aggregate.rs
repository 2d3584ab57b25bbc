//! Aggregates: one value from many rows, merged from one partial value per shard.

use std::marker::PhantomData;

use super::column::{Column, ColumnKind};
use super::filter::{IsRouted, Routing};
use super::select::{Explainable, Query, Select};
use crate::cluster::Layout;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Row, Sharded};
use crate::plan::{Plan, Projection};
use crate::session::Session;
use crate::value::{Field, Storable, Value};

/// The number of rows that a select finds.
#[must_use = "a query does nothing until a session runs it"]
pub struct Count<T, R> {
    select: Select<T, R>,
}

/// The sum, mean, least or greatest value of a column; `O` is what it is read as.
#[must_use = "a query does nothing until a session runs it"]
pub struct Aggregate<T, R, O> {
    select: Select<T, R>,
    function: Function,
    column: usize,
    marker: PhantomData<fn() -> O>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Sum,
    Mean,
    Min,
    Max,
}

/// A number that columns are summed in: integers as `i64`, floats as `f64`.
#[diagnostic::on_unimplemented(
    message = "a column of `{Self}` has no sum",
    label = "not a number",
    note = "sums and means are of integers and floats"
)]
pub trait Number: Field {
    /// What the sum is read as.
    type Sum: Field;
}

macro_rules! numbers {
    ($($number:ty => $sum:ty),*) => {$(
        impl Number for $number {
            type Sum = $sum;
        }
    )*};
}
numbers!(i8 => i64, i16 => i64, i32 => i64, i64 => i64, u8 => i64, u16 => i64, u32 => i64, u64 => i64, f32 => f64, f64 => f64);

impl<T: Sharded, R: Routing> Select<T, R> {
    /// How many rows there are; `limit` and `offset` are counted in.
    pub fn count(self) -> Count<T, R> {
        Count { select: self }
    }

    /// The sum of a column over all rows, or `None` where no row has a value.
    ///
    /// # Errors
    /// When it is run: [`ErrorKind::Value`] where a sum of integers does not fit `i64`.
    pub fn sum<V, K>(self, column: Column<T, V, K>) -> Aggregate<T, R, <V::Compare as Number>::Sum>
    where
        V: Storable<Compare: Number>,
        K: ColumnKind,
    {
        self.aggregate(Function::Sum, column)
    }

    /// The mean of a column over all rows, or `None` where no row has a value. It is the shards' sums divided
    /// by their counts, not a mean of means.
    pub fn avg<V, K>(self, column: Column<T, V, K>) -> Aggregate<T, R, f64>
    where
        V: Storable<Compare: Number>,
        K: ColumnKind,
    {
        self.aggregate(Function::Mean, column)
    }

    /// The least value of a column, or `None` where no row has one.
    pub fn min<V: Storable, K: ColumnKind>(self, column: Column<T, V, K>) -> Aggregate<T, R, V::Compare> {
        self.aggregate(Function::Min, column)
    }

    /// The greatest value of a column, or `None` where no row has one.
    pub fn max<V: Storable, K: ColumnKind>(self, column: Column<T, V, K>) -> Aggregate<T, R, V::Compare> {
        self.aggregate(Function::Max, column)
    }

    fn aggregate<V: Storable, K: ColumnKind, O>(
        self,
        function: Function,
        column: Column<T, V, K>,
    ) -> Aggregate<T, R, O> {
        Aggregate { select: self, function, column: column.index(), marker: PhantomData }
    }
}

impl<T: Sharded, R: IsRouted> Query for Count<T, R> {
    type Output = u64;

    fn fetch(self, session: &mut Session, _: Option<u64>) -> Result<Vec<u64>> {
        let core = &self.select.core;
        let mut total: u64 = 0;
        session.visit(core, Projection::Count, |row| {
            total = total.saturating_add(row.get(0)?);
            Ok(())
        })?;
        let rest = total.saturating_sub(core.offset);
        Ok(vec![core.limit.map_or(rest, |limit| rest.min(limit))])
    }
}

impl<T: Sharded, R: IsRouted, O: Field> Query for Aggregate<T, R, O> {
    type Output = Option<O>;

    fn fetch(self, session: &mut Session, _: Option<u64>) -> Result<Vec<Option<O>>> {
        let (function, column) = (self.function, self.column);
        let mut merged = Value::Null;
        let mut rows: u64 = 0;
        session.visit(&self.select.core, Projection::Aggregate(function, column), |row| {
            let part = row.read(0, |value| Ok(value.into_owned()))?;
            if function == Function::Mean {
                rows = rows.saturating_add(row.get(1)?);
            }
            merged = function
                .merge(std::mem::replace(&mut merged, Value::Null), part)
                .map_err(|error| at(row, column, error))?;
            Ok(())
        })?;
        let value = match (function, merged) {
            (Function::Mean, _) if rows == 0 => Value::Null,
            (Function::Mean, Value::Real(sum)) => Value::Real(sum / rows as f64),
            (_, value) => value,
        };
        match value {
            Value::Null => Ok(vec![None]),
            value => Ok(vec![Some(O::from_value(value).map_err(|error| T::TABLE.error_at(column, error))?)]),
        }
    }
}

fn at(row: &Row<'_>, column: usize, error: Error) -> Error {
    row.table.error_at(column, error)
}

impl Function {
    /// One value from two shards' partial values; a shard without rows has none.
    fn merge(self, left: Value<'static>, right: Value<'static>) -> Result<Value<'static>> {
        Ok(match (self, left, right) {
            (_, Value::Null, only) | (_, only, Value::Null) => only,
            (Function::Sum, Value::Integer(left), Value::Integer(right)) => {
                Value::Integer(left.checked_add(right).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Value,
                        format!("the sum of {left} and {right} does not fit an integer"),
                    )
                })?)
            }
            (Function::Sum | Function::Mean, Value::Real(left), Value::Real(right)) => {
                Value::Real(left + right)
            }
            (Function::Min, left, right) if right.order(&left).is_lt() => right,
            (Function::Max, left, right) if right.order(&left).is_gt() => right,
            (_, left, _) => left,
        })
    }
}

impl<T: Sharded, R> Explainable for Count<T, R> {
    fn plan(&self, layout: &Layout) -> Result<Plan<'_>> {
        Plan::read(&self.select.core, Projection::Count, layout)
    }
}

impl<T: Sharded, R, O> Explainable for Aggregate<T, R, O> {
    fn plan(&self, layout: &Layout) -> Result<Plan<'_>> {
        Plan::read(&self.select.core, Projection::Aggregate(self.function, self.column), layout)
    }
}

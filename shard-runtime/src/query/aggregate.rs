//! Aggregates: one value from many rows, merged from one partial value per shard.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use super::column::{Column, ColumnKind};
use super::filter::{IsRouted, Routing};
use super::select::{Explainable, Query, Select, Visitor};
use crate::cluster::Layout;
use crate::error::{Result, ValueError};
use crate::model::Sharded;
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

    /// The sum of a column over all rows, or `None` where no row has a value (or where infinities of both
    /// signs leave none).
    ///
    /// # Errors
    /// When it is run: [`ErrorKind::Value`](crate::ErrorKind::Value) where a sum of integers, or one shard's part
    /// of it, does not fit `i64`.
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

    fn visit(self, session: &mut Session, _: Option<u64>, visit: &mut Visitor<'_, u64>) -> Result<()> {
        let core = &self.select.core;
        let mut total: u64 = 0;
        session.visit(core, Projection::Count, |row| {
            total = total.saturating_add(u64::load(row, 0)?);
            Ok(ControlFlow::Continue(()))
        })?;
        let rest = total.saturating_sub(core.offset);
        visit(core.limit.map_or(rest, |limit| rest.min(limit))).map(drop)
    }
}

impl<T: Sharded, R: IsRouted, O: Field> Query for Aggregate<T, R, O> {
    type Output = Option<O>;

    fn visit(self, session: &mut Session, _: Option<u64>, visit: &mut Visitor<'_, Option<O>>) -> Result<()> {
        let (function, column) = (self.function, self.column);
        let mut merged = Merged { value: Part::None, rows: 0 };
        session.visit(&self.select.core, Projection::Aggregate(function, column), |row| {
            let rows = u64::load(row, 1)?;
            if rows > 0 {
                let part = row.read(0, |value| Ok(Part::of(value)))?;
                merged.rows = merged.rows.saturating_add(rows);
                merged.value = function.merge(std::mem::replace(&mut merged.value, Part::None), part);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let value = merged.value(function).map_err(|error| T::TABLE.error_at(column, error))?;
        let value = match value {
            Value::Null => None,
            value => Some(O::from_value(value).map_err(|error| T::TABLE.error_at(column, error))?),
        };
        visit(value).map(drop)
    }
}

/// What several shards' partial values have become so far.
struct Merged {
    value: Part,
    rows: u64,
}

/// A partial value, as it is merged.
enum Part {
    /// No row has a value.
    None,
    /// Integers are summed up in twice their width: only the whole sum has to fit.
    Integer(i128),
    /// Floats; NaN where infinities cancel each other out, which SQL calls NULL.
    Real(f64),
    /// Everything else.
    Other(Value<'static>),
}

impl Part {
    fn of(value: Value<'_>) -> Self {
        match value {
            Value::Integer(integer) => Part::Integer(integer.into()),
            Value::Real(real) => Part::Real(real),
            Value::Null => Part::Real(f64::NAN),
            other => Part::Other(other.into_owned()),
        }
    }
}

impl Function {
    /// One partial value from two shards'.
    fn merge(self, left: Part, right: Part) -> Part {
        let takes_right = |order: Ordering| match self {
            Function::Min => order.is_gt(),
            Function::Max => order.is_lt(),
            Function::Sum | Function::Mean => false,
        };
        match (self, left, right) {
            (_, Part::None, only) | (_, only, Part::None) => only,
            (Function::Sum | Function::Mean, Part::Integer(left), Part::Integer(right)) => {
                Part::Integer(left.saturating_add(right))
            }
            (Function::Sum | Function::Mean, Part::Real(left), Part::Real(right)) => Part::Real(left + right),
            (_, Part::Integer(left), Part::Integer(right)) => {
                Part::Integer(if takes_right(left.cmp(&right)) { right } else { left })
            }
            (_, Part::Real(left), Part::Real(right)) => {
                let order = left.partial_cmp(&right).unwrap_or(Ordering::Equal);
                Part::Real(if takes_right(order) { right } else { left })
            }
            (_, Part::Other(left), Part::Other(right)) if takes_right(left.order(&right)) => {
                Part::Other(right)
            }
            (_, left, _) => left,
        }
    }
}

impl Merged {
    fn value(self, function: Function) -> Result<Value<'static>, ValueError> {
        Ok(match (function, self.value) {
            (_, Part::None) => Value::Null,
            (Function::Mean, Part::Real(sum)) => not_nan(sum / self.rows as f64),
            (_, Part::Real(value)) => not_nan(value),
            (_, Part::Integer(sum)) => Value::Integer(
                i64::try_from(sum)
                    .map_err(|_| ValueError::new(format!("the sum {sum} does not fit an integer")))?,
            ),
            (_, Part::Other(value)) => value,
        })
    }
}

/// As databases have it, what is not a number is no value.
fn not_nan(value: f64) -> Value<'static> {
    if value.is_nan() { Value::Null } else { Value::Real(value) }
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

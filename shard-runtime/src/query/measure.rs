//! Measures: values aggregated over rows, to read, compare and order by.

use std::fmt;
use std::marker::PhantomData;

use super::column::{Column, ColumnKind};
use super::expression::Holds;
use super::filter::Operator;
use super::groups::GroupCore;
pub(crate) use crate::accumulator::Function;
use crate::error::{Result, ValueError};
use crate::query::Sharded;
use crate::row::Row;
use crate::row::Storable;
use crate::sealed::{Seal, Sealed};
use crate::value::{Field, Value};

/// A value that is aggregated over the rows of a group and read as an `O`: [`count()`], or a column's measure, such as
/// `City::POPULATION.sum()`.
pub struct Measure<T, O> {
    pub(super) core: MeasureCore,
    marker: PhantomData<fn() -> (T, O)>,
}

/// A measure without its types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasureCore {
    pub(crate) function: Function,
    /// The column; any one for a count of rows.
    pub(crate) column: usize,
}

impl<T, O> Clone for Measure<T, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, O> Copy for Measure<T, O> {}

impl<T, O> fmt::Debug for Measure<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Measure").field(&self.core).finish()
    }
}

impl<T, O> Measure<T, O> {
    fn new(function: Function, column: usize) -> Self {
        Measure { core: MeasureCore { function, column }, marker: PhantomData }
    }
}

/// Returns the number of rows.
pub fn count<T: Sharded>() -> Measure<T, u64> {
    Measure::new(Function::Count, 0)
}

/// A number that columns are summed and computed in: integers as `i64`, floats as `f64`.
///
/// This trait is sealed: SQLite, PostgreSQL and the merge of partial sums compute the same in these types only.
#[diagnostic::on_unimplemented(
    message = "a column of `{Self}` has no sum",
    label = "not a number",
    note = "sum, average or compute with columns of integers and floats only"
)]
pub trait Number: Field + Sealed {
    /// The type of a sum.
    type Sum: Field;
    /// The values that an update may compute for a column of this type.
    const HOLDS: Holds;
}

/// The type of the sum of a column of `V`.
pub type SumOf<V> = <<V as Storable>::Compare as Number>::Sum;

macro_rules! numbers {
    ($($number:ty => $sum:ty, $holds:expr;)*) => {$(
        impl Sealed for $number {}

        impl Number for $number {
            type Sum = $sum;
            const HOLDS: Holds = $holds;
        }
    )*};
}
numbers!(
    i8 => i64, Holds::Between(i8::MIN as i64, i8::MAX as i64);
    i16 => i64, Holds::Between(i16::MIN as i64, i16::MAX as i64);
    i32 => i64, Holds::Between(i32::MIN as i64, i32::MAX as i64);
    i64 => i64, Holds::All;
    u8 => i64, Holds::Between(0, u8::MAX as i64);
    u16 => i64, Holds::Between(0, u16::MAX as i64);
    u32 => i64, Holds::Between(0, u32::MAX as i64);
    u64 => i64, Holds::Between(0, i64::MAX);
    f32 => f64, Holds::Single;
    f64 => f64, Holds::All;
);

impl<T: Sharded, V: Storable<Compare: Number>, K: ColumnKind> Column<T, V, K> {
    /// Returns the sum, or `None` if no row has a value or if infinities of both signs leave none.
    ///
    /// # Errors
    /// When it is run: [`ErrorKind::Value`](crate::ErrorKind::Value) if a sum of integers, or one shard's part of it, does
    /// not fit `i64`.
    pub fn sum(self) -> Measure<T, Option<SumOf<V>>> {
        Measure::new(Function::Sum, self.index())
    }

    /// Returns the mean, or `None` if no row has a value. It is the sum over all shards, divided by the count over all
    /// shards.
    pub fn avg(self) -> Measure<T, Option<f64>> {
        Measure::new(Function::Mean, self.index())
    }

    /// Returns the sample variance, or `None` if fewer than two rows have a value. The shards' moments are merged without
    /// loss of precision.
    pub fn variance(self) -> Measure<T, Option<f64>> {
        Measure::new(Function::Variance, self.index())
    }

    /// Returns the sample standard deviation, or `None` if fewer than two rows have a value.
    pub fn stddev(self) -> Measure<T, Option<f64>> {
        Measure::new(Function::Deviation, self.index())
    }
}

impl<T: Sharded, V: Storable, K: ColumnKind> Column<T, V, K>
where
    V::Compare: Field,
{
    /// Returns the least value, or `None` if no row has one. Text is compared by the column's
    /// [`Collation`](crate::Collation), also in [`having`](crate::query::Groups::having) and in an order.
    pub fn min(self) -> Measure<T, Option<V::Compare>> {
        Measure::new(Function::Min, self.index())
    }

    /// Returns the greatest value, or `None` if no row has one. Text is compared as by [`min`](Column::min).
    pub fn max(self) -> Measure<T, Option<V::Compare>> {
        Measure::new(Function::Max, self.index())
    }

    /// Returns the number of distinct values. Each shard returns the set of its values, which is held in memory. If only one
    /// shard is queried, or the column is the shard key, each shard returns their number instead.
    pub fn count_distinct(self) -> Measure<T, u64> {
        Measure::new(Function::CountDistinct, self.index())
    }
}

/// The type of a measure: a number of rows, or a value that may be missing.
///
/// This trait is sealed: the partial values of several shards are merged for these types only.
pub trait Measured: Sized {
    /// The type that the measure is compared with.
    type Compare: Field;
    #[doc(hidden)]
    fn measured(value: Value<'_>) -> Result<Self, ValueError>;
    #[doc(hidden)]
    const SEAL: Seal;
}

impl Measured for u64 {
    type Compare = i64;
    const SEAL: Seal = Seal;

    fn measured(value: Value<'_>) -> Result<Self, ValueError> {
        u64::from_value(value)
    }
}

impl<F: Field> Measured for Option<F> {
    type Compare = F;
    const SEAL: Seal = Seal;

    fn measured(value: Value<'_>) -> Result<Self, ValueError> {
        match value {
            Value::Null => Ok(None),
            value => F::from_value(value).map(Some),
        }
    }
}

/// A condition on a group's measure. It does not hold if the measure has no value.
pub struct Having<T> {
    pub(super) core: HavingCore,
    marker: PhantomData<fn() -> T>,
}

untyped!(Having<T> { core; marker });

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HavingCore {
    pub(crate) measure: MeasureCore,
    pub(crate) operator: Operator,
    pub(crate) value: Result<Value<'static>, ValueError>,
}

impl<T, O: Measured> Measure<T, O> {
    fn compare(self, operator: Operator, value: impl Into<O::Compare>) -> Having<T> {
        let value = value.into().stored_value().map(Value::into_owned);
        Having { core: HavingCore { measure: self.core, operator, value }, marker: PhantomData }
    }

    /// Returns the condition that the measure equals this value.
    pub fn eq(self, value: impl Into<O::Compare>) -> Having<T> {
        self.compare(Operator::Equal, value)
    }

    /// Returns the condition that the measure differs from this value.
    pub fn ne(self, value: impl Into<O::Compare>) -> Having<T> {
        self.compare(Operator::NotEqual, value)
    }

    /// Returns the condition that the measure is less.
    pub fn lt(self, value: impl Into<O::Compare>) -> Having<T> {
        self.compare(Operator::Less, value)
    }

    /// Returns the condition that the measure is less or equal.
    pub fn le(self, value: impl Into<O::Compare>) -> Having<T> {
        self.compare(Operator::LessOrEqual, value)
    }

    /// Returns the condition that the measure is greater.
    pub fn gt(self, value: impl Into<O::Compare>) -> Having<T> {
        self.compare(Operator::Greater, value)
    }

    /// Returns the condition that the measure is greater or equal.
    pub fn ge(self, value: impl Into<O::Compare>) -> Having<T> {
        self.compare(Operator::GreaterOrEqual, value)
    }
}

/// A measure of `T`, or a tuple of up to six. The output is the value, or a tuple of the values.
///
/// This trait is sealed: the values are read from the columns that the planner writes for these measures.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a measure of `{T}`, nor a tuple of its measures",
    label = "not measures of `{T}`",
    note = "a measure is `count()`, or a column's `sum()`, `avg()`, `min()`, `max()`, `count_distinct()`, `variance()`, `stddev()`"
)]
pub trait MeasureList<T>: Sealed {
    /// The value, or the tuple of the values.
    type Output;

    #[doc(hidden)]
    fn cores(&self, cores: &mut Vec<MeasureCore>);
    #[doc(hidden)]
    fn load(values: &mut Measures<'_>) -> Result<Self::Output>;
}

/// The measures in a group's row, which are read one after the other.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "it cannot be named outside of this crate")]
pub struct Measures<'r> {
    row: &'r Row<'r>,
    measures: &'r [MeasureCore],
    /// The index of the first measure in the row.
    first: usize,
    next: usize,
}

impl<'r> Measures<'r> {
    pub(super) fn of(row: &'r Row<'r>, core: &'r GroupCore) -> Self {
        Measures { row, measures: &core.measures, first: core.keys.len(), next: 0 }
    }
}

impl<T, O> Sealed for Measure<T, O> {}

impl<T: Sharded, O: Measured> MeasureList<T> for Measure<T, O> {
    type Output = O;

    fn cores(&self, cores: &mut Vec<MeasureCore>) {
        cores.push(self.core);
    }

    fn load(values: &mut Measures<'_>) -> Result<O> {
        let (index, table) = (values.next, values.row.table);
        values.next += 1;
        let column = values.measures.get(index).map_or(table.id, |measure| measure.column);
        let value = values.row.source.value(values.first + index);
        value.and_then(O::measured).map_err(|error| table.error_at(column, error))
    }
}

macro_rules! tuples_of_measures {
    ($($name:ident $field:tt),*) => {
        impl<T: Sharded, $($name: MeasureList<T>),*> MeasureList<T> for ($($name,)*) {
            type Output = ($($name::Output,)*);

            fn cores(&self, cores: &mut Vec<MeasureCore>) {
                $(self.$field.cores(cores);)*
            }

            fn load(values: &mut Measures<'_>) -> Result<Self::Output> {
                Ok(($($name::load(values)?,)*))
            }
        }
    };
}
impl<T: Sharded> MeasureList<T> for () {
    type Output = ();

    fn cores(&self, _: &mut Vec<MeasureCore>) {}

    fn load(_: &mut Measures<'_>) -> Result<()> {
        Ok(())
    }
}

tuples_of_measures!(A 0);
tuples_of_measures!(A 0, B 1);
tuples_of_measures!(A 0, B 1, C 2);
tuples_of_measures!(A 0, B 1, C 2, D 3);
tuples_of_measures!(A 0, B 1, C 2, D 3, E 4);
tuples_of_measures!(A 0, B 1, C 2, D 3, E 4, F 5);

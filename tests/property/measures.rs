//! Measures of the tests and of the library.

use shard_runtime::{
    Column as Typed, Result, Routed, Select, Session, Sharded, Value, count,
    query::{ColumnKind, ColumnList, GroupOrder, Having, Measure, Measured, Number, Storable},
};

use super::datum::{Column, Datum};
use super::strategies::By;
use super::subject::{Cell, Subject};

/// The aggregates of the rows of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    Sum,
    Mean,
    Least,
    Greatest,
    Variance,
    Deviation,
}

/// A comparison of a measure.
#[derive(Clone, Copy, Debug)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One of the measures that every answer has, of those that are no rounded numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Rows,
    Integer,
    Text,
    Distinct,
}

/// The columns that groups are made by; the model's tuples of columns.
pub const GROUPINGS: [&[Column]; 6] = [
    &[Column::Key, Column::Name],
    &[Column::Name, Column::Key],
    &[Column::Rank, Column::Note],
    &[Column::Part, Column::Key, Column::Rank],
    &[Column::Name, Column::Rank, Column::Weight],
    &[Column::Weight, Column::Amount, Column::Note, Column::Name],
];

/// Groups by several columns and measures of them, or measures of all rows.
#[derive(Clone, Debug)]
pub struct Measures {
    /// One of [`GROUPINGS`]; none for all rows.
    pub grouping: Option<usize>,
    pub integer: (Function, Column),
    pub real: (Function, Column),
    pub text: (Function, Column),
    pub distinct: Column,
    pub having: Vec<(Which, Operator, Datum)>,
    pub order: Vec<GroupBy>,
    pub limit: Option<u64>,
    pub offset: u64,
}

/// The order of groups.
#[derive(Clone, Copy, Debug)]
pub enum GroupBy {
    Column(By),
    Measure(Which, bool),
}

impl Measures {
    pub fn columns(&self) -> &'static [Column] {
        self.grouping.map_or(&[], |grouping| GROUPINGS[grouping])
    }
}

/// A group as the library answers it: its columns' values, the number of rows, and the measures.
#[derive(Clone, Debug)]
pub struct Found {
    pub columns: Vec<Datum>,
    pub rows: u64,
    pub integer: Datum,
    pub real: Datum,
    pub text: Datum,
    pub distinct: u64,
}

/// The measures of [`Measures`] with their types.
pub struct Wanted<T> {
    pub integer: Measure<T, Option<i64>>,
    pub real: Measure<T, Option<f64>>,
    pub text: Measure<T, Option<String>>,
    pub distinct: Measure<T, u64>,
}

type Values = (u64, Option<i64>, Option<f64>, Option<String>, u64);

impl Found {
    fn new(columns: Vec<Datum>, (rows, integer, real, text, distinct): Values) -> Self {
        Found { columns, rows, integer: integer.into(), real: real.into(), text: text.into(), distinct }
    }
}

/// A measure of a column of integers.
pub fn integer<T, V, K>(column: Typed<T, V, K>, function: Function) -> Measure<T, Option<i64>>
where
    T: Sharded,
    V: Storable<Compare = i64>,
    K: ColumnKind,
{
    match function {
        Function::Sum => column.sum(),
        Function::Least => column.min(),
        Function::Greatest => column.max(),
        other => unreachable!("{other:?} of integers is a float"),
    }
}

/// A measure of a column of numbers that is a float for every type of number.
pub fn real<T, V, K>(column: Typed<T, V, K>, function: Function) -> Measure<T, Option<f64>>
where
    T: Sharded,
    V: Storable<Compare: Number>,
    K: ColumnKind,
{
    match function {
        Function::Mean => column.avg(),
        Function::Variance => column.variance(),
        Function::Deviation => column.stddev(),
        other => unreachable!("{other:?} is of the column's own type"),
    }
}

/// The least or greatest value of a column, or the sum of one of floats.
pub fn own<T, V, K, C>(column: Typed<T, V, K>, function: Function) -> Measure<T, Option<C>>
where
    T: Sharded,
    V: Storable<Compare = C>,
    K: ColumnKind,
    C: Cell,
{
    match function {
        Function::Least => column.min(),
        Function::Greatest => column.max(),
        other => unreachable!("{other:?} is not the column's own"),
    }
}

/// Runs a query of measures of all rows, or of groups.
pub fn measured<T: Subject>(
    session: &mut Session,
    select: Select<T, Routed>,
    measures: &Measures,
    wanted: &Wanted<T>,
) -> Result<Vec<Found>> {
    match measures.grouping {
        Some(_) => T::groups_by(session, select, measures, wanted),
        None => {
            let Wanted { integer, real, text, distinct } = wanted;
            let values = session.one(select.aggregate((count(), *integer, *real, *text, *distinct)))?;
            Ok(vec![Found::new(Vec::new(), values)])
        }
    }
}

/// Groups by these columns. Only the code that depends on them is here, because it is compiled for all of them.
pub fn grouped_by<T: Subject, C: ColumnList<T, Output: Data>>(
    session: &mut Session,
    select: Select<T, Routed>,
    columns: C,
    measures: &Measures,
    wanted: &Wanted<T>,
) -> Result<Vec<Found>> {
    let Wanted { integer, real, text, distinct } = wanted;
    let mut groups = select
        .group_by(columns)
        .aggregate((count(), *integer, *real, *text, *distinct))
        .offset(measures.offset);
    if let Some(limit) = measures.limit {
        groups = groups.limit(limit);
    }
    for condition in havings(measures, wanted) {
        groups = groups.having(condition);
    }
    for order in orders(measures, wanted) {
        groups = groups.order_by(order);
    }
    let found = session.all(groups)?;
    Ok(found.into_iter().map(|(columns, values)| Found::new(columns.data(), values)).collect())
}

fn havings<T: Subject>(measures: &Measures, wanted: &Wanted<T>) -> Vec<Having<T>> {
    let having = |(which, operator, value): &(Which, Operator, Datum)| match which {
        Which::Rows => having(count(), *operator, value.integer()),
        Which::Integer => having(wanted.integer, *operator, value.integer()),
        Which::Text => having(wanted.text, *operator, value.as_text().to_owned()),
        Which::Distinct => having(wanted.distinct, *operator, value.integer()),
    };
    measures.having.iter().map(having).collect()
}

fn orders<T: Subject>(measures: &Measures, wanted: &Wanted<T>) -> Vec<GroupOrder<T>> {
    let order = |by: &GroupBy| match *by {
        GroupBy::Column(by) => GroupOrder::from(T::order(by)),
        GroupBy::Measure(Which::Rows, descending) => by_measure(count(), descending),
        GroupBy::Measure(Which::Integer, descending) => by_measure(wanted.integer, descending),
        GroupBy::Measure(Which::Text, descending) => by_measure(wanted.text, descending),
        GroupBy::Measure(Which::Distinct, descending) => by_measure(wanted.distinct, descending),
    };
    measures.order.iter().map(order).collect()
}

fn having<T, O: Measured>(measure: Measure<T, O>, operator: Operator, value: O::Compare) -> Having<T> {
    match operator {
        Operator::Equal => measure.eq(value),
        Operator::NotEqual => measure.ne(value),
        Operator::Less => measure.lt(value),
        Operator::LessOrEqual => measure.le(value),
        Operator::Greater => measure.gt(value),
        Operator::GreaterOrEqual => measure.ge(value),
    }
}

fn by_measure<T, O>(measure: Measure<T, O>, descending: bool) -> GroupOrder<T> {
    if descending { measure.desc() } else { measure.asc() }
}

/// A tuple of columns' values.
pub trait Data {
    fn data(&self) -> Vec<Datum>;
}

/// A column's value as a [`Datum`].
pub fn datum(value: &impl Storable) -> Datum {
    match value.column_value().expect("a stored value") {
        Value::Integer(integer) => Datum::Integer(integer),
        Value::Real(real) => Datum::Real(real),
        Value::Text(text) => Datum::text(&text),
        _ => Datum::Null,
    }
}

macro_rules! data {
    ($($name:ident $place:tt),*) => {
        impl<$($name: Storable),*> Data for ($($name,)*) {
            fn data(&self) -> Vec<Datum> {
                vec![$(datum(&self.$place)),*]
            }
        }
    };
}
data!(A 0, B 1);
data!(A 0, B 1, C 2);
data!(A 0, B 1, C 2, D 3);

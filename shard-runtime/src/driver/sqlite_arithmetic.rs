//! Arithmetic functions that fail on overflow; see `planner::sql`.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Error, Result};

use crate::error::ValueError;
use crate::planner::sql::{ADD, BETWEEN, MULTIPLY, OUT_OF_RANGE, SINGLE, SUBTRACT};
use crate::query::Arithmetic;

const NO_NUMBER: &str = "the stored value is not a number of the column's type";

/// Registers the functions on a connection.
pub(super) fn define(connection: &Connection) -> Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    let operators =
        [(ADD, Arithmetic::Add), (SUBTRACT, Arithmetic::Subtract), (MULTIPLY, Arithmetic::Multiply)];
    for (name, operator) in operators {
        connection.create_scalar_function(name, 3, flags, move |context| {
            let column = context.get_raw(2);
            combined(operator, context.get_raw(0), context.get_raw(1))
                .map_err(|message| refused(column, &message))
        })?;
    }
    connection.create_scalar_function(BETWEEN, 4, flags, |context| {
        let column = context.get_raw(3);
        between(context).map_err(|message| refused(column, &message))
    })?;
    connection.create_scalar_function(SINGLE, 1, flags, |context| {
        let rounded = match context.get_raw(0) {
            ValueRef::Real(real) => Value::Real(f64::from(real as f32)),
            _ => Value::Null,
        };
        Ok(ToSqlOutput::Owned(rounded))
    })
}

/// Combines two numbers of one kind; NULL if one of them is NULL.
fn combined(
    operator: Arithmetic,
    left: ValueRef<'_>,
    right: ValueRef<'_>,
) -> Result<ToSqlOutput<'static>, String> {
    use Arithmetic::{Add, Multiply, Subtract};
    let sign = match operator {
        Add => '+',
        Subtract => '-',
        Multiply => '*',
    };
    let (result, sides) = match (left, right) {
        (ValueRef::Null, _) | (_, ValueRef::Null) => (Some(Value::Null), String::new()),
        (ValueRef::Integer(left), ValueRef::Integer(right)) => {
            let result = match operator {
                Add => left.checked_add(right),
                Subtract => left.checked_sub(right),
                Multiply => left.checked_mul(right),
            };
            (result.map(Value::Integer), format!("{left} {sign} {right}"))
        }
        (ValueRef::Real(left), ValueRef::Real(right)) => {
            let result = match operator {
                Add => left + right,
                Subtract => left - right,
                Multiply => left * right,
            };
            // SQLite would return NULL.
            (
                Some(result).filter(|result| !result.is_nan()).map(Value::Real),
                format!("{left} {sign} {right}"),
            )
        }
        _ => return Err(NO_NUMBER.to_owned()),
    };
    result.map(ToSqlOutput::Owned).ok_or_else(|| format!("{sides} has no value that can be stored"))
}

/// Returns the integer, if it is between the second and the third argument.
fn between(context: &Context<'_>) -> Result<ToSqlOutput<'static>, String> {
    match (context.get_raw(0), context.get_raw(1), context.get_raw(2)) {
        (ValueRef::Null, _, _) => Ok(ToSqlOutput::Owned(Value::Null)),
        (ValueRef::Integer(integer), ValueRef::Integer(least), ValueRef::Integer(greatest)) => {
            match (least..=greatest).contains(&integer) {
                true => Ok(ToSqlOutput::Owned(Value::Integer(integer))),
                false => Err(format!("{integer} is not between {least} and {greatest}")),
            }
        }
        _ => Err(NO_NUMBER.to_owned()),
    }
}

fn refused(column: ValueRef<'_>, message: &str) -> Error {
    let column = column.as_str().unwrap_or_default();
    Error::UserFunctionError(Box::new(ValueError::new(format!("{OUT_OF_RANGE}{column}`: {message}"))))
}

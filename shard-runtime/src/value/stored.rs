//! The canonical form of values, and the conversion of values that a database returned.

use std::borrow::Cow;

use super::ValueError;
use super::{ColumnType, Value, json, mismatch, text_value};

/// The first microsecond that PostgreSQL stores, in the year 4714 BC.
const FIRST_TIMESTAMP: i64 = -210_866_803_200_000_000;

impl<'a> Value<'a> {
    /// Returns the value in the canonical form, which every database stores and returns unchanged.
    ///
    /// # Errors
    /// If some database does not store it: NaN, text with NUL, a document that is not JSON or has U+0000 in a string,
    /// a time before the year 4714 BC.
    pub(crate) fn into_stored(self) -> Result<Self, ValueError> {
        match self {
            Value::Real(real) if real.is_nan() => {
                Err(ValueError::new("NaN cannot be stored: it has no place in an order; use `Option`"))
            }
            Value::Real(real) => Ok(Value::Real(real + 0.0)), // SQLite stores -0.0 as 0.0
            Value::Text(text) => text_value(&text).map(|_| ()).map(|()| Value::Text(text)),
            Value::Json(text) => json::canonical(&text).map(|text| Value::Json(Cow::Owned(text))),
            Value::Timestamp(micros) if micros < FIRST_TIMESTAMP => Err(ValueError::new(format!(
                "a time {micros} microseconds after 1970 cannot be stored: the first one that PostgreSQL stores is \
                 {FIRST_TIMESTAMP}, in the year 4714 BC"
            ))),
            value => Ok(value),
        }
    }

    /// Converts a value that a database has returned to this kind of column. SQLite has no type for a boolean, a time,
    /// a UUID or a document, and PostgreSQL has one for each.
    ///
    /// # Errors
    /// If no column of this kind holds the value.
    pub(crate) fn into_kind(self, kind: ColumnType) -> Result<Self, ValueError> {
        Ok(match (kind, self) {
            (_, Value::Null) => Value::Null,
            (ColumnType::Boolean, Value::Integer(integer @ (0 | 1))) => Value::Boolean(integer == 1),
            (ColumnType::Timestamp, Value::Integer(micros)) => Value::Timestamp(micros),
            (ColumnType::Uuid, Value::Bytes(bytes)) => match <[u8; 16]>::try_from(&*bytes) {
                Ok(uuid) => Value::Uuid(uuid),
                Err(_) => return Err(mismatch("a UUID of 16 bytes", &Value::Bytes(bytes))),
            },
            (ColumnType::Json, Value::Text(text) | Value::Json(text)) => {
                Value::Json(Cow::Owned(json::canonical(&text)?))
            }
            (ColumnType::Text, Value::Json(text)) => Value::Text(text),
            (ColumnType::Real, Value::Real(real)) => Value::Real(real + 0.0),
            (kind, value) if value.is_a(kind) => value,
            (kind, value) => return Err(mismatch(kind.described(), &value)),
        })
    }
}

impl ColumnType {
    /// Returns the name of a value of this kind for messages.
    fn described(self) -> &'static str {
        match self {
            ColumnType::Boolean => "a boolean",
            ColumnType::Integer => "an integer",
            ColumnType::Real => "a float",
            ColumnType::Text => "text",
            ColumnType::Bytes => "bytes",
            ColumnType::Uuid => "a UUID",
            ColumnType::Timestamp => "a timestamp",
            ColumnType::Json => "JSON",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_kind_of_its_column() {
        for (kind, given, is) in [
            (ColumnType::Boolean, Value::Integer(1), Value::Boolean(true)),
            (ColumnType::Boolean, Value::Boolean(false), Value::Boolean(false)),
            (ColumnType::Timestamp, Value::Integer(-5), Value::Timestamp(-5)),
            (ColumnType::Uuid, Value::Bytes(vec![7; 16].into()), Value::Uuid([7; 16])),
            (ColumnType::Text, Value::Text("a".into()), Value::Text("a".into())),
            (ColumnType::Integer, Value::Null, Value::Null),
        ] {
            assert_eq!(given.into_kind(kind), Ok(is));
        }
        for (kind, given) in [
            (ColumnType::Boolean, Value::Integer(2)),
            (ColumnType::Uuid, Value::Bytes(vec![7; 15].into())),
            (ColumnType::Integer, Value::Boolean(true)),
            (ColumnType::Real, Value::Integer(1)),
            (ColumnType::Text, Value::Bytes(vec![].into())),
        ] {
            assert!(given.clone().into_kind(kind).is_err(), "{given} {kind:?}");
        }
    }

    #[test]
    fn r43_values_that_a_database_cannot_store_are_refused() {
        for wrong in [
            Value::Real(f64::NAN),
            Value::Text("a\0".into()),
            Value::Timestamp(FIRST_TIMESTAMP - 1),
            Value::Timestamp(i64::MIN),
        ] {
            assert!(wrong.into_stored().is_err());
        }
        for right in
            [Value::Timestamp(FIRST_TIMESTAMP), Value::Timestamp(i64::MAX), Value::Real(f64::INFINITY)]
        {
            assert_eq!(right.clone().into_stored(), Ok(right));
        }
        let Ok(Value::Real(zero)) = Value::Real(-0.0).into_stored() else { panic!("no float") };
        assert!(zero.is_sign_positive());
    }
}

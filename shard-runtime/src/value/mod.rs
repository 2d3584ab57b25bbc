//! Values of columns, their kinds, and the trait [`Field`] of Rust types that a column holds. Uses nothing of the
//! crate.
//!
//! [`Storable`] adds the other types of fields: an `Option` of a [`Field`], or a [`Parent`](crate::Parent).

pub(crate) mod codec;
mod error;
mod id_key;
pub(crate) mod json;
mod stored;

pub use error::ValueError;
pub(crate) use id_key::IdKey;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// The kinds of column, each with a native type on every database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnType {
    /// `true` or `false`.
    Boolean,
    /// A 64-bit signed integer.
    Integer,
    /// A 64-bit float, never NaN.
    Real,
    /// UTF-8 text without NUL, compared byte by byte, unless the column declares a [`Collation`](crate::Collation).
    Text,
    /// Bytes.
    Bytes,
    /// A UUID, 16 bytes.
    Uuid,
    /// A moment, in microseconds since 1970-01-01T00:00:00Z, not before the year 4714 BC.
    Timestamp,
    /// A JSON document, compared and ordered byte by byte as the text that PostgreSQL prints for `jsonb`: `1` and
    /// `1.0` are two values, and the order of keys in an object is not significant.
    Json,
}

/// One value that is sent to or read from a database. Text and bytes may be borrowed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// No value.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A 64-bit signed integer.
    Integer(i64),
    /// A 64-bit float.
    Real(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A UUID.
    Uuid([u8; 16]),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// A JSON document as text.
    Json(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// Returns the value with owned text or bytes.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Boolean(value) => Value::Boolean(value),
            Value::Integer(value) => Value::Integer(value),
            Value::Real(value) => Value::Real(value),
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
            Value::Uuid(uuid) => Value::Uuid(uuid),
            Value::Timestamp(micros) => Value::Timestamp(micros),
            Value::Json(text) => Value::Json(Cow::Owned(text.into_owned())),
        }
    }

    /// Returns the approximate size in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Value::Text(text) | Value::Json(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => size_of::<i64>(),
        }
    }

    /// Returns the value, borrowing the text or bytes of this one.
    pub fn borrowed(&self) -> Value<'_> {
        match self {
            Value::Null => Value::Null,
            Value::Boolean(value) => Value::Boolean(*value),
            Value::Integer(value) => Value::Integer(*value),
            Value::Real(value) => Value::Real(*value),
            Value::Text(text) => Value::Text(Cow::Borrowed(text)),
            Value::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
            Value::Uuid(uuid) => Value::Uuid(*uuid),
            Value::Timestamp(micros) => Value::Timestamp(*micros),
            Value::Json(text) => Value::Json(Cow::Borrowed(text)),
        }
    }

    /// Compares two values of one column: numbers by size, text and bytes byte by byte, [`Value::Null`] below
    /// everything. [`Collation::order`](crate::Collation::order) compares text in another collation. Values of
    /// different kinds, which no column mixes, are ordered as the storage classes of SQLite.
    pub fn order(&self, other: &Value<'_>) -> Ordering {
        match (self, other) {
            (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
            (Value::Text(a) | Value::Json(a), Value::Text(b) | Value::Json(b)) => {
                a.as_bytes().cmp(b.as_bytes())
            }
            (Value::Real(a), Value::Real(b)) if a == b => Ordering::Equal, // -0.0 is 0.0
            (Value::Real(a), Value::Real(b)) => a.total_cmp(b),
            (a, b) => a.class().cmp(&b.class()).then_with(|| a.as_stored().cmp(&b.as_stored())),
        }
    }

    /// Returns the stored form in a database without types for it: a number for a timestamp, bytes for a UUID.
    fn as_stored(&self) -> (i64, &[u8]) {
        match self {
            Value::Boolean(value) => (i64::from(*value), &[]),
            Value::Integer(number) | Value::Timestamp(number) => (*number, &[]),
            Value::Bytes(bytes) => (0, bytes),
            Value::Uuid(bytes) => (0, bytes),
            Value::Null | Value::Real(_) | Value::Text(_) | Value::Json(_) => (0, &[]),
        }
    }

    /// Returns whether a column of this kind holds the value.
    pub(crate) fn is_a(&self, kind: ColumnType) -> bool {
        match self {
            Value::Null => false,
            Value::Boolean(_) => kind == ColumnType::Boolean,
            Value::Integer(_) => kind == ColumnType::Integer,
            Value::Real(_) => kind == ColumnType::Real,
            Value::Text(_) => kind == ColumnType::Text,
            Value::Bytes(_) => kind == ColumnType::Bytes,
            Value::Uuid(_) => kind == ColumnType::Uuid,
            Value::Timestamp(_) => kind == ColumnType::Timestamp,
            Value::Json(_) => kind == ColumnType::Json,
        }
    }

    fn class(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Boolean(_) | Value::Integer(_) | Value::Timestamp(_) => 1,
            Value::Real(_) => 2,
            Value::Text(_) | Value::Json(_) => 3,
            Value::Bytes(_) | Value::Uuid(_) => 4,
        }
    }
}

/// Prints a value for people: text without quotes, bytes and UUIDs in hexadecimal.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("NULL"),
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Real(value) => write!(f, "{value}"),
            Value::Text(text) | Value::Json(text) => f.write_str(text),
            Value::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Value::Uuid(uuid) => uuid.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Value::Timestamp(micros) => write!(f, "{micros}µs"),
        }
    }
}

/// A type whose values can be stored in a column.
///
/// Implemented for the integers, floats, `bool`, `String` and `Vec<u8>`; by feature for `uuid::Uuid`,
/// `jiff::Timestamp` and `serde_json::Value`. `#[derive(Field)]` implements it for newtypes, and for enums without
/// data, which are stored as text. For other types implement the conversion to a [`Value`] and back:
///
/// ```
/// use shard_runtime::{ColumnType, Field, Value, ValueError};
///
/// struct Celsius(f64);
///
/// impl Field for Celsius {
///     const TYPE: ColumnType = ColumnType::Real;
///     fn to_value(&self) -> Result<Value<'_>, ValueError> {
///         self.0.to_value()
///     }
///     fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
///         f64::from_value(value).map(Celsius)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a value that a column stores",
    label = "not a column's value",
    note = "a column stores an integer (`i8` to `i64`, `u8` to `u64`), a float, `bool`, `String`, `Vec<u8>`, `uuid::Uuid`, \
            `jiff::Timestamp` or `serde_json::Value`",
    note = "for a newtype or an enum without data write `#[derive(Field)]`; for any other type of your own implement `Field`",
    note = "convert other types, or hold them in a newtype that implements `Field`: times of `chrono` and `time` as \
            `jiff::Timestamp`, dates as text, decimals as an integer of their smallest unit or as text",
    note = "only a plain column is an `Option`: an id and a key are never NULL"
)]
#[cfg_attr(
    not(feature = "uuid"),
    diagnostic::on_unimplemented(note = "`uuid::Uuid` needs the feature `uuid` of `shard-runtime`")
)]
#[cfg_attr(
    not(feature = "jiff"),
    diagnostic::on_unimplemented(note = "`jiff::Timestamp` needs the feature `jiff` of `shard-runtime`")
)]
#[cfg_attr(
    not(feature = "json"),
    diagnostic::on_unimplemented(note = "`serde_json::Value` needs the feature `json` of `shard-runtime`")
)]
pub trait Field: Sized + Send + Sync + 'static {
    /// The kind of column that holds such a value.
    const TYPE: ColumnType;

    /// Whether a read of the column returns every value as it was written. A `jiff::Timestamp` loses nanoseconds, and -0.0
    /// becomes 0.0.
    #[doc(hidden)]
    const IS_EXACT: bool = false;

    /// Whether `to_value` returns the canonical form, which every database stores.
    #[doc(hidden)]
    const IS_STORED: bool = false;

    /// Returns the stored value.
    ///
    /// # Errors
    /// If the type has values that no column holds: `u64` above `i64::MAX`, NaN, text with NUL.
    fn to_value(&self) -> Result<Value<'_>, ValueError>;

    /// Returns the field of a stored value. Worker threads may call this function for large answers.
    ///
    /// # Errors
    /// If the stored value is not one of this type.
    fn from_value(value: Value<'_>) -> Result<Self, ValueError>;

    /// Returns the value in the canonical form, which every database stores.
    #[doc(hidden)]
    fn stored_value(&self) -> Result<Value<'_>, ValueError> {
        let value = self.to_value()?;
        if Self::IS_STORED { Ok(value) } else { value.into_stored() }
    }
}

/// Returns the error for a value that is not of the expected kind.
pub(crate) fn mismatch(expected: &str, found: &Value<'_>) -> ValueError {
    ValueError::new(match found {
        Value::Null => format!("expected {expected}, found NULL"),
        found => format!("expected {expected}, found `{found}`"),
    })
}

macro_rules! integer_fields {
    ($($integer:ty),*) => {$(
        impl Field for $integer {
            const TYPE: ColumnType = ColumnType::Integer;
            const IS_EXACT: bool = true;
            const IS_STORED: bool = true;

            fn to_value(&self) -> Result<Value<'_>, ValueError> {
                i64::try_from(*self).map(Value::Integer).map_err(|_| {
                    ValueError::new(format!("{self} does not fit a column: the greatest integer is {}", i64::MAX))
                })
            }

            fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
                match value {
                    Value::Integer(integer) => <$integer>::try_from(integer).map_err(|_| {
                        ValueError::new(format!("{integer} does not fit `{}`", stringify!($integer)))
                    }),
                    other => Err(mismatch("an integer", &other)),
                }
            }
        }
    )*};
}
integer_fields!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Field for f64 {
    const TYPE: ColumnType = ColumnType::Real;
    const IS_STORED: bool = true;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        match self.is_nan() {
            true => Err(ValueError::new("NaN cannot be stored: it has no place in an order; use `Option`")),
            false => Ok(Value::Real(*self + 0.0)), // SQLite stores -0.0 as 0.0
        }
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        match value {
            // Another program can store NaN in PostgreSQL.
            Value::Real(value) if value.is_nan() => Err(ValueError::new("the stored value is NaN")),
            Value::Real(value) => Ok(value + 0.0),
            other => Err(mismatch("a float", &other)),
        }
    }
}

impl Field for f32 {
    const TYPE: ColumnType = ColumnType::Real;
    const IS_STORED: bool = true;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        f64::from(*self).to_value().map(Value::into_owned)
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        let wide = f64::from_value(value)?;
        let narrow = wide as f32;
        match f64::from(narrow) == wide {
            true => Ok(narrow),
            false => Err(ValueError::new(format!("{wide} does not fit `f32`"))),
        }
    }
}

impl Field for bool {
    const TYPE: ColumnType = ColumnType::Boolean;
    const IS_EXACT: bool = true;
    const IS_STORED: bool = true;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        Ok(Value::Boolean(*self))
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        match value {
            Value::Boolean(value) => Ok(value),
            Value::Integer(0) => Ok(false),
            Value::Integer(1) => Ok(true),
            other => Err(mismatch("a boolean", &other)),
        }
    }
}

impl Field for String {
    const TYPE: ColumnType = ColumnType::Text;
    const IS_EXACT: bool = true;
    const IS_STORED: bool = true;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        text_value(self)
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        match value {
            Value::Text(text) if text.as_bytes().contains(&0) => {
                Err(ValueError::new("the stored text contains a NUL"))
            }
            Value::Text(text) => Ok(text.into_owned()),
            other => Err(mismatch("text", &other)),
        }
    }
}

/// Returns text as a value; an error for text with NUL, which SQLite truncates and PostgreSQL rejects.
pub(crate) fn text_value(text: &str) -> Result<Value<'_>, ValueError> {
    // For short texts a search of the bytes is faster than `find`.
    if !text.as_bytes().contains(&0) {
        return Ok(Value::Text(Cow::Borrowed(text)));
    }
    let at = text.find('\0').unwrap_or_default();
    Err(ValueError::new(format!("text with a NUL (at byte {at}) cannot be stored")))
}

impl Field for Vec<u8> {
    const TYPE: ColumnType = ColumnType::Bytes;
    const IS_EXACT: bool = true;
    const IS_STORED: bool = true;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        Ok(Value::Bytes(Cow::Borrowed(self)))
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.into_owned()),
            other => Err(mismatch("bytes", &other)),
        }
    }
}

#[cfg(feature = "uuid")]
impl Field for uuid::Uuid {
    const TYPE: ColumnType = ColumnType::Uuid;
    const IS_EXACT: bool = true;
    const IS_STORED: bool = true;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        Ok(Value::Uuid(self.into_bytes()))
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        match &value {
            Value::Uuid(uuid) => Ok(uuid::Uuid::from_bytes(*uuid)),
            Value::Bytes(bytes) => {
                uuid::Uuid::from_slice(bytes).map_err(|_| mismatch("a UUID of 16 bytes", &value))
            }
            other => Err(mismatch("a UUID", other)),
        }
    }
}

/// A timestamp is stored in microseconds, as in PostgreSQL; finer digits are cut off. Times before the year 4714 BC are
/// errors.
#[cfg(feature = "jiff")]
impl Field for jiff::Timestamp {
    const TYPE: ColumnType = ColumnType::Timestamp;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        Value::Timestamp(self.as_nanosecond().div_euclid(1_000) as i64).into_stored()
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        match value {
            // The last microsecond of jiff's range is a whole number of nanoseconds only.
            Value::Timestamp(micros) | Value::Integer(micros) => {
                jiff::Timestamp::from_nanosecond(i128::from(micros) * 1_000).map_err(|_| {
                    ValueError::new(format!(
                        "{micros} microseconds after 1970 do not fit `jiff::Timestamp`, which ends at {}",
                        jiff::Timestamp::MAX
                    ))
                })
            }
            other => Err(mismatch("a timestamp", &other)),
        }
    }
}

#[cfg(feature = "json")]
impl Field for serde_json::Value {
    const TYPE: ColumnType = ColumnType::Json;

    fn to_value(&self) -> Result<Value<'_>, ValueError> {
        json::to_text(self).map(|text| Value::Json(Cow::Owned(text)))
    }

    fn stored_value(&self) -> Result<Value<'_>, ValueError> {
        self.to_value()
    }

    fn from_value(value: Value<'_>) -> Result<Self, ValueError> {
        match value {
            Value::Json(text) | Value::Text(text) => {
                serde_json::from_str(&text).map_err(|error| ValueError::new(format!("not JSON: {error}")))
            }
            other => Err(mismatch("JSON", &other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r43_bad_values_are_errors() {
        assert_eq!(Field::to_value(&(i64::MAX as u64)), Ok(Value::Integer(i64::MAX)));
        assert!(Field::to_value(&(i64::MAX as u64 + 1)).is_err());
        assert!(Field::to_value(&f64::NAN).is_err() && Field::to_value(&f32::NAN).is_err());
        assert!(Field::to_value(&String::from("a\0b")).is_err());
        assert!(i8::from_value(Value::Integer(128)).is_err());
        assert!(u8::from_value(Value::Integer(-1)).is_err());
        assert!(f32::from_value(Value::Real(0.1)).is_err());
        assert!(
            f64::from_value(Value::Real(f64::NAN)).is_err()
                && f32::from_value(Value::Real(f64::NAN)).is_err()
        );
        assert!(bool::from_value(Value::Integer(2)).is_err());
        assert!(String::from_value(Value::Null).is_err());
    }

    #[test]
    fn values_are_ordered_as_columns_are() {
        let text = |text: &'static str| Value::Text(Cow::Borrowed(text));
        assert_eq!(text("Z").order(&text("a")), Ordering::Less);
        assert_eq!(Value::Null.order(&Value::Integer(i64::MIN)), Ordering::Less);
        assert_eq!(Value::Real(-0.0).order(&Value::Real(0.0)), Ordering::Equal);
        assert_eq!(Value::Real(f64::NEG_INFINITY).order(&Value::Real(-1.0)), Ordering::Less);
    }

    #[cfg(feature = "jiff")]
    #[test]
    fn timestamps_keep_microseconds() {
        let moment: jiff::Timestamp = "1969-12-31T23:59:59.999999999Z".parse().unwrap();
        let Ok(Value::Timestamp(micros)) = Field::to_value(&moment) else { panic!() };
        assert_eq!(micros, -1);
        assert_eq!(jiff::Timestamp::from_value(Value::Integer(micros)).unwrap().as_microsecond(), -1);
    }
}

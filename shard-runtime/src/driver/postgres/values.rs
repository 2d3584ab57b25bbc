//! Values in the binary protocol of PostgreSQL, by the type that the server reports. Uses `value`.

use std::error::Error as StdError;
use std::fmt;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type};

use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::planner::sql::Param;
use crate::value::Value;

/// Microseconds from 1970 to 2000, the epoch of PostgreSQL.
const FROM_1970_TO_2000: i64 = 946_684_800_000_000;

type Failure = Box<dyn StdError + Sync + Send>;

/// A parameter, encoded for its type.
pub(super) struct Encoded(Option<Vec<u8>>);

/// Never prints the value.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl ToSql for Encoded {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        Ok(match &self.0 {
            None => IsNull::Yes,
            Some(bytes) => {
                out.extend_from_slice(bytes);
                IsNull::No
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        self.to_sql(kind, out)
    }
}

/// The size limit of a message (`PQ_LARGE_MESSAGE_LIMIT`), minus room for the lengths of the parameters. The server
/// closes the connection if a message is longer.
const LONGEST_MESSAGE: usize = 0x3fff_ffff - (1 << 20);

/// Refuses parameters that no server accepts, before they are copied.
fn check_length(params: &[Param<'_>]) -> Result<()> {
    let mut total = 0;
    for (position, param) in params.iter().enumerate() {
        let bytes = match param {
            Param::Value(value) => length(value),
            Param::List(values) => values.iter().map(length).fold(0, usize::saturating_add),
        };
        total = bytes.saturating_add(total);
        if total > LONGEST_MESSAGE {
            let message = format!(
                "parameter {}: {total} bytes of values in one statement, PostgreSQL accepts less than 1 GB",
                position + 1
            );
            return Err(Error::new(ErrorKind::Value, message));
        }
    }
    Ok(())
}

fn length(value: &Value<'_>) -> usize {
    match value {
        Value::Text(text) | Value::Json(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 16,
    }
}

/// Encodes the parameters of a statement with these types.
pub(super) fn encoded(params: &[Param<'_>], types: &[Type]) -> Result<Vec<Encoded>> {
    check_length(params)?;
    if params.len() != types.len() {
        let message = format!("parameters in the SQL: {}, bound values: {}", types.len(), params.len());
        return Err(Error::new(ErrorKind::Query, message));
    }
    let encoded = |(position, (param, kind)): (usize, (&Param<'_>, &Type))| {
        let bytes = match param {
            Param::Value(value) => one(value, kind),
            Param::List(values) => many(values, kind).map(Some),
        };
        let named = |error| Error::new(ErrorKind::Value, format!("parameter {}: {error}", position + 1));
        bytes.map(Encoded).map_err(named)
    };
    params.iter().zip(types).enumerate().map(encoded).collect()
}

fn one(value: &Value<'_>, kind: &Type) -> Result<Option<Vec<u8>>, ValueError> {
    if *value == Value::Null {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    put(value, kind, &mut bytes)?;
    Ok(Some(bytes))
}

/// Encodes an array of one dimension.
fn many(values: &[Value<'_>], kind: &Type) -> Result<Vec<u8>, ValueError> {
    let Kind::Array(element) = kind.kind() else {
        return Err(ValueError::new(format!("expected {kind}, found a list")));
    };
    let count = |count: usize| {
        i32::try_from(count).map_err(|_| ValueError::new("the list is longer than PostgreSQL accepts"))
    };
    let mut bytes = Vec::with_capacity(20 + 12 * values.len());
    let has_null = values.contains(&Value::Null);
    let dimensions: i32 = if values.is_empty() { 0 } else { 1 };
    bytes.extend(dimensions.to_be_bytes());
    bytes.extend(i32::from(has_null).to_be_bytes());
    bytes.extend(element.oid().to_be_bytes());
    if !values.is_empty() {
        bytes.extend(count(values.len())?.to_be_bytes());
        bytes.extend(1_i32.to_be_bytes());
    }
    for value in values {
        let start = bytes.len();
        bytes.extend((-1_i32).to_be_bytes());
        if *value != Value::Null {
            put(value, element, &mut bytes)?;
            let length = count(bytes.len() - start - 4)?;
            if let Some(position) = bytes.get_mut(start..start + 4) {
                position.copy_from_slice(&length.to_be_bytes());
            }
        }
    }
    Ok(bytes)
}

fn put(value: &Value<'_>, kind: &Type, bytes: &mut Vec<u8>) -> Result<(), ValueError> {
    let too_large = || ValueError::new(format!("{value} does not fit {kind}"));
    match (value, kind) {
        (Value::Boolean(value), &Type::BOOL) => bytes.push(u8::from(*value)),
        (Value::Integer(value), &Type::INT8) => bytes.extend(value.to_be_bytes()),
        (Value::Integer(value), &Type::INT4) => {
            bytes.extend(i32::try_from(*value).map_err(|_| too_large())?.to_be_bytes());
        }
        (Value::Integer(value), &Type::INT2) => {
            bytes.extend(i16::try_from(*value).map_err(|_| too_large())?.to_be_bytes());
        }
        (Value::Integer(value), &Type::FLOAT8) => bytes.extend((*value as f64).to_be_bytes()),
        (Value::Real(value), &Type::FLOAT8) => bytes.extend(value.to_be_bytes()),
        (Value::Real(value), &Type::FLOAT4) => bytes.extend((*value as f32).to_be_bytes()),
        (Value::Text(text) | Value::Json(text), _) if is_text(kind) => bytes.extend(text.as_bytes()),
        (Value::Json(text) | Value::Text(text), &Type::JSON) => bytes.extend(text.as_bytes()),
        (Value::Json(text) | Value::Text(text), &Type::JSONB) => {
            bytes.push(1);
            bytes.extend(text.as_bytes());
        }
        (Value::Bytes(value), &Type::BYTEA) => bytes.extend(&**value),
        (Value::Uuid(value), &Type::UUID | &Type::BYTEA) => bytes.extend(value),
        (Value::Timestamp(micros), &Type::TIMESTAMPTZ | &Type::TIMESTAMP) => {
            bytes.extend(micros.checked_sub(FROM_1970_TO_2000).ok_or_else(too_large)?.to_be_bytes());
        }
        (value, kind) => {
            return Err(ValueError::new(format!("expected {kind}, found `{value}`")));
        }
    }
    Ok(())
}

fn endless(text: &str) -> ValueError {
    ValueError::new(format!(
        "PostgreSQL's `{text}` is not a time that a field holds; store NULL or `jiff::Timestamp::MAX` instead"
    ))
}

fn is_text(kind: &Type) -> bool {
    matches!(*kind, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN)
}

/// The received bytes of a value.
pub(super) struct Raw<'r>(&'r [u8]);

impl<'r> FromSql<'r> for Raw<'r> {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Failure> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl<'r> Raw<'r> {
    pub(super) fn of(bytes: &'r [u8]) -> Self {
        Raw(bytes)
    }

    /// Decodes the bytes as a value of this type.
    pub(super) fn value(self, kind: &Type) -> Result<Value<'r>, ValueError> {
        let Raw(bytes) = self;
        let cut = || ValueError::new(format!("the value of type {kind} is truncated"));
        let text = |bytes: &'r [u8]| {
            std::str::from_utf8(bytes)
                .map_err(|error| ValueError::new(format!("the stored text is not UTF-8: {error}")))
        };
        Ok(match *kind {
            Type::BOOL => Value::Boolean(bytes.first().ok_or_else(cut)? != &0),
            Type::INT8 => Value::Integer(i64::from_be_bytes(bytes.try_into().map_err(|_| cut())?)),
            Type::INT4 => Value::Integer(i32::from_be_bytes(bytes.try_into().map_err(|_| cut())?).into()),
            Type::INT2 => Value::Integer(i16::from_be_bytes(bytes.try_into().map_err(|_| cut())?).into()),
            Type::OID => Value::Integer(u32::from_be_bytes(bytes.try_into().map_err(|_| cut())?).into()),
            Type::FLOAT8 => Value::Real(f64::from_be_bytes(bytes.try_into().map_err(|_| cut())?)),
            Type::FLOAT4 => Value::Real(f32::from_be_bytes(bytes.try_into().map_err(|_| cut())?).into()),
            Type::UUID => Value::Uuid(bytes.try_into().map_err(|_| cut())?),
            Type::BYTEA => Value::Bytes(bytes.into()),
            Type::JSON => Value::Json(text(bytes)?.into()),
            Type::JSONB => Value::Json(text(bytes.get(1..).ok_or_else(cut)?)?.into()),
            Type::TIMESTAMPTZ | Type::TIMESTAMP => {
                let since_2000 = i64::from_be_bytes(bytes.try_into().map_err(|_| cut())?);
                let since_1970 = since_2000.checked_add(FROM_1970_TO_2000);
                match (since_2000, since_1970) {
                    (i64::MIN, _) => return Err(endless("-infinity")),
                    (i64::MAX, _) | (_, None) => return Err(endless("infinity")),
                    (_, Some(since_1970)) => Value::Timestamp(since_1970),
                }
            }
            ref kind if is_text(kind) => Value::Text(text(bytes)?.into()),
            ref kind => {
                let message = format!("no field holds a value of type {kind}; cast it in the SQL");
                return Err(ValueError::new(message));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_comes_back() {
        for (value, kind) in [
            (Value::Boolean(true), Type::BOOL),
            (Value::Integer(i64::MIN), Type::INT8),
            (Value::Integer(-5), Type::INT4),
            (Value::Integer(-5), Type::INT2),
            (Value::Real(-0.5), Type::FLOAT8),
            (Value::Real(0.5), Type::FLOAT4),
            (Value::Text("ümläut".into()), Type::TEXT),
            (Value::Bytes(vec![0, 255].into()), Type::BYTEA),
            (Value::Uuid([7; 16]), Type::UUID),
            (Value::Timestamp(-1), Type::TIMESTAMPTZ),
            (Value::Json("{\"a\": 1}".into()), Type::JSONB),
        ] {
            let bytes = one(&value, &kind).unwrap().unwrap();
            assert_eq!(Raw(&bytes).value(&kind).unwrap(), value);
        }
        assert_eq!(one(&Value::Null, &Type::INT8).unwrap(), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (value, kind) in [
            (Value::Integer(1 << 40), Type::INT4),
            (Value::Integer(1 << 20), Type::INT2),
            (Value::Integer(1), Type::TEXT),
            (Value::Timestamp(i64::MIN), Type::TIMESTAMPTZ),
        ] {
            assert!(one(&value, &kind).is_err(), "{value} {kind}");
        }
        assert!(many(&[Value::Integer(1)], &Type::INT8).is_err());
        assert!(encoded(&[], &[Type::INT8]).is_err());
        assert!(Raw(&[0; 3]).value(&Type::INT8).is_err());
        assert!(Raw(&[0; 3]).value(&Type::POINT).is_err());
    }
}
